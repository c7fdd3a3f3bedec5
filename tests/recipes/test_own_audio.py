"""From a folder of audio to a classifier, by the commands of the README and by the recipe."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ssast_recipes import AudioClassifier, AudioEncoder
from ssast_recipes.commands.main import main
from ssast_recipes.data.headers import AudioInfo
from ssast_recipes.data.labels import ClassEncoder
from ssast_recipes.data.manifest import iterate_manifests, read_manifest
from ssast_recipes.data.preparation import own_audio
from ssast_recipes.data.preparation.labelled_files import (
    SPLITS,
    LabelledFile,
    read_labelled_files,
    split_files,
)
from ssast_recipes.data.preparation.own_audio import prepare_labelled, prepare_unlabelled
from ssast_recipes.data.synthetic.sounds import FAMILIES, make_sound
from ssast_recipes.data.table import ClipTable
from ssast_recipes.records.predictions import load_predictions, write_predictions
from ssast_recipes.records.results import write_per_class
from ssast_recipes.records.run import Run
from ssast_recipes.runs import crossval
from ssast_recipes.runs.own import comparison
from ssast_recipes.runs.own.budget import choose_steps
from ssast_recipes.runs.own.plans import choose_batch
from ssast_recipes.system.tables import write_csv
from tests.conftest import REPOSITORY
from tests.recipes.conftest import RECIPES

HPARAMS = RECIPES / "OwnAudio" / "hparams"
NAMES = list(FAMILIES)[:3]
SMALL = {"embed_dim": 32, "depth": 1, "num_heads": 2, "num_workers": 0, "log_interval": 1}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Class folders of half seconds, a long recording, a text file and two broken files."""
    folder = tmp_path_factory.mktemp("own") / "Töne"
    random = np.random.default_rng(1)
    for name in NAMES:
        (folder / name).mkdir(parents=True)
        for number in range(10):
            sound = make_sound(name, 0.5, 16000, random)
            soundfile.write(folder / name / f"{number}.wav", sound, 16000)
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 8000 * 4)
    soundfile.write(folder / "long.flac", noise, 8000)
    (folder / "notes.txt").write_text("nothing to hear")
    (folder / "empty.wav").touch()
    soundfile.write(folder / "cut.ogg", noise, 16000)
    whole = (folder / "cut.ogg").read_bytes()
    (folder / "cut.ogg").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture
