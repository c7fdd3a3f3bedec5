"""The baselines of a run, on clips that are made up."""

import json

import numpy as np
import pytest
import soundfile
import torch

from ssast_recipes.data.labels import ClassEncoder, MultiHotEncoder
from ssast_recipes.data.manifest import Clip, write_manifest
from ssast_recipes.data.pipelines import WaveformReader, make_dataset
from ssast_recipes.evaluation import features
from ssast_recipes.objectives.metrics import accuracy, mean_average_precision
from ssast_recipes.runs import baselines

KEYS = ("id", "index", "place", "waveform", "target")
SIZES = {"train": 12, "valid": 6, "test": 8}
NAMES = ["high", "low"]


@pytest.fixture
def make_sets(tmp_path):
    """`make_sets(encoder, rate)`: hums of two pitches, a quarter of the test's being low."""

    def make(encoder=ClassEncoder, rate=8000):
        random = np.random.default_rng(0)
        sets = {}
        for split, size in SIZES.items():
            clips = []
            for index in range(size):
                is_low = index % 4 == 0 if split == "test" else index % 3 > 0
                seconds = np.arange(rate // 4) / rate
                sound = np.sin(2 * np.pi * (300 if is_low else 1500) * seconds)
                path = tmp_path / f"{split}{index}.wav"
                soundfile.write(path, 0.1 * sound + 0.01 * random.standard_normal(len(sound)), rate)
                label = (NAMES[is_low],)
                clips.append(Clip(path.stem, str(path), 0.0, 0.25, rate, label))
            write_manifest(tmp_path / f"{split}.csv", clips)
            reader = WaveformReader(16000)
            sets[split] = make_dataset([tmp_path / f"{split}.csv"], reader, encoder(NAMES), KEYS)
        return sets

    return make


def test_pitches_are_told_by_the_regression_and_not_by_chance(make_sets):
    found = baselines.measure_baselines(make_sets(), accuracy, 16000, 2)
    # Two thirds of the training clips are low, of the test's a quarter.
    assert found == {"chance": 0.25, "log_mel_ridge": 1.0}


def test_of_several_labels_it_is_the_mean_average_precision(make_sets):
    sets = make_sets(MultiHotEncoder)
    found = baselines.measure_baselines(sets, mean_average_precision, 16000, 2)
    assert found == {"chance": 0.5, "log_mel_ridge": 1.0}  # (3 / 4 + 1 / 4) / 2


@pytest.mark.parametrize(("rate", "high"), [(8000, 4000.0), (16000, 0.0), (44100, 0.0)])
def test_bands_end_where_the_audio_does(make_sets, monkeypatch, rate, high):
    seen = []
    filterbank = features.LogMelFilterbank
    monkeypatch.setattr(
        features,
        "LogMelFilterbank",
        lambda *numbers, **more: seen.append((*numbers, more)) or filterbank(*numbers, **more),
    )
    baselines.measure_baselines(make_sets(rate=rate), accuracy, 16000, 2)
    assert seen == [(16000, 64, {"high_frequency": high})]


@pytest.mark.parametrize(("least", "is_test", "is_judged"), [(6, 0, 1), (7, 0, 0), (6, 1, 0)])
def test_validation_chooses_if_it_can(make_sets, monkeypatch, least, is_test, is_judged):
    seen = []
    scores = baselines.linear_scores
    monkeypatch.setattr(
        baselines, "linear_scores", lambda *given: seen.append(given[3]) or scores(*given)
    )
    monkeypatch.setattr(baselines, "LEAST_VALID", least)
    sets = make_sets()
    if is_test:
        sets["valid"] = sets["test"]
    baselines.measure_baselines(sets, accuracy, 16000, 2)
    assert (seen[0] is not None) == is_judged


def test_training_clips_are_drawn_if_there_are_many(make_sets, monkeypatch):
    sets = make_sets()
    monkeypatch.setattr(baselines, "MOST_CLIPS", 5)
    asked = []
    read = type(sets["train"]).__getitem__
    monkeypatch.setattr(
        type(sets["train"]), "__getitem__", lambda self, key: asked.append(self) or read(self, key)
    )
    baselines.measure_baselines(sets, accuracy, 16000, 2)
    assert sum(one is sets["train"] for one in asked) == 5
    assert sum(one is sets["test"] for one in asked) == 8


def test_they_are_measured_once_and_noted(make_sets, tmp_path, monkeypatch):
    hparams = {
        "output_keys": KEYS,
        "output_folder": tmp_path,
        "max_duration": 1.0,
        "metric": accuracy,
        "metric_name": "accuracy",
        "sample_rate": 16000,
        "classes": NAMES,
        "seed": 1,
        "record": {},
    }
    sets = make_sets()
    baselines.add_baselines(hparams, sets)
    expected = {"chance": 0.25, "log_mel_ridge": 1.0}
    assert hparams["record"] == {"baselines": expected}
    assert json.loads((tmp_path / "baselines.json").read_text())["values"] == expected
    monkeypatch.setattr(baselines, "measure_baselines", lambda *_: pytest.fail("again"))
    again = {**hparams, "record": {}}
    baselines.add_baselines(again, sets)
    assert again["record"] == hparams["record"]
    other = {"chance": 0.5, "log_mel_ridge": 0.6}
    monkeypatch.setattr(baselines, "measure_baselines", lambda *_: other)
    sets["test"] = sets["valid"]
    baselines.add_baselines(again, sets)  # other clips
    assert again["record"]["baselines"] == other
    unlabelled = {key: value for key, value in hparams.items() if key != "classes"}
    unlabelled |= {"output_keys": KEYS[:-1], "record": {}}
    baselines.add_baselines(unlabelled, sets)
    assert unlabelled["record"] == {}


def test_a_clip_shorter_than_a_frame_has_features():
    class Short:
        def __getitem__(self, index):
            return {"waveform": torch.ones(10), "target": torch.tensor(0)}

    features, targets = baselines._read(Short(), [0], baselines.LogMelFilterbank())
    assert features.shape == (1, 12 * 128) and features.isfinite().all() and targets.tolist() == [0]
