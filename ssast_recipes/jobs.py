"""Several runs of recipes, a few at a time, each a process of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ssast_recipes.errors import RunError

_SECONDS_TO_END = 10  # of what is told to


@dataclass(frozen=True, eq=False)  # each is a run of its own
class Job:
    """A run of a recipe's `train.py`, finished once it has left `results.json`.

    Arguments
    ---------
    name : str
        What the user is told.
    train : Path
        The recipe's `train.py`.
    hparams_file : str
        The YAML file, in the recipe's `hparams/`.
    folder : Path
        The run's output folder.
    options : mapping
        Values by key of the YAML file, `num_steps` among them.
    after : Job, optional
        What has to be finished before.
    """

    name: str
    train: Path
    hparams_file: str
    folder: Path
    options: Mapping[str, Any]
    after: "Job | None" = None

    @property
    def command(self) -> list[str]:
        """The command line."""
        hparams_file = self.train.parent / "hparams" / self.hparams_file
        options = {**self.options, "output_folder": self.folder}
        return [
            sys.executable,
            str(self.train),
            str(hparams_file),
            *(f"--{key}={value}" for key, value in options.items()),
        ]

    @property
    def finished(self) -> bool:
        """Whether the run, or an earlier one of the same command, came to its end."""
        return (self.folder / "results.json").exists()

    @property
    def results(self) -> dict[str, Any]:
        """What the run left in `results.json`."""
        return json.loads((self.folder / "results.json").read_text(encoding="utf-8"))

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """What the run has logged so far, a record a line."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]  # the last may be cut

    @property
    def steps_done(self) -> int:
        """How far the run has got, by its log."""
        if self.finished:
            return self.options["num_steps"]
        return max((record["step"] for record in self.metrics), default=0)


def run_jobs(jobs: Sequence[Job], num_processes: int, title: str) -> None:
    """Runs what is not finished, the first first, and shows one progress bar over all steps.

    What a run prints goes to `output.txt` in its folder. Every process has one thread: several
    would wait for each other.

    Arguments
    ---------
    jobs : sequence of Job
        What to run.
    num_processes : int
        How many at a time.
    title : str
        What the bar is called.

    Raises
    ------
    RunError
        If one fails. The others are ended; the same jobs go on from their checkpoints.
    ValueError
        If one waits for what is neither finished nor to be run.
    """
    for job in jobs:
        if job.after is not None and not job.after.finished and job.after not in jobs:
            raise ValueError(f"{job.name} waits for {job.after.name}, which is none of the jobs")
    waiting = [job for job in jobs if not job.finished]
    running: dict[Job, subprocess.Popen] = {}
    total = sum(job.options["num_steps"] for job in jobs)
    form = "{desc}: {percentage:3.0f}% |{bar}| {elapsed}{postfix}"
    with tqdm(total=total, desc=title, bar_format=form, dynamic_ncols=True, mininterval=1) as bar:
        try:
            while waiting or running:
                for job in [job for job in waiting if job.after is None or job.after.finished]:
                    if len(running) < num_processes:
                        running[job] = _start(job)
                        waiting.remove(job)
                time.sleep(0.2)
                for job, process in list(running.items()):
                    if process.poll() is not None:
                        del running[job]
                        _check(job, process.returncode)
                bar.set_postfix_str(", ".join(job.name for job in running), refresh=False)
                bar.update(sum(job.steps_done for job in jobs) - bar.n)
        finally:
            _end(running.values())


def _start(job: Job) -> subprocess.Popen:
    job.folder.mkdir(parents=True, exist_ok=True)
    with open(job.folder / "output.txt", "w", encoding="utf-8") as output:
        return subprocess.Popen(
            [*job.command, "--noprogressbar"],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def _check(job: Job, status: int) -> None:
    if status == 0 and job.finished:
        return
    output = job.folder / "output.txt"
    errors = [line for line in output.read_text(errors="replace").splitlines() if "error:" in line]
    told = f": {errors[-1].partition('error:')[2].strip()}" if errors else ""
    raise RunError(f"{job.name} failed{told} (exit status {status}); see {output}")


def _end(processes: Sequence[subprocess.Popen]) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + _SECONDS_TO_END
    for process in processes:
        try:
            process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
