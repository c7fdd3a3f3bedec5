"""Text and JSON that others may have written or damaged: read, or told in one line of which file.

Tables are read by `system/tables.py`, YAML by `records/hparams.py`, weights by `weights/formats/`,
archives by `system/unpacking.py`, audio by `data/headers.py` and `data/shards.py`; what is read
there, and here, is listed in `tests/readers.py`, and given damaged files.
"""

import json
import os
from pathlib import Path
from typing import Any

_LARGEST = 2**26  # bytes: results of long runs, an ontology, a list of rejected clips take less


def read_text(path: str | os.PathLike) -> str:
    """Reads a text file in UTF-8.

    Raises
    ------
    ValueError
        If it is another kind of file.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.txt"
    >>> _ = path.write_bytes(b"T\\xf6ne")
    >>> read_text(path)
    Traceback (most recent call last):
    ValueError: .../a.txt is not UTF-8 text (byte 1, line 1); save it as UTF-8
    """
    content = Path(path).read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path} is not UTF-8 text (byte {error.start}, line {line}); save it as UTF-8"
        ) from None


def read_json(path: str | os.PathLike, advice: str, kind: type = dict) -> Any:
    """Reads a JSON file.

    Arguments
    ---------
    path : str or path
        The file.
    advice : str
        What to do if it is damaged.
    kind : type
        What it holds: an object (dict) or a list.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    ValueError
        If it is no JSON, holds something else, or is larger than any such file.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.json"
    >>> _ = path.write_text("[" * 9999)
    >>> read_json(path, "delete it")
    Traceback (most recent call last):
    ValueError: .../a.json is damaged (maximum recursion depth exceeded ...): delete it
    """
    path = Path(path)
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"{path} is larger than any such file: {advice}")
    try:
        value = json.loads(path.read_bytes())
        if not isinstance(value, kind):
            raise ValueError(f"it holds no {'object' if kind is dict else kind.__name__}")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}): {advice}") from None
    return value
