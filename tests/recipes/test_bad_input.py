"""Bad input ends a recipe with one line that says what, where and what to do; outputs stay."""

import csv
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from speechbrain import Stage

from ssast_recipes.brains import ClassificationBrain, PretrainingBrain
from ssast_recipes.data.synthetic import make_esc50
from ssast_recipes.runs.command_line import read_experiment, run_experiment
from ssast_recipes.runs.folder import run_folder
from ssast_recipes.system.errors import RunError, explain
from tests.processes import kill_while_writing
from tests.recipes.conftest import RECIPES

HPARAMS = RECIPES / "ESC50" / "hparams"
PRETRAIN, FINETUNE = HPARAMS / "pretrain_patch.yaml", HPARAMS / "finetune_patch.yaml"
SMALL = {"embed_dim": 64, "depth": 1, "num_heads": 1, "target_length": 64, "batch_size": 4}
SMALL |= {"num_workers": 0, "log_interval": 1}
QUICK = {
    PRETRAIN: {**SMALL, "num_masked_patches": 20, "num_steps": 2, "warmup_steps": 0},
    FINETUNE: {**SMALL, "num_classes": 4, "number_of_epochs": 1}
    | {"spec_augment": "{max_frames: 16}"},
}


def words_of(hparams_file: Path, *words: Any, **values: Any) -> list[str]:
    """The arguments of a quick run; of what is given twice, the last."""
    options = {**QUICK[hparams_file], **values}
    pairs = [word for key, value in options.items() for word in (f"--{key}", value)]
    return [str(word) for word in (*pairs, *words)]


