"""IEMOCAP's train.py, for every YAML file, on a fabricated corpus; and its five folds."""

import csv
import json
import math
import subprocess
from collections import Counter

import pytest
import soundfile
import torch
from speechbrain import Stage

from ssast_recipes.commands import main as cli
from ssast_recipes.data.synthetic import make_iemocap
from ssast_recipes.data.synthetic.iemocap import EMOTIONS
from tests.recipes.conftest import RECIPES

HPARAMS = RECIPES / "IEMOCAP" / "hparams"
CLASSES = ["neutral", "happy", "angry", "sad"]
SMALL = {"embed_dim": 64, "depth": 2, "num_heads": 1, "target_length": 64, "num_workers": 0}
SMALL |= {"num_steps": 2, "valid_interval": 1, "log_interval": 1}
SMALL |= {"batch_size": 4, "grad_accumulation_factor": 2}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_iemocap(tmp_path_factory.mktemp("corpus"), durations=(0.3, 0.9))


@pytest.fixture(scope="module")
def words(corpus):
    """`words(**values)`: a command line for two steps."""

    def words(**values):
        places = {"data_folder": corpus, "manifest_folder": corpus.parent / "manifests"}
        options = {**SMALL, **places, **values}
        return [str(word) for key, value in options.items() for word in (f"--{key}", value)]

    return words


@pytest.fixture(scope="module")
def run(run_recipe, words, tmp_path_factory):
    """`run(name, **values)`: a run of two steps."""

    def run(name, **values):
        values = {"output_folder": tmp_path_factory.mktemp(name), **values}
        return run_recipe("IEMOCAP", HPARAMS / f"{name}.yaml", *words(**values))

    return run


@pytest.fixture(scope="module", params=sorted(path.stem for path in HPARAMS.glob("*.yaml")))
def finished(run, request):
    return run(request.param, test_fold=2)


def test_there_are_two_files():
    assert sorted(path.stem for path in HPARAMS.glob("*")) == ["finetune_frame", "finetune_patch"]


def test_it_trains_validates_and_tests(finished):
    results = finished.results
    assert (results["dataset"], results["fold"]) == ("IEMOCAP", 2)
    assert (results["protocol"], results["padding"]) == ("finetune", "released")
    assert results["num_clips"] == {"train": 32, "valid": 8, "test": 10}
    assert results["best_is_chosen_on"] == "the validation set"
    history = {record["step"]: record["accuracy"] for record in results["history"]}
    assert list(history) == [1, 2]
    assert history[results["steps"]["best"]] == max(history.values())
    (first, *_), seen = finished.batches(Stage.TRAIN), finished.batches(Stage.TRAIN)
    assert len(seen) == 4 and first.outputs.shape == (4, 4)
    assert not {clip[4] for batch in seen for clip in batch.batch.ids} & {"2"}
    assert max(batch.batch.num_samples.max() for batch in seen) == 400 + 63 * 160  # 64 frames
    with open(finished.folder / "predictions.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["selection"] == "best"]
    assert {row["id"][4] for row in rows} == {"2"}
    assert list(rows[0])[4:] == CLASSES
    # In each of two dialogs one utterance of every emotion, and happy ones twice.
    assert Counter(row["label"] for row in rows) == {"neutral": 2, "happy": 4, "angry": 2, "sad": 2}
    right = [row["predicted"] == row["label"] for row in rows]
    assert results["value"]["best"] == pytest.approx(sum(right) / 10)


def test_targets_are_the_emotions(finished):
    classes = {"neu": 0, "hap": 1, "exc": 1, "ang": 2, "sad": 3}
    emotions = list(EMOTIONS)  # a dialog's turns are in this order, women's and men's by turns
    for seen in finished.batches(Stage.TRAIN):
        turns = [2 * int(clip[-3:]) + (clip[-4] == "M") for clip in seen.batch.ids]
        assert seen.batch.targets.tolist() == [classes[emotions[turn]] for turn in turns]


def test_frozen_and_masked_are_other_lines(run):
    other = run("finetune_patch", freeze_encoder=True, padding="masked")
    assert (other.results["protocol"], other.results["padding"]) == ("frozen", "masked")
    model = other.brain.model
    for name, value in model.encoder.named_parameters():
        assert torch.equal(value, other.initial[name])
    assert model.layer_scores.count_nonzero() == 2
    assert model.padding == "masked"


def test_a_fold_without_one_emotion_and_a_clip_shorter_than_a_frame(run, tmp_path):
    corpus = make_iemocap(tmp_path, durations=(0.2, 0.3))
    for path in corpus.glob("Session1/dialog/EmoEvaluation/*.txt"):
        path.write_text(path.read_text().replace("\tsad\t", "\tfru\t"))
    for path in corpus.glob("Session*/sentences/wav/*/*_F000.wav"):
        soundfile.write(path, [0.1] * 100, 16000)
    places = {"data_folder": corpus, "manifest_folder": tmp_path / "m", "num_steps": 1}
    for padding in ("released", "masked"):
        results = run("finetune_patch", padding=padding, **places).results
        assert results["num_clips"]["test"] == 8
        assert results["classes_without_clips"] == 1
        assert math.isfinite(results["metrics"]["last"]["loss"])


def test_crossval_averages_its_folds(run, words, run_recipe, tmp_path, monkeypatch, capsys):
    """Of the folds' processes only the command is taken, to be run in this one."""

    class Process:
        def __init__(self, command, **options):
            _, _, train, hparams_file, *arguments = command  # by way of system.children
            assert train == str(RECIPES / "IEMOCAP" / "train.py")
            run_recipe("IEMOCAP", HPARAMS / hparams_file.rpartition("/")[2], *arguments)

        def wait(self, timeout=None):
            return 0

        poll = wait

    monkeypatch.setattr(subprocess, "Popen", Process)
    files = [str(RECIPES / "IEMOCAP" / "train.py"), "hparams/finetune_patch.yaml"]
    output = tmp_path / "crossval"
    given = ["--folds", "1,3", "--output", str(output), *words(num_steps=1)]
    assert cli.main(["crossval", *files, *given]) == 0
    summary = json.loads((output / "crossval.json").read_text())
    values = []
    for fold in (1, 3):
        results = json.loads((output / f"fold{fold}" / "results.json").read_text())
        assert results["fold"] == fold
        values.append(results["value"]["best"])
    assert summary["averages"]["best"]["mean"] == pytest.approx(sum(values) / 2)
    assert summary["averages"]["best_by_average"] == {
        "left_out": "the validation clips are not the test clips"
    }
    assert "each fold's own best epoch " in capsys.readouterr().out
