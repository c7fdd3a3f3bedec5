"""Which runs fill which cells of a table, and where they depart from its rows."""

import re
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ssast_recipes.released_weights import released_weights
from ssast_recipes.settings import differences
from ssast_recipes.tables.experiments import expected_settings
from ssast_recipes.tables.ledger import Record, describe_pretraining
from ssast_recipes.tables.rows import Row, Table, Task

# What makes an encoder a row's: the others are how it was made.
_SIZE = ("size", "embed_dim", "depth", "num_heads")
# They follow from the task, or decide speed alone.
_FREE = {
    "num_classes",
    "precision",
    "split_seed",
    "test_fold",
    "test_manifests",
    "valid_interval",
    "valid_manifests",
}
_CLIPS_TOLERANCE = 0.05
_ARGUMENT = re.compile(r"(\w+)=(\[[^\]]*\]|[^,()]*)")


@dataclass(frozen=True)
class Cell:
    """A number of a table.

    Arguments
    ---------
    values : tuple of float
        In %, one a run: of every fold, or seed.
    records : tuple of Record
        The runs.
    departures : tuple of str
        Where they differ from the row, in words.
    """

    values: tuple[float, ...] = ()
    records: tuple[Record, ...] = ()
    departures: tuple[str, ...] = ()

    @property
    def mean(self) -> float:
        """The mean of the values."""
        return statistics.mean(self.values)

    @property
    def std(self) -> float | None:
        """Their standard deviation (of a sample); None of a single one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def by_fold(self) -> dict[Any, float]:
        """The mean value of each fold."""
        found = defaultdict(list)
        for record, value in zip(self.records, self.values, strict=True):
            found[record.content.get("fold")].append(value)
        return {fold: statistics.mean(values) for fold, values in sorted(found.items())}


def fill_cells(table: Table, records: Sequence[Record]) -> dict[tuple[str, str], Cell]:
    """Finds the runs of each row and task.

    A run is of the row whose encoder it has (size, objective, masked share, data of pretraining,
    kind of patches) and from whose protocol it departs least. Where several runs of a cell depart
    differently, those with the fewest departures are shown.

    Arguments
    ---------
    table : Table
        The table.
    records : sequence of Record
        All runs.

    Returns
    -------
    dict
        By row's name and task's key; what was not run is not there.
    """
    found: dict[tuple[str, str], dict[tuple[str, ...], list[Record]]] = {}
    for record in records:
        for task in table.tasks.values():
            fits = []
            for row in table.rows:
                departures = find_departures(row, task, record)
                if departures is not None:
                    fits.append((len(departures), row.name, tuple(departures)))
            if fits:
                _, name, departures = min(fits, key=lambda fit: fit[0])
                cell = found.setdefault((name, task.key), defaultdict(list))
                cell[departures].append(record)
    return {key: _cell(table.tasks[key[1]], those) for key, those in found.items()}


def _cell(task: Task, by_departures: Mapping[tuple[str, ...], list[Record]]) -> Cell:
    departures, records = min(by_departures.items(), key=lambda item: len(item[0]))
    others = sum(map(len, by_departures.values())) - len(records)
    runs: dict[tuple[Any, Any], Record] = {}
    for record in records:
        runs.setdefault((record.content.get("fold"), record.content.get("seed")), record)
    twice = len(records) - len(runs)
    said = list(departures)
    folds = {fold for fold, _ in runs}
    if task.folds and folds != set(task.folds):
        said.append(f"fold{'s' if len(folds) > 1 else ''} {_listed(folds)} of {len(task.folds)}")
    if others:
        said.append(f"{others} run{'s' if others > 1 else ''} that depart more left out")
    if twice:
        said.append(f"{twice} of the same fold and seed left out")
    values = tuple(100 * _value(task, record) for record in runs.values())
    return Cell(values, tuple(runs.values()), tuple(said))


def _value(task: Task, record: Record) -> float:
    values = record.content["value"]
    return values[task.selection if task.selection in values else "last"]


def find_departures(row: Row, task: Task, record: Record) -> list[str] | None:
    """Tells where a run departs from a row's protocol on a task.

    Arguments
    ---------
    row : Row
        The row.
    task : Task
        The task.
    record : Record
        The run.

    Returns
    -------
    list of str or None
        In words; None if it is of another row or task.
    """
    content = record.content
    if content.get("experiment") != task.experiments[row.patches]:
        return None
    if not str(content.get("dataset", "")).startswith(task.dataset):
        return None
    tuned = content.get("settings", {})
    expected = expected_settings(content["experiment"], {**task.options, **row.tuning})
    if any(tuned.get(key) != expected.get(key) for key in _SIZE):
        return None
    before = _pretraining_departures(row, record)
    if before is None:
        return None
    said = _worded(expected, tuned, "")
    clips = content.get("num_clips", {}).get("train")
    if clips and abs(clips - task.train_clips) > _CLIPS_TOLERANCE * task.train_clips:
        said.append(f"{clips:,} training clips, not {task.train_clips:,}")
    if task.selection not in content["value"]:
        said.append(f"the last weights, not the {task.selection}")
    return said + before


def _pretraining_departures(row: Row, record: Record) -> list[str] | None:
    source = record.pretraining
    if row.pretraining is None and row.released is None:
        return [] if source is None else None
    if source is None:
        return None
    run = source.get("run")
    if run is None:
        if row.released is None or source.get("name") not in _names_of(row.released):
            return None
        return [] if row.pretraining is None else ["the authors' weights"]
    if row.pretraining is None or run.get("experiment") != row.pretraining.experiment:
        return None
    expected = expected_settings(row.pretraining.experiment, row.pretraining.options)
    found = run.get("settings", {})
    alike = [*_SIZE, "train_manifests", "patch_size"]
    if any(found.get(key) != expected.get(key) for key in alike):
        return None
    if describe_pretraining(found) != describe_pretraining(expected):
        return None
    said = _worded(expected, found, "pretraining ")
    clips = run.get("num_clips", {}).get("train")
    known = row.pretraining.train_clips
    if clips and abs(clips - known) > _CLIPS_TOLERANCE * known:
        said.append(f"pretraining on {clips:,} clips, not {known:,}")
    return said


def _names_of(released: str) -> set[str]:
    """How a run names the authors' weights: by their file, or as `ssast import` left them."""
    return {released_weights()[released].file, f"{released}/model.safetensors"}


def _worded(expected: Mapping[str, Any], found: Mapping[str, Any], prefix: str) -> list[str]:
    changed = {key: pair for key, pair in differences(expected, found).items() if key not in _FREE}
    return [
        f"{prefix}{key} {_short(now)}, not {_short(wanted)}"
        for key, (wanted, now) in changed.items()
        if not _is_told(wanted, now, changed)
    ]


def _is_told(wanted: Any, now: Any, changed: Mapping[str, Any]) -> bool:
    """Whether two objects differ in nothing but arguments that are keys of their own."""
    if not (isinstance(wanted, str) and isinstance(now, str)):
        return False
    if wanted.partition("(")[0] != now.partition("(")[0]:
        return False
    first, second = (dict(_ARGUMENT.findall(value)) for value in (wanted, now))
    return set(differences(first, second)) <= set(changed) and first.keys() == second.keys()


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return " and ".join(map(_short, value))
    return "none" if value is None else str(value)


def _listed(values: set[Any]) -> str:
    return ", ".join(str(value) for value in sorted(values, key=str))
