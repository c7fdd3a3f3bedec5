"""`ssast pretrain` and `ssast finetune`: what they check, plan, keep, and how they end."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
import torch
from hyperpyyaml import resolve_references

from ssast_recipes.cli import main
from ssast_recipes.machine import control_group_memory, free_memory
from ssast_recipes.overrides import check_overrides
from ssast_recipes.recipe_runs import write_hparams
from tests.recipes.conftest import RECIPES


@pytest.fixture
def write_sounds():
    """`write_sounds(folder, number)` writes so many half seconds of noise."""

    def write(folder, number=10):
        folder.mkdir(parents=True)
        random = np.random.default_rng(0)
        for index in range(number):
            soundfile.write(folder / f"{index}.wav", random.uniform(-0.1, 0.1, 8000), 16000)
        return folder

    return write


@pytest.mark.parametrize("command", [["pretrain", "NOWHERE"], ["finetune", "NOWHERE", "NOWHERE"]])
def test_a_device_that_is_not_there_is_told_first(monkeypatch, capsys, command):
    assert main([*command, "--device", "gpu"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("ssast: error: --device gpu cannot be used: ") and "cpu, cuda" in error
    assert error.count("\n") == 1
    if not torch.cuda.is_available():
        assert main([*command, "--device", "cuda"]) == 1
        assert "--device cuda cannot be used: " in capsys.readouterr().err


# ---- memory


def write_group(folder, limit, usage, cache, names):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"anon {usage - cache}\n{names[2]} {cache}\n")


@pytest.mark.parametrize(
    ("line", "base", "names"),
    [
        ("0::", "", ("memory.max", "memory.current", "inactive_file")),
        (
            "4:memory:",
            "memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ],
)
def test_memory_is_what_control_groups_leave(tmp_path, line, base, names):
    assert control_group_memory(tmp_path) == float("inf")  # of another system
    groups = tmp_path / "sys" / "fs" / "cgroup" / base
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(f"1:cpu:/\n{line}/job/step\n")
    write_group(groups / "job" / "step", "max", 300, 0, names)
    assert control_group_memory(tmp_path) == float("inf")
    write_group(groups / "job", 1000, 700, 200, names)  # of its use, 200 are files'
    assert control_group_memory(tmp_path) == 500
    write_group(groups / "job" / "step", 400, 300, 0, names)
    assert control_group_memory(tmp_path) == 100
    write_group(groups, 90, 0, 0, names)
    assert control_group_memory(tmp_path) == 90


def test_free_memory_minds_control_groups(monkeypatch):
    monkeypatch.setattr("ssast_recipes.machine.control_group_memory", lambda: 5.0)
    assert free_memory(torch.device("cpu")) == 5.0


# ---- the YAML file


@pytest.mark.parametrize("place", ["my tools", "jürgen", "a%b", "工具"])
def test_recipes_may_lie_anywhere(tmp_path, place):
    ignored = shutil.ignore_patterns("results", "__pycache__")
    for name in ("OwnAudio", "shared"):
        shutil.copytree(RECIPES / name, tmp_path / place / name, ignore=ignored)
    target = tmp_path / "run" / "pretrain.yaml"
    source = tmp_path / place / "OwnAudio" / "hparams" / "pretrain.yaml"
    write_hparams(source, target, {"data_folder": "/data", "size": "tiny"})
    shutil.rmtree(tmp_path / place)
    assert "data_folder" in check_overrides(str(target), "")
    with open(target, encoding="utf-8") as file:
        assert "size: tiny" in resolve_references(file).getvalue()


# ---- the end of a run

# As a train.py that imports for a while, then says when it heeds signals and trains.
TRAIN = """
import time
from ssast_recipes.experiment import run_experiment

def main(arguments):
    print("training", flush=True)
    time.sleep(60)

time.sleep({importing})
run_experiment(main)
"""
COMMAND = """
import sys
from pathlib import Path
from unittest import mock
from ssast_recipes import cli, recipe_runs

class Command:
    add_arguments = staticmethod(lambda parser: None)
    run = staticmethod(lambda arguments: recipe_runs.run_recipe("OwnAudio", Path("a.yaml")))

command = [sys.executable, {train!r}]
with mock.patch.object(recipe_runs, "train_command", lambda *arguments: command):
    with mock.patch.object(cli.importlib, "import_module", lambda name: Command):
        print("begun", flush=True)
        sys.exit(cli.main(["pretrain"]))
"""


@pytest.fixture
def start(tmp_path):
    """`start(importing)`: `ssast` in a process group of its own, at work on a train.py."""
    processes = []

    def run(importing=0):
        train = tmp_path / "train.py"
        train.write_text(TRAIN.format(importing=importing))
        script = COMMAND.format(train=str(train))
        with open(tmp_path / "printed", "w") as printed:
            process = subprocess.Popen(
                [sys.executable, "-c", script],
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        processes.append(process)
        return process

    yield run
    for process in processes:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def wait_for(path, word):
    deadline = time.monotonic() + 60
    while word not in path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("to_both", [True, False])  # as a terminal does
def test_an_interrupted_training_says_what_is_saved(start, tmp_path, number, to_both):
    process = start()
    wait_for(tmp_path / "printed", "training")
    (os.killpg if to_both else os.kill)(process.pid, number)
    assert process.wait(timeout=20) == 128 + number
    assert (tmp_path / "printed").read_text().splitlines() == [
        "begun",
        "training",
        "train.py: interrupted before training; give the same command again",
    ]
    assert not is_alive(process.pid)


def test_ctrl_c_while_it_imports_is_one_line(start, tmp_path):
    process = start(importing=60)
    wait_for(tmp_path / "printed", "begun")
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=20) == 130
    printed = (tmp_path / "printed").read_text()
    assert printed.splitlines() == ["begun", "ssast: interrupted"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process is not told")
def test_training_ends_with_a_killed_command(start, tmp_path):
    process = start()
    wait_for(tmp_path / "printed", "training")
    process.kill()
    process.wait()
    wait_for(tmp_path / "printed", "train.py: interrupted")
    deadline = time.monotonic() + 20
    while is_alive(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)
