"""Signals become exceptions, once, and in the process that asked for it."""

import multiprocessing
import os
import signal
import time
from contextlib import nullcontext

import pytest
from torch.utils.data._utils import signal_handling

from ssast_recipes.system.interruption import (
    Interrupted,
    holding_interrupts,
    raise_if_interrupted,
    raising_interrupts,
    telling_interrupts,
)


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


class Hook:
    """Python drops what is raised within a finaliser, as it does within the hooks of a fork."""

    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


def test_what_python_drops_is_raised_where_a_loop_asks(capfd):
    with raising_interrupts():
        raise_if_interrupted()
        hook = Hook()
        del hook
        with pytest.raises(Interrupted) as raised:
            raise_if_interrupted()
        assert raised.value.status == 143
    raise_if_interrupted()  # of what is over, nothing is left
    assert capfd.readouterr().err == ""


def test_what_python_drops_is_told_at_the_latest_at_the_end():
    with raising_interrupts(), pytest.raises(Interrupted, match="^after step 7$"):
        with telling_interrupts(lambda: "after step 7"):
            hook = Hook()
            del hook


def test_a_signal_after_one_that_was_dropped_is_raised():
    """What does not ask would go on for ever."""
    with raising_interrupts():
        hook = Hook()
        del hook
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_an_interruption_waits_for_a_fork_to_be_over():
    seen = []
    with raising_interrupts():
        with pytest.raises(Interrupted), holding_interrupts():
            with holding_interrupts():
                signal.raise_signal(signal.SIGTERM)
                seen.append("inner")
            seen.append("outer")
        assert seen == ["inner", "outer"]
    with raising_interrupts():
        with holding_interrupts():
            pass
        with pytest.raises(Interrupted):  # no longer held
            signal.raise_signal(signal.SIGINT)


def test_a_process_that_was_being_forked_is_ended_too():
    with raising_interrupts(), pytest.raises(Interrupted), holding_interrupts():
        signal.raise_signal(signal.SIGTERM)
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=[60])
        child.start()
        time.sleep(0.2)
    child.join(timeout=10)
    assert child.exitcode is not None


@pytest.mark.parametrize("error", [RuntimeError("a worker is gone"), OSError("closed")])
def test_an_error_after_a_signal_is_its_consequence(error):
    with raising_interrupts():
        with pytest.raises(type(error)), telling_interrupts(lambda: "not told"):
            raise error
        with pytest.raises(Interrupted, match="^told$"), telling_interrupts(lambda: "told"):
            try:
                signal.raise_signal(signal.SIGTERM)
            except Interrupted:
                raise error from None


def test_the_innermost_that_knows_tells():
    with raising_interrupts(), pytest.raises(Interrupted, match="^after step 7$") as raised:
        with telling_interrupts(lambda: "before"), telling_interrupts(lambda: "after step 7"):
            signal.raise_signal(signal.SIGINT)
    assert raised.value.status == 130


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


@pytest.fixture
def forked_worker(monkeypatch):
    """A process that torch watches as it does a loader's."""
    monkeypatch.setattr(signal_handling, "_SIGCHLD_handler_set", False)
    before = signal.getsignal(signal.SIGCHLD)
    signal_handling._set_SIGCHLD_handler()
    worker = os.fork()
    if not worker:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(60)
        os._exit(0)
    signal_handling._set_worker_pids(1, (worker,))
    yield worker
    signal_handling._remove_worker_pids(1)
    signal.signal(signal.SIGCHLD, before)
    os.waitpid(worker, 0)


@pytest.mark.parametrize("comes", ["before", "after"])
def test_a_worker_that_a_signal_to_all_ended_is_no_error_on_the_way_out(forked_worker, comes):
    """In a handler of SIGCHLD torch raises it wherever we are: a traceback behind our line."""
    with raising_interrupts():
        if comes == "after":
            with pytest.raises(Interrupted):
                signal.raise_signal(signal.SIGTERM)
        with pytest.raises(RuntimeError) if comes == "before" else nullcontext():
            os.kill(forked_worker, signal.SIGTERM)
            time.sleep(0.5)