def contents(folder: Path, *but: str) -> dict[str, Any]:
    """Every file and folder below, with what the files hold."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if not any(path.match(pattern) for pattern in but)
    }


@pytest.fixture(autouse=True)
def restore_hooks(monkeypatch):
    """What `run_experiment` sets, for all of a process."""
    monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)


@pytest.fixture
def error_of(run_recipe, monkeypatch, capsys) -> Callable[..., str]:
    """`error_of(hparams_file, "--key", value, …)`: the line with which train.py ends."""

    def run(hparams_file: Path, *words: Any) -> str:
        def main(arguments):
            run_recipe("ESC50", Path(arguments[0]), *arguments[1:])

        monkeypatch.setattr(sys, "argv", ["train.py", str(hparams_file), *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            run_experiment(main)
        assert exit_.value.code == 1
        return line_of(capsys.readouterr().err)

    return run


def line_of(printed: str) -> str:
    """The only line on standard error but progress bars, checked for what all have in common."""
    [line] = [line for line in printed.splitlines() if line.strip() and "it/s]" not in line]
    assert line.startswith("train.py: error: ")
    assert not re.search(r"Traceback|\w+Error: |Errno", line)
    return line.removeprefix("train.py: error: ")


@pytest.fixture(scope="module")
def finished(run_recipe, esc50_options, tmp_path_factory) -> Callable[[Path], Path]:
    """`finished(hparams_file)`: the folder of a run that went to its end, not to be changed."""
    folders: dict[Path, Path] = {}

    def run(hparams_file: Path) -> Path:
        if hparams_file not in folders:
            folder = tmp_path_factory.mktemp(hparams_file.stem)
            words = words_of(hparams_file, output_folder=folder)
            run_recipe("ESC50", hparams_file, *esc50_options, *words)
            folders[hparams_file] = folder
        return folders[hparams_file]

    return run


@pytest.fixture
def copied(finished, tmp_path) -> Callable[[Path], Path]:
    """As `finished`, but a copy."""
    return lambda hparams_file: shutil.copytree(finished(hparams_file), tmp_path / "copy")


# ---- the command line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lrr", "1"], r"--lrr: .*/pretrain_patch.yaml has no such key; did you mean --lr\?"),
        (["--precison", "bf16"], r"--precison: .* no such key; did you mean --precision\?"),
        (["--zzzzzzz", "1"], r"--zzzzzzz: .*/pretrain_patch.yaml has no such key; look there"),
        (["--download"], "--download has no value; give one, as in --download null"),
        (["--seed", "2", "--seed", "3"], "--seed is given twice"),
        (
            ["--manifest_folder", "/a/<seed>/b"],
            "manifest_folder: /a/<seed>/b holds <seed>, in whose place",
        ),
        (["seed"], "'seed' after .*/pretrain_patch.yaml: expected --key value"),
        (["--patch_size", "[16"], r"the command line is not YAML: .* patch_size: \[16 "),
        (
            ["--schedule", "{warm: 1}"],
            r"pretrain_patch.yaml: Invalid argument .*WarmupPlateau: .*keyword argument 'warm'",
        ),
        (["--size", "huge"], "--size is 'huge'; give one of tiny, small, base"),
    ],
)
def test_what_stands_on_the_command_line(error_of, finished, words, message):
    folder = finished(PRETRAIN)
    before = contents(folder)
    line = error_of(PRETRAIN, *words, "--data_folder", "/data", "--output_folder", folder)
    assert re.search(message, line), line
    assert contents(folder) == before


def test_a_placeholder_that_was_left(error_of, finished):
    folder = finished(PRETRAIN)
    before = contents(folder)
    line = error_of(PRETRAIN, "--output_folder", folder)
    assert line == f"data_folder has no value in {PRETRAIN}; give --data_folder …"
    assert contents(folder) == before


def test_a_device_that_is_not_there(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", str(PRETRAIN), "--device", "gpu"])
    with pytest.raises(SystemExit):
        run_experiment(read_experiment)
    assert re.match("--device gpu cannot be used: .*cpu, cuda", line_of(capsys.readouterr().err))


def test_a_yaml_file_that_is_not_there(error_of, tmp_path):
    missing = tmp_path / "mine.yaml"
    line = error_of(missing)
    assert line.startswith(f"{missing}: there is no such file; give a YAML file, as in train.py ")
    assert error_of(tmp_path).startswith(f"{tmp_path} is a folder; give a YAML file, as in train")


@pytest.mark.parametrize("words", [[], ["--seed", "1"]])
def test_a_command_line_without_yaml_file(monkeypatch, capsys, words):
    monkeypatch.setattr(sys, "argv", [str(RECIPES / "ESC50" / "train.py"), *words])
    with pytest.raises(SystemExit):
        run_experiment(read_experiment)
    assert line_of(capsys.readouterr().err) == (
        "the first argument is to be a YAML file, as in train.py hparams/finetune_frame.yaml "
        "--key value; --help lists the keys"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "mine.yaml holds no keys and values"),
        (b"seed: [1", "mine.yaml is not YAML: .*line 1"),
        (b"\xff\xfe\x00", "mine.yaml is not YAML: "),
        (b"seed: 1\nseed: 2", 'mine.yaml: .*duplicate key "seed"'),
        (b"seed: !ref <speed>", "mine.yaml: The reference .speed. is not valid"),
        (b"loss: !name:my_loss.loss", "mine.yaml: There is no .*my_loss.loss; check the name"),
    ],
)
def test_a_yaml_file_that_is_wrong(error_of, tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    line = error_of(path)
    assert re.search(message, line), line


def test_a_package_that_is_not_installed(error_of, tmp_path):
    (tmp_path / "mine.yaml").write_text("loss: !name:my_loss.loss")
    (tmp_path / "my_loss.py").write_text("import absent_package.losses")
    assert error_of(tmp_path / "mine.yaml") == (
        "the Python package 'absent_package' is missing; install it: pip install absent_package"
    )


# ---- numbers that do not fit each other


@pytest.mark.parametrize(
    ("hparams_file", "values", "named"),
    [
        (PRETRAIN, {"test_fold": 6}, ["test_fold: ESC-50 has no fold 6; choose from 1 to 5"]),
        (
            PRETRAIN,
            {"patch_size": "[200,16]"},
            ["patch_size (200, 16) does not fit", "128 mel bins and 64 frames", "smaller"],
        ),
        (
            PRETRAIN,
            {"num_masked_patches": 33},
            ["at most 30 patches of a grid of 8 x 4", "OfficialClusterMasker", "=33"]
            + ["lower num_masked_patches", "target_length is 64", "patch_size (16, 16)"],
        ),
        (
            FINETUNE,
            {"spec_augment": "{max_frames: 96}", "number_of_epochs": 2},
            [
                "SpecAugment",
                "max_frames=96",
                "128 mel bins and 64 frames",
                "of spec_augment, or raise",
            ],
        ),
        (FINETUNE, {"num_classes": 50}, ["num_classes is 50", "lists 4", "--num_classes 4"]),
    ],
)
def test_numbers_that_do_not_fit(
    error_of, esc50_options, finished, tmp_path, hparams_file, values, named
):
    fresh = words_of(hparams_file, output_folder=tmp_path / "run", **values)
    line = error_of(hparams_file, *esc50_options, *fresh)
    assert all(name in line for name in named), line
    folder = finished(hparams_file)
    before = contents(folder)
    error_of(hparams_file, *esc50_options, *words_of(hparams_file, output_folder=folder, **values))
    assert contents(folder) == before


# ---- data


def spoil(change: Callable[[Path], Any]) -> Callable[[Path], None]:
    """Changes the first clip of a corpus."""
    return lambda corpus: change(min((corpus / "audio").iterdir()))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def write_nan(path: Path) -> None:
    soundfile.write(path, np.array([0.5, np.nan]), 16000, subtype="FLOAT")


def edit_meta(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def edit(corpus: Path) -> None:
        meta = corpus / "meta" / "esc50.csv"
        meta.write_bytes(change(meta.read_bytes()))

    return edit


def silence(corpus: Path) -> None:
    for path in (corpus / "audio").iterdir():
        soundfile.write(path, np.zeros(800), 16000)


FIRST = "1-100000-A-0.wav"
UNUSABLE = r"1 of 20 audio files cannot be used.*replace.*/fold1/rejected.csv.*/audio/" + FIRST


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, r"data_folder .*/corpus does not exist: .*meta/esc50.csv.*--download True"),
        (
            lambda corpus: shutil.rmtree(corpus / "meta"),
            r"data_folder .*/corpus is not ESC-50: expected meta/esc50.csv .*unpack http",
        ),
        (
            edit_meta(lambda text: text.replace(b"fold", b"split", 1)),
            r"/meta/esc50.csv is not .*: the column\(s\) fold are missing; take it from http",
        ),
        (edit_meta(lambda text: b"\xff" + text), "/meta/esc50.csv is not ESC-50's .*'utf-8'"),
        (edit_meta(lambda text: text + b'"' + b"a" * 200_000), "/meta/esc50.csv is not .*limit"),
        (edit_meta(lambda text: text + b"a.wav,1,0\n"), "csv, line 22: .*category is missing"),
        (
            spoil(Path.unlink),
            f"1 of the 20 files that .*/meta/esc50.csv lists .*/audio: {FIRST}; copy them there",
        ),
        (spoil(truncate), f"{UNUSABLE} is cut off"),
        (spoil(lambda path: path.write_bytes(b"")), f"{UNUSABLE} is an empty file"),
        (spoil(lambda path: soundfile.write(path, [], 16000)), f"{UNUSABLE} holds no samples"),
        (spoil(lambda path: path.write_text("# Notes")), f"{UNUSABLE} is not readable audio"),
        (spoil(write_nan), f"{UNUSABLE} holds samples that are not finite"),
        (silence, "all 20 clips in .*/corpus/audio are silent from end to end.*copy or convert"),
    ],
)
def test_data_that_cannot_be_used(error_of, finished, tmp_path, damage, message):
    corpus = make_esc50(tmp_path / "corpus", duration=0.05, sample_rate=16000)
    folder, manifests = finished(PRETRAIN), tmp_path / "manifests"
    before = contents(folder)
    damage(corpus)
    values = {"data_folder": corpus, "manifest_folder": manifests, "output_folder": folder}
    line = error_of(PRETRAIN, *words_of(PRETRAIN, **values))
    assert re.search(message, line), line
    assert contents(folder) == before
    assert not list(manifests.rglob("train.csv"))


def test_a_preparation_that_was_made_before_stays(error_of, run_recipe, finished, tmp_path):
    corpus = make_esc50(tmp_path / "corpus", duration=0.05, sample_rate=16000)
    manifests = tmp_path / "manifests"
    values = {"data_folder": corpus, "manifest_folder": manifests, "target_length": 32}
    values |= {"num_masked_patches": 10, "output_folder": tmp_path / "run"}
    run_recipe("ESC50", PRETRAIN, *words_of(PRETRAIN, **values))
    before = contents(manifests, "rejected.csv")
    spoil(write_nan)(corpus)
    error_of(PRETRAIN, *words_of(PRETRAIN, **values))
    assert contents(manifests, "rejected.csv") == before
    with open(manifests / "fold1" / "rejected.csv", newline="") as file:
        assert [Path(row["path"]).name for row in csv.DictReader(file)] == [FIRST]


def test_clips_that_went_bad_after_preparation(error_of, run_recipe, tmp_path):
    """Read by a loader process, whose errors come with a traceback inside."""
    corpus = make_esc50(tmp_path / "corpus", duration=0.05, sample_rate=16000)
    values = {"data_folder": corpus, "manifest_folder": tmp_path / "manifests", "num_workers": 1}
    values |= {"target_length": 32, "num_masked_patches": 10, "output_folder": tmp_path / "run"}
    run_recipe("ESC50", PRETRAIN, *words_of(PRETRAIN, **values))
    for path in (tmp_path / "manifests" / "audio_16000").iterdir():
        path.write_bytes(b"no audio")
    before = contents(tmp_path / "run")
    line = error_of(PRETRAIN, *words_of(PRETRAIN, num_steps=4, **values))
    assert re.match(
        r"21 clips drawn one after the other cannot be read; the last: /.*/audio_16000/\S+.wav: "
        r"not readable as audio: .*prepare again",
        line,
    ), line
    assert contents(tmp_path / "run") == before


# ---- checkpoints


def test_weights_of_another_geometry(error_of, esc50_options, finished, tmp_path):
    values = {"pretrained_encoder": finished(PRETRAIN), "embed_dim": 128}
    values["output_folder"] = tmp_path / "run"
    line = error_of(FINETUNE, *esc50_options, *words_of(FINETUNE, **values))
    assert re.search(r"save/CKPT.*/model.ckpt: weights of another geometry: embed_dim is 64", line)
    assert "choose size and patch_size as pretrained" in line
    assert not list((tmp_path / "run" / "save").glob("*"))


def forget(checkpoint):
    """Leaves a run without weights: neither checkpoint nor model folder."""
    checkpoint.unlink()
    shutil.rmtree(checkpoint.parents[2] / "model")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda path: path.write_bytes(path.read_bytes()[:1000]),
            "CKPT.* damaged: model.ckpt is not",
        ),
        (forget, "copy: neither a weights file, nor a checkpoint folder"),
        (
            lambda path: (path.parent / "CKPT.yaml").write_bytes(b"\x00"),
            r"CKPT\S+/CKPT.yaml is missing or damaged; name the checkpoint folder",
        ),
    ],
)
def test_weights_that_are_damaged(error_of, esc50_options, copied, tmp_path, damage, message):
    [path] = copied(PRETRAIN).glob("save/CKPT*/model.ckpt")
    damage(path)
    values = {"pretrained_encoder": tmp_path / "copy", "output_folder": tmp_path / "run"}
    line = error_of(FINETUNE, *esc50_options, *words_of(FINETUNE, **values))
    assert re.search(f"{tmp_path}.*{message}", line), line


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"embed_dim": 128}, "contrastive_head, embed_dim, encoder"),
        ({"contrastive_head": "null"}, "contrastive_head, model"),
        ({"lr": 0.5}, "lr, opt_class"),
        ({"masker": "{num_masked_patches: 7}"}, "masker"),
    ],
)
def test_a_folder_with_a_run_of_other_values(error_of, esc50_options, finished, values, message):
    folder = finished(PRETRAIN)
    before = contents(folder)
    values = {"output_folder": folder, **values}
    line = error_of(PRETRAIN, *esc50_options, *words_of(PRETRAIN, **values))
    assert line.startswith(f"output_folder {folder} holds a run with another {message}")
    assert "choose another with --output_folder" in line
    assert contents(folder) == before


def test_a_folder_with_broken_checkpoints(error_of, esc50_options, copied):
    folder = copied(PRETRAIN)
    for path in folder.glob("save/CKPT*/model.ckpt"):
        truncate(path)
    before = contents(folder)
    line = error_of(PRETRAIN, *esc50_options, *words_of(PRETRAIN, output_folder=folder))
    assert line == f"{folder}/save: none of 1 checkpoints can be read; remove them to start anew"
    assert contents(folder) == before


# ---- the output folder


def test_an_output_folder_that_cannot_be_made(error_of, tmp_path):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "run"
    line = error_of(PRETRAIN, *words_of(PRETRAIN, output_folder=folder, data_folder="/data"))
    reason = "(Not a directory); choose another output_folder"
    assert line == f"{folder}/save cannot be made {reason}"


def test_an_output_folder_that_cannot_be_written(error_of, finished, copied):
    """As root everything can be: a folder that stands in a file's place is in the way."""
    folder = copied(PRETRAIN)
    (folder / ".lock").unlink()
    (folder / ".lock").mkdir()
    before = contents(folder)
    line = error_of(PRETRAIN, *words_of(PRETRAIN, output_folder=folder, data_folder="/data"))
    assert line == (
        f"output_folder {folder} cannot be written (Is a directory); choose another with "
        "--output_folder"
    )
    assert contents(folder) == before


