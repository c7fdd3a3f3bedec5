"""Which runs fill which cells of a table."""

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ssast_recipes.tables.departures import find_departures
from ssast_recipes.tables.ledger import Record
from ssast_recipes.tables.rows import Table, Task


@dataclass(frozen=True)
class Cell:
    """A number of a table.

    Arguments
    ---------
    values : tuple of float
        In %: one a fold, the mean of its seeds; or, without folds, one a seed.
    count : str
        How many there are, in words.
    records : tuple of Record
        The runs.
    departures : tuple of str
        Where they differ from the row, in words.
    remarks : tuple of str
        What else is to be said of them.
    folds : tuple of int
        Whose values they are; none without folds.
    """

    values: tuple[float, ...] = ()
    count: str = ""
    records: tuple[Record, ...] = ()
    departures: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    folds: tuple[int, ...] = ()

    @property
    def mean(self) -> float:
        """The mean of the values."""
        return statistics.mean(self.values)

    @property
    def std(self) -> float | None:
        """Their standard deviation (of a sample); None of a single one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def by_fold(self) -> dict[int, float]:
        """The value of each fold."""
        return dict(zip(self.folds, self.values, strict=True)) if self.folds else {}

    @property
    def note(self) -> str:
        """All that is to be said of it."""
        return "; ".join((*self.departures, *self.remarks))


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
    cells = {key: _cell(table.tasks[key[1]], those) for key, those in found.items()}
    return {key: cell for key, cell in cells.items() if cell.values}


def _cell(task: Task, by_departures: Mapping[tuple[str, ...], list[Record]]) -> Cell:
    departures, records = min(by_departures.items(), key=lambda item: len(item[0]))
    others = sum(map(len, by_departures.values())) - len(records)
    runs: dict[tuple[Any, Any], Record] = {}
    for record in records:
        runs.setdefault((record.content.get("fold"), record.content.get("seed")), record)
    remarks = []
    if others:
        remarks.append(f"{others} run{'s' if others > 1 else ''} that depart more left out")
    if len(records) > len(runs):
        remarks.append(f"{len(records) - len(runs)} of the same fold and seed left out")
    kept = {key: record for key, record in runs.items() if math.isfinite(_value(task, record))}
    if len(kept) < len(runs):
        remarks.append(f"{len(runs) - len(kept)} without a number left out: training diverged")
    by_fold: dict[int | None, list[float]] = defaultdict(list)
    for (fold, _), record in kept.items():
        by_fold[fold].append(_value(task, record))
    if not task.folds or not by_fold:
        values = tuple(value for those in by_fold.values() for value in those)
        everything = tuple(kept.values())
        return Cell(values, f"{len(values)}", everything, departures, tuple(remarks))
    folds = tuple(sorted(by_fold))
    if set(folds) != set(task.folds):
        told = ", ".join(map(str, folds))
        remarks.insert(0, f"fold{'s' if len(folds) > 1 else ''} {told} of {len(task.folds)}")
    seeds = {len(values) for values in by_fold.values()}
    count = f"{len(folds)}" if seeds == {1} else f"{len(folds)} × {min(seeds)}"
    if len(seeds) > 1:
        count += f" to {max(seeds)}"
    values = tuple(statistics.mean(by_fold[fold]) for fold in folds)
    return Cell(values, count, tuple(kept.values()), departures, tuple(remarks), folds)


def _value(task: Task, record: Record) -> float:
    """In %; not a number of a run that has none."""
    values = record.content["value"]
    value = values[task.selection if task.selection in values else "last"]
    return math.nan if value is None else 100 * value
