"""Looking through audio files: headers, many at a time, the bad sorted out."""

import os
from collections.abc import Callable, Iterable, Mapping
from multiprocessing.pool import ThreadPool
from typing import Any

from tqdm import tqdm

from ssast_recipes.data.headers import clip_info
from ssast_recipes.data.manifest import printable
from ssast_recipes.system.tables import write_csv


def scan_audio(
    paths: Iterable[str | os.PathLike],
    num_workers: int | None = None,
    progress: bool = True,
    inspect: Callable[[str], Any] = clip_info,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Inspects many audio files in parallel threads and sorts the good from the bad.

    Arguments
    ---------
    paths : iterable of str or path
        The files; one named twice is inspected once.
    num_workers : int, optional
        Threads; one per core if left out.
    progress : bool
        Whether to show a bar.
    inspect : callable
        What is done to each path. A ``ValueError`` rejects the file, and so does the
        ``FileNotFoundError`` of one that is not there; any other exception ends the scan.

    Returns
    -------
    found : dict
        Path to what ``inspect`` returned, ordered by path.
    rejected : dict of str to str
        Path to the reason, ordered by path.

    Example
    -------
    >>> import soundfile
    >>> folder = getfixture("tmp_path")
    >>> import soundfile
    >>> soundfile.write(folder / "a.wav", [0.0] * 8000, 16000)
    >>> found, rejected = scan_audio([folder / "b.wav", folder / "a.wav"], progress=False)
    >>> [info.duration for info in found.values()], len(rejected)
    ([0.5], 1)
    """

    def attempt(path: str) -> tuple[Any, str | None]:
        try:
            return inspect(path), None
        except ValueError as error:
            return None, str(error)
        except FileNotFoundError as error:
            if os.path.exists(path):  # then it is another file that is missing, not this one
                raise
            return None, str(error)

    paths = sorted({os.fspath(path) for path in paths})
    found, rejected = {}, {}
    pool = ThreadPool(num_workers)
    try:
        results = tqdm(
            pool.imap(attempt, paths, chunksize=8),
            total=len(paths),
            desc="audio files",
            disable=None if progress else True,
        )
        for path, (result, reason) in zip(paths, results, strict=True):
            if reason is None:
                found[path] = result
            else:
                rejected[path] = reason
    finally:
        pool.terminate()
        pool.join()  # so that nothing is written any more when an error or Ctrl-C gets out of here
    return found, rejected


def write_rejected(path: str | os.PathLike, rejected: Mapping[str, str]) -> None:
    """Writes the rejected files and why as a CSV file with the columns ``path,reason``.

    Arguments
    ---------
    path : str or path
        The CSV file, ``rejected.csv`` by custom.
    rejected : mapping of str to str
        From ``scan_audio``.

    Example
    -------
    >>> path = getfixture("tmp_path") / "rejected.csv"
    >>> write_rejected(path, {"/a.wav": "/a.wav is an empty file"})
    >>> path.read_text().splitlines()
    ['path,reason', '/a.wav,/a.wav is an empty file']
    """
    rows = ((printable(name), printable(reason)) for name, reason in rejected.items())
    write_csv(path, ("path", "reason"), rows)


def check_rejected(
    rejected: Mapping[str, str],
    total: int,
    max_rejected: float = 0.01,
    listed_in: str | os.PathLike = "rejected.csv",
) -> None:
    """Refuses to go on when too many files are bad for it to be chance.

    Arguments
    ---------
    rejected : mapping of str to str
        From ``scan_audio``.
    total : int
        Number of files that were inspected.
    max_rejected : float
        The share of them that may be bad.
    listed_in : str or path
        The file of `write_rejected`.

    Raises
    ------
    ValueError
        If more are.

    Example
    -------
    >>> check_rejected({"/a.wav": "/a.wav is an empty file"}, total=2000)
    >>> check_rejected({"/a.wav": "/a.wav is an empty file"}, total=10)
    Traceback (most recent call last):
        ...
    ValueError: 1 of 10 audio files cannot be used, ... /a.wav is an empty file
    """
    if len(rejected) > max_rejected * total:
        first = "; ".join(list(rejected.values())[:3])
        raise ValueError(
            f"{len(rejected)} of {total} audio files cannot be used, more than the share of "
            f"{max_rejected:g} (max_rejected); replace them, all are listed in {listed_in}, the "
            f"first: {first}"
        )
