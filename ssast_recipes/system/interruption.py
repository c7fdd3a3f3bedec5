"""Ctrl-C and SIGTERM, raised as an exception, so that what runs can end in order."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_UNTOLD = "interrupted"


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

    def __init__(self, number: int, line: str = _UNTOLD):
        super().__init__(line)
        self.number = number
        self.status = 128 + number  # the exit status, as shells have it


# Of the process, as its signals are: what came (at most one counts), and whether it has to wait.
_received: list[int] = []
_holds: list[bool] = []


@contextmanager
def raising_interrupts() -> Iterator[None]:
    """Raises `Interrupted` at the first Ctrl-C or SIGTERM, and ignores those that follow.

    Of one Ctrl-C several may come: the terminal sends it to all processes, and so does `torchrun`.
    Forked processes (a DataLoader's) raise nothing; they are ended first, lest they complain of a
    connection that is gone. Python drops what is raised within a finaliser: then the next signal is
    heeded, too, and `raise_if_interrupted` raises.

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
    is_dropped = False

    def heed(number: int, frame: FrameType | None) -> None:
        nonlocal is_dropped
        if os.getpid() != process:
            if number == signal.SIGTERM:
                os._exit(0)  # by another status torch would take it for a crash
        elif is_dropped or not _received:
            is_dropped = False
            _received.append(number)
            _end_children()
            if not _holds:
                raise Interrupted(number)

    def after_drop(dropped: Any) -> None:
        """Without this, a traceback would be printed, and only SIGKILL end what does not ask."""
        nonlocal is_dropped
        if isinstance(dropped.exc_value, Interrupted):
            is_dropped = True
        else:
            hook(dropped)

    hook, sys.unraisablehook = sys.unraisablehook, after_drop
    before = {number: signal.signal(number, heed) for number in _SIGNALS}
    try:
        yield
    finally:
        _received.clear()
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def raise_if_interrupted() -> None:
    """Raises `Interrupted` if a signal has come: loops ask where what is raised may be dropped."""
    if _received:
        raise Interrupted(_received[0])


@contextmanager
def holding_interrupts() -> Iterator[None]:
    """Lets an interruption wait for the end of a block that forks, and raises it there.

    Python runs hooks of its own modules at a fork, and drops what is raised within them.
    """
    _holds.append(True)
    try:
        yield
    finally:
        _holds.pop()
        if _received and not _holds:
            _end_children()  # those, too, that were just being forked
            raise_if_interrupted()


@contextmanager
def telling_interrupts(describe: Callable[[], str]) -> Iterator[None]:
    """Adds to an interruption of a block the line that its user is told, if it has none.

    An error after the signal is taken for its consequence: the processes that were ended are
    missing. An error is raised on if no signal has come.

    Arguments
    ---------
    describe : callable
        Called then; returns the line.

    Example
    -------
    >>> with raising_interrupts():
    ...     try:
    ...         with telling_interrupts(lambda: "interrupted after step 7"):
    ...             signal.raise_signal(signal.SIGTERM)
    ...     except Interrupted as interruption:
    ...         print(interruption)
    interrupted after step 7
    """
    try:
        yield
        raise_if_interrupted()
    except Interrupted as interruption:
        if str(interruption) != _UNTOLD:
            raise
        raise Interrupted(interruption.number, describe()) from interruption
    except Exception as error:
        if not _received:
            raise
        raise Interrupted(_received[0], describe()) from error


def _end_children() -> None:
    # torch's handler raises, wherever we are by then, that a worker was killed; on the way out that
    # is a traceback behind our last line. Not put back: workers may end after us.
    signal.signal(signal.SIGCHLD, _pass_over)
    for child in multiprocessing.active_children():
        child.terminate()


def _pass_over(number: int, frame: FrameType | None) -> None:
    """Heeds nothing; of SIG_IGN Python would complain where a signal is pending already."""
