import json
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ssast_recipes.runs.jobs import Job, Preparation, Progress, run_jobs
from ssast_recipes.system.errors import RunError
from ssast_recipes.system.files import write_text
from ssast_recipes.system.interruption import Interrupted, raising_interrupts
from tests.processes import has_members, is_alive, running, wait_until

# What a train.py does, as far as jobs go: takes steps, logs them, leaves results.
TRAIN = """
import json, os, pathlib, sys, time
options = dict(word[2:].split("=", 1) for word in sys.argv[2:] if "=" in word)
folder = pathlib.Path(options["output_folder"])
(folder / "pid").write_text(str(os.getpid()))
(folder.parent / "order.txt").open("a").write(folder.name + " began\\n")
if options.get("fails"):
    sys.exit("train.py: error: the data is missing; fetch it")
time.sleep(float(options.get("seconds", 0)))
(folder / "metrics.jsonl").write_text(json.dumps({"stage": "train", "step": 2}) + '\\n{"stage"')
(folder / "results.json").write_text(json.dumps({"options": options}))
(folder.parent / "order.txt").open("a").write(folder.name + " ended\\n")
"""


@pytest.fixture
def job(tmp_path):
    (tmp_path / "train.py").write_text(TRAIN)

    def make(name, after=(), **options):
        options = {"num_steps": 4, **options}
        return Job(name, tmp_path / "train.py", "x.yaml", tmp_path / name, options, after)

    return make


def order(tmp_path):
    return (tmp_path / "order.txt").read_text().splitlines()


def test_a_job_waits_for_what_it_needs_and_no_more_run_than_allowed(job, tmp_path):
    first = job("first", seconds=0.6)
    needing, other = job("needing", after=[first]), job("other")
    run_jobs([first, needing, other], num_processes=2, title="all")
    lines = order(tmp_path)
    assert lines.index("other began") < lines.index("first ended") < lines.index("needing began")
    (tmp_path / "order.txt").unlink()
    run_jobs([job(name, seconds=0.1) for name in "abc"], num_processes=1, title="all")
    assert order(tmp_path) == [f"{name} {when}" for name in "abc" for when in ("began", "ended")]


def test_options_reach_the_run_as_they_are(job):
    one = job("one", patch_stride="[16, 16]", schedule="{decay: 0.9}")
    run_jobs([one], 1, "all")
    options = one.results["options"]
    assert options["patch_stride"] == "[16, 16]" and options["schedule"] == "{decay: 0.9}"
    assert options["num_steps"] == "4"


def test_what_is_finished_is_not_run_again(job, tmp_path):
    run_jobs([job("one")], 1, "all")
    run_jobs([job("one"), job("two")], 1, "all")
    assert order(tmp_path) == ["one began", "one ended", "two began", "two ended"]


def test_progress_is_read_from_the_log_whose_last_line_may_be_cut(job):
    one = job("one")
    progress = Progress(one)
    assert progress.work_done() == 0
    one.folder.mkdir()
    (one.folder / "metrics.jsonl").write_text(json.dumps({"step": 3}) + '\n{"step": 4')
    assert progress.work_done() == 3 and [record["step"] for record in one.metrics] == [3]
    (one.folder / "results.json").write_text("{}")
    assert progress.work_done() == 4


def test_a_damaged_line_of_a_log_ends_no_job(job):
    one = job("one")
    one.folder.mkdir()
    (one.folder / "metrics.jsonl").write_text('{"step": 1}\n{"st{"step": 2}\n{"step": 3}\n')
    assert Progress(one).work_done() == 3


def test_an_interruption_while_a_thread_is_asked_to_wait_ends_the_process(job, monkeypatch):
    """Else leaving the pool of threads would wait for the run to end by itself."""

    class Interrupting(ThreadPoolExecutor):
        def submit(self, *words):
            super().submit(*words)
            raise KeyboardInterrupt

    monkeypatch.setattr("ssast_recipes.runs.jobs.ThreadPoolExecutor", Interrupting)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_jobs([job("slow", seconds=60)], 1, "jobs")
    assert time.monotonic() - began < 40


