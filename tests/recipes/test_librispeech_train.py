"""LibriSpeech's train.py, for every YAML file, on a fabricated corpus, alone and with AudioSet."""

import importlib.util

import numpy as np
import pytest
import soundfile
import torch
from speechbrain import Stage

from ssast_recipes.data.manifest import read_manifest
from ssast_recipes.data.synthetic import make_audioset, make_librispeech
from tests.recipes.conftest import RECIPES

HPARAMS = RECIPES / "Librispeech" / "hparams"
SMALL = {"embed_dim": 64, "depth": 1, "num_heads": 1, "target_length": 64, "num_workers": 0}
SMALL |= {"num_masked_patches": 20, "warmup_steps": 0, "subsets": "[train-clean-100]"}
SMALL |= {"num_steps": 2, "valid_interval": 1, "log_interval": 1, "batch_size": 4}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Eight utterances of two speakers to train on, and four of another for validation."""
    speakers = {"train-clean-100": 2, "dev-clean": 1}
    return make_librispeech(tmp_path_factory.mktemp("corpus"), speakers, (0.5, 1.2))


@pytest.fixture(scope="module")
def run(run_recipe, corpus, tmp_path_factory):
    """`run(name, **values)`: a run of two steps."""

    def run(name, **values):
        folder = tmp_path_factory.mktemp(name)
        places = {"data_folder": corpus, "manifest_folder": corpus.parent / "manifests"}
        options = {**SMALL, **places, "output_folder": folder, **values}
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        return run_recipe("Librispeech", HPARAMS / f"{name}.yaml", *words)

    return run


def test_there_are_three_files():
    """The third is run by test_librispeech_asr.py."""
    names = ["asr_ctc_frame", "pretrain_frame", "pretrain_patch"]
    assert sorted(path.stem for path in HPARAMS.glob("*")) == names


@pytest.mark.parametrize("name", ["pretrain_patch", "pretrain_frame"])
def test_it_pretrains_validates_and_evaluates(run, corpus, name):
    finished = run(name)
    results = finished.results
    assert (results["dataset"], results["protocol"]) == ("LibriSpeech", "pretraining")
    assert results["train_manifests"] == ["train.csv"]
    assert results["num_clips"] == {"train": 8, "valid": 4, "test": 4}
    assert [record["step"] for record in finished.log("valid")] == [1, 2]
    subset_of = {path.stem: path.parts[-4] for path in corpus.rglob("*.flac")}
    seen = [clip for each in finished.batches(Stage.TRAIN) for clip in each.batch.ids]
    assert len(set(seen)) == 8 and {subset_of[clip] for clip in seen} == {"train-clean-100"}
    for each in finished.batches(Stage.VALID):
        assert {subset_of[clip] for clip in each.batch.ids} == {"dev-clean"}
    changed = [
        parameter
        for parameter, value in finished.brain.hparams.encoder.named_parameters()
        if not torch.equal(value, finished.initial[parameter])
    ]
    assert changed == list(finished.initial)


@pytest.mark.slow
def test_a_stretch_is_drawn_or_the_first_one_taken(run, corpus):
    for crop in ("random", "start"):
        starts = []
        for each in run(
            "pretrain_patch", crop=crop, target_length=32, num_masked_patches=8
        ).batches(Stage.TRAIN):
            for clip, waveform in zip(each.batch.ids, each.batch.waveforms.cpu(), strict=True):
                whole = np.float32(soundfile.read(next(corpus.rglob(f"{clip}.flac")))[0])
                stretches = np.lib.stride_tricks.sliding_window_view(whole, 50)
                (start,) = (stretches == waveform[:50].numpy()).all(axis=1).nonzero()[0]
                starts.append(int(start))
        assert len(starts) == 8
        assert (set(starts) == {0}) == (crop == "start")


def test_audioset_joins_by_its_manifests(run, corpus, tmp_path):
    """As the README says: AudioSet's recipe prepares, this one trains on both."""
    spec = importlib.util.spec_from_file_location(
        "audioset_prepare", RECIPES / "AudioSet" / "audioset_prepare.py"
    )
    audioset_prepare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(audioset_prepare)
    audioset = make_audioset(tmp_path / "audioset", {"balanced_train": 4, "eval": 3}, duration=0.7)
    audioset_prepare.prepare_audioset(audioset, tmp_path / "m")
    own = corpus.parent / "manifests" / "train.csv"
    joined = [own, tmp_path / "m" / "balanced_train.csv"]
    finished = run(
        "pretrain_patch",
        train_manifests=f"[{joined[0]}, {joined[1]}]",
        valid_manifests=f"[{tmp_path}/m/eval.csv]",
        num_steps=3,
    )
    assert finished.results["num_clips"] == {"train": 12, "valid": 3, "test": 3}
    assert finished.results["train_manifests"] == [path.name for path in joined]
    seen = {clip for each in finished.batches(Stage.TRAIN) for clip in each.batch.ids}
    assert seen == {clip.id for path in joined for clip in read_manifest(path)}
    valid = {clip for each in finished.batches(Stage.VALID) for clip in each.batch.ids}
    assert valid == {clip.id for clip in read_manifest(tmp_path / "m" / "eval.csv")}
