"""Several runs of recipes, a few at a time, each a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ssast_recipes.records.run import Run
from ssast_recipes.system.errors import RunError

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
        Values by key of the YAML file.
    after : sequence of Job
        What has to be finished before.
    length : tuple of str and int, optional
        What the log counts, "step" or "epoch", and how many there will be; by default the steps of
        `num_steps` among the options.
    weight : float, optional
        How much of the work it is; by default its length.
    """

    name: str
    train: Path
    hparams_file: str
    folder: Path
    options: Mapping[str, Any]
    after: Sequence["Job"] = ()
    length: tuple[str, int] | None = None
    weight: float | None = None

    @property
    def command(self) -> list[str]:
        """The command line."""
        hparams_file = self.train.parent / "hparams" / self.hparams_file
        options = {**self.options, "output_folder": self.folder}
        words = [f"--{key}={_as_yaml(value)}" for key, value in options.items()]
        return [sys.executable, str(self.train), str(hparams_file), *words]

    @property
    def background_command(self) -> list[str]:
        """The command line where nobody watches."""
        return [*self.command, "--noprogressbar"]

    @property
    def finished(self) -> bool:
        """Whether the run, or an earlier one of the same command, came to its end."""
        return Run(self.folder).is_finished

    @property
    def results(self) -> dict[str, Any]:
        """What the run left in `results.json`."""
        return Run(self.folder).results

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """What the run has logged so far, a record a line."""
        return Run(self.folder).metrics

    @property
    def work(self) -> float:
        """How much of the whole work it is."""
        return self.weight if self.weight is not None else self._length[1]

    @property
    def work_done(self) -> float:
        """How much of it is done, by its log."""
        if self.finished:
            return self.work
        if self.length is None and "num_steps" not in self.options:
            return 0.0
        unit, total = self._length
        return self.work * max((record.get(unit, 0) for record in self.metrics), default=0) / total

    @property
    def _length(self) -> tuple[str, int]:
        return self.length or ("step", self.options["num_steps"])


@dataclass(frozen=True, eq=False)
class Preparation(Job):
    """What has to be there before runs begin: finished once a file is there.

    Arguments
    ---------
    words : sequence of str
        The command line.
    leaves : Path, optional
        The file.
    """

    words: Sequence[str] = ()
    leaves: Path | None = None

    @property
    def command(self) -> list[str]:
        """The command line."""
        return list(self.words)

    background_command = command

    @property
    def finished(self) -> bool:
        """Whether the file is there."""
        return self.leaves.exists()


def _as_yaml(value: Any) -> Any:
    return "null" if value is None else value


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
        If one waits for what is neither finished nor to be run, or none may run at a time.
    """
    if num_processes < 1:
        raise ValueError(f"{num_processes} runs at a time would never end; give 1 or more")
    for job in jobs:
        for before in job.after:
            if not before.finished and before not in jobs:
                raise ValueError(f"{job.name} waits for {before.name}, which is none of the jobs")
    waiting = [job for job in jobs if not job.finished]
    running: dict[Job, subprocess.Popen] = {}
    total = sum(job.work for job in jobs)
    form = "{desc}: {percentage:3.0f}% |{bar}| {elapsed}{postfix}"
    with tqdm(total=total, desc=title, bar_format=form, dynamic_ncols=True, mininterval=1) as bar:
        try:
            while waiting or running:
                for job in [job for job in waiting if all(one.finished for one in job.after)]:
                    if len(running) < num_processes:
                        running[job] = _start(job)
                        waiting.remove(job)
                time.sleep(0.2)
                for job, process in list(running.items()):
                    if process.poll() is not None:
                        del running[job]
                        _check(job, process.returncode)
                bar.set_postfix_str(", ".join(job.name for job in running), refresh=False)
                bar.update(sum(job.work_done for job in jobs) - bar.n)
        finally:
            _end(running.values())


def _start(job: Job) -> subprocess.Popen:
    job.folder.mkdir(parents=True, exist_ok=True)
    with open(job.folder / "output.txt", "w", encoding="utf-8") as output:
        return subprocess.Popen(
            job.background_command,
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
