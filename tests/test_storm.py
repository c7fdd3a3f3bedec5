"""The storm finds faults in work that cannot be killed, and none in what can."""

import os
import random
import sys
from types import SimpleNamespace

import pytest

from tests.conftest import REPOSITORY
from tests.processes import wait_until

TEXT = "".join(f"line {number}\\n" for number in range(40))
GOOD = f"""
import os, sys, time
time.sleep(0.2)
with open("part", "w") as file: file.write("{TEXT}")
os.replace("part", "result")
time.sleep(0.2)
"""
# What was written before a kill stays, and the rest is written behind it.
BAD = f"""
import sys, time
with open("result", "a") as file:
    for line in "{TEXT}".splitlines(keepends=True):
        file.write(line); file.flush(); time.sleep(0.01)
"""
OUTLIVING = f"""
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open("begun", "w").close(){GOOD}
"""


@pytest.fixture
def storm(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    yield __import__("storm")
    for name in ("storm", "storm_work"):
        del sys.modules[name]


@pytest.mark.parametrize(
    ("program", "fault"),
    [(GOOD, None), (BAD, "other results"), (OUTLIVING, "a process outlived SIG")],
    ids=["good", "appends", "outliving"],
)
def test_a_storm_finds_what_a_kill_spoils(storm, tmp_path, monkeypatch, program, fault):
    monkeypatch.setattr(storm, "SECONDS_TO_END", 0.5)
    storm_work = sys.modules["storm_work"]
    result = storm_work.files_result("result")
    work = storm_work.Work("toy", lambda folder: ["-c", program], result, seconds=0.45)
    storm.start(work, tmp_path / "alone").wait()
    work.expected = result(tmp_path / "alone")
    monkeypatch.setattr(storm, "wait_for_group", without_waiting_for_good(storm))

    class Draws(random.Random):
        """One kill, of the process alone, in the midst."""

        def randint(self, low, high):
            return 1

        def uniform(self, low, high):
            if fault:
                begun = "result" if program == BAD else "begun"
                wait_until((tmp_path / "killed" / begun).exists)
            return 0.1

        def random(self):
            return 0.9

    findings = storm.Findings()
    storm.weather(work, tmp_path / "killed", Draws(0), findings)
    assert findings.counts["kills"] == 1
    assert [fault in one for one in findings.faults][:1] == ([True] if fault else [])


def without_waiting_for_good(storm):
    wait = storm.wait_for_group
    return lambda process, seconds: wait(process, min(seconds, 5))


# Two checkpoints, and what is left of them: of the newest, or, told, of the one before.
RUN = """
import pathlib, time
newest, before = (pathlib.Path("run/save/CKPT" + number) for number in "21")
if not newest.exists():
    for folder in (before, newest):
        folder.mkdir(parents=True)
        for name in ("a", "b"):
            (folder / name).write_text("sound")
        time.sleep(0.05)
    time.sleep({seconds})
for name in "{looked_at}":
    if (newest / name).read_text(errors="replace") != "sound":
        print(f"{{newest}} is broken")
        newest = before
found = [(newest / name).read_text(errors="replace") for name in "ab"]
pathlib.Path("result").write_text("".join(found))
"""


@pytest.mark.parametrize(("looked_at", "faults"), [("ab", 0), ("a", 2)])
def test_a_bit_is_flipped_in_every_file_of_a_checkpoint(storm, tmp_path, looked_at, faults):
    program = RUN.format(seconds=5, looked_at=looked_at)
    result = sys.modules["storm_work"].files_result("result")
    work = sys.modules["storm_work"].Work("toy", lambda folder: ["-c", program], result)
    (tmp_path / "result").write_text("soundsound")
    work.expected = result(tmp_path)
    findings = storm.Findings()
    storm.flip_every_file(work, tmp_path / "flips", random.Random(0), findings)
    assert findings.counts["flipped bits in every file of toy"] == 2
    # Of the file that is not looked at: other results, and nothing told.
    assert len(findings.faults) == faults and all("toy" in one for one in findings.faults)


WRITER = """
import os, sys
try:
    with open("part", "wb") as file:
        file.write(bytes(300_000))
        file.flush()
    os.replace("part", "result")
except OSError as error:
    {ending}
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
@pytest.mark.parametrize(("ending", "faults"), [("sys.exit(str(error))", 0), ("pass", 1)])
def test_a_full_disk_has_to_be_told(storm, tmp_path, ending, faults, capsys):
    program = WRITER.format(ending=ending)
    result = sys.modules["storm_work"].files_result("result")
    work = sys.modules["storm_work"].Work("toy", lambda folder: ["-c", program], result)
    storm.leave_alone(work, tmp_path / "alone")
    findings = storm.Findings()
    small = SimpleNamespace(uniform=lambda low, high: 0.5)
    storm.fill_disk(work, tmp_path / "small", small, findings)
    if "no disk can be mounted" in capsys.readouterr().out:
        pytest.skip("no disk can be mounted here")
    assert findings.counts["full disks"] == (not faults)
    assert len(findings.faults) == faults
