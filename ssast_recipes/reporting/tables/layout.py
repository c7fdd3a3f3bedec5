"""A table in text, Markdown or CSV."""

import csv
import io
import math
import shlex
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from ssast_recipes.reporting.tables.cells import Cell
from ssast_recipes.reporting.tables.rows import Table
from ssast_recipes.system import words

FORMATS = ("text", "markdown", "csv")
NOT_RUN, DIVERGED = "not run", "diverged"


def format_table(table: Table, cells: Mapping[tuple[str, str], Cell], layout: str) -> str:
    """Formats a table with what was run of it.

    Arguments
    ---------
    table : Table
        The table.
    cells : mapping
        From `fill_cells`.
    layout : str
        One of `FORMATS`.

    Returns
    -------
    str
        Without a line end.

    Raises
    ------
    ValueError
        If the layout is unknown.
    """
    if layout not in FORMATS:
        raise ValueError(f"a table is {', '.join(FORMATS)}, not {layout!r}")
    if layout == "csv":
        return _csv(table, cells)
    notes: list[str] = []
    lines = _rows(table, cells, notes)
    head = ["", *([""] if _is_published(table) else []), *table.columns]
    title = table.title + ("" if table.scale == "full" else f" (scale: {table.scale})")
    parts = [f"## {title}" if layout == "markdown" else title]
    scaled = "" if table.scale == "full" else f" --scale {table.scale}"
    command = f"ssast tables {shlex.quote(table.key)} --format {layout}{scaled}"
    parts.append(f"```bash\n{command}\n```" if layout == "markdown" else f"$ {command}")
    parts.append(f"Source: {table.source}. {_units(table)}")
    parts.append(format_lines(head, lines, layout))
    if notes:
        parts.append("\n".join(f"[{n}] {note}" for n, note in enumerate(notes, start=1)))
    more = (_compared(table, cells), table.notes, _missing(table, cells))
    parts += [part for part in more if part]
    return "\n\n".join(parts)


def format_lines(head: Sequence[str], lines: Sequence[Sequence[str]], layout: str) -> str:
    """Formats a head and lines in columns, as text, Markdown or CSV.

    Example
    -------
    >>> print(format_lines(["a", "b"], [["1", "22"]], "markdown"))
    | a | b |
    | --- | --- |
    | 1 | 22 |
    """
    if layout == "csv":
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([head, *lines])
        return text.getvalue().rstrip("\n")
    if layout == "text":
        return words.format_table(head, lines)
    # Not set in columns, as tabulate would: of a page under version control, a cell that gets wider
    # would change every line of its table.
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


def column_cell(table: Table, cells: Mapping[tuple[str, str], Cell], row: str, column: str) -> Cell:
    """A column's cell: a task's or, of a mean over tasks, one made of theirs."""
    found = [cells.get((row, key), Cell()) for key in table.columns[column]]
    if len(found) == 1 or not all(cell.values for cell in found):
        return found[0] if len(found) == 1 else Cell()
    departures, remarks = (
        tuple(dict.fromkeys(said for cell in found for said in vars(cell)[kind]))
        for kind in ("departures", "remarks")
    )
    runs = tuple(record for cell in found for record in cell.records)
    mean = statistics.mean(cell.mean for cell in found)
    return Cell((mean,), f"{len(runs)} runs", runs, departures, remarks)


def _is_published(table: Table) -> bool:
    return any(row.published for row in table.rows)


def _units(table: Table) -> str:
    metrics: dict[str, list[str]] = {}
    for task in table.tasks.values():
        metrics.setdefault(task.metric, []).append(f"{task.key} {task.name}")
    told = "; ".join(f"{metric} on {', '.join(names)}" for metric, names in metrics.items())
    ours = "mean over the tasks (of how many runs)"
    if not table.means:
        ours = (
            "mean ± standard deviation over folds or, where there are none, over seeds of "
            "fine-tuning (how many; 5 × 2: five folds, two seeds each)"
        )
    return f"In %: {told}. Ours: {ours}."


def _rows(table: Table, cells: Mapping[tuple[str, str], Cell], notes: list[str]) -> list[list[str]]:
    lines = []
    for row in table.rows:
        ours = [column_cell(table, cells, row.name, column) for column in table.columns]
        shown = [_show(cell, notes) for cell in ours]
        if not _is_published(table):
            lines.append([row.name, *shown])
            continue
        published = [row.published.get(column) for column in table.columns]
        lines.append([row.name, "published", *(f"{n:.1f}" if n else "" for n in published)])
        lines.append(["", "ours", *shown])
        pairs = zip(published, ours, strict=True)
        lines.append(["", "difference", *(_difference(n, cell) for n, cell in pairs)])
    return lines


