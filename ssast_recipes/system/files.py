"""Writing files so that none is ever seen half-written."""

import functools
import hashlib
import os
import platform
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ssast_recipes.system.errors import writing_error

# What a new file may be used for; some libraries let their owner alone read what they write.
_UMASK = os.umask(0)
os.umask(_UMASK)
_MODE = 0o666 & ~_UMASK
# Behind a file's name, who writes it; versions before 0.2 did not tell the machine.
_PART = re.compile(r".+\.(\d+)[.-]\d+(?:-([0-9a-f]{8}))?\.part")
_LONGEST_WRITING = 24 * 3600  # seconds between two writes, by whom nobody can ask for


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
    owner = f"{os.getpid()}-{threading.get_native_id()}-{_machine()}"
    part = path.with_name(f"{path.name}.{owner}.part")
    try:
        yield part
        part.chmod(_MODE)
        os.replace(part, path)
    except OSError as error:
        # Of the part, the user knows nothing; without a number, an error has no text but its own.
        is_ours = error.filename is None or Path(error.filename) == part
        if is_ours and error.errno is not None:
            error.filename = str(path)
        raise
    except Exception as error:
        number = writing_error(error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def sweep_parts(folder: str | os.PathLike, begin: str = "") -> None:
    """Removes what killed processes left of files that they were writing by `beside`.

    A part is left alone as long as its process lives; of another machine, where nobody can look, if
    it was written to within a day.

    Arguments
    ---------
    folder : str or path
        Where to look; it need not be there.
    begin : str
        What the names of the files begin with.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> with beside(folder / "a") as part:
    ...     _ = part.write_text("of a process that lives")
    ...     sweep_parts(folder)
    >>> [path.name for path in folder.iterdir()]
    ['a']
    """
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            found = _PART.fullmatch(entry.name) if entry.name.startswith(begin) else None
            # Another process may have been faster, and the folder be for reading alone.
            with suppress(OSError):
                if found and _is_left(entry, int(found[1]), found[2]):
                    os.unlink(entry)


def _is_left(entry: os.DirEntry, process: int, machine: str | None) -> bool:
    if machine == _machine():
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False
    return time.time() - entry.stat().st_mtime > _LONGEST_WRITING


@functools.cache
def _machine() -> str:
    """What tells where process numbers count: this machine, or container, since it was started."""
    words = platform.node()
    with suppress(OSError):
        words += Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8")
    with suppress(OSError):
        words += os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(words.encode()).hexdigest()[:8]


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