def labels(corpus, tmp_path):
    """A table of the class folders' files, in which some have two labels."""

    def write(several=False, **columns):
        with open(tmp_path / "labels.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "label", *columns])
            for name in NAMES:
                for number in range(10):
                    label = f"{name};even" if several and number % 2 == 0 else name
                    more = [column(number) for column in columns.values()]
                    writer.writerow([corpus / name / f"{number}.wav", label, *more])
        return tmp_path / "labels.csv"

    return write


def run_small(hparams_file, device=None):
    """Stands in for a process of its own, and makes the model small."""
    options = SMALL | getattr(run_small, "more", {}).get(hparams_file.name, {})
    run_small.recipe(
        "OwnAudio", hparams_file, *[w for k, v in options.items() for w in (f"--{k}", v)]
    )


@pytest.fixture(autouse=True)
def step_seconds(monkeypatch):
    """Steps are not timed, and frames and patches not tried."""
    monkeypatch.setattr("ssast_recipes.runs.own.timing.measure_step", lambda *_: 0.01)
    monkeypatch.setattr("ssast_recipes.runs.own.pretraining.try_out", lambda *_: 0.5)


@pytest.fixture
def in_process(monkeypatch, run_recipe):
    run_small.recipe, run_small.more = run_recipe, {}
    for command in ("pretrain", "finetune"):
        monkeypatch.setattr(f"ssast_recipes.commands.{command}.run_own", run_small)


@pytest.fixture
def pretrained(corpus, tmp_path, in_process, capsys):
    words = ["pretrain", str(corpus), "--steps", "4", "--output", str(tmp_path / "pretrained")]
    assert main(words) == 0
    return words, capsys.readouterr().out


def test_a_folder_becomes_an_encoder(pretrained, corpus, tmp_path, capsys):
    words, said = pretrained
    output = tmp_path / "pretrained"
    assert "31 audio files, 0.01 hours (30 wav, 1 flac; 30 16 kHz, 1 8 kHz)" in said
    assert "1 other file(s) passed over" in said
    assert f"{corpus}/empty.wav is an empty file" in said and f"{corpus}/cut.ogg" in said
    assert "of 31 clips 0% are silent" in said or "clips 0% are silent" in said
    assert "Plan: frames of 128 mel bins × 1: 48 of a clip of 0.48 s, 36 masked, padding" in said
    assert "4 steps of 38 clips (4.0 passes over 38), 10 ms each: about " in said
    assert f"ssast finetune {output} LABELS" in said
    rejected = (output / "manifests" / "rejected.csv").read_text()
    assert "empty.wav" in rejected and "cut.ogg" in rejected and len(rejected.splitlines()) == 3
    waveform = torch.from_numpy(make_sound(NAMES[0], 0.5, 16000, np.random.default_rng(2))).float()
    encoder = AudioEncoder.from_pretrained(output)
    assert encoder.encode(waveform, 16000).shape[-1] == SMALL["embed_dim"]
    # The same command again goes on from what is there; another one is refused.
    assert main(words) == 0
    assert "Going on with " in capsys.readouterr().out
    assert main([*words, "--size", "small"]) == 1
    assert "begun with other options (size was None, is small)" in capsys.readouterr().err


def test_pretraining_goes_on_from_weights_of_any_size(pretrained, corpus, tmp_path, capsys):
    before = tmp_path / "pretrained"
    output = tmp_path / "further"
    words = ["pretrain", str(corpus), "--init-from", str(before), "--steps", "1"]
    assert main([*words, "--output", str(output)]) == 0
    assert "32 wide with 1 blocks (" in capsys.readouterr().out
    assert "embed_dim: 32" in (output / "pretrain.yaml").read_text()
    results = json.loads((output / "results.json").read_text())
    origin = results["pretrained_from"]
    assert origin["name"].endswith("/model.ckpt")
    assert sorted(origin["heads"]) == ["contrastive_head", "reconstruction_head"]
    # What the weights have settled cannot be asked for.
    other = [*words, "--output", str(tmp_path / "other")]
    for more in (["--geometry", "frame"], ["--patch", "8", "8"], ["--size", "base"]):
        assert main([*other, *more]) == 1
        assert "leave " in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["folders", "table", "several"])