def _show(cell: Cell, notes: list[str]) -> str:
    if not cell.records:
        return NOT_RUN
    mark = ""
    if cell.note:
        if cell.note not in notes:
            notes.append(cell.note)
        mark = f" [{notes.index(cell.note) + 1}]"
    if not cell.values:
        return DIVERGED + mark
    spread = "" if cell.std is None else f" ± {cell.std:.1f}"
    return f"{cell.mean:.1f}{spread} ({cell.count}){mark}"


def _difference(published: float | None, cell: Cell) -> str:
    if published is None or not cell.values:
        return ""
    return _signed(cell.mean - published)


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _csv(table: Table, cells: Mapping[tuple[str, str], Cell]) -> str:
    head = ["table", "row", "column", "published", "mean", "std", "runs", "difference", "notes"]
    lines = []
    for row in table.rows:
        for column in table.columns:
            cell, published = column_cell(table, cells, row.name, column), row.published.get(column)
            numbers = ["", "", 0, ""]
            if cell.values:
                gap = "" if published is None else f"{cell.mean - published:.4f}"
                std = "" if cell.std is None else f"{cell.std:.4f}"
                numbers = [f"{cell.mean:.4f}", std, len(cell.records), gap]
            told = "" if published is None else published
            said = cell.note if cell.records else NOT_RUN
            lines.append([table.key, row.name, column, told, *numbers, said])
    return format_lines(head, lines, "csv")


def _compared(table: Table, cells: Mapping[tuple[str, str], Cell]) -> str:
    """Whether what the paper finds is found here, fold by fold or seed by seed."""
    (key,) = table.tasks if table.comparisons else ("",)
    lines = []
    for one in table.comparisons:
        higher, lower = (cells.get((one[side], key), Cell()) for side in ("higher", "lower"))
        if not higher.values or not lower.values:
            told = f"{NOT_RUN} here"
        elif (higher.departures, higher.units) != (lower.departures, lower.units):
            told = "not run alike here"
        else:
            told = _verdict(higher, lower)
        lines.append(f"* {one['claim']}: {told}.")
    if not lines:
        return ""
    head = (
        "What the paper finds at its scale, and what is found here (undecided: within two standard "
        "errors of no difference):"
    )
    return "\n".join([head, "", *lines])


def _verdict(higher: Cell, lower: Cell) -> str:
    gaps = [first - second for first, second in zip(higher.values, lower.values, strict=True)]
    mean, wins = higher.mean - lower.mean, sum(gap > 0 for gap in gaps)
    spread, told = "", "undecided"
    if len(gaps) > 1:
        deviation = statistics.stdev(gaps)
        spread = f" ± {deviation:.1f}"
        if abs(mean) > 2 * deviation / math.sqrt(len(gaps)):
            told = "so it is here" if mean > 0 else "not so here"
    return (
        f"{told}, {higher.mean:.1f} against {lower.mean:.1f}; {higher.unit} by {higher.unit} "
        f"{_signed(mean)}{spread}, higher in {wins} of {len(gaps)}"
    )


def _missing(table: Table, cells: Mapping[tuple[str, str], Cell]) -> str:
    """The commands that would fill what is empty, or lacks folds or seeds."""
    lines = []
    scaled = "" if table.scale == "full" else f" --scale {table.scale}"
    for row in (row for row in table.rows if row.baseline is None):
        tasks: dict[str, list[str]] = {}  # by the folds that they lack
        for key, task in table.tasks.items():
            runs = cells.get((row.name, key), Cell()).records
            seeds = Counter(record.content.get("fold") for record in runs)
            lacking = [fold for fold in task.folds or (None,) if seeds[fold] < len(table.seeds)]
            if lacking:
                folds = ",".join(map(str, lacking)) if len(lacking) < len(task.folds) else ""
                tasks.setdefault(folds, []).append(key)
        for folds, keys in tasks.items():
            words = f'    ssast reproduce {shlex.quote(table.key)}{scaled} --rows "{row.name}"'
            words += "" if len(keys) == len(table.tasks) else f" --tasks {','.join(keys)}"
            lines.append(words + (f" --folds {folds}" if folds else ""))
    return "What was not run, and the commands that would:\n\n" + "\n".join(lines) if lines else ""
