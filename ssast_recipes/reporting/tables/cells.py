"""Which runs fill which cells of a table."""

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ssast_recipes.reporting.tables.departures import Departure, find_departures, tell
from ssast_recipes.reporting.tables.ledger import Record
from ssast_recipes.reporting.tables.rows import Table, Task


class _Run(NamedTuple):
    """A run of a row, and which of the table's choices of options it has."""

    record: Record
    departures: list[Departure]
    choice: int


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
        The runs; those that diverged, whose value is no number, have none.
    departures : tuple of str
        Where they differ from the row, in words.
    remarks : tuple of str
        What else is to be said of them.
    unit : str
        What the values are of, "fold" or "seed".
    units : tuple of int
        The number of the fold or seed of each value.
    """

    values: tuple[float, ...] = ()
    count: str = ""
    records: tuple[Record, ...] = ()
    departures: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    unit: str = "fold"
    units: tuple[int, ...] = ()

    @property
    def mean(self) -> float:
        """The mean of the values."""
        return statistics.mean(self.values)

    @property
    def std(self) -> float | None:
        """Their standard deviation (of a sample); None of a single one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def note(self) -> str:
        """All that is to be said of it."""
        return "; ".join((*self.departures, *self.remarks))


def fill_cells(table: Table, records: Sequence[Record]) -> dict[tuple[str, str], Cell]:
    """Finds the runs of each row and task.

    A run is of the row whose encoder it has (size, objective, masked share, data of pretraining,
    kind of patches) and from whose protocol it departs least. Where several runs of a cell depart
    differently, those with the fewest departures are shown; of a table's choices of options, the
    one whose shown weights validated best, for each fold and seed by itself.

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
    found: dict[tuple[str, str], dict[tuple[str, ...], list[_Run]]] = {}
    for record in records:
        for task in table.tasks.values():
            fits = []
            for row in table.rows:
                for number, choice in enumerate(table.choices if row.baseline is None else ()):
                    departures = find_departures(row, task, record, choice)
                    if departures is not None:
                        fits.append((len(departures), row.name, departures, number))
            if fits:
                _, name, departures, number = min(fits, key=lambda fit: fit[0])
                kinds = tuple(departure.said for departure in departures)
                cell = found.setdefault((name, task.key), defaultdict(list))
                cell[kinds].append(_Run(record, departures, number))
    cells = {
        key: _cell(table.tasks[key[1]], those, len(table.choices)) for key, those in found.items()
    }
    return cells | _baseline_cells(table, cells)


def _baseline_cells(
    table: Table, cells: Mapping[tuple[str, str], Cell]
) -> dict[tuple[str, str], Cell]:
    """What the runs of the other rows measured on their clips: the same whatever was trained."""
    found = {}
    for row in table.rows:
        for task in table.tasks.values() if row.baseline else ():
            by_fold: dict[int, float] = {}
            runs = []
            for (_, key), cell in cells.items():
                for record in cell.records if key == task.key and not cell.departures else ():
                    value = (record.content.get("baselines") or {}).get(row.baseline)
                    fold = record.content.get("fold") or 1
                    if value is not None and fold not in by_fold:
                        by_fold[fold] = 100 * value
                        runs.append(record)
            if by_fold:
                units = tuple(sorted(by_fold))
                values = tuple(by_fold[unit] for unit in units)
                found[row.name, task.key] = Cell(values, f"{len(units)}", tuple(runs), units=units)
    return found


def _cell(task: Task, by_departures: Mapping[tuple[str, ...], list[_Run]], choices: int) -> Cell:
    alike = min(by_departures.items(), key=lambda item: len(item[0]))[1]
    others = sum(map(len, by_departures.values())) - len(alike)
    tried: dict[tuple[Any, Any], dict[int, Record]] = defaultdict(dict)
    for record, _, number in alike:
        place = record.content.get("fold"), record.content.get("seed")
        tried[place].setdefault(number, record)
    runs = {
        place: max(by_choice.values(), key=lambda record: _validated(task, record))
        for place, by_choice in tried.items()
    }
    by_unit: dict[int, list[float]] = defaultdict(list)
    diverged = 0
    for (fold, seed), record in runs.items():
        value = _value(task, record)
        if math.isfinite(value):
            by_unit[fold if task.folds else seed].append(value)
        else:
            diverged += 1
    units = tuple(sorted(by_unit))
    remarks = []
    if task.folds and set(units) != set(task.folds) and units:
        told = ", ".join(map(str, units))
        remarks.append(f"fold{'s' if len(units) > 1 else ''} {told} of {len(task.folds)}")
    if others:
        remarks.append(f"{others} run{'s' if others > 1 else ''} that depart more left out")
    repeated = len(alike) - sum(map(len, tried.values()))
    if repeated:
        remarks.append(f"{repeated} of the same fold and seed left out")
    if any(len(by_choice) < choices for by_choice in tried.values()):
        remarks.append(f"not yet with all {choices} choices of options")
    if diverged:
        remarks.append(f"{diverged} without a number: training diverged")
    return Cell(
        tuple(statistics.mean(by_unit[unit]) for unit in units),
        _count(by_unit),
        tuple(runs.values()),
        tell([run.departures for run in alike]),
        tuple(remarks),
        "fold" if task.folds else "seed",
        units,
    )


def _count(by_unit: Mapping[int, Sequence[float]]) -> str:
    """How many units, and values of each if these are several."""
    sizes = {len(values) for values in by_unit.values()}
    if sizes <= {1}:
        return f"{len(by_unit)}"
    several = f"{min(sizes)}" if len(sizes) == 1 else f"{min(sizes)} to {max(sizes)}"
    return f"{len(by_unit)} × {several}"


def _validated(task: Task, record: Record) -> float:
    """The validation's score of the weights that are shown; without any, the lowest."""
    scores = [
        one["valid_score"] for one in record.content.get("history") or () if "valid_score" in one
    ]
    if not scores:
        return -math.inf
    return max(scores) if task.selection == "best" else scores[-1]


def _value(task: Task, record: Record) -> float:
    """In %; not a number of a run that has none."""
    values = record.content["value"]
    value = values[task.selection if task.selection in values else "last"]
    return math.nan if value is None else 100 * value