def test_a_failure_is_told_and_ends_the_others(job, tmp_path):
    first = job("first", seconds=1)  # by its end the slow one has begun
    slow, failing = job("slow", seconds=60), job("failing", fails="yes", after=[first])
    began = time.monotonic()
    told = "failing failed: the data is missing; fetch it .exit status 1.; see .*output.txt"
    with pytest.raises(RunError, match=told):
        run_jobs([first, slow, failing], num_processes=2, title="all")
    assert time.monotonic() - began < 30
    assert not slow.finished and is_gone(slow)


def test_an_interruption_ends_the_running(job, tmp_path):
    slow = job("slow", seconds=60)

    def interrupt():
        while not (slow.folder / "pid").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt).start()
    with raising_interrupts(), pytest.raises(Interrupted):
        run_jobs([slow], 1, "all")
    assert is_gone(slow)


KILLED = """
import sys
from pathlib import Path
from ssast_recipes.runs.jobs import Job, run_jobs
folder = Path(sys.argv[1])
options = {"num_steps": 4, "seconds": 60}
jobs = [Job(name, folder / "train.py", "x.yaml", folder / name, options) for name in "ab"]
run_jobs(jobs, 2, "all")
"""


def test_jobs_end_when_who_runs_them_is_killed(job, tmp_path):
    with running([sys.executable, "-c", KILLED, tmp_path]) as process:
        files = [tmp_path / name / "pid" for name in "ab"]
        wait_until(lambda: all(file.exists() and file.read_text() for file in files))
        process.kill()
        process.wait()
        wait_until(lambda: not has_members(process.pid), seconds=60)


def test_of_a_log_what_is_new_is_read(job, monkeypatch):
    """And all of it where a run that resumes has put another in its place."""
    one = job("one")
    progress, log = Progress(one), one.folder / "metrics.jsonl"
    one.folder.mkdir()
    read = []
    monkeypatch.setattr(
        "ssast_recipes.records.run.json.loads", lambda line: read.append(line) or {}
    )
    for lines in ('{"step": 1}\n', '{"step": 2}\n{"step": 3}\n{"st', 'ep": 4}\n', ""):
        with open(log, "a") as file:
            file.write(lines)
        progress.work_done()
    assert [json.JSONDecoder().decode(line) for line in read] == [
        {"step": step} for step in (1, 2, 3, 4)
    ]
    monkeypatch.undo()
    write_text(log, '{"step": 1}\n{"step": 2}\n{"step"')
    assert progress.work_done() == 2
    with open(log, "a") as file:
        file.write('\n{"step": 3}\n')  # the cut line stays
    assert progress.work_done() == 3


def test_jobs_that_wait_for_each_other_are_refused(job):
    first = job("first")
    second = job("second", after=[first])
    object.__setattr__(first, "after", [second])
    with pytest.raises(ValueError, match="cycle"):
        run_jobs([first, second], 1, "all")


def test_a_preparation_may_be_a_module(tmp_path):
    leaves = tmp_path / "leaves"
    words = [sys.executable, "-m", "timeit", "-n1", "-r1", f"open({str(leaves)!r}, 'w')"]
    run_jobs(
        [Preparation("one", Path(), "", tmp_path, {}, weight=1, words=words, leaves=leaves)], 1, ""
    )
    assert leaves.exists() and "1 loop" in (tmp_path / "output.txt").read_text()


def test_a_job_that_waits_for_none_of_the_jobs_is_refused(job):
    with pytest.raises(ValueError, match="second waits for first, which is none of the jobs"):
        run_jobs([job("second", after=[job("first")])], 1, "all")


@pytest.mark.parametrize("number", [0, -1])
def test_no_process_at_a_time_is_refused_rather_than_waited_for(job, number):
    with pytest.raises(ValueError, match=f"{number} runs at a time would never end"):
        run_jobs([job("one")], number, "all")


def is_gone(job):
    return not is_alive(int((job.folder / "pid").read_text()))
