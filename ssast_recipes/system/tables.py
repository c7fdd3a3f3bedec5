"""Tables of text in CSV files: what is written comes back, and what is damaged is told by its line.

pandas and pyarrow are imported when a table is read, not before.
"""

import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ssast_recipes.system.files import beside

if TYPE_CHECKING:
    import pandas
    import pyarrow

LONGEST_CELL = csv.field_size_limit()  # 131,072 characters: more are a quote that nobody closed


def write_csv(
    path: str | os.PathLike,
    header: Iterable[str] | None,
    rows: Iterable[Iterable],
    delimiter: str = ",",
) -> None:
    r"""Writes a CSV file, at once or not at all.

    Rows are written as they come: two million of them need not be held, as a data frame would.

    Arguments
    ---------
    path : str or path
        The file.
    header : iterable of str, optional
        Names of the columns; None for a file without.
    rows : iterable of iterables
        The rows.
    delimiter : str
        What separates cells.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.csv"
    >>> write_csv(path, ["ID", "label"], [["a", "dog"], ["b", "the\rsea"]])
    >>> path.read_bytes()
    b'ID,label\na,dog\nb,"the\rsea"\n'
    """
    with beside(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        # Before Python 3.13 csv, and pandas which writes through it, quotes a cell that holds "\r"
        # only if lines end so; unquoted it would end its line for every reader.
        lines = SimpleNamespace(write=lambda line: file.write(f"{line[:-2]}\n"))
        writer = csv.writer(lines, lineterminator="\r\n", delimiter=delimiter)
        if header is not None:
            writer.writerow(header)
        writer.writerows(rows)


def for_sheet(cell: str) -> str:
    """Writes a cell of others so that a spreadsheet takes it for text, not for a formula.

    For tables that people open, not for those that are read again here.

    Example
    -------
    >>> for_sheet("=HYPERLINK(1)"), for_sheet("dog")
    ("'=HYPERLINK(1)", 'dog')
    """
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def write_reasons(path: str | os.PathLike, reasons: Mapping[str, str]) -> None:
    """Writes a table, for people, of clips that cannot be used, and why.

    Arguments
    ---------
    path : str or path
        The file.
    reasons : mapping
        IDs of others to the reasons.

    Example
    -------
    >>> path = getfixture("tmp_path") / "rejected.csv"
    >>> write_reasons(path, {"b": "b.wav is empty", "=1+1": "=1+1.wav is empty"})
    >>> path.read_text().splitlines()
    ['ID,reason', "'=1+1,'=1+1.wav is empty", 'b,b.wav is empty']
    """
    rows = ([for_sheet(cell) for cell in row] for row in sorted(reasons.items()))
    write_csv(path, ["ID", "reason"], rows)


def read_csv(
    path: str | os.PathLike, columns: Sequence[str] = (), types: Mapping[str, Any] | None = None
) -> "pandas.DataFrame":
    """Reads a CSV file, all its cells or none.

    Arguments
    ---------
    path : str or path
        The file, in UTF-8.
    columns : sequence of str
        Names of columns that have to be there, among others.
    types : mapping of str to pyarrow type, optional
        What the cells of a column are, if not text.

    Returns
    -------
    pandas.DataFrame
        Text as it stands there: neither "NA" nor an empty cell is missing, no blank is taken off.

    Raises
    ------
    ValueError
        If it is no table: a column or a cell is missing, a cell is too many, is not of its type, is
        longer than 131,072 characters, or is not text. The message names the file and the line.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.csv"
    >>> write_csv(path, ["ID", "label"], [["007", " NA"], ["b", ""]])
    >>> read_csv(path, ["ID"]).values.tolist()
    [['007', ' NA'], ['b', '']]
    """
    return read_arrow(path, columns, types).to_pandas()


def read_arrow(
    path: str | os.PathLike, columns: Sequence[str] = (), types: Mapping[str, Any] | None = None
) -> "pyarrow.Table":
    """Reads a CSV file as `read_csv` does, for whom a data frame of millions of rows is too large.

    Of the readers that pandas knows, Arrow's is the only one that refuses a row with too few cells
    (its own fills it up) and the fastest. It is called here, not by pandas, because pandas before
    3.1 lets it guess types first, which makes 7 of the ID 007.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.csv"
    >>> write_csv(path, ["ID", "label"], [["a", "dog"]])
    >>> read_arrow(path).to_pylist()
    [{'ID': 'a', 'label': 'dog'}]
    """
    import pyarrow
    from pyarrow import compute
    from pyarrow import csv as arrow_csv

    names = read_names(path)
    check_columns(path, names, columns)
    if not names:
        raise ValueError(f"{path} is empty")
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{path}: the column {min(twice)} is there twice")
    told = {name: pyarrow.large_string() for name in names} | dict(types or {})
    try:
        table = arrow_csv.read_csv(
            os.fspath(path),
            # Blocks are larger than any row: of 527 classes' logits, of a cell at its longest.
            arrow_csv.ReadOptions(block_size=max(1 << 22, 8 * LONGEST_CELL)),
            arrow_csv.ParseOptions(newlines_in_values=True),
            arrow_csv.ConvertOptions(column_types=told, null_values=[], strings_can_be_null=False),
        )
    except pyarrow.ArrowInvalid as error:
        for _ in iterate_rows(path, columns, types):  # names the line
            pass
        raise ValueError(f"{path} is no CSV file: {error}") from None
    for column in table.columns:
        if pyarrow.types.is_large_string(column.type) and len(column):
            too_long = compute.max(compute.binary_length(column)).as_py() > LONGEST_CELL
            if too_long or compute.any(compute.match_substring(column, "\0")).as_py():
                for _ in iterate_rows(path, columns):
                    pass
    return table


def iterate_rows(
    path: str | os.PathLike,
    columns: Sequence[str] = (),
    types: Mapping[str, Any] | None = None,
    encoding: str = "utf-8",
    is_ragged: bool = False,
    names: Sequence[str] | None = None,
    delimiter: str = ",",
) -> Iterator[tuple[str, dict[str, str]]]:
    """Reads a CSV file row by row, each with its place in words.

    pandas knows no lines: a row that holds line breaks, or whose cells are too few, stands in none.
    So what says where a file is wrong reads by this, from lists that people write.

    Arguments
    ---------
    path : str or path
        The file.
    columns : sequence of str
        Names of columns that have to be there, among others.
    types : mapping of str to type, optional
        Columns whose cells have to be numbers.
    encoding : str
        Of the file.
    is_ragged : bool
        Whether rows may have fewer cells, which are None then, or more, listed under None.
    names : sequence of str, optional
        What to call the columns, in place of what the first line says.
    delimiter : str
        What separates cells.

    Yields
    ------
    tuple[str, dict[str, str]]
        "FILE, line 3" and the row's cells by column.

    Raises
    ------
    ValueError
        As `read_csv`.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.csv"
    >>> write_csv(path, ["ID", "label"], [["a", "dog"]])
    >>> [(place.rpartition(", ")[2], row) for place, row in iterate_rows(path)]
    [('line 2', {'ID': 'a', 'label': 'dog'})]
    """
    with open(path, newline="", encoding=encoding) as file:
        reader = csv.DictReader(_without_zeros(file), delimiter=delimiter)
        try:
            found = reader.fieldnames or ()
            reader.fieldnames = found if names is None else names
            check_columns(path, reader.fieldnames, columns)
            for row in reader:
                place = f"{path}, line {reader.line_num}"
                if not is_ragged and (None in row or None in row.values()):
                    raise ValueError(f"{place}: expected {len(reader.fieldnames)} values")
                for name in types or ():
                    _check_number(place, name, row[name])
                yield place, row
        except csv.Error as error:
            raise ValueError(
                f"{path} is no CSV file: {error} (line {reader.line_num + 1})"
            ) from None
        except UnicodeDecodeError:
            raise ValueError(_not_text(path, encoding)) from None


def check_columns(
    path: str | os.PathLike, names: Sequence[str], columns: Sequence[str] = ()
) -> None:
    """Refuses a table that lacks a column, or has it twice.

    Example
    -------
    >>> check_columns("a.csv", ["ID", "labels"], ["ID", "path"])
    Traceback (most recent call last):
        ...
    ValueError: a.csv: the column(s) path are missing
    """
    missing = [name for name in columns if name not in names]
    if missing:
        raise ValueError(f"{path}: the column(s) {', '.join(missing)} are missing")
    for name in columns:
        if list(names).count(name) > 1:
            raise ValueError(f"{path}: the column {name} is there twice")


def read_names(path: str | os.PathLike, encoding: str = "utf-8", delimiter: str = ",") -> list[str]:
    """Reads the names of a table's columns; none of an empty file.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.csv"
    >>> write_csv(path, ["ID", "label"], [])
    >>> read_names(path)
    ['ID', 'label']
    """
    with open(path, newline="", encoding=encoding) as file:
        try:
            return next(csv.reader(_without_zeros(file), delimiter=delimiter), [])
        except csv.Error as error:
            raise ValueError(f"{path} is no CSV file: {error} (line 1)") from None
        except UnicodeDecodeError:
            raise ValueError(_not_text(path, encoding)) from None


def _without_zeros(lines: Iterable[str]) -> Iterator[str]:
    """The lines of a text, which no NUL is in: a crash leaves them where it lost what was there."""
    for line in lines:
        if "\0" in line:
            raise csv.Error("line contains NUL")
        yield line


def _check_number(place: str, name: str, cell: str) -> None:
    try:
        float(cell)
    except ValueError:
        raise ValueError(f"{place}: {name} is {cell!r}, not a number") from None


def _not_text(path: str | os.PathLike, encoding: str) -> str:
    """What is wrong with a file in another encoding; Python counts from the block it has read."""
    content = Path(path).read_bytes()
    try:
        content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return f"{path} is not UTF-8 text ({error}, line {line}); save it as UTF-8"
    return f"{path} changed while it was read; read it again"