def test_labels_make_a_classifier(pretrained, corpus, labels, tmp_path, capsys, kind):
    source = corpus if kind == "folders" else labels(several=kind == "several")
    output = tmp_path / "classifier"
    words = ["finetune", str(tmp_path / "pretrained"), str(source), "--epochs", "1"]
    assert main([*words, "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert "30 files of " in said and "training 21, validation 3, test 6" in said
    results = json.loads((output / "results.json").read_text())
    assert results["metric"] == ("mAP" if kind == "several" else "accuracy")
    assert results["num_clips"]["train"] == 21
    assert results["pretrained_from"]["name"].endswith("model.safetensors")
    classes = sorted([*NAMES, *(["even"] if kind == "several" else [])])
    with open(output / "per_class.csv", newline="") as file:
        assert {row["class"] for row in csv.DictReader(file)} == set(classes)
    assert 0 < results["baselines"]["chance"] <= results["baselines"]["log_mel_ridge"] <= 1
    table = said[said.index(f"{results['metric']} in %, 6 test files") :]
    for value in (*results["baselines"].values(), results["value"]["best"]):
        assert f" {100 * value:.1f}" in table
    loses = results["value"]["best"] <= results["baselines"]["log_mel_ridge"]
    assert ("Warning: this classifier is not better than ridge regression" in table) == loses
    # A validation of three files chooses nothing.
    assert results["steps"]["best"] == results["steps"]["last"]
    classifier = AudioClassifier.from_pretrained(output)
    found = classifier.classify_file(corpus / NAMES[0] / "0.wav", top_k=2)
    assert set(found.labels) <= set(classes) and f"ssast classify {output}" in said


def test_from_scratch_and_compared(pretrained, labels, tmp_path, monkeypatch, capsys):
    """The same plan without an encoder; and both, by two seeds, side by side."""
    monkeypatch.chdir(tmp_path)
    table = labels()
    assert main(["finetune", "none", str(table), "--epochs", "1", "--output", "scratch"]) == 0
    run = json.loads((Path("scratch") / "results.json").read_text())
    assert run["pretrained_from"] is None and "baselines" in run
    assert "from scratch, 128 wide, 4 blocks, patches of 128 mel bins x 1 frame;" in (
        capsys.readouterr().out
    )
    monkeypatch.setattr(comparison, "run_jobs", run_small_jobs)
    words = ["finetune", str(tmp_path / "pretrained"), str(table), "--epochs", "1", "--compare"]
    assert main([*words, "--seeds", "2"]) == 0
    said = capsys.readouterr().out
    folder = tmp_path / "results" / "compare" / "labels"
    kept = json.loads((folder / "compare.json").read_text())
    assert kept["seeds"] == [1, 2] and len(kept["rows"]["pretrained"]["values"]) == 2
    assert list(kept["rows"]) == ["chance", "log_mel_ridge", "from scratch", "pretrained"]
    for row in kept["rows"].values():
        assert f"{100 * row['mean']:.1f} ± {100 * row['standard_deviation']:.1f}" in said
    for kind in ("scratch", "pretrained"):
        for seed in (1, 2):
            one = json.loads((folder / kind / f"seed{seed}" / "results.json").read_text())
            assert one["seed"] == seed and (one["pretrained_from"] is None) == (kind == "scratch")
    # Other labels are another comparison.
    table.write_text(table.read_text().replace(f",{NAMES[0]}", ",other"))
    assert main(words) == 1
    assert "holds a comparison begun with other classes; choose" in capsys.readouterr().err
    assert main(["finetune", "none", str(table), "--compare"]) == 1
    assert "--compare needs an encoder" in capsys.readouterr().err


@pytest.mark.slow
def test_folds_keep_groups_and_are_averaged(labels, tmp_path, in_process, monkeypatch, capsys):
    """No group is heard in training and test; what is printed is the mean over the folds."""

    def run_fold(fold):
        words = [*fold.words, *(word for key in SMALL for word in (f"--{key}", SMALL[key]))]
        run_small.recipe("OwnAudio", Path(fold.hparams_file), *words)

    monkeypatch.setattr(crossval.Fold, "run", run_fold)
    table, output = labels(group=lambda number: f"site {number}"), tmp_path / "folds"
    words = ["finetune", "none", str(table), "--folds", "2", "--epochs", "1"]
    assert main([*words, "--output", str(output)]) == 0
    said = capsys.readouterr().out
    folds = [output / f"fold{number}" for number in (1, 2)]
    tested = []
    for fold in folds:
        clips = {split: read_manifest(fold / "manifests" / f"{split}.csv") for split in SPLITS}
        groups = {split: {clip.extra["group"] for clip in part} for split, part in clips.items()}
        assert not groups["test"] & (groups["train"] | groups["valid"])
        tested += [clip.id for clip in clips["test"]]
    assert len(tested) == len(set(tested)) == 30
    values = [json.loads((fold / "results.json").read_text())["value"]["last"] for fold in folds]
    mean, deviation = np.mean(values), np.std(values, ddof=1)
    assert f"this classifier                                   {100 * mean:.1f} ± " in said
    assert f"± {100 * deviation:.1f}\n" in said
    assert ", 15 test files" in said and "mean ± standard deviation over 2 folds" in said
    # Another request of the same folder is refused.
    assert main([*words, "--background", "x", "--output", str(output)]) == 1
    assert "begun with other background" in capsys.readouterr().err


def test_stretches_and_background_are_clips_of_the_manifest(tmp_path):
    for number in range(5):
        soundfile.write(tmp_path / f"{number}.wav", np.full(80_000, 0.1), 16000)
        (tmp_path / f"{number}.txt").write_text("0.5\t1.5\tdog\n3\t4.5\tsea\n")
    prepare_labelled(tmp_path, tmp_path / "manifests", background="nothing")
    assert (tmp_path / "manifests" / "classes.txt").read_text() == "dog\nnothing\nsea\n"
    clips = {s: read_manifest(tmp_path / "manifests" / f"{s}.csv") for s in ("train", "test")}
    assert {(clip.id, clip.start, clip.duration) for clip in clips["test"]} > {
        (f"{Path(clips['test'][0].path).stem}.wav#0.5-1.5", 0.5, 1.0)
    }
    assert not {c.path for c in clips["train"]} & {c.path for c in clips["test"]}
    for clip in clips["test"]:
        if clip.labels == ("nothing",):
            end = clip.start + clip.duration
            assert end <= 0.5 or 1.5 <= clip.start and end <= 3 or 4.5 <= clip.start


ODD = ["do\ng", "the\rsea", "a\u2028b", "c\x85d", 'say "no"', "x, y", "y\x1fz", "dög", "'q", "NA"]


def test_any_name_is_the_same_when_it_comes_back(tmp_path):
    """Classes and files, of a table that quotes them, by all that a run writes and reads."""
    rows = [(f"audio/{name}{n}.wav", name) for name in ODD for n in range(10)]
    (tmp_path / "audio").mkdir()
    for path, _ in rows:
        with open(tmp_path / path, "wb") as file:
            soundfile.write(file, np.full(800, 0.1), 16000, format="WAV")
    write_csv(tmp_path / "labels.csv", ["path", "label"], rows)
    prepare_labelled(tmp_path / "labels.csv", tmp_path / "manifests")
    known = {(str(tmp_path / path), (label.strip(),)) for path, label in rows}
    manifests = [tmp_path / "manifests" / f"{split}.csv" for split in SPLITS]
    assert {(clip.path, clip.labels) for clip in ClipTable.read(manifests)} == known
    assert {(clip.path, clip.labels) for clip in iterate_manifests(manifests)} == known
    classes = sorted(name.strip() for name in ODD)
    encoder = ClassEncoder.from_file(tmp_path / "manifests" / "classes.txt", len(ODD))
    assert encoder.classes == classes
    ids = [clip.id for clip in read_manifest(manifests[0])]
    outputs = {"ids": ids, "targets": torch.arange(len(ids)) % len(ODD)}
    outputs["logits"] = torch.zeros(len(ids), len(ODD))
    write_predictions(tmp_path / "predictions.csv", classes, {"last": outputs})
    kept = load_predictions(tmp_path / "predictions.csv")
    assert list(kept.ids) == ids and list(kept.classes) == classes
    ones = torch.ones(len(ODD))
    write_per_class(tmp_path / "per_class.csv", classes, ones, {"last": {"recall": ones}})
    assert [row["class"] for row in Run(tmp_path).per_class("last")[1]] == classes


def run_small_jobs(jobs, num_processes, title):
    """Stands in for the processes of a comparison."""
    for job in jobs:
        words = [*job.command[3:], *(f"--{key}={value}" for key, value in SMALL.items())]
        run_small.recipe("OwnAudio", Path(job.command[2]), *words)


def test_the_three_commands_of_the_readme(corpus, tmp_path, monkeypatch, in_process, capsys):
    """As they stand there, but for steps, epochs and a small model."""
    section = (REPOSITORY / "README.md").read_text().partition("## Your own audio")[2]
    commands = section.partition("```bash\n")[2].partition("```")[0].splitlines()
    assert [line.split()[:2] for line in commands] == [
        ["ssast", "pretrain"],
        ["ssast", "finetune"],
        ["ssast", "classify"],
    ]
    shutil.copytree(corpus, tmp_path / "my_sounds")
    shutil.copy(corpus / NAMES[0] / "0.wav", tmp_path / commands[2].split()[-1])
    rows = [f"my_sounds/{name}/{number}.wav,{name}\n" for name in NAMES for number in range(10)]
    (tmp_path / "labels.csv").write_text("path,label\n" + "".join(rows))
    monkeypatch.chdir(tmp_path)
    run_small.more = {
        "pretrain.yaml": {"num_steps": 4, "valid_interval": 2, "warmup_steps": 1},
        "finetune.yaml": {"num_steps": 2, "warmup_steps": 1},
    }
    for command in commands:
        assert main(command.split()[1:]) == 0
    heard = capsys.readouterr().out.splitlines()[-4:]
    assert heard[0].startswith(commands[2].split()[-1])
    assert {line.split()[1] for line in heard[1:]} == set(NAMES)
    log = (tmp_path / "results" / "pretrain" / "my_sounds" / "train_log.txt").read_text()
    assert "probe: step 0, knn_accuracy" in log and "probe: step 4, knn_accuracy" in log


def test_a_plan_runs_nothing(corpus, tmp_path, capsys):
    words = ["pretrain", str(corpus), "--plan", "--output", str(tmp_path / "planned")]
    assert main(words) == 0
    assert f"train.py {tmp_path}/planned/pretrain.yaml" in capsys.readouterr().out
    files = sorted(path.name for path in (tmp_path / "planned").iterdir())
    assert files == ["model.yaml", "pretrain.yaml", "rejected.csv", "request.json"]
    assert main(words) == 0  # and may be asked for again


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["pretrain", "NOWHERE"], "NOWHERE does not exist, or is not a folder"),
        (["pretrain", "EMPTY"], "EMPTY: there is no audio file in it or below it"),
        (["finetune", "NOWHERE", "EMPTY"], "EMPTY: there are no folders named after classes"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys, words, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EMPTY").mkdir()
    assert main(words) == 1
    error = capsys.readouterr().err.strip()
    assert line in error and "\n" not in error
    assert [path.name for path in tmp_path.rglob("*")] == ["EMPTY"]


def test_a_folder_of_bad_files_names_them(tmp_path, capsys):
    (tmp_path / "bad").mkdir()
    for number in range(12):
        (tmp_path / "bad" / f"{number}.wav").touch()
    words = ["pretrain", str(tmp_path / "bad"), "--output", str(tmp_path / "run")]
    assert main(words) == 1
    said = capsys.readouterr()
    assert said.out.count("is an empty file") == 10 and "and 2 more, see " in said.out
    assert "12 of 12 audio files cannot be used" in said.err
    assert len((tmp_path / "run" / "rejected.csv").read_text().splitlines()) == 13
    assert not (tmp_path / "run" / "pretrain.yaml").exists()


def test_silence_alone_is_nothing_to_learn(tmp_path, capsys):
    (tmp_path / "silent").mkdir()
    for number in range(3):
        soundfile.write(tmp_path / "silent" / f"{number}.wav", np.zeros(16000), 16000)
    words = ["pretrain", str(tmp_path / "silent"), "--output", str(tmp_path / "run")]
    assert main(words) == 1
    assert "all of 3 clips drawn from the audio are silent" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# ---- by the recipe


@pytest.mark.parametrize("name", ["pretrain", "pretrain_ssast", "finetune", "finetune_multi"])
def test_every_file_runs_by_hand(run_recipe, corpus, labels, tmp_path, name):
    options = {**SMALL, "target_length": 48, "batch_size": 8, "output_folder": tmp_path / name}
    if name.startswith("pretrain"):
        options |= {"data_folder": corpus, "num_masked_patches": 18, "warmup_steps": 0}
        options |= {"num_steps": 2, "valid_interval": 1}
    else:
        several = name == "finetune_multi"
        options |= {"data_folder": labels(several), "num_classes": 4 if several else 3}
        options |= {"num_steps": 2, "valid_interval": 1, "warmup_steps": 1}
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    run = run_recipe("OwnAudio", HPARAMS / f"{name}.yaml", *words)
    assert run.results["dataset"] == ("Töne" if name.startswith("pretrain") else "labels")
    metrics = {"finetune": "accuracy", "finetune_multi": "mAP"}
    assert run.results["metric"] == metrics.get(name, "masked_patch_accuracy")
    if name.startswith("pretrain"):
        (step,) = {run.results["steps"]["best"]}
        losses = {record["step"]: record["loss"] for record in run.log("valid")}
        assert losses[step] == min(losses.values())


# ---- preparation


def test_long_recordings_are_cut_and_none_is_in_both_sets(corpus, tmp_path):
    prepare_unlabelled(corpus, tmp_path, clip_seconds=0.5)
    train, valid = (read_manifest(tmp_path / f"{name}.csv") for name in ("train", "valid"))
    windows = [clip for clip in train if clip.path.endswith("long.flac")]
    assert [clip.start for clip in windows] == [number / 2 for number in range(8)]
    assert {clip.duration for clip in windows} == {0.5}
    assert not {clip.path for clip in train} & {clip.path for clip in valid}
    assert (len(train), len(valid)) == (36, 2)


@pytest.fixture
def oddly_named(tmp_path):
    """Class folders of eleven files each, and two odd names, one of which no manifest can hold."""
    folder = tmp_path / "odd"
    odd = ["dog/cash $5.wav", os.fsdecode("dog/Töne.wav".encode("latin-1"))]
    for name in (*(f"{label}/{n}.wav" for label in ("cat", "dog") for n in range(11)), *odd):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with open(folder / name, "wb") as file:
            soundfile.write(file, np.full(8000, 0.1), 16000, format="WAV")
    return folder


@pytest.mark.parametrize("kind", ["unlabelled", "labelled", "table"])
def test_oddly_named_files_cost_themselves_alone(oddly_named, tmp_path, kind):
    table = tmp_path / "labels.csv"
    rows = [f"{path},{Path(path).parent.name}\n" for path in oddly_named.rglob("*.wav")]
    # A table in UTF-8 cannot name the other one.
    table.write_text("path,label\n" + "".join(row for row in rows if row.isascii()))
    manifests = tmp_path / "manifests"
    for _ in range(2):
        if kind == "unlabelled":
            prepare_unlabelled(oddly_named, manifests, clip_seconds=0.5)
        else:
            prepare_labelled(oddly_named if kind == "labelled" else table, manifests)
    listed = {
        clip.path
        for path in manifests.glob("*.csv")
        if path.stem in SPLITS
        for clip in read_manifest(path)
    }
    assert len(listed) == 23 and str(oddly_named / "dog" / "cash $5.wav") in listed
    with open(manifests / "rejected.csv", newline="", encoding="utf-8") as file:
        reasons = [row["reason"].rpartition("/")[2] for row in csv.DictReader(file)]
    latin = [] if kind == "table" else ["T\\udcf6ne.wav' is not named in UTF-8, rename it"]
    assert reasons == latin


def test_oddly_named_files_are_told_by_the_command(oddly_named, tmp_path, capsys):
    output = tmp_path / "run"
    assert main(["pretrain", str(oddly_named), "--plan", "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert "23 audio files" in said and "cash" not in said
    assert "T\\udcf6ne.wav' is not named in UTF-8" in said


def test_a_class_folder_that_cannot_be_a_label_is_told(oddly_named):
    (oddly_named / "dog").rename(oddly_named / "rock;pop")
    with pytest.raises(
        ValueError, match="odd/rock;pop: a label cannot hold ';'.*rename the folder"
    ):
        read_labelled_files(oddly_named)
    (oddly_named / "rock;pop").rename(oddly_named / os.fsdecode("Töne".encode("latin-1")))
    with pytest.raises(ValueError, match="not named in UTF-8, rename it"):
        read_labelled_files(oddly_named)


def test_headers_are_read_once_and_not_at_all_the_second_time(corpus, tmp_path, monkeypatch):
    opened, read = soundfile.SoundFile, []
    monkeypatch.setattr(
        soundfile, "SoundFile", lambda path: read.append(Path(path).name) or opened(path)
    )
    prepare_unlabelled(corpus, tmp_path, clip_seconds=0.5)
    assert len(read) == 32 and len(set(read)) == 12  # 30 in class folders, "long" and "cut"
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    read.clear()
    prepare_unlabelled(corpus, tmp_path, clip_seconds=0.5)
    assert read == []
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    prepare_unlabelled(corpus, tmp_path, clip_seconds=0.25)
    assert len(read) == 32
    monkeypatch.undo()
    copied = tmp_path / "copied"
    shutil.copytree(corpus, copied)
    prepare_unlabelled(copied, tmp_path / "more", clip_seconds=0.5)
    count = len(read_manifest(tmp_path / "more" / "train.csv"))
    shutil.copy(copied / "long.flac", copied / "longer.flac")
    prepare_unlabelled(copied, tmp_path / "more", clip_seconds=0.5)
    assert len(read_manifest(tmp_path / "more" / "train.csv")) == count + 8


HOUR = 3600.0


@pytest.mark.parametrize(
    ("recordings", "held_out", "whole"),
    [
        ([10 * HOUR] * 2, 360, False),
        ([24 * HOUR] * 3, 1296, False),
        ([100 * HOUR] * 3, 2000, False),
        ([100 * HOUR], 1800, False),
        ([HOUR] * 20, 360, True),  # one of them
        ([6 * HOUR] * 40, 2000, False),  # one of them would be too many
        ([10.0] * 1000, 50, True),
        ([10 * HOUR] + [10.0] * 20, 181, False),  # the short ones are not used up
        ([10.0] * 2, 1, True),
        ([10.0] * 2 + [40.0], 1, None),
        ([20.0], 1, False),
        ([10.0, 20.0], None, None),
    ],
)
def test_a_twentieth_is_held_out_and_two_thousand_clips_at_most(recordings, held_out, whole):
    lengths = {f"/own/{n:04}.wav": seconds for n, seconds in enumerate(recordings)}
    found = {path: AudioInfo(round(100 * length), 100, 1) for path, length in lengths.items()}
    for seed in range(2):
        entries = own_audio._windows(Path("/own"), found, 10.0, seed)
        train, valid = entries["train"], entries["valid"]
        ids = sorted(entry.id for entry in (*train, *valid))
        assert len(ids) == len(set(ids)) == sum(round(length / 10) for length in recordings)
        assert train and 1 <= len(valid) <= 2000
        assert held_out is None or len(valid) == held_out
        trained = {entry.path: entry.start for entry in train}  # where the last one begins
        if whole is not None:
            assert whole == (not trained.keys() & {entry.path for entry in valid})
        assert all(entry.start > trained.get(entry.path, -1.0) for entry in valid)
        # No kind of recording is lost to training.
        if len(recordings) > 2:
            assert {lengths[path] for path in trained} == set(recordings)
        again = own_audio._windows(Path("/own"), dict(reversed(found.items())), 10.0, seed)
        assert {entry.id for entry in again["valid"]} == {entry.id for entry in valid}


def test_splits_are_drawn_from_each_class_and_given_ones_kept(labels):
    files = read_labelled_files(labels())
    parts, _ = split_files(files, seed=1)
    assert {split: len(part) for split, part in parts.items()} == {
        "train": 21,
        "valid": 3,
        "test": 6,
    }
    for split, count in {"train": 7, "valid": 1, "test": 2}.items():
        for name in NAMES:
            assert sum(file.labels == (name,) for file in parts[split]) == count
    assert len({file.path for part in parts.values() for file in part}) == 30
    assert split_files(files, seed=1)[0] == parts != split_files(files, seed=2)[0]
    given = read_labelled_files(labels(split=lambda number: "test" if number < 3 else "train"))
    parts, told = split_files(given)
    assert {file.split for file in parts["test"]} == {"test"} and len(parts["test"]) == 9
    assert len(parts["valid"]) == 3 and "splits as given" in told


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("file,label\na,b\n", "the column.s. path are missing"),
        ("path,label\na.wav,\n", "line 2: a path and a label are needed"),
        ("path,label\na.wav,x\na.wav,y\n", "line 3: a.wav was there before"),
        ("path,label\na.wav,x;x\n", "line 2: a label is there twice"),
        ("path,label,split\na.wav,x,deb\n", r"split is one of train, valid, .*, not 'deb'"),
        (
            "path,label\na.wav,dog, loud\n",
            "line 2: there are 3 cells, the first line has 2; a cell",
        ),
        ("path;label\na.wav;dog;loud\n", "line 2: there are 3 cells, .*; put a cell that holds"),
        ("path,label,group\na.wav,x,1\nb.wav,y,\n", "some rows have a group and some have none"),
        ("path,label,start\na.wav,x,1\n", "of the columns start and end, one is missing"),
        ("path,label,start,end\na.wav,x,1,0.5\n", "line 2: the end, 0.5 s, is not behind the st"),
        ("path,label,start,end\na.wav,x,one,2\n", "line 2: start is 'one', not a number of"),
        ("path,label,start,end\na.wav,x,-1,2\n", "line 2: start is '-1', not a number of seconds"),
        ("path,label,start,end\na.wav,x,0,nan\n", "line 2: end is 'nan', not a number of"),
        ("path,label,start,end\na,x,0,2\na,x,0,2\n", "line 3: this stretch of a was there before"),
        (
            "path,label,start,end,group\na,x,0,2,1\na,y,2,3,2\n",
            "a has two groups, '1' and '2'",
        ),
        ("path,label,split\na.wav,x,train\nb.wav,y,\n", "some rows have a split and some have"),
        ("path,label\na.wav,x\n", "the only class is x"),
        ("path,label\n", "there are no rows below the line path,label"),
        ("path;Label;\na;b\n", "the only class is b"),
        ("path|label\na|b\n", "the column.s. path, label are missing, the first line is 'path.lab"),
        ("path,Path,label\na,b,c\n", "the column path is there twice"),
        ("path,label\na.wav,$x\n", r"line 2: '\$x' holds a '\$name', rename it"),
        ("path,label\nTöne.wav,dog\n".encode("latin-1"), "labels.csv is not UTF-8 .*save it as UT"),
        ("path,label\nx,dog\n".encode("utf-16"), "labels.csv is not UTF-8 text .*save it as UTF-8"),
        (f"path,label\n{'a' * 200_000},dog\n", "labels.csv is no CSV file: field larger than"),
    ],
)
def test_wrong_tables_are_told(tmp_path, text, line):
    (tmp_path / "labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=line):
        read_labelled_files(tmp_path / "labels.csv")


def test_an_audio_file_is_no_table(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(80, 0.5), 16000)
    with pytest.raises(
        ValueError, match="a.wav is audio; labels are a folder of class folders, or"
    ):
        read_labelled_files(tmp_path / "a.wav")


def test_capitals_in_tables_mean_nothing(tmp_path):
    rows = "".join(
        f"{n}.wav,{'ab'[n % 2]},{split}\n"
        for n, split in enumerate(("Train", "TEST", "valid", " train"))
    )
    rows = rows.replace("\n", ",,\n")  # empty columns, as spreadsheets leave them
    (tmp_path / "labels.csv").write_text(f"Path, Label,SPLIT,,\n{rows}")
    files = read_labelled_files(tmp_path / "labels.csv")
    assert [file.split for file in files] == ["train", "test", "valid", "train"]
    assert [file.labels for file in files] == [("a",), ("b",), ("a",), ("b",)]


def test_too_few_files_are_told():
    with pytest.raises(ValueError, match="no file for test"):
        split_files([LabelledFile("/a", ("x",)), LabelledFile("/b", ("y",))])


# ---- plans


def test_plans_fit_memory_and_time():
    small = {"num_clips": 1000, "num_weights": 10**6, "kept_per_clip": 1e8}
    assert choose_batch(24, memory=1e10, **small) == (24, 1)
    assert choose_batch(24, memory=1e9, **small) == (6, 4)
    assert choose_batch(24, **{**small, "num_clips": 5}, memory=1e10) == (5, 1)
    with pytest.raises(ValueError, match="a clip needs 0.1 GB of memory.*choose a smaller --size"):
        choose_batch(24, memory=1e8, **small)
    assert choose_steps(100, 50, 0.01, 3600) == 2000  # a thousand passes
    assert choose_steps(100, 50, 0.01, 12.34) == 1200  # what there is time for
    assert choose_steps(10, 10, 0.01, 60) == 1000
    assert choose_steps(10**9, 64, 0.001, 1e6) == 800_000
    assert choose_steps(100, 50, 1.0, 0.0) == 1


def test_a_fold_needs_the_number_of_folds(tmp_path):
    for name in ("dog", "rain"):
        (tmp_path / name).mkdir()
        for number in range(3):
            soundfile.write(tmp_path / name / f"{number}.wav", np.ones(800), 16000)
    with pytest.raises(ValueError, match="test_fold is 1: give --num_folds, too"):
        prepare_labelled(tmp_path, tmp_path / "manifests", test_fold=1)
