"""Runs of a recipe's `train.py`, each a process of its own, in the background a few at a time."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ssast_recipes.records.run import Run, parse_metrics
from ssast_recipes.system.children import end, start
from ssast_recipes.system.errors import RunError

_SECONDS_BETWEEN_LOOKS = 1  # at the logs of what is running


def train_command(train: Path, hparams_file: Path, words: Sequence[Any] = ()) -> list[str]:
    """Returns the command line that runs a recipe's `train.py` on a YAML file.

    Example
    -------
    >>> train_command(Path("train.py"), Path("mine.yaml"), ["--test_fold", 1])[1:]
    ['train.py', 'mine.yaml', '--test_fold', '1']
    """
    return [sys.executable, *map(str, [train, hparams_file, *words])]


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
    options: Mapping[str, Any] = field(default_factory=dict)
    after: Sequence["Job"] = ()
    length: tuple[str, int] | None = None
    weight: float | None = None

    @property
    def command(self) -> list[str]:
        """The command line."""
        options = {**self.options, "output_folder": self.folder}
        words = [f"--{key}={_as_yaml(value)}" for key, value in options.items()]
        return train_command(self.train, self.train.parent / "hparams" / self.hparams_file, words)

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


class Progress:
    """How far a job has come, by what its log has got since the last look.

    Arguments
    ---------
    job : Job
        The job, waiting, running or finished.
    """

    def __init__(self, job: Job):
        self.job = job
        total = job.options.get("num_steps")
        self._unit, self._total = job.length or ("step", total)
        self.work = float(job.weight if job.weight is not None else self._total)
        self._log = job.folder / "metrics.jsonl"
        self._file, self._place, self._reached = 0, 0, 0  # inode, bytes, steps or epochs

    def work_done(self) -> float:
        """How much of the job's `work` is done; reads what was appended to its log."""
        if self.job.finished:
            return self.work
        if not self._total or not self._log.exists():
            return 0.0
        with open(self._log, "rb") as log:
            file = os.fstat(log.fileno()).st_ino
            if file != self._file:  # a run that resumes writes it anew, up to its checkpoint
                self._file, self._place, self._reached = file, 0, 0
            log.seek(self._place)
            for line in log:
                if not line.endswith(b"\n"):
                    break  # it is being written
                self._place += len(line)
                for record in parse_metrics(line.decode(errors="replace")):
                    if record is not None:  # it was cut by an earlier end
                        self._reached = max(self._reached, record.get(self._unit, 0))
        return self.work * self._reached / self._total


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
    unfinished = {job: number for number, job in enumerate(jobs) if not job.finished}
    for job in unfinished:
        for before in job.after:
            if not before.finished and before not in unfinished:
                raise ValueError(f"{job.name} waits for {before.name}, which is none of the jobs")
    graph = {job: [before for before in job.after if before in unfinished] for job in unfinished}
    order = TopologicalSorter(graph)
    order.prepare()
    progress = {job: Progress(job) for job in jobs}
    done = {job: one.work_done() for job, one in progress.items()}
    waiting: list[Job] = []
    running: dict[Future[int], tuple[Job, subprocess.Popen]] = {}
    # Known before a thread waits for it: leaving the pool joins those threads.
    processes: list[subprocess.Popen] = []
    bar = tqdm(
        desc=title,
        total=sum(one.work for one in progress.values()),
        bar_format="{desc}: {percentage:3.0f}% |{bar}| {elapsed}{postfix}",
        dynamic_ncols=True,
        mininterval=1,
        disable=None,  # where nobody watches
    )
    with bar, ThreadPoolExecutor(num_processes) as threads:
        try:
            while order.is_active():
                waiting = sorted([*waiting, *order.get_ready()], key=unfinished.__getitem__)
                while waiting and len(running) < num_processes:
                    job = waiting.pop(0)
                    process = _start(job)
                    processes.append(process)
                    running[threads.submit(process.wait)] = job, process
                ended, _ = wait_for(running, _SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED)
                for job, _ in running.values():
                    done[job] = progress[job].work_done()
                for future in ended:
                    job, process = running.pop(future)
                    _check(job, process.returncode)
                    order.done(job)
                names = ", ".join(job.name for job, _ in running.values())
                bar.set_postfix_str(names, refresh=False)
                bar.update(sum(done.values()) - bar.n)
        finally:
            end(processes)


def _start(job: Job) -> subprocess.Popen:
    job.folder.mkdir(parents=True, exist_ok=True)
    with open(job.folder / "output.txt", "w", encoding="utf-8") as output:
        return start(
            job.background_command,
            {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def _check(job: Job, status: int) -> None:
    if status == 0 and job.finished:
        return
    output = job.folder / "output.txt"
    errors = [line for line in output.read_text(errors="replace").splitlines() if "error:" in line]
    told = f": {errors[-1].partition('error:')[2].strip()}" if errors else ""
    raise RunError(f"{job.name} failed{told} (exit status {status}); see {output}")
