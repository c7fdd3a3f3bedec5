"""Checksums of the files of a folder, kept beside them, by which damage is told from all else."""

import re
from collections.abc import Iterable
from pathlib import Path

from ssast_recipes.system.files import file_digest, write_text

CHECKSUMS = "SHA256SUMS"  # as `sha256sum` writes and checks it
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def write_checksums(folder: Path) -> None:
    """Writes the checksums of all files of a folder into it, as `SHA256SUMS`.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "a.txt").write_text("abc")
    >>> write_checksums(folder)
    >>> (folder / "SHA256SUMS").read_text()[:8], find_damage(folder)
    ('ba7816bf', None)
    >>> _ = (folder / "a.txt").write_text("abb")
    >>> find_damage(folder)
    'a.txt is not as it was written (its SHA-256 differs)'
    """
    names = sorted(path.name for path in folder.iterdir() if path.name != CHECKSUMS)
    lines = (f"{file_digest(folder / name)}  {name}\n" for name in names)
    write_text(folder / CHECKSUMS, "".join(lines))


def has_checksums(folder: Path) -> bool:
    """Whether a folder has checksums; those that earlier versions wrote have none."""
    return (folder / CHECKSUMS).is_file()


def find_damage(folder: Path, names: Iterable[str] | None = None) -> str | None:
    """Says what of a folder is not as it was written.

    Arguments
    ---------
    folder : Path
        With checksums.
    names : iterable of str, optional
        Of the files to look at, all of which have to be known; by default, all that are. Others, as
        file managers and network disks leave them, are no damage.

    Returns
    -------
    str | None
        The first fault, None if there is none.

    Raises
    ------
    OSError
        If a file that is there cannot be read: that is not its fault.
    """
    known = read_checksums(folder)
    for one in known if names is None else names:
        if one not in known:
            return f"{CHECKSUMS} does not know {one}"
        try:
            digest = file_digest(folder / one)
        except FileNotFoundError:
            return f"{one} is missing"
        if digest != known[one]:
            return f"{one} is not as it was written (its SHA-256 differs)"
    return None


def check_file(path: Path) -> None:
    """Refuses a file whose checksum stands beside it and is another one.

    Raises
    ------
    ValueError
        If it is damaged.
    """
    if has_checksums(path.parent) and path.name in read_checksums(path.parent):
        if damage := find_damage(path.parent, [path.name]):
            raise ValueError(
                f"{path.parent} is damaged: {damage}; name another, or remove the folder if it is "
                "a checkpoint of a run that has others"
            )


def read_checksums(folder: Path) -> dict[str, str]:
    """Reads the checksums of a folder that has them, by name; a damaged line is none."""
    lines = (folder / CHECKSUMS).read_bytes().decode(errors="replace").splitlines()
    found = (_LINE.fullmatch(line) for line in lines)
    return {one[2]: one[1] for one in found if one}
