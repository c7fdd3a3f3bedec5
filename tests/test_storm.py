"""The storm finds faults in work that cannot be killed, and none in what can."""

import random
import sys

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
    del sys.modules["storm"]


@pytest.mark.parametrize(
    ("program", "fault"),
    [(GOOD, None), (BAD, "other results"), (OUTLIVING, "a process outlived SIG")],
    ids=["good", "appends", "outliving"],
)
def test_a_storm_finds_what_a_kill_spoils(storm, tmp_path, monkeypatch, program, fault):
    monkeypatch.setattr(storm, "SECONDS_TO_END", 0.5)
    result = storm.files_result("result")
    work = storm.Work("toy", lambda folder: ["-c", program], result, seconds=0.45)
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
