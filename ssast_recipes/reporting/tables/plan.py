"""From the rows of tables to runs: each once, however many rows need it."""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssast_recipes.reporting.tables.experiments import (
    expected_settings,
    hparams_file,
    manifest_place,
)
from ssast_recipes.reporting.tables.rows import Pretraining, Row, Table, Task
from ssast_recipes.reporting.tables.scales import SMOKE
from ssast_recipes.runs.jobs import Job, Preparation
from ssast_recipes.system.recipes import recipe_folder


@dataclass(frozen=True)
class Places:
    """Where things are.

    Arguments
    ---------
    output : Path
        The folder of all runs.
    data_root : Path
        The folder of the data sets' folders.
    data : mapping
        Data sets that lie elsewhere, by the names of their folders.
    """

    output: Path
    data_root: Path
    data: Mapping[str, Path] = field(default_factory=dict)

    def of_data(self, name: str) -> Path:
        """The folder of a data set."""
        return self.data.get(name, self.data_root / name)

    def of_manifests(self, name: str) -> Path:
        """The folder of a data set's manifests."""
        return self.output / "manifests" / name


@dataclass
class Plan:
    """The runs of some rows, in the order of the rows, and what cannot be run.

    Arguments
    ---------
    jobs : list of Job
        What a job needs stands before it.
    skipped : list of tuple
        Row, task, and why.
    missing : dict
        By folder of data that is not there: how many cells (row and task) need it.
    num_cells : int
        How many there are in all.
    train_clips : dict
        By folder of a run: how many clips it trains on, about.
    """

    jobs: list[Job] = field(default_factory=list)
    skipped: list[tuple[str, str, str]] = field(default_factory=list)
    missing: dict[Path, int] = field(default_factory=dict)
    num_cells: int = 0
    train_clips: dict[Path, int] = field(default_factory=dict)


def make_plan(
    tables: Sequence[Table],
    places: Places,
    rows: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    folds: Sequence[int] | None = None,
    released: bool = False,
    without_data: bool = False,
) -> Plan:
    """Plans what fills the cells of tables.

    Arguments
    ---------
    tables : sequence of Table
        The tables, as `scale_table` left them. At the smoke scale, what differs in weights alone is
        tuned once, with the first of the table's choices.
    places : Places
        Where data are and runs go.
    rows, tasks : sequence of str, optional
        Names of the rows, keys of the tasks; by default all.
    seeds : sequence of int, optional
        Of fine-tuning; by default a table's. An encoder is pretrained once, with a table's first.
    folds : sequence of int, optional
        Of tasks that have any; by default all.
    released : bool
        Whether to take the authors' weights in place of pretraining, where a row names any.
    without_data : bool
        Whether to plan what data that are not there would take, too; by default it is skipped.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If a row, a task or a fold is unknown.

    Example
    -------
    >>> from ssast_recipes.reporting.tables.rows import read_table
    >>> plan = make_plan([read_table("table3")], Places(Path("out"), Path("nowhere")))
    >>> len(plan.jobs), plan.skipped[0][1:]
    (0, ('AS', 'nowhere/AudioSet is not there'))
    """
    _check_names("row", rows, [row.name for table in tables for row in table.rows])
    _check_names("task", tasks, [key for table in tables for key in table.tasks])
    every = [task for table in tables for task in table.tasks.values()]
    known = sorted({fold for task in every for fold in task.folds})
    _check_names("fold", folds, known)
    planner = _Planner(places, folds, released, without_data)
    for table in tables:
        planner.seeds, planner.is_smoke = seeds or table.seeds, table.scale == SMOKE
        planner.pretraining_seed = table.seeds[0]
        planner.choices = table.choices[:1] if planner.is_smoke else table.choices
        for row in table.rows:
            for key, task in table.tasks.items():
                if (
                    row.baseline is None
                    and (rows is None or row.name in rows)
                    and (tasks is None or key in tasks)
                ):
                    planner.add(row, task)
    return planner.plan


def _check_names(kind: str, names: Sequence[Any] | None, known: Sequence[Any]) -> None:
    unknown = [name for name in names or () if name not in known]
    if unknown:
        told = ", ".join(map(str, dict.fromkeys(known)))
        raise ValueError(f"there is no {kind} {unknown[0]!r}; there are: {told}")


