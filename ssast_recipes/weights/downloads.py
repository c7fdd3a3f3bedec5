"""Weights that their authors publish, by name: the table `released_weights.json`."""

import json
import os
from pathlib import Path
from typing import NamedTuple

from ssast_recipes.system.download import download

_TABLE = Path(__file__).with_name("released_weights.json")


class ReleasedWeights(NamedTuple):
    """A row of the table; what the publisher does not tell is None.

    Arguments
    ---------
    name : str
        As the command line has it.
    url : str
        Where the file is.
    file : str
        Its name.
    publisher : str
        The page that offers it.
    size : int, optional
        In bytes.
    sha256 : str, optional
        The checksum.
    sha256_begins : str, optional
        The checksum's first digits, as torch.hub has them in names of files.
    """

    name: str
    url: str
    file: str
    publisher: str
    size: int | None = None
    sha256: str | None = None
    sha256_begins: str | None = None


def released_weights(table: Path = _TABLE) -> dict[str, ReleasedWeights]:
    """Reads the table.

    Arguments
    ---------
    table : Path
        The JSON file.

    Returns
    -------
    dict[str, ReleasedWeights]
        By name.

    Example
    -------
    >>> released_weights()["ssast-tiny-patch-400"].file
    'SSAST-Tiny-Patch-400.pth'
    """
    rows = json.loads(table.read_text(encoding="utf-8"))
    return {row["name"]: ReleasedWeights(**row) for row in rows}


def cache_folder() -> Path:
    """Where downloads are kept: `ssast-recipes` in $XDG_CACHE_HOME, by default ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ssast-recipes"


def fetch_released(weights: ReleasedWeights, folder: Path, progress: bool = True) -> Path:
    """Downloads published weights, once, and checks what is known of them.

    Arguments
    ---------
    weights : ReleasedWeights
        Which.
    folder : Path
        Where to put the file.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OSError
        If it cannot be had.
    ValueError
        If it is not the file that was published; what was received is deleted.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "a.pth").write_bytes(b"abc")
    >>> row = ReleasedWeights("a", (folder / "a.pth").as_uri(), "a.pth", "me", sha256_begins="ba78")
    >>> fetch_released(row, folder / "cache", progress=False).name
    'a.pth'
    """
    return download(
        weights.url,
        folder / weights.file,
        sha256=weights.sha256 or weights.sha256_begins,
        size=weights.size,
        progress=progress,
    )
