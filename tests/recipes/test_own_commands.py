"""`ssast pretrain` and `ssast finetune`: what they check, plan, keep, and how they end."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import numpy as np
import pytest
import soundfile
import torch
from hyperpyyaml import resolve_references

from ssast_recipes.commands.main import main
from ssast_recipes.records.hparams_text import write_hparams
from ssast_recipes.records.overrides import check_overrides
from ssast_recipes.system.machine import control_group_memory, free_memory
from tests.processes import has_members, running, wait_until
from tests.recipes.conftest import RECIPES
from tests.weights.formats.test_folder import save


@pytest.fixture(autouse=True)
def step_seconds(monkeypatch):
    """Steps are not timed, and frames and patches not tried."""
    monkeypatch.setattr("ssast_recipes.runs.own.timing.measure_step", lambda *_: 0.01)
    monkeypatch.setattr("ssast_recipes.runs.own.pretraining.try_out", lambda *_: 0.5)


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
    monkeypatch.setattr("ssast_recipes.system.machine.control_group_memory", lambda: 5.0)
    assert free_memory(torch.device("cpu")) == 5.0


# ---- the plan


def plan(command, *words):
    return main([command, *map(str, words), "--device", "cpu", "--plan"])


@pytest.mark.parametrize("number", ["0", "-5", "1.5", "many"])
@pytest.mark.parametrize(
    "words", [["pretrain", "A", "--steps"], ["finetune", "A", "B", "--epochs"]]
)
def test_a_length_is_a_whole_number_above_0(capsys, words, number):
    with pytest.raises(SystemExit) as exit_:
        main([*words, number])
    assert exit_.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.endswith(
        f"argument {words[-1]}: expected a whole number above 0, found {number!r}"
    )


def test_the_folder_above_has_a_name(write_sounds, tmp_path, monkeypatch):
    below = write_sounds(tmp_path / "sounds") / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    assert plan("pretrain", "..", "--steps", 2) == 0
    assert (below / "results" / "pretrain" / "sounds" / "pretrain.yaml").exists()


@pytest.fixture
def labelled(write_sounds, tmp_path):
    """A model folder and a table of two classes, of ten files each, and where to plan."""
    save(tmp_path / "encoder", "encoder")
    rows = ["path,label"]
    for name in ("dog", "rain"):
        write_sounds(tmp_path / name)
        rows += [f"{name}/{number}.wav,{name}" for number in range(10)]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return [tmp_path / "encoder", tmp_path / "labels.csv", "--output", tmp_path / "run"]


def add_class(folder):
    with open(folder / "labels.csv", "a") as file:
        file.write("\n" + "\n".join(f"{number}.wav,wind" for number in range(5)))
    for number in range(5):
        shutil.copy(folder / "dog" / "0.wav", folder / f"{number}.wav")


def test_other_labels_are_planned_anew_until_there_is_a_checkpoint(labelled, tmp_path, capsys):
    hparams_file = tmp_path / "run" / "finetune.yaml"
    assert plan("finetune", *labelled) == 0
    assert "num_classes: 2" in hparams_file.read_text()
    add_class(tmp_path)
    assert plan("finetune", *labelled) == 0
    assert "num_classes: 3" in hparams_file.read_text()
    assert "25 files of 3 classes" in capsys.readouterr().out
    assert plan("finetune", *labelled) == 0
    assert f"Going on with {hparams_file}" in capsys.readouterr().out
    (tmp_path / "run" / "save" / "CKPT+1").mkdir(parents=True)
    (tmp_path / "labels.csv").write_text("path,label\ndog/0.wav,dog\nrain/0.wav,rain\n")
    before = hparams_file.read_text()
    assert plan("finetune", *labelled) == 1
    assert capsys.readouterr().err.strip() == (
        f"ssast: error: {tmp_path}/run was begun with other options (classes was 3: dog, rain, "
        "wind, is 2: dog, rain); choose another --output"
    )
    assert hparams_file.read_text() == before


def test_what_was_changed_by_hand_stays(labelled, tmp_path, capsys):
    hparams_file = tmp_path / "run" / "finetune.yaml"
    assert plan("finetune", *labelled) == 0
    text = hparams_file.read_text().replace("seed: 1", "seed: 7")
    hparams_file.write_text(text)
    table = tmp_path / "labels.csv"
    table.write_text(table.read_text().rpartition("\n")[0])  # a file less, of the same classes
    assert plan("finetune", *labelled) == 0
    assert "Going on with" in capsys.readouterr().out and hparams_file.read_text() == text
    add_class(tmp_path)
    assert plan("finetune", *labelled) == 1
    error = capsys.readouterr().err
    assert f"{hparams_file} was changed by hand, for other options (classes was 2: dog" in error
    assert "remove it to plan anew, or choose another --output" in error
    assert hparams_file.read_text() == text
    hparams_file.unlink()
    assert plan("finetune", *labelled) == 0
    assert "num_classes: 3" in hparams_file.read_text()


def test_what_was_changed_by_hand_in_an_included_file_stays(write_sounds, tmp_path):
    words = [write_sounds(tmp_path / "sounds"), "--output", tmp_path / "run"]
    assert plan("pretrain", *words, "--steps", 2) == 0
    included = tmp_path / "run" / "model.yaml"
    text = included.read_text() + "# by hand\n"
    included.write_text(text)
    write_sounds(tmp_path / "sounds" / "more", 5)
    assert plan("pretrain", *words, "--steps", 2) == 0 and included.read_text() == text
    assert plan("pretrain", *words, "--steps", 3) == 1 and included.read_text() == text


def test_more_audio_is_planned_anew(write_sounds, tmp_path, capsys):
    words = [write_sounds(tmp_path / "sounds"), "--output", tmp_path / "run"]
    assert plan("pretrain", *words, "--steps", 2) == 0
    write_sounds(tmp_path / "sounds" / "more", 5)
    assert plan("pretrain", *words, "--steps", 2) == 0
    assert "batch_size: 15" in (tmp_path / "run" / "pretrain.yaml").read_text()
    assert plan("pretrain", *words, "--steps", 3) == 0  # nothing has been trained, or changed
    assert "num_steps: 3" in (tmp_path / "run" / "pretrain.yaml").read_text()
    (tmp_path / "run" / "save" / "CKPT+1").mkdir(parents=True)
    write_sounds(tmp_path / "sounds" / "yet more", 5)
    capsys.readouterr()
    assert plan("pretrain", *words, "--steps", 3) == 0  # train.py is to judge that
    assert "Going on with" in capsys.readouterr().out


def test_a_run_that_has_begun_goes_on_for_more_steps(write_sounds, tmp_path, capsys):
    words = [write_sounds(tmp_path / "sounds"), "--output", tmp_path / "run"]
    hparams_file = tmp_path / "run" / "pretrain.yaml"
    assert plan("pretrain", *words, "--steps", 2) == 0
    before = hparams_file.read_text()
    (tmp_path / "run" / "save" / "CKPT+1").mkdir(parents=True)
    for more in (["--steps", 3, "--size", "small"], ["--steps", 1], []):
        assert plan("pretrain", *words, *more) == 1
        assert "choose another --output" in capsys.readouterr().err
    assert hparams_file.read_text() == before
    assert plan("pretrain", *words, "--steps", 3) == 0
    assert "num_steps was 2, is 3" in capsys.readouterr().out
    assert hparams_file.read_text() == before.replace("num_steps: 2", "num_steps: 3")
    assert plan("pretrain", *words, "--steps", 3) == 0


def test_a_run_that_has_begun_goes_on_for_more_minutes(write_sounds, tmp_path, capsys):
    words = [write_sounds(tmp_path / "sounds"), "--output", tmp_path / "run"]
    hparams_file = tmp_path / "run" / "pretrain.yaml"
    assert plan("pretrain", *words, "--minutes", 1) == 0
    before = hparams_file.read_text()
    (steps,) = re.findall(r"^num_steps: (\d+)$", before, re.MULTILINE)
    (tmp_path / "run" / "save" / "CKPT+1").mkdir(parents=True)
    for more in (["--minutes", 3, "--size", "small"], ["--minutes", 0.5]):
        assert plan("pretrain", *words, *more) == 1
        assert "choose another --output" in capsys.readouterr().err
    assert hparams_file.read_text() == before
    assert plan("pretrain", *words, "--minutes", 3) == 0
    longer = f"num_steps: {3 * int(steps)}"
    assert hparams_file.read_text() == before.replace(f"num_steps: {steps}", longer)
    assert plan("pretrain", *words, "--minutes", 3) == 0
    assert "Going on with" in capsys.readouterr().out


def test_a_run_planned_by_minutes_goes_on_by_steps(write_sounds, tmp_path, capsys):
    words = [write_sounds(tmp_path / "sounds"), "--output", tmp_path / "run"]
    hparams_file = tmp_path / "run" / "pretrain.yaml"
    assert plan("pretrain", *words, "--minutes", 1) == 0
    before = hparams_file.read_text()
    (steps,) = re.findall(r"^num_steps: (\d+)$", before, re.MULTILINE)
    (tmp_path / "run" / "save" / "CKPT+1").mkdir(parents=True)
    for fewer in (["--steps", 1], ["--steps", int(steps) + 5, "--size", "small"]):
        assert plan("pretrain", *words, *fewer) == 1
        assert "choose another --output" in capsys.readouterr().err
    for _ in range(2):
        assert plan("pretrain", *words, "--steps", int(steps) + 5) == 0
        longer = before.replace(f"num_steps: {steps}", f"num_steps: {int(steps) + 5}")
        assert hparams_file.read_text() == longer


def test_files_that_cannot_be_read_are_told_of_labels(labelled, tmp_path, capsys):
    for number in range(2):
        (tmp_path / "dog" / f"{number}.wav").unlink()
    assert plan("finetune", *labelled) == 0
    said = capsys.readouterr().out
    assert f"cannot be used: {tmp_path}/dog/0.wav is not there" in said
    line = next(line for line in said.splitlines() if " files of " in line)
    counts = [int(word.strip(",")) for word in line.split() if word[0].isdigit()]
    assert counts[0] == 20 and sum(counts[2:]) == 18  # training, validation, test
    assert len((tmp_path / "run" / "rejected.csv").read_text().splitlines()) == 3
    for number in range(2, 6):
        (tmp_path / "dog" / f"{number}.wav").unlink()
    (tmp_path / "run" / "finetune.yaml").unlink()
    assert plan("finetune", *labelled) == 1
    assert "6 of 20 audio files cannot be used" in capsys.readouterr().err
    assert not (tmp_path / "run" / "finetune.yaml").exists()


def test_other_values_need_another_folder(write_sounds, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ssast_recipes.commands.pretrain.run_own", lambda *_: None)
    folder = write_sounds(tmp_path / "sounds")
    assert main(["pretrain", str(folder), "--output", str(tmp_path / "run"), "--steps", "2"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert f"{tmp_path}/run/pretrain.yaml --output_folder " in last


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
from ssast_recipes.runs.command_line import run_experiment

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
from ssast_recipes.commands import main as cli
from ssast_recipes.runs.own import request

class Command:
    add_arguments = staticmethod(lambda parser: None)
    run = staticmethod(lambda arguments: request.run_own(Path("a.yaml")))

command = [sys.executable, {train!r}]
with mock.patch.object(request, "own_command", lambda *arguments: command):
    with mock.patch.object(cli, "import_command", lambda name: Command):
        print("begun", flush=True)
        sys.exit(cli.main(["pretrain"]))
"""