class _Planner:
    def __init__(
        self, places: Places, folds: Sequence[int] | None, released: bool, without_data: bool
    ):
        self.places, self.folds, self.released = places, folds, released
        self.without_data = without_data
        self.seeds: Sequence[int] = (1,)
        self.pretraining_seed = 1
        self.choices: Sequence[Mapping[str, Any]] = ({},)
        self.is_smoke = False
        self.plan, self._jobs = Plan(), {}
        self._tuned: set[str] = set()

    def add(self, row: Row, task: Task) -> None:
        needed = [task.data]
        if self._pretrains(row):
            needed += [row.pretraining_for(task).data]
            needed += [corpus["data"] for corpus in row.pretraining.prepares.values()]
        self.plan.num_cells += 1
        folders = dict.fromkeys(map(self.places.of_data, needed))
        missing = [folder for folder in folders if not folder.is_dir()]
        for folder in missing:
            self.plan.missing[folder] = self.plan.missing.get(folder, 0) + 1
        if missing and not self.without_data:
            self.plan.skipped.append((row.name, task.key, f"{missing[0]} is not there"))
            return
        if self.is_smoke and row.pretraining is None and row.released:
            reason = f"{row.released} would have to be downloaded"
            self.plan.skipped.append((row.name, task.key, reason))
            return
        for fold in self._folds(task):
            for seed in self.seeds:
                for choice in self.choices:
                    self._tune(row, task, fold, seed, choice)

    def _pretrains(self, row: Row) -> bool:
        return row.pretraining is not None and not (self.released and row.released)

    def _folds(self, task: Task) -> Iterator[int | None]:
        if not task.folds:
            yield None
        else:
            yield from (fold for fold in task.folds if self.folds is None or fold in self.folds)

    def _tune(
        self, row: Row, task: Task, fold: int | None, seed: int, choice: Mapping[str, Any]
    ) -> None:
        options = row.tuning_of(task, choice)
        encoder: Job | None = None
        if self._pretrains(row):
            encoder = self._pretrain(row.pretraining_for(task), fold)
        elif row.released is not None:
            encoder = self._import(row.released)
        experiment = task.experiments[row.patches]
        if self.is_smoke:
            kind = json.dumps([task.key, row.patches, encoder is None, options], default=str)
            if kind in self._tuned:
                return
            self._tuned.add(kind)
        if encoder is not None:
            options["pretrained_encoder"] = encoder.folder
        before = [] if encoder is None else [encoder]
        name = f"{task.key} {row.name}"
        job = self._run(experiment, task.data, options, fold, seed, before, name)
        self.plan.train_clips[job.folder] = task.train_clips

    def _pretrain(self, pretraining: Pretraining, fold: int | None) -> Job:
        manifests = self.places.of_manifests(pretraining.data)
        options = {
            key: value.replace("{manifests}", str(manifests)) if isinstance(value, str) else value
            for key, value in pretraining.options.items()
        }
        before = []
        for option, corpus in pretraining.prepares.items():
            before.append(self._prepare(**corpus))
            options[option] = before[-1].leaves
        fold = fold if pretraining.folds == "same" else None
        name = f"pretraining {pretraining.experiment}"
        job = self._run(
            pretraining.experiment,
            pretraining.data,
            options,
            fold,
            self.pretraining_seed,
            before,
            name,
        )
        self.plan.train_clips[job.folder] = pretraining.train_clips
        return job

    def _run(
        self,
        experiment: str,
        data: str,
        options: Mapping[str, Any],
        fold: int | None,
        seed: int,
        after: Sequence[Job],
        name: str,
    ) -> Job:
        recipe, yaml_name = experiment.split("/")
        digest = json.dumps([experiment, data, sorted(options.items())], default=str)
        # The same wherever it is, and for all folds.
        digest = digest.replace(str(self.places.output), "").replace(f"/fold{fold}/", "/")
        slug = f"{yaml_name}-{hashlib.sha256(digest.encode()).hexdigest()[:8]}"
        place = self.places.output / recipe / slug
        place = place / f"seed{seed}" if fold is None else place / f"fold{fold}" / f"seed{seed}"
        if place not in self._jobs:
            given = {
                "data_folder": self.places.of_data(data),
                "manifest_folder": self.places.of_manifests(data) / manifest_place(experiment),
                "seed": seed,
                **({} if fold is None else {"test_fold": fold}),
                **options,
            }
            train = recipe_folder(recipe) / "train.py"
            name = f"{name} {'' if fold is None else f'fold {fold} '}seed {seed}"
            settings = expected_settings(experiment, given)
            steps, epochs = settings.get("num_steps"), settings.get("number_of_epochs")
            length = ("step", int(steps)) if steps else ("epoch", int(epochs))
            job = Job(name, train, f"{yaml_name}.yaml", place, given, tuple(after), length, 1.0)
            self._jobs[place] = job
            self.plan.jobs.append(job)
        return self._jobs[place]

    def _prepare(self, experiment: str, data: str) -> Preparation:
        manifests, file = self.places.of_manifests(data), hparams_file(experiment)
        train = file.parents[1] / "train.py"
        folder = self.places.output / "preparation" / data
        words = [
            sys.executable,
            str(train),
            str(file),
            f"--data_folder={self.places.of_data(data)}",
            f"--manifest_folder={manifests}",
            f"--output_folder={folder}",
            "--prepare_only",
        ]
        return self._once(f"preparing {data}", folder, words, manifests / "train.csv", train)

    def _import(self, name: str) -> Preparation:
        folder = self.places.output / "weights" / name
        words = [sys.executable, "-m", "ssast_recipes.commands.main", "import", name, str(folder)]
        return self._once(f"importing {name}", folder, words, folder / "config.json", Path())

    def _once(
        self, name: str, folder: Path, words: Sequence[str], leaves: Path, train: Path
    ) -> Preparation:
        if folder not in self._jobs:
            job = Preparation(
                name, train, "", folder, {}, weight=1.0, words=tuple(words), leaves=leaves
            )
            self._jobs[folder] = job
            self.plan.jobs.append(job)
        return self._jobs[folder]
