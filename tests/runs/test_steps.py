import logging

import numpy as np
import pytest
import soundfile
import torch

from ssast_recipes.data.labels import ClassEncoder, MultiHotEncoder
from ssast_recipes.data.manifest import Clip, write_manifest
from ssast_recipes.data.pipelines import WaveformReader
from ssast_recipes.model.builders import ast_encoder
from ssast_recipes.model.encoder import EXTRA_STATE
from ssast_recipes.runs.steps import load_pretrained, make_datasets, prepare
from ssast_recipes.system.errors import RunError
from ssast_recipes.system.files import file_digest, write_text

RATE = 16000
LABELS = {"a": ("dog",), "b": ("rain",), "c": ("dog",), "d": ("rain",)}


@pytest.fixture
def hparams(tmp_path):
    """What a YAML file gives for four clips of a second, a corpus of two and another of two."""
    for name in LABELS:
        soundfile.write(tmp_path / f"{name}.wav", np.arange(RATE) / 2**15, RATE, "FLOAT")
    clips = [
        Clip(name, str(tmp_path / f"{name}.wav"), 0.0, 1.0, RATE, labels)
        for name, labels in LABELS.items()
    ]
    write_manifest(tmp_path / "one.csv", clips[:2])
    write_manifest(tmp_path / "two.csv", clips[2:])
    write_text(tmp_path / "classes.txt", "rain\ndog\n")
    return {
        "train_manifests": [tmp_path / "one.csv", tmp_path / "two.csv"],
        "valid_manifests": [tmp_path / "one.csv"],
        "test_manifests": [tmp_path / "two.csv"],
        "output_keys": ["id", "index", "place", "waveform", "target"],
        "label_encoder": ClassEncoder.from_file,
        "classes_file": tmp_path / "classes.txt",
        "num_classes": 2,
        "read_waveform": WaveformReader(RATE),
        "seed": 1,
        "record": {},
    }


def test_a_data_set_is_the_union_of_its_manifests(hparams):
    datasets = make_datasets(hparams)
    ids = {split: list(clips.ids) for split, clips in datasets.items()}
    assert ids == {"train": ["a", "b", "c", "d"], "valid": ["a", "b"], "test": ["c", "d"]}
    assert hparams["record"]["num_clips"] == {"train": 4, "valid": 2, "test": 2}
    assert [clip["target"].item() for clip in datasets["train"]] == [1, 0, 1, 0]
    assert hparams["classes"] == ["rain", "dog"] and hparams["label_kind"] == "single"


def test_manifests_that_another_preparation_replaced_are_not_read(hparams, tmp_path):
    """As of a second run with the same manifest folder, and other options."""
    prepare(hparams, lambda: "Sounds")
    write_manifest(tmp_path / "two.csv", [])
    with pytest.raises(RunError, match=r"two.csv was replaced .*; give each its own --manifest"):
        make_datasets({**hparams, "test_manifests": [tmp_path / "one.csv"]})


def test_the_yaml_file_names_the_label_encoder(hparams):
    hparams["label_encoder"] = MultiHotEncoder.from_file
    assert make_datasets(hparams)["test"][0]["target"].tolist() == [0.0, 1.0]
    assert hparams["label_kind"] == "multi"  # of whichever loss


def test_without_targets_no_labels_are_read(hparams):
    hparams["output_keys"] = ["id", "index", "place", "waveform"]
    for key in ("label_encoder", "classes_file", "num_classes"):
        del hparams[key]
    datasets = make_datasets(hparams)
    assert list(datasets["train"][0]) == hparams["output_keys"]
    assert "classes" not in hparams


def test_a_split_may_be_read_in_a_way_of_its_own(hparams):
    hparams["train_read_waveform"] = WaveformReader(RATE, max_duration=0.25)
    datasets = make_datasets(hparams)
    lengths = {split: len(clips[0]["waveform"]) for split, clips in datasets.items()}
    assert lengths == {"train": RATE // 4, "valid": RATE, "test": RATE}


def test_fewer_clips_of_each_class_are_for_training_alone(hparams):
    hparams["clips_per_class"] = 1
    make_datasets(hparams)
    assert hparams["record"]["num_clips"] == {"train": 2, "valid": 2, "test": 2}


def test_mixup_is_for_training_alone(hparams):
    hparams["mixup"] = object()
    datasets = make_datasets(hparams)
    assert datasets["train"].mixup is hparams["mixup"]
    assert datasets["valid"].mixup is None and datasets["test"].mixup is None


def small_encoder():
    return ast_encoder(
        "tiny", embed_dim=64, depth=1, num_heads=1, target_length=64, patch_size=(16, 16)
    )


def test_pretrained_weights_are_loaded_and_recorded(tmp_path):
    pretrained, encoder = small_encoder(), small_encoder()
    weights = {f"encoder.{name}": value for name, value in pretrained.state_dict().items()}
    weights["_extra_state"] = pretrained.geometry()
    torch.save(weights, tmp_path / "mine.pth")
    hparams = {"encoder": encoder, "record": {}, "pretrained_encoder": tmp_path / "mine.pth"}
    load_pretrained(hparams)
    for name, value in pretrained.named_parameters():
        assert torch.equal(encoder.get_parameter(name), value)
    source = hparams["record"]["pretrained_from"]
    assert source == {"name": "mine.pth", "sha256": file_digest(tmp_path / "mine.pth")}


@pytest.mark.parametrize(
    ("text", "results", "dataset", "warns"),
    [
        ("test_fold: 2", '{"dataset": "ESC-50"}', "ESC-50", True),
        ("test_fold: 2", '{"dataset": "ESC-50"}', "ESC-10", True),  # a part of it, folds and all
        ("test_fold: 2", '{"dataset": "ESC-50"}', "IEMOCAP", False),
        ("test_fold: 2", None, "ESC-50", True),  # a pretraining that was broken off
        ("test_fold: 1", '{"dataset": "ESC-50"}', "ESC-50", False),
        ("seed: 1", '{"dataset": "ESC-50"}', "ESC-50", False),
    ],
)
def test_an_encoder_that_heard_the_test_fold(tmp_path, caplog, text, results, dataset, warns):
    encoder = ast_encoder("tiny", embed_dim=64, depth=1, num_heads=1, target_length=64)
    checkpoint = tmp_path / "save" / "CKPT+1"
    checkpoint.mkdir(parents=True)
    weights = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    geometry = {EXTRA_STATE: weights.pop("encoder._extra_state")}
    torch.save(weights | geometry, checkpoint / "model.ckpt")
    (checkpoint / "CKPT.yaml").write_text("unixtime: 1")
    (tmp_path / "hyperparams.yaml").write_text(text)
    if results:
        (tmp_path / "results.json").write_text(results)
    hparams = {"encoder": encoder, "pretrained_encoder": tmp_path, "test_fold": 1}
    with caplog.at_level(logging.WARNING):
        load_pretrained({**hparams, "record": {"dataset": dataset}})
    warned = f"{tmp_path} was pretrained with test_fold 2, so on the audio of fold 1, which"
    assert (warned in caplog.text) == warns == bool(caplog.records)
    caplog.clear()
    load_pretrained({**hparams, "test_fold": None, "record": {"dataset": dataset}})
    assert not caplog.records


@pytest.mark.parametrize("given", [{}, {"pretrained_encoder": None}])
def test_from_scratch_the_encoder_and_the_record_stay_as_they_are(given):
    hparams = {"encoder": None, "record": {}, **given}
    load_pretrained(hparams)
    assert hparams["record"] == {}
