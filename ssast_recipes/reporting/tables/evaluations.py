"""Tables of `ssast evaluate`'s records: encoders by tasks, by numbers of labels, and by layers."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ssast_recipes.evaluation.comparing import Difference
from ssast_recipes.evaluation.records import CHANCE, Record, average, read_evaluation
from ssast_recipes.evaluation.table import (
    DIFFERENCES_HEAD,
    difference_rows,
    format_value,
    ordered_encoders,
    result_rows,
)
from ssast_recipes.reporting.tables.layout import format_lines

TITLE = "# What encoders know"
INTRODUCTION = """\
This page is what `ssast tables --evaluations ledger/evaluation --format markdown` prints of the
evaluations recorded there; [evaluating.md](evaluating.md) has the rules. A number that does not
beat the baselines is printed all the same."""
_AXES = {"shots": "clips a class", "layer": "layer"}


class _Task(NamedTuple):
    name: str
    metric: str


def find_evaluations(folder: Path) -> list[Path]:
    """Finds evaluations in a folder and below it.

    Raises
    ------
    FileNotFoundError
        If there is none.

    Example
    -------
    >>> find_evaluations(Path("no/such"))
    Traceback (most recent call last):
    FileNotFoundError: no/such: there is no evaluation.parquet in it; name what ssast evaluate wrote
    """
    found = sorted(path.parent for path in folder.rglob("evaluation.parquet"))
    if not found:
        raise FileNotFoundError(
            f"{folder}: there is no evaluation.parquet in it; name what ssast evaluate wrote"
        )
    return found


def format_evaluations(folder: Path, layout: str) -> str:
    """Formats all evaluations of a folder.

    Arguments
    ---------
    folder : Path
        An evaluation's, or a ledger of them.
    layout : str
        "text", "markdown" (a page) or "csv".

    Returns
    -------
    str
        Several lines.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no evaluation, or one is damaged.
    """
    parts = [TITLE, INTRODUCTION] if layout == "markdown" else []
    for path in find_evaluations(folder):
        records, head = read_evaluation(path)
        tasks = [_Task(task["name"], task["metric"]) for task in head["tasks"]]
        if layout == "markdown":
            parts.append(f"## {path.name}")
            parts += [
                f"`{task['name']}`{task['told'].removeprefix(task['name'])}."
                for task in head["tasks"]
            ]
            if isinstance(head.get("note"), str):
                parts.append(head["note"])
        probes = [probe for probe in head["probes"] if any(one.has(probe=probe) for one in records)]
        parts.append(_told("In %, mean ± standard deviation over folds", layout))
        parts.append(format_lines(*result_rows(records, tasks, probes), layout))
        for axis, label in _AXES.items():
            parts += _format_axis(records, tasks, axis, label, layout)
        differences = [Difference(**one) for one in head.get("differences", [])]
        if differences:
            told = "Paired differences, in points, with 95 % intervals (bootstrap over test clips)"
            parts.append(_told(told, layout))
            parts.append(format_lines(DIFFERENCES_HEAD, difference_rows(differences), layout))
    return "\n\n".join(part for part in parts if part)


def _format_axis(
    records: Sequence[Record], tasks: Sequence[_Task], axis: str, label: str, layout: str
) -> list[str]:
    """A table for each task and probe: encoders by shots or layers."""
    parts = []
    for task in tasks:
        of_task = [record for record in records if record.task == task.name]
        rows = [row for record in of_task for row in record.rows if row.metric == task.metric]
        rows = [row for row in rows if getattr(row, axis) is not None]
        for probe in dict.fromkeys(row.probe for row in rows):
            own = [row for row in rows if row.probe == probe]
            values = sorted({getattr(row, axis) for row in own})
            lines = []
            for name in ordered_encoders(of_task):
                found = [
                    average([r for r in own if r.encoder == name and getattr(r, axis) == value])
                    for value in values
                ]
                if name != CHANCE and any(found):
                    lines.append([name, *(format_value(one, task.metric) for one in found)])
            parts.append(_told(f"{task.name}, {probe}, by {label}", layout))
            parts.append(format_lines(["encoder", *map(str, values)], lines, layout))
    return parts


def _told(text: str, layout: str) -> str:
    return "" if layout == "csv" else f"{text}:"
