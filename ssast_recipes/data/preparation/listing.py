"""Listing the audio files of folders: by their names alone, or by what they are."""

import os
from collections.abc import Iterator

from ssast_recipes.data.recognition import is_audio, is_audio_name, is_foreign_name

# What programs and systems leave beside data, besides all that begins with a dot.
_LEFT_BEHIND = frozenset({"__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN"})


def audio_files(folder: str | os.PathLike, look_inside: bool = True) -> list[str]:
    """Lists the audio files in a folder and below it.

    Folders are read once each, also if links lead to them again.

    Arguments
    ---------
    folder : str or path
        Where to look.
    look_inside : bool
        Whether files with other names than those of formats that soundfile reads are looked at, as
        `is_audio` does. Of public corpora, with millions of files, the names are known.

    Returns
    -------
    list of str
        Absolute paths, sorted. With `look_inside`, also of audio that cannot be opened here, such
        as `.m4a`, unless a file that can be, with the same stem, is beside it: reading its header
        says why.

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
    choose = _audio_by_content if look_inside else _audio_by_name
    return sorted(
        os.path.join(parent, name)
        for parent, names in walk_folders(folder)
        for name in choose(parent, names)
    )


def _audio_by_name(_: str, names: list[str]) -> list[str]:
    return [name for name in names if is_audio_name(name)]


def _audio_by_content(parent: str, names: list[str]) -> list[str]:
    stems = {os.path.splitext(name)[0] for name in names if is_audio_name(name)}
    return [
        name
        for name in names
        if is_audio(os.path.join(parent, name))
        and not (is_foreign_name(name) and os.path.splitext(name)[0] in stems)
    ]


def is_left_behind(name: str) -> bool:
    """Whether a folder of this name is hidden, or was left by a program or a system beside data.

    Example
    -------
    >>> [is_left_behind(name) for name in ("dog", ".ipynb_checkpoints", "__MACOSX")]
    [False, True, True]
    """
    return name.startswith(".") or name in _LEFT_BEHIND


def walk_folders(folder: str | os.PathLike) -> Iterator[tuple[str, list[str]]]:
    """Goes through a folder and all below it, links to folders followed, each once.

    Folders below it that `is_left_behind` knows are left out.

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
            folders[:] = [name for name in folders if not is_left_behind(name)]
            folders.sort()  # of two links to a folder, the same one is followed on any disk
            below = [os.path.join(parent, name) for name in folders]
            waiting += [path for path in below if os.path.islink(path)]
