"""Signals become exceptions, once, and in the process that asked for it."""

import multiprocessing
import os
import signal
import time

import pytest

from ssast_recipes.system.interruption import Interrupted, raising_interrupts


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_is_raised_and_the_others_are_ignored(number, status):
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with raising_interrupts():
        with pytest.raises(Interrupted) as raised:
            signal.raise_signal(number)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert (raised.value.number, raised.value.status) == (number, status)
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before


def test_what_python_drops_is_raised_again(capfd):
    """As the hooks of a fork drop it, or a finaliser."""

    class Hook:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    with raising_interrupts() as received:
        with pytest.raises(Interrupted) as raised:
            hook = Hook()
            del hook
            time.sleep(10)
        assert (received, raised.value.number) == ([signal.SIGTERM], signal.SIGTERM)
    assert capfd.readouterr().err == ""


def test_a_forked_process_raises_nothing():
    """Ctrl-C passes by, and SIGTERM ends it at once."""
    with raising_interrupts():
        child = os.fork()
        if not child:
            try:
                signal.raise_signal(signal.SIGINT)
                time.sleep(60)
            finally:
                os._exit(1)
        time.sleep(0.2)
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_forked_processes_are_ended_first():
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=[60])
    with raising_interrupts():
        child.start()
        time.sleep(0.2)  # a signal right after the fork would be lost
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)
    child.join(timeout=10)
    assert child.exitcode == 0