needs_dev_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")


@needs_dev_full
@pytest.mark.parametrize("name", ["train.py", "train_log.txt"])
def test_a_disk_that_is_full(error_of, esc50_options, copied, name):
    """At a first file of a run, and at the first after training."""
    folder = copied(PRETRAIN)
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/full")
    before = contents(folder, "metrics.jsonl", "tensorboard/*")
    values = {"output_folder": folder, "num_steps": 3}
    line = error_of(PRETRAIN, *esc50_options, *words_of(PRETRAIN, **values))
    full = "No space left on device; free some space, then give the same command again"
    assert line.startswith(str(folder)) and line.endswith(full)
    assert contents(folder, "metrics.jsonl", "tensorboard/*") == before


def test_a_disk_that_was_full_before(error_of, finished, monkeypatch):
    folder = finished(PRETRAIN)
    before = contents(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**20 - 1))
    line = error_of(PRETRAIN, *words_of(PRETRAIN, output_folder=folder, data_folder="/data"))
    assert line == (
        f"output_folder {folder} cannot be written (No space left on device); choose another with "
        "--output_folder"
    )
    assert contents(folder) == before


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
        RuntimeError("basic_ios::clear: iostream error"),
    ],
    ids=str,
)
def test_a_disk_too_full_for_a_checkpoint(error_of, esc50_options, copied, monkeypatch, error):
    """What torch.save raises was seen on a small file system."""

    def save(value, path):
        Path(path).write_bytes(b"half of it")
        raise error

    folder = copied(PRETRAIN)
    log = "metrics.jsonl", "train_log.txt", "tensorboard/*", "pictures/*"
    before = contents(folder, *log)
    words = *esc50_options, *words_of(PRETRAIN, output_folder=folder, num_steps=3)
    with monkeypatch.context() as context:
        context.setattr(torch, "save", save)
        line = error_of(PRETRAIN, *words)
    assert line.startswith(f"{folder}/save: a checkpoint cannot be written, most likely for want")
    assert contents(folder, *log) == before


