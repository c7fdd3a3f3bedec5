"""Preparing once: a note that says what was prepared, from what, and whether it still holds."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ssast_recipes.system.files import file_digest, write_text
from ssast_recipes.system.reading import read_json

MARK = "prepared.json"


def mark_prepared(
    folder: str | os.PathLike, fingerprint: Mapping[str, Any], files: Iterable[str]
) -> None:
    """Notes that a preparation came to its end. To be called last.

    Arguments
    ---------
    folder : str or path
        Where the manifests are; the note is ``prepared.json`` beside them.
    fingerprint : mapping
        Options and what was found (number of files, checksum of a list): whatever asks for
        preparing anew when it changes. Plain values, as JSON has them.
    files : iterable of str
        Names of the files in ``folder`` that were written.
    """
    folder = Path(folder)
    mark = {
        "fingerprint": dict(fingerprint),
        "files": {name: file_digest(folder / name) for name in files},
    }
    write_text(folder / MARK, json.dumps(mark, indent=2) + "\n")


def prepared(folder: str | os.PathLike, fingerprint: Mapping[str, Any]) -> bool:
    """Whether ``folder`` holds, whole and unchanged, what a preparation wrote for ``fingerprint``.

    Arguments
    ---------
    folder : str or path
        As given to ``mark_prepared``.
    fingerprint : mapping
        As it would be given to ``mark_prepared`` now.

    Returns
    -------
    bool

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> write_text(folder / "train.csv", "ID,path")
    >>> mark_prepared(folder, {"fold": 1}, ["train.csv"])
    >>> prepared(folder, {"fold": 1}), prepared(folder, {"fold": 2})
    (True, False)
    >>> (folder / "train.csv").unlink()
    >>> prepared(folder, {"fold": 1})
    False
    """
    folder = Path(folder)
    try:
        mark = read_json(folder / MARK, "prepare again")
        return mark["fingerprint"] == json.loads(json.dumps(fingerprint)) and all(
            file_digest(folder / name) == digest for name, digest in mark["files"].items()
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):  # none, or damaged
        return False
