"""Children end when their parent ends, and are else what their command line says."""

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from ssast_recipes.system.children import end, start
from tests.processes import has_members, is_alive, running, wait_until

PARENT = """
import sys
from ssast_recipes.system.children import start
{before}
process = start([sys.executable, sys.argv[1]])
print(process.pid, flush=True)
{after}
process.wait()
"""


@pytest.fixture
def start_parent(tmp_path):
    """`with start_parent(child) as process:` a parent that prints its child's ID, and that."""

    def begin(child, before="", after=""):
        (tmp_path / "parent.py").write_text(PARENT.format(before=before, after=after))
        (tmp_path / "child.py").write_text(child)
        command = [sys.executable, tmp_path / "parent.py", tmp_path / "child.py"]
        with open(tmp_path / "printed", "w") as printed:
            with running(command, stdout=printed, stderr=subprocess.STDOUT) as process:
                yield process

    return contextmanager(begin)


def lines(tmp_path):
    return (tmp_path / "printed").read_text().splitlines()


SLOW = "import time; print('importing', flush=True); time.sleep(120)"
SAYS = """
import signal, sys, time
def finish(number, frame):
    print("saved", flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, finish)
print("training", flush=True)
time.sleep(120)
"""


def test_a_child_that_still_imports_ends_with_its_killed_parent(start_parent, tmp_path):
    with start_parent(SLOW) as process:
        wait_until(lambda: len(lines(tmp_path)) == 2)
        process.kill()
        process.wait()
        wait_until(lambda: not has_members(process.pid))
    assert "importing" in lines(tmp_path) and len(lines(tmp_path)) == 2


def test_a_child_says_what_it_has_to_when_its_parent_was_killed(start_parent, tmp_path):
    with start_parent(SAYS) as process:
        wait_until(lambda: len(lines(tmp_path)) == 2)
        process.kill()
        process.wait()
        wait_until(lambda: not has_members(process.pid))
    assert lines(tmp_path)[2:] == ["saved"]


@pytest.mark.parametrize(
    "start_other",
    [
        "import subprocess; subprocess.Popen(['sleep', '120'])",
        "import os, time\nif not os.fork(): time.sleep(120)",
        "import os, time\nif not os.fork(): os.fork(); time.sleep(120)",
    ],
)
@pytest.mark.parametrize("where", ["before", "after"])
def test_what_else_the_parent_started_keeps_no_child_alive(
    start_parent, tmp_path, start_other, where
):
    with start_parent(SLOW, **{where: start_other}) as process:
        wait_until(lambda: len(lines(tmp_path)) == 2)
        child = int(next(line for line in lines(tmp_path) if line.isdigit()))
        assert is_alive(child)
        process.kill()
        process.wait()
        wait_until(lambda: not is_alive(child), seconds=60)
        assert has_members(process.pid)  # the other one


def test_a_child_that_does_not_end_in_order_ends_all_the_same():
    stubborn = """
import signal, sys, time
from ssast_recipes.system import children
children.SECONDS_TO_END = 0.5
signal.signal(signal.SIGTERM, signal.SIG_IGN)
children.watch(int(sys.argv[1]))
time.sleep(60)
"""
    watched, held = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", stubborn, str(watched)], pass_fds=[watched])
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2)
    os.close(held)
    os.close(watched)
    assert process.wait(20) == 128 + signal.SIGTERM


PROBE = """
import json, os, sys, pickle
class Own: pass
def probe():
    module = sys.modules["__main__"]
    told = [sys.argv, sys.path, __name__, __file__, str(type(__spec__)), sorted(os.environ)]
    print(json.dumps(told), module.Own is Own, pickle.dumps(Own()))
if __name__ == "__main__":
    probe()
    sys.exit(eval(sys.argv[1]))
"""


@pytest.mark.parametrize("ending", ["0", "3", "'a last word'", "1 / 0", "next(iter([]))"])
@pytest.mark.parametrize("as_module", [False, True])
def test_a_child_is_what_its_command_line_says(tmp_path, monkeypatch, ending, as_module):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ("" if as_module else "below")
    folder.mkdir(exist_ok=True)
    (folder / "probe.py").write_text(PROBE)
    # A name of the standard library beside the script, or where one works, is nothing of ours.
    (tmp_path / "queue.py").write_text("raise RuntimeError('the wrong one')")
    words = ["-m", "probe"] if as_module else ["below/probe.py"]
    command = [sys.executable, *words, ending]
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    plain = subprocess.run(command, env={**os.environ}, **piped)
    errors = re.sub('  File "<frozen runpy>.*\n', "", plain.stderr)
    child = start(command, **piped)
    printed = child.communicate(timeout=60)
    assert (child.returncode, *printed) == (plain.returncode, plain.stdout, errors)


def test_ctrl_c_ends_a_child_that_imports_without_a_word(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = start([sys.executable, str(tmp_path / "slow.py")], **piped)
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == -signal.SIGINT


def test_ctrl_c_is_kept_until_a_child_has_begun(tmp_path):
    interpreter = tmp_path / "interpreter"
    text = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    interpreter.write_text(f"#!{sys.executable}\n{text}")
    interpreter.chmod(0o700)
    child = start([str(interpreter), "script.py"], stdout=subprocess.PIPE, text=True)
    assert child.communicate()[0] == "True\n"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_child_that_ends_keeps_its_status(tmp_path):
    """A signal may come once more while the interpreter ends."""
    script = """
import atexit, os, signal, sys
atexit.register(lambda: os.kill(os.getpid(), signal.SIGTERM))
sys.exit(5)
"""
    (tmp_path / "script.py").write_text(script)
    assert start([sys.executable, str(tmp_path / "script.py")]).wait() == 5


def test_what_does_not_heed_is_killed(tmp_path):
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    (tmp_path / "script.py").write_text(f"{script}; time.sleep(60)")
    process = start([sys.executable, str(tmp_path / "script.py")], stdout=subprocess.PIPE)
    process.stdout.readline()
    end([process], seconds=0.5)
    assert process.returncode == -signal.SIGKILL
