"""Ctrl-C and SIGTERM, raised as an exception, so that what runs can end in order."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal asks the process to end.

    Arguments
    ---------
    number : int
        The signal's.
    line : str
        What its user is told.

    Example
    -------
    >>> Interrupted(signal.SIGTERM).status
    143
    """

    def __init__(self, number: int, line: str = "interrupted"):
        super().__init__(line)
        self.number = number
        self.status = 128 + number  # the exit status, as shells have it


@contextmanager
def raising_interrupts() -> Iterator[None]:
    """Raises `Interrupted` at the first Ctrl-C or SIGTERM, and ignores those that follow.

    Of one Ctrl-C several may come: the terminal sends it to all processes, and so does `torchrun`.
    Forked processes (a DataLoader's) raise nothing; they are ended first, lest they complain of a
    connection that is gone.

    Example
    -------
    >>> with raising_interrupts():
    ...     try:
    ...         signal.raise_signal(signal.SIGINT)
    ...     except Interrupted as interruption:
    ...         interruption.status
    130
    """
    process = os.getpid()

    def heed(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process:
            for one in _SIGNALS:
                signal.signal(one, signal.SIG_IGN)
            for child in multiprocessing.active_children():
                child.terminate()
            raise Interrupted(number)
        if number == signal.SIGTERM:
            os._exit(0)  # by another status torch would take it for a crash

    before = {number: signal.signal(number, heed) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
