"""Listing the audio files of folders, by their names alone."""

import os
from collections.abc import Iterator

import soundfile

_FORMATS = frozenset(soundfile.available_formats()) - {"RAW"}  # which has no header


def audio_files(folder: str | os.PathLike) -> list[str]:
    """Lists the audio files in a folder and below it, by their extensions.

    Folders are read once each, also if links lead to them again, and no file is looked at.

    Arguments
    ---------
    folder : str or path
        Where to look.

    Returns
    -------
    list of str
        Absolute paths, sorted.

    Raises
    ------
    OSError
        If a folder is not there or cannot be read.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> for name in ("b.WAV", "a.flac", "notes.txt"):
    ...     (folder / name).touch()
    >>> [os.path.basename(path) for path in audio_files(folder)]
    ['a.flac', 'b.WAV']
    """
    return sorted(
        os.path.join(parent, name)
        for parent, names in walk_folders(folder)
        for name in names
        if is_audio_name(name)
    )


def walk_folders(folder: str | os.PathLike) -> Iterator[tuple[str, list[str]]]:
    """Goes through a folder and all below it, links to folders followed, each once.

    Arguments
    ---------
    folder : str or path
        Where to begin.

    Yields
    ------
    tuple[str, list of str]
        The absolute path of a folder, and the names of the files in it.

    Raises
    ------
    OSError
        If a folder is not there or cannot be read.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> (folder / "self").symlink_to(folder)
    >>> (folder / "a.wav").touch()
    >>> [names for _, names in walk_folders(folder)]
    [['a.wav']]
    """

    def fail(error: OSError) -> None:
        raise error  # os.walk would pass over a folder that it cannot read

    visited = set()
    waiting = [os.path.abspath(folder)]
    for start in waiting:  # links come last, so that a folder is listed under its own name
        for parent, folders, names in os.walk(start, onerror=fail):
            status = os.stat(parent)
            if (status.st_dev, status.st_ino) in visited:
                folders.clear()
                continue
            visited.add((status.st_dev, status.st_ino))
            yield parent, names
            folders.sort()  # of two links to a folder, the same one is followed on any disk
            below = [os.path.join(parent, name) for name in folders]
            waiting += [path for path in below if os.path.islink(path)]


def is_audio_name(name: str) -> bool:
    """Whether a file's extension is that of a format that soundfile reads.

    Example
    -------
    >>> is_audio_name("a.flac"), is_audio_name("a.txt"), is_audio_name("._a.wav")
    (True, False, False)
    """
    # "._a.wav" is what macOS leaves beside a.wav on foreign disks and in archives.
    stem, _, extension = name.rpartition(".")
    return bool(stem) and extension.upper() in _FORMATS and not name.startswith("._")
