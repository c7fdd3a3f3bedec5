"""One process at a time, where several would write the same."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)


@contextmanager
def one_at_a_time(path: str | os.PathLike) -> Iterator[None]:
    """Waits while another process, or thread, is inside for the same file or folder, and says so.

    Who waited finds what the other one made, and should look. A process that is killed lets the
    next one in.

    Arguments
    ---------
    path : str or path
        What is written; the lock is ``<path>.lock``, as long as somebody is inside. Missing folders
        are made.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> with one_at_a_time(folder / "corpus"):
    ...     [path.name for path in folder.iterdir()]
    ['corpus.lock']
    >>> [path.name for path in folder.iterdir()]
    []
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock_path = path.with_name(path.name + ".lock")
    lock = FileLock(lock_path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        logger.warning("waiting for another process, which holds %s", lock_path)
        lock.acquire()
    try:
        yield
    finally:
        # While it is held: later, it might be the next one's. Who waits for a file that is gone
        # takes a new one (filelock 4 looks), and 4 deletes none itself.
        lock_path.unlink(missing_ok=True)
        lock.release()
