"""What a user of train.py sees besides errors: help, the first lines, warnings, interruptions."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ssast_recipes.runs import command_line as experiment
from ssast_recipes.runs.command_line import read_experiment
from ssast_recipes.runs.command_line_help import describe_usage
from tests.recipes.conftest import RECIPES

TRAIN = RECIPES / "ESC50" / "train.py"
PRETRAIN = RECIPES / "ESC50" / "hparams" / "pretrain_patch.yaml"
FINETUNE = RECIPES / "ESC50" / "hparams" / "finetune_patch.yaml"
QUICK = ["--embed_dim", 32, "--depth", 1, "--num_heads", 1, "--target_length", 64]
QUICK += ["--batch_size", 4, "--num_workers", 1, "--log_interval", 1]
MASKED = ["--num_masked_patches", 20, "--warmup_steps", 0]


# ---- help


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_lists_the_keys_of_the_yaml_file(monkeypatch, capsys, word):
    monkeypatch.setattr(sys, "argv", [str(TRAIN)])
    with pytest.raises(SystemExit) as exit_:
        read_experiment([str(PRETRAIN), word])
    assert exit_.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "usage: python train.py YAML [--key value …] [run options]"
    assert "  --data_folder (to be given)             e.g. /data/ESC-50-master" in lines
    assert "  --num_masked_patches 200                of 256" in lines
    assert lines[lines.index("Front end") + 1] == "  --sample_rate 16000"
    assert "  --masker !new:ssast_recipes.model.OfficialClusterMasker" in lines
    assert any(line.startswith("  --precision fp32") for line in lines)
    keys = [key for key in PRETRAIN.read_text().splitlines() if key[:1].isalpha()]
    assert sum(line.startswith("  --") for line in lines) == len(keys) + 11


def test_help_names_the_yaml_files(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(TRAIN), "--help"])
    with pytest.raises(SystemExit):
        read_experiment(["--help"])
    printed = capsys.readouterr().out
    assert "\n  python train.py hparams/pretrain_patch.yaml --help\n" in printed


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("lr: 1e-4", "  --lr 1e-4"),
        ("lr: 1e-4   # high", "  --lr 1e-4                               high"),
        ("name: a#b", "  --name a#b"),
        ("parts:", "  --parts …"),
        ("parts: # of it", "  --parts …                               of it"),
        ("    nested: 1", None),
        ("__set_seed: 1", None),
        ("- item", None),
    ],
)
def test_what_help_makes_of_a_line(tmp_path, line, shown):
    path = tmp_path / "mine.yaml"
    path.write_text(f"{line}\n")
    listed = describe_usage("train.py", path).split("\n\n")[1].splitlines()[1:]
    assert listed == ([shown] if shown else [])


# ---- the whole, as another process


@pytest.fixture
def start(esc50_options, tmp_path):
    """`start(hparams_file, "--key", value, …)`: the running process, its output in `printed`."""
    processes = []

    def run(hparams_file: Path, *words: object, launcher: tuple[str, ...] = ()) -> subprocess.Popen:
        command = [sys.executable, *launcher, TRAIN, hparams_file, *QUICK, *esc50_options]
        command += ["--output_folder", tmp_path / "run", "--device", "cpu", *words]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with open(tmp_path / "printed", "w") as printed:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdout=printed,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=tmp_path,
            )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.wait()


def wait_for_checkpoint(process: subprocess.Popen, folder: Path) -> None:
    deadline = time.monotonic() + 60
    while not list(folder.glob("run/save/CKPT*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_an_interrupted_run_says_what_is_saved(start, tmp_path, number):
    words = [*MASKED, "--num_steps", 100_000, "--valid_interval", 5, "--noprogressbar"]
    process = start(PRETRAIN, *words)
    wait_for_checkpoint(process, tmp_path)
    process.send_signal(number)
    assert process.wait(timeout=20) == 128 + number
    *before, line = (tmp_path / "printed").read_text().splitlines()
    assert line.startswith("train.py: interrupted after step ")
    assert line.endswith(f", in {tmp_path}/run/save; the same command goes on from there")
    after, saved = (int(word.strip(";,")) for word in line.split() if word.strip(";,").isdigit())
    assert 5 <= saved <= after and saved % 5 == 0
    assert "Traceback" not in "".join(before)
    # What a user sees first: little, and nothing of SpeechBrain's.
    assert not [one for one in before if one.startswith("speechbrain")]
    assert any("parameters" in one and "fp32" in one for one in before)
    assert any("100,000 steps" in one for one in before)
    assert " - matplotlib" not in (tmp_path / "run" / "log.txt").read_text()


def test_an_error_that_a_signal_caused_is_an_interruption(monkeypatch, capsys):
    """Python drops what a signal raises while a process forks: then its loader is found dead."""

    def main(arguments):
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise RuntimeError("DataLoader worker exited unexpectedly") from None

    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setattr(experiment, "_quieten_others", lambda: None)
    monkeypatch.setattr(logging, "raiseExceptions", True)  # what run_experiment sets is put back
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    with pytest.raises(SystemExit) as ended:
        experiment.run_experiment(main)
    assert ended.value.code == 143
    assert "interrupted before training; give the same command" in capsys.readouterr().err


@pytest.mark.slow
def test_interrupted_processes_end_together(start, tmp_path):
    words = [*MASKED, "--num_steps", 100_000, "--valid_interval", 5, "--noprogressbar"]
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    process = start(PRETRAIN, *words, launcher=launcher)
    wait_for_checkpoint(process, tmp_path)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=40)
    printed = (tmp_path / "printed").read_text()
    assert printed.count("train.py: interrupted after step ") == 1
    assert 'train.py", line' not in printed


def test_a_failed_start_leaves_nothing(start, tmp_path):
    process = start(PRETRAIN, *MASKED, "--data_folder", "/absent", "--manifest_folder", "m")
    assert process.wait(timeout=60) == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"printed", "m"}


@pytest.mark.slow
def test_a_failed_start_leaves_a_folder_as_it_was(start, tmp_path):
    (tmp_path / "run").mkdir()
    assert start(PRETRAIN, "--size", "huge").wait(timeout=60) == 1
    assert (tmp_path / "run").exists()
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.slow
def test_several_processes_that_fail_at_the_start_leave_nothing(start, tmp_path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    assert start(PRETRAIN, "--size", "huge", launcher=launcher).wait(timeout=60) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["printed"]
    assert "size is one of tiny, small, base, not 'huge'" in (tmp_path / "printed").read_text()


def test_the_record_says_which_fold_pretraining_left_out(run_recipe, esc50_options, tmp_path):
    folders = [tmp_path / name for name in ("pretrained", "tuned")]
    words = [*QUICK, *esc50_options]
    run_recipe("ESC50", PRETRAIN, *words, *MASKED, "--num_steps", 1, "--output_folder", folders[0])
    words += ["--num_classes", 4, "--number_of_epochs", 1, "--spec_augment", "{max_frames: 16}"]
    words += ["--pretrained_encoder", folders[0], "--output_folder", folders[1]]
    run_recipe("ESC50", FINETUNE, *words)
    assert (
        json.loads((folders[1] / "results.json").read_text())["pretrained_from"]["test_fold"] == 1
    )
