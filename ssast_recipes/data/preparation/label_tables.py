"""Tables of labels as people write them: separated by commas, semicolons or tabs."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ssast_recipes.data.manifest import why_unfit
from ssast_recipes.data.preparation.splitting import LabelledFile, find_split
from ssast_recipes.system.tables import check_columns, iterate_rows, read_names

_NEEDED = ("path", "label")
_COLUMNS = (*_NEEDED, "split", "group", "start", "end")
_ENCODING = "utf-8-sig"  # as spreadsheets write it, with a mark in front
_ADVICE = {",": 'a cell that holds a comma is put in quotes: "dog, loud"'}


def read_label_table(table: Path) -> list[LabelledFile]:
    """Reads a table of labelled files, or stretches of files.

    Arguments
    ---------
    table : Path
        See `read_labelled_files`.

    Returns
    -------
    list of LabelledFile
        In the order of the table. Rows of the same stretch have become one, with all labels.

    Raises
    ------
    ValueError
        As `read_labelled_files`: names the file and, of a row, the line.

    Example
    -------
    >>> path = getfixture("tmp_path") / "labels.csv"
    >>> _ = path.write_text("path;label;start;end\\na.wav;dog;0,5;2\\na.wav;sea;2;3,5\\n")
    >>> [(file.labels, file.start, file.duration) for file in read_label_table(path)]
    [(('dog',), 0.5, 1.5), (('sea',), 2.0, 1.5)]
    """
    delimiter, names = _read_header(table)
    rows = iterate_rows(table, encoding=_ENCODING, is_ragged=True, names=names, delimiter=delimiter)
    files: dict[tuple[str, float, float | None], LabelledFile] = {}
    unlabelled = ""
    for where, row in rows:
        surplus = row.pop(None, ())
        if not any(map(_text, row.values())) and not any(map(_text, surplus)):
            continue  # a line of separators alone, as spreadsheets leave them
        if any(map(_text, surplus)):
            raise ValueError(
                f"{where}: there are {len(names) + len(surplus)} cells, the first line has "
                f"{len(names)}; {_ADVICE.get(delimiter, 'put a cell that holds one in quotes')}"
            )
        file = _read_row(table, where, row, delimiter)
        key = (file.path, file.start, file.duration)
        files[key] = _joined(where, row["path"], files[key], file) if key in files else file
        unlabelled = unlabelled or ("" if file.labels else where)
    _check_complete(table, list(files.values()))
    if unlabelled and all(len(file.labels) < 2 for file in files.values()):
        raise ValueError(
            f"{unlabelled}: a path and a label are needed; none is for tables in which some files "
            "have several labels (separated by ;): here, name a class for it"
        )
    return list(files.values())


def _read_header(table: Path) -> tuple[str, list[str]]:
    """The separator and the names of the columns."""
    first: list[str] = []
    for delimiter in (",", ";", "\t"):
        names = [name.strip().lower() for name in read_names(table, _ENCODING, delimiter)]
        first = first or names
        if all(name in names for name in _NEEDED):
            check_columns(table, names, [name for name in _COLUMNS if name in names])
            if ("start" in names) != ("end" in names):
                raise ValueError(f"{table}: of the columns start and end, one is missing")
            return delimiter, names
    missing = [name for name in _NEEDED if name not in first]
    raise ValueError(
        f"{table}: the column(s) {', '.join(missing)} are missing, the first line is "
        f"{','.join(first)!r}"
    )


def _read_row(
    table: Path, where: str, row: Mapping[str, str | None], delimiter: str
) -> LabelledFile:
    if not row["path"]:
        raise ValueError(f"{where}: a path and a label are needed, found {row}")
    path = os.path.abspath(table.parent / row["path"])
    text = _text(row["label"])
    labels = tuple(label.strip() for label in text.split(";")) if text else ()
    if not all(labels):
        raise ValueError(f"{where}: one of the labels {text!r} is empty")
    if len(set(labels)) < len(labels):
        raise ValueError(f"{where}: a label is there twice: {row['label']}")
    for reason in filter(None, map(why_unfit, labels)):
        raise ValueError(f"{where}: {reason}")
    split = find_split(named) if (named := _text(row.get("split"))) else ""
    if split is None:
        raise ValueError(
            f"{where}: split is one of train, valid, test (or val, validation, dev), not "
            f"{row['split']!r}"
        )
    start, end = (_read_seconds(where, name, row, delimiter) for name in ("start", "end"))
    if end is not None and end <= (start or 0.0):
        raise ValueError(f"{where}: the end, {end:g} s, is not behind the start, {start or 0:g} s")
    duration = None if end is None else end - (start or 0.0)
    return LabelledFile(path, labels, split, _text(row.get("group")), start or 0.0, duration)


def _read_seconds(
    where: str, name: str, row: Mapping[str, str | None], delimiter: str
) -> float | None:
    text = _text(row.get(name))
    if not text:
        return None
    try:
        # Where commas do not separate cells, spreadsheets of many countries put them in numbers.
        seconds = float(text if delimiter == "," else text.replace(",", "."))
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{where}: {name} is {text!r}, not a number of seconds")
    return seconds


def _joined(where: str, path: str, before: LabelledFile, file: LabelledFile) -> LabelledFile:
    """Two rows of one stretch: with the labels of both."""
    if not file.is_stretch:
        raise ValueError(f"{where}: {path} was there before; give it several labels")
    is_new = before.labels and file.labels and not set(before.labels) & set(file.labels)
    if before[2:] != file[2:] or not is_new:
        raise ValueError(
            f"{where}: this stretch of {path} was there before, with the same label, or another "
            "split or group"
        )
    return before._replace(labels=before.labels + file.labels)


def _check_complete(table: Path, files: Sequence[LabelledFile]) -> None:
    for name in ("split", "group"):
        if len({not getattr(file, name) for file in files}) > 1:
            raise ValueError(
                f"{table}: some rows have a {name} and some have none; give all, or none"
            )
    if any(file.group for file in files):
        group_of: dict[str, str] = {}
        for file in files:
            if group_of.setdefault(file.path, file.group) != file.group:
                raise ValueError(
                    f"{table}: {file.path} has two groups, {group_of[file.path]!r} and "
                    f"{file.group!r}"
                )


def _text(cell: str | None) -> str:
    return (cell or "").strip()
