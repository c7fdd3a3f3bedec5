"""Ctrl-C and SIGTERM, raised as an exception, so that what runs can end in order."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

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
def raising_interrupts() -> Iterator[list[int]]:
    """Raises `Interrupted` at the first Ctrl-C or SIGTERM, and ignores those that follow.

    Of one Ctrl-C several may come: the terminal sends it to all processes, and so does `torchrun`.
    Forked processes (a DataLoader's) raise nothing; they are ended first, lest they complain of a
    connection that is gone.

    Returns
    -------
    context manager
        Giving a list, of the signal that came. What is raised within hooks of a fork is dropped by
        Python and raised again a moment later; whatever fails until then, for want of the
        processes that were ended, fails of the signal.

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
    received: list[int] = []

    def heed(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process:
            received.append(number)
            for one in _SIGNALS:
                signal.signal(one, signal.SIG_IGN)
            for child in multiprocessing.active_children():
                child.terminate()
            raise Interrupted(number)
        if number == signal.SIGTERM:
            os._exit(0)  # by another status torch would take it for a crash

    def raise_again(number: int, frame: FrameType | None) -> None:
        raise Interrupted(received[0])

    def after_drop(dropped: Any) -> None:
        if isinstance(dropped.exc_value, Interrupted):
            signal.signal(signal.SIGALRM, raise_again)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
        else:
            hook(dropped)

    hook, sys.unraisablehook = sys.unraisablehook, after_drop
    before = {number: signal.signal(number, heed) for number in _SIGNALS}
    before[signal.SIGALRM] = signal.getsignal(signal.SIGALRM)
    try:
        yield received
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
