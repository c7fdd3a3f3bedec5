"""Python processes that we start: they end when we end, even if we are killed.

A parent holds the one end of a pipe to which anything could be written; nobody else does. Its
children watch the other end, which is closed with the parent, however that ends.
"""

# Run as a script, too, before all else that a child imports: hence the standard library alone.
import functools
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Collection, Mapping, Sequence
from typing import Any

_VARIABLE = "SSAST_PARENT"  # of a child's environment: the file descriptor that it watches
SECONDS_TO_END = 30  # of a process that is told to: on a CPU a step may take some
_SECONDS_BY_ITSELF = 2  # of a process that a signal may have reached, too
_RUNPY = "<frozen runpy>"  # as tracebacks call it


def start(
    command: Sequence[str], environment: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen:
    """Starts a Python process that ends with this one: as by SIGTERM, and at once after 30 s.

    Ctrl-C ends it silently until it heeds that itself: a traceback of what it imports helps nobody.

    Arguments
    ---------
    command : sequence of str
        The interpreter, then a script or `-m` and a module, and its arguments.
    environment : mapping, optional
        Variables to be set, besides those of this process.
    **options
        For `subprocess.Popen`.

    Returns
    -------
    subprocess.Popen

    Example
    -------
    >>> start([sys.executable, "-m", "this"], stdout=subprocess.DEVNULL).wait()
    0
    """
    python, *words = command
    watched, _ = _life()
    environment = {**os.environ, **(environment or {}), _VARIABLE: str(watched)}
    # Inherited: a Ctrl-C that comes before `_run` is kept until then.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen(
            [python, __file__, *words], env=environment, pass_fds=[watched], **options
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@functools.cache
def _life() -> tuple[int, int]:
    """A pipe, open as long as this process lives: what is executed inherits neither end."""
    return os.pipe()


def _forget() -> None:
    """Lets go of the pipe in a fork of this process, which would keep it open."""
    if _life.cache_info().currsize:
        for pipe_end in _life():
            os.close(pipe_end)
        _life.cache_clear()


os.register_at_fork(after_in_child=_forget)


def wait(process: subprocess.Popen) -> int:
    """Waits for a process that works in the user's view; returns its exit status.

    Raises
    ------
    KeyboardInterrupt
        Any that comes meanwhile, once the process has ended in order. A terminal sends its Ctrl-C
        to both: it has a moment to heed that before it is told.
    """
    try:
        return process.wait()
    except KeyboardInterrupt:
        try:
            process.wait(_SECONDS_BY_ITSELF)
        except subprocess.TimeoutExpired:
            end([process])
        raise


def end(processes: Collection[subprocess.Popen], seconds: float = SECONDS_TO_END) -> None:
    """Tells processes to end, and kills what has not ended after some seconds.

    Example
    -------
    >>> process = start([sys.executable, "-m", "timeit", "-n1", "import time; time.sleep(60)"])
    >>> end([process])
    >>> process.returncode == -signal.SIGTERM
    True
    """
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + seconds
    for process in processes:
        try:
            process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def watch(pipe: int) -> None:
    """Ends this process when a pipe is closed: as by SIGTERM, and at once after 30 s.

    Arguments
    ---------
    pipe : int
        File descriptor of the end that is read from; nothing is written to the other one.
    """
    threading.Thread(target=_end_after, args=(pipe,), name="watch", daemon=True).start()


def _end_after(pipe: int) -> None:
    os.read(pipe, 1)
    # To the main thread, which may wait for something: only a signal of its own wakes it.
    signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
    time.sleep(SECONDS_TO_END)
    os._exit(128 + signal.SIGTERM)


def _run(words: list[str]) -> None:
    """What a child does first; then it is what its command line says."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    watch(int(os.environ.pop(_VARIABLE)))
    is_module = words[0] == "-m"
    sys.argv = words[is_module:]
    name = sys.argv[0]
    if not sys.flags.safe_path:  # instead of this file's folder
        sys.path[0] = os.getcwd() if is_module else os.path.dirname(os.path.realpath(name))
    try:
        if is_module:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        else:
            _run_script(name)
    except Exception as error:
        # Shown from where the child's own program begins, by the hook that it may have set.
        trace = error.__traceback__
        while trace and trace.tb_frame.f_code.co_filename in (__file__, _RUNPY):
            trace = trace.tb_next
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        sys.exit(1)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # it ends already, and with a status of its own


def _run_script(name: str) -> None:
    """As Python does, which `runpy.run_path` does not quite: `__file__` is absolute."""
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    module.__file__ = os.path.abspath(name)
    with open(name, "rb") as script:
        exec(compile(script.read(), module.__file__, "exec"), vars(module))


if __name__ == "__main__":
    _run(sys.argv[1:])
