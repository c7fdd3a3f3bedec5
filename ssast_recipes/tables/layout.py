"""A table in text, Markdown or CSV."""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence

from ssast_recipes.tables.cells import Cell
from ssast_recipes.tables.rows import Table

FORMATS = ("text", "markdown", "csv")
NOT_RUN = "not run"


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
    parts = [f"## {table.title}" if layout == "markdown" else table.title]
    command = f"ssast tables {table.key} --format {layout}"
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
    return _markdown(head, lines) if layout == "markdown" else _text(head, lines)


def column_cell(table: Table, cells: Mapping[tuple[str, str], Cell], row: str, column: str) -> Cell:
    """A column's cell: a task's or, of a mean over tasks, one made of theirs."""
    found = [cells.get((row, key), Cell()) for key in table.columns[column]]
    if len(found) == 1 or not all(cell.values for cell in found):
        return found[0] if len(found) == 1 else Cell()
    departures = tuple(dict.fromkeys(said for cell in found for said in cell.departures))
    return Cell((statistics.mean(cell.mean for cell in found),), (), departures)


def _is_published(table: Table) -> bool:
    return any(row.published for row in table.rows)


def _units(table: Table) -> str:
    metrics: dict[str, list[str]] = {}
    for task in table.tasks.values():
        metrics.setdefault(task.metric, []).append(f"{task.key} {task.name}")
    told = "; ".join(f"{metric} on {', '.join(names)}" for metric, names in metrics.items())
    return f"In %: {told}. Ours: mean ± standard deviation (number of folds or seeds)."


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
    if not cell.values:
        return NOT_RUN
    spread = "" if cell.std is None else f" ± {cell.std:.1f}"
    mark = ""
    if cell.departures:
        note = "; ".join(cell.departures)
        if note not in notes:
            notes.append(note)
        mark = f" [{notes.index(note) + 1}]"
    return f"{cell.mean:.1f}{spread} ({len(cell.values)}){mark}"


def _difference(published: float | None, cell: Cell) -> str:
    if published is None or not cell.values:
        return ""
    return _signed(cell.mean - published)


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(head)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *lines))


def _text(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip()
        for line in (head, *lines)
    )


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
                numbers = [f"{cell.mean:.4f}", std, len(cell.values), gap]
            told = "" if published is None else published
            said = "; ".join(cell.departures) if cell.values else NOT_RUN
            lines.append([table.key, row.name, column, told, *numbers, said])
    return format_lines(head, lines, "csv")


def _compared(table: Table, cells: Mapping[tuple[str, str], Cell]) -> str:
    """Whether what the paper finds is found here, fold by fold."""
    lines = []
    for one in table.comparisons:
        (key,) = table.tasks
        higher, lower = (cells.get((one[side], key), Cell()) for side in ("higher", "lower"))
        if not higher.values or not lower.values or higher.departures != lower.departures:
            is_run = higher.values and lower.values
            lines.append(f"* {one['claim']}: {'not run alike' if is_run else NOT_RUN} here.")
            continue
        gaps = [
            value - lower.by_fold[fold]
            for fold, value in higher.by_fold.items()
            if fold in lower.by_fold
        ]
        mean = statistics.mean(gaps) if gaps else higher.mean - lower.mean
        wins = sum(gap > 0 for gap in gaps)
        spread = f" ± {statistics.stdev(gaps):.1f}" if len(gaps) > 1 else ""
        agrees = "so it is here" if mean > 0 else "not so here"
        lines.append(
            f"* {one['claim']}: {agrees}, {higher.mean:.1f} against {lower.mean:.1f}; fold by fold "
            f"{_signed(mean)}{spread}, higher in {wins} of {len(gaps)}."
        )
    if not lines:
        return ""
    return "What the paper finds at its scale, and what is found here:\n\n" + "\n".join(lines)


def _missing(table: Table, cells: Mapping[tuple[str, str], Cell]) -> str:
    lines = []
    for row in table.rows:
        keys = [key for key in table.tasks if (row.name, key) not in cells]
        if keys:
            tasks = "" if len(keys) == len(table.tasks) else f" --tasks {','.join(keys)}"
            lines.append(f'    ssast reproduce {table.key} --rows "{row.name}"{tasks}')
    return "What was not run, and the commands that would:\n\n" + "\n".join(lines) if lines else ""