def test_a_second_run_is_refused_while_the_first_runs(
    run_recipe, esc50_options, tmp_path, monkeypatch
):
    """The second is another process; so are the exit status and what it prints."""
    folder = tmp_path / "run"
    words = words_of(PRETRAIN, *esc50_options, output_folder=folder)
    second = []

    def start_second(brain, *args, fit=PretrainingBrain.fit, **kwargs):
        before = contents(folder, ".lock")  # reading it here would give it away
        command = [sys.executable, str(RECIPES / "ESC50" / "train.py"), str(PRETRAIN), *words]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        second.append(
            subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
        )
        assert contents(folder, ".lock") == before
        fit(brain, *args, **kwargs)

    monkeypatch.setattr(PretrainingBrain, "fit", start_second)
    run = run_recipe("ESC50", PRETRAIN, *words)
    assert (second[0].returncode, "Traceback" in second[0].stdout) == (1, False)
    line = line_of(second[0].stderr)
    assert line.startswith(f"another run (process {os.getpid()} on ")
    assert f"is writing to output_folder {folder}; wait for its end, or choose another" in line
    assert run.results["steps"]["last"] == 2


def test_a_killed_run_does_not_keep_its_folder(tmp_path):
    program = (
        "import sys, time, fcntl; file = open(sys.argv[1], 'w');"
        "fcntl.lockf(file, fcntl.LOCK_EX); print('', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        try:
            other.stdout.readline()
            with pytest.raises(RunError, match="another run"), run_folder(tmp_path):
                pass
        finally:
            other.kill()
    with run_folder(tmp_path):
        assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} ")


