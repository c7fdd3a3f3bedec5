"""Corpora from their publishers' archives: downloaded, checked, unpacked, each once."""

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ssast_recipes.system.download import download
from ssast_recipes.system.locking import one_at_a_time
from ssast_recipes.system.unpacking import extract


class Archive(NamedTuple):
    """An archive that a publisher offers.

    Arguments
    ---------
    url : str
        Where it is.
    folder : str
        The folder that will hold what is in it, within the data folder.
    size : int
        Of the archive in bytes, as far as known: the disk is to have room for it twice.
    top : str
        The folder within the archive that is taken for ``folder``; left out, all of it.
    sha256, md5 : str, optional
        The checksum, in hexadecimal digits.
    """

    url: str
    folder: str
    size: int = 0
    top: str = ""
    sha256: str | None = None
    md5: str | None = None


def fetch(
    archives: Sequence[Archive],
    data_folder: str | os.PathLike,
    check: Callable[[Path], None] | None = None,
    progress: bool = True,
) -> None:
    """Downloads and unpacks the archives whose folders are not there yet.

    A folder appears when its archive is unpacked and checked, and the archive is deleted then. An
    interrupted download goes on where it was; another process's is waited for.

    Arguments
    ---------
    archives : sequence of Archive
        What the corpus consists of.
    data_folder : str or path
        Where to put it.
    check : callable, optional
        Raises ``ValueError`` or ``FileNotFoundError`` if a folder does not hold what it should.
    progress : bool
        Whether to show bars.

    Raises
    ------
    OSError
        If the disk has no room for what is to come, or the server cannot be reached.
    ValueError
        If what came is not the archive that was asked for; it is deleted.

    Example
    -------
    >>> parent = getfixture("tmp_path")
    >>> (parent / "words" / "yes").mkdir(parents=True)
    >>> packed = shutil.make_archive(parent / "words", "gztar", parent / "words")
    >>> fetch([Archive(Path(packed).as_uri(), "v1")], parent / "data", progress=False)
    >>> [path.name for path in (parent / "data" / "v1").iterdir()]
    ['yes']
    """
    data_folder = Path(data_folder)
    if not _find_missing(archives, data_folder):  # the folder may be for reading alone
        return
    # All of it at once: another process's half-unpacked archive would count as disk that is taken.
    with one_at_a_time(data_folder / "download"):
        missing = _find_missing(archives, data_folder)
        _check_room(missing, data_folder)
        for archive in missing:
            _fetch_one(archive, data_folder / archive.folder, check, progress)


def _find_missing(archives: Sequence[Archive], data_folder: Path) -> list[Archive]:
    folders = [data_folder / archive.folder for archive in archives]
    return [
        archive
        for archive, folder in zip(archives, folders, strict=True)
        if not (folder.is_dir() and any(folder.iterdir()))
    ]


def _check_room(missing: Sequence[Archive], data_folder: Path) -> None:
    # One archive after another: all unpacked, and the largest beside them.
    sizes = [archive.size for archive in missing]
    needed, free = sum(sizes) + max(sizes, default=0), shutil.disk_usage(data_folder).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"{needed / 1e9:.1f} GB are needed for the download and {free / 1e9:.1f} GB are free",
            str(data_folder),
        )


def _fetch_one(
    archive: Archive, folder: Path, check: Callable[[Path], None] | None, progress: bool
) -> None:
    name = archive.url.rpartition("/")[2]
    packed = download(
        archive.url, folder.with_name(name), archive.sha256, archive.md5, progress=progress
    )
    unchecked = folder.with_name(f"{folder.name}.unchecked")
    shutil.rmtree(unchecked, ignore_errors=True)  # of an attempt that was killed
    try:
        extract(packed, unchecked, archive.top, progress)
        if check is not None:
            check(unchecked)
        os.replace(unchecked, folder)
    except (ValueError, FileNotFoundError) as error:
        packed.unlink()
        raise ValueError(
            f"what {archive.url} sent cannot be used and was deleted, try again: {error}"
        ) from None
    finally:
        shutil.rmtree(unchecked, ignore_errors=True)
    packed.unlink()
