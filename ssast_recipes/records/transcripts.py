"""What a run recognised of every test recording: `transcripts.csv`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssast_recipes.system.tables import read_csv, write_csv

TRANSCRIPTS = "transcripts.csv"
COLUMNS = (
    *("selection", "split", "id", "reference", "hypothesis"),
    *("words", "word_errors", "characters", "character_errors"),
)
COUNTS = COLUMNS[5:]


def write_transcripts(
    path: Path, selections: Mapping[str, Sequence[tuple[Any, ...]]], splits: Mapping[str, str]
) -> None:
    """Writes what was said and recognised, and the errors.

    Arguments
    ---------
    path : Path
        The CSV file.
    selections : mapping
        By selection of weights: `ScoredTranscript`s, or what has the columns behind `split`.
    splits : mapping of str to str
        By ID, the manifest that a recording is in.
    """
    rows = (
        [selection, splits.get(one[0], ""), *one]
        for selection, scored in selections.items()
        for one in scored
    )
    write_csv(path, COLUMNS, rows)


def read_transcripts(path: Path, selection: str | None = None) -> list[dict[str, Any]]:
    """Reads what `write_transcripts` wrote.

    Arguments
    ---------
    path : Path
        The CSV file.
    selection : str, optional
        Of which weights; if there are none of these, the file's last.

    Returns
    -------
    list of dict
        By column, numbers as such.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    ValueError
        If it is not readable.

    Example
    -------
    >>> path = getfixture("tmp_path") / "transcripts.csv"
    >>> scored = [("a", "ONE TWO", "ONE TO", 2, 1, 7, 1)]
    >>> write_transcripts(path, {"last": scored}, {"a": "test"})
    >>> read_transcripts(path)[0]["word_errors"]
    1
    """
    table = read_csv(path, COLUMNS)
    if table.empty:
        raise ValueError(f"{path} has no rows")
    there = table["selection"]
    chosen = selection if selection in set(there) else there.iloc[-1]
    rows = table[there == chosen].to_dict("records")
    for row in rows:
        for name in COUNTS:
            if not str(row[name]).isascii() or not str(row[name]).isdigit():
                raise ValueError(f"{path}: {name} of {row['id']} is {row[name]!r}, no number")
            row[name] = int(row[name])
    return rows