def test_the_record_stays_with_the_checkpoints_it_tells_of(tmp_path):
    """A run that fails puts hyperparams.yaml back, unless it saved a checkpoint."""
    record = tmp_path / "hyperparams.yaml"

    def fail(text: str, checkpoint: str | None = None) -> None:
        with pytest.raises(KeyboardInterrupt), run_folder(tmp_path):
            record.write_text(text)
            if checkpoint:
                (tmp_path / "save" / checkpoint).mkdir(parents=True)
            raise KeyboardInterrupt

    fail("first")
    fail("second")
    assert record.read_text() == "second"  # no checkpoint yet
    fail("third", "CKPT+1")
    fail("fourth")
    assert record.read_text() == "third"
    fail("fifth", "CKPT+2")
    assert record.read_text() == "fifth"


@pytest.mark.parametrize("text", ["", "lr: [", None], ids=["empty", "cut off", "missing"])
def test_a_run_whose_values_are_lost_is_not_gone_on_with(tmp_path, text):
    """As after a kill at start-up, when SpeechBrain wrote hyperparams.yaml in place."""
    (tmp_path / "save" / "CKPT+1").mkdir(parents=True)
    if text is not None:
        (tmp_path / "hyperparams.yaml").write_text(text)
    before = contents(tmp_path)
    told = "hyperparams.yaml .*: nobody knows with which values the checkpoints beside it were made"
    with pytest.raises(ValueError, match=told), run_folder(tmp_path, "lr: 0.1"):
        pass
    assert contents(tmp_path, ".lock") == before


