"""Writing files so that none is ever seen half-written."""

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What a new file may be used for; some libraries let their owner alone read what they write.
_UMASK = os.umask(0)
os.umask(_UMASK)
_MODE = 0o666 & ~_UMASK


@contextmanager
def beside(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a path to write to, which takes the place of ``path`` when all went well.

    Nothing half-written is ever seen under the name itself, and processes or threads that write the
    same file do not meet.

    Arguments
    ---------
    path : str or path
        The file to be written; missing folders are made.

    Returns
    -------
    context manager giving a path in the same folder

    Example
    -------
    >>> target = getfixture("tmp_path") / "classes.txt"
    >>> with beside(target) as part:
    ...     _ = part.write_text("dog")
    ...     target.exists()
    False
    >>> target.read_text()
    'dog'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        yield part
        part.chmod(_MODE)
        os.replace(part, path)
    except OSError as error:
        if (
            error.filename is None or Path(error.filename) == part
        ):  # of which the user knows nothing
            error.filename = str(path)
        raise
    finally:
        part.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file, at once or not at all.

    Example
    -------
    >>> path = getfixture("tmp_path") / "classes.txt"
    >>> write_text(path, "dog")
    >>> path.read_text()
    'dog'
    """
    with beside(path) as part:
        part.write_text(text, encoding="utf-8")


def file_digest(path: str | os.PathLike, algorithm: str = "sha256") -> str:
    """Checksum of a file's content in hexadecimal digits, by an algorithm that hashlib names.

    Example
    -------
    >>> path = getfixture("tmp_path") / "empty"
    >>> path.touch()
    >>> file_digest(path)[:8]
    'e3b0c442'
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