@pytest.fixture
def start(tmp_path):
    """`start(importing)`: `ssast` in a process group of its own, at work on a train.py."""
    with ExitStack() as stack:

        def begin(importing=0):
            train = tmp_path / "train.py"
            train.write_text(TRAIN.format(importing=importing))
            script = COMMAND.format(train=str(train))
            printed = stack.enter_context(open(tmp_path / "printed", "w"))
            command = [sys.executable, "-c", script]
            return stack.enter_context(running(command, stdout=printed, stderr=subprocess.STDOUT))

        yield begin


def wait_for(path, word):
    wait_until(lambda: word in path.read_text())


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
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
    assert not has_members(process.pid)


def test_ctrl_c_while_it_imports_is_one_line(start, tmp_path):
    process = start(importing=60)
    wait_for(tmp_path / "printed", "begun")
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=20) == 130
    printed = (tmp_path / "printed").read_text()
    assert printed.splitlines() == ["begun", "ssast: interrupted"]


@pytest.mark.parametrize("importing", [0, 60])
def test_training_ends_with_a_killed_command(start, tmp_path, importing):
    process = start(importing)
    wait_for(tmp_path / "printed", "begun" if importing else "training")
    time.sleep(1)
    process.kill()
    process.wait()
    if not importing:
        wait_for(tmp_path / "printed", "train.py: interrupted")
    wait_until(lambda: not has_members(process.pid), seconds=60)