def test_a_run_option_that_is_no_key_may_not_change_either(error_of, esc50_options, copied):
    """`--eval_precision` decides which checkpoint is the best."""
    folder = copied(PRETRAIN)
    words = words_of(PRETRAIN, output_folder=folder, num_steps=3, eval_precision="bf16")
    line = error_of(PRETRAIN, *esc50_options, *words)
    assert line.startswith(f"output_folder {folder} holds a run with another eval_precision; ")


def test_a_kill_at_start_up_leaves_the_values(tmp_path, monkeypatch):
    with run_folder(tmp_path, "lr: 0.1 # before"):
        (tmp_path / "save" / "CKPT+1").mkdir(parents=True)
    child = os.fork()
    if child == 0:  # killed at every write to the folder, the first included
        write = Path.write_text

        def killed(path, text, **options):
            write(path, text[: len(text) // 2], **options)
            os.kill(os.getpid(), signal.SIGKILL)

        monkeypatch.setattr(Path, "write_text", killed)
        with run_folder(tmp_path, "lr: 0.1 # now"):
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert (tmp_path / "hyperparams.yaml").read_text() == "lr: 0.1 # before"


def test_a_run_sweeps_what_killed_ones_left_of_models_and_pictures(tmp_path):
    for name in ("results.json", "model/model.safetensors", "pictures/found_1.png"):
        kill_while_writing(tmp_path / name)
    assert len(list(tmp_path.rglob("*.part"))) == 3
    with run_folder(tmp_path):
        assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (SystemExit(0), {"log.txt", "manifests/train.csv"}),  # --prepare_only
        (KeyboardInterrupt(), {"log.txt", "manifests/train.csv"}),
        (torch.OutOfMemoryError("CUDA out of memory"), {"log.txt", "manifests/train.csv"}),
        (ValueError("a bad probe"), {"log.txt", "manifests/train.csv"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_start_that_failed_leaves_what_preparation_made(tmp_path, error, left):
    folder = tmp_path / "results" / "run"
    with pytest.raises(type(error)), run_folder(folder, "lr: 0.1"):
        begin(folder)
        (folder / "manifests" / "train.csv").parent.mkdir()
        (folder / "manifests" / "train.csv").write_text("the work of an hour")
        raise error
    assert files_in(folder) == left


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (ValueError("told in one line"), None),
        (KeyboardInterrupt(), None),
        (torch.OutOfMemoryError("CUDA out of memory"), {"log.txt"}),
        (IndexError("a mistake of ours"), {"log.txt"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_start_that_failed_leaves_the_log_if_it_tells_more(tmp_path, error, left):
    folder = tmp_path / "results" / "run"
    with pytest.raises(type(error)), run_folder(folder, "lr: 0.1"):
        begin(folder)
        raise error
    assert (files_in(folder) if (tmp_path / "results").exists() else None) == left


def begin(folder):
    """What a start leaves before the first line of the log."""
    for name in ("train.py", "env.log", "log.txt", "tensorboard/events", "save/partial-1/a.ckpt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("made")


def files_in(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# ---- training


def test_a_loss_that_is_not_finite(error_of, esc50_options, tmp_path):
    values = {"output_folder": tmp_path / "run", "num_steps": 6, "reconstruction_weight": "1.0e+39"}
    line = error_of(PRETRAIN, *esc50_options, *words_of(PRETRAIN, **values))
    assert re.match(r"the loss is not finite at step \d; lower the learning", line)
    assert not list(tmp_path.glob("run/save/CKPT*"))


def test_a_gpu_that_is_out_of_memory(error_of, esc50_options, finished, monkeypatch):
    def compute_forward(brain, batch, stage):
        assert stage == Stage.TRAIN
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.10 "
            "GiB of which 10.00 MiB is free. See documentation for Memory Management"
        )

    folder = finished(FINETUNE)
    before = contents(folder)
    monkeypatch.setattr(ClassificationBrain, "compute_forward", compute_forward)
    values = {"output_folder": folder, "number_of_epochs": 2}
    line = error_of(FINETUNE, *esc50_options, *words_of(FINETUNE, **values))
    assert line == (
        "CUDA out of memory. Tried to allocate 20.00 MiB; halve batch_size and double "
        "grad_accumulation_factor, which gives the same result"
    )
    assert contents(folder) == before


# ---- how errors are told


def fail_with(error: Exception) -> Callable:
    def main(arguments):
        raise error

    return main


@pytest.fixture
def log_file(tmp_path):
    """A log file such as SpeechBrain sets up, and a console handler."""
    handlers = [logging.FileHandler(tmp_path / "log.txt"), logging.StreamHandler(sys.stdout)]
    root = logging.getLogger()
    for handler in handlers:
        root.addHandler(handler)
    yield tmp_path / "log.txt"
    for handler in handlers:
        root.removeHandler(handler)
        handler.close()


def test_the_log_gets_the_line_and_the_traceback(monkeypatch, capsys, log_file):
    monkeypatch.setattr(sys, "argv", ["/here/train.py", "mine.yaml"])
    with pytest.raises(SystemExit):
        run_experiment(fail_with(ValueError("seed is 100 %\n  too high")))
    assert capsys.readouterr() == ("", "train.py: error: seed is 100 % too high\n")
    assert not logging.raiseExceptions  # of a full disk
    first, *others = log_file.read_text().splitlines()
    assert first == "seed is 100 % too high"
    assert others[0].startswith("Traceback") and others[-1] == "  too high"


def test_debug_shows_the_traceback(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", "mine.yaml", "--debug"])
    with pytest.raises(SystemExit) as exit_:
        run_experiment(fail_with(ValueError("no fold 6")))
    printed = capsys.readouterr().err
    assert exit_.value.code == 1
    assert printed.startswith("Traceback (most recent call last):\n") and "in main" in printed
    assert printed.endswith("ValueError: no fold 6\ntrain.py: error: no fold 6\n")


@pytest.mark.parametrize(
    ("error", "last"), [(OSError(28, "full"), None), (IndexError("7"), "IndexError: 7")]
)
def test_threads_are_as_silent(monkeypatch, capsys, error, last):
    """TensorBoard writes in a thread; its next call raises in the main thread what was raised."""

    def main(arguments):
        thread = threading.Thread(target=fail_with(error), args=[[]])
        thread.start()
        thread.join()

    monkeypatch.setattr(sys, "argv", ["train.py"])
    run_experiment(main)
    printed = capsys.readouterr().err.splitlines()
    assert (printed[-1] if printed else None) == last


@pytest.mark.parametrize("error", [IndexError("7"), RuntimeError("shapes"), KeyError("lr")])
def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch, error):
    monkeypatch.setattr(sys, "argv", ["train.py", "mine.yaml"])
    with pytest.raises(type(error)):
        run_experiment(fail_with(error))


SHARED_MEMORY_IS_FULL = (
    "shared memory, /dev/shm, in which loading workers hand over batches, is full; start the "
    "container with more (docker run --shm-size 8g), or give fewer num_workers, or 0; the same "
    "command goes on from the last checkpoint"
)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError(), "ValueError"),
        (RunError("a\n b"), "a b"),
        (
            RuntimeError("[unbound_buffer.cc:78] Timed out waiting 7200000ms for recv operation"),
            "another process of this run ended or hangs (Timed out waiting 7200000ms); the same "
            "command goes on from the last checkpoint",
        ),
        (OSError("the disk is slow"), "the disk is slow"),
        (PermissionError(13, "Permission denied", "/x"), "/x: Permission denied"),
        (ModuleNotFoundError("no", name="ssast_recipes.nothing"), None),
        (ImportError("cannot import name"), None),
        (ValueError("word " * 500), "word " * 119 + "…"),
        (
            RuntimeError("unable to write to file </torch_7_1_0>: No space left on device (28)"),
            SHARED_MEMORY_IS_FULL,
        ),
        (
            RuntimeError(
                "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that "
                "dataloader's workers are out of shared memory."
            ),
            SHARED_MEMORY_IS_FULL,
        ),
        (
            MemoryError("Unable to allocate 4.00 GiB for an array"),
            "out of memory (Unable to allocate 4.00 GiB for an array); halve batch_size and double "
            "grad_accumulation_factor, which gives the same result",
        ),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
            "DataLoader worker (pid 7) is killed by signal: Killed; the same command goes on from "
            "the last checkpoint; if it happens again, try fewer num_workers, or 0",
        ),
    ],
)
def test_explain(error, line):
    assert explain(error) == line


def test_memory_that_torch_does_not_get_is_told_in_one_line():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**58)
    expected = r"1,152,921,504.61 GB more of memory are not there; halve batch_size .* same result"
    assert re.fullmatch(expected, explain(raised.value))
