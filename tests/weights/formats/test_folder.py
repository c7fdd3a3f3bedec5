"""Model folders: what goes in comes out, and what is damaged is refused in one line."""

import dataclasses
import json
import math
import os
import struct

import pytest
import safetensors.torch
import torch

from ssast_recipes.model.autoencoder import MaskedAutoencoder
from ssast_recipes.model.classifiers import ClassificationModel, WeightedSumModel
from ssast_recipes.model.encoder import AudioSpectrogramTransformer
from ssast_recipes.model.filterbank import LogMelFilterbank
from ssast_recipes.model.front_end import SpectrogramFrontEnd
from ssast_recipes.model.heads import ClassificationHead, PatchPredictionHead, ProjectionHead
from ssast_recipes.model.masked_patches import MaskedPatchModel
from ssast_recipes.weights.formats import folder as model_folder
from ssast_recipes.weights.formats.config import FrontEndConfig, read_config
from ssast_recipes.weights.formats.description import describe_front_end
from ssast_recipes.weights.formats.folder import (
    find_model_folder,
    load_model,
    read_model_weights,
    save_model,
)
from ssast_recipes.weights.loading import load_pretrained_encoder

FRONT_END = FrontEndConfig(16000, 128, 25.0, 10.0, 20.0, 0.0, 32, -5.0, 4.0, True)
LABELS = ["cat", "dog", "Regen & Übung"]


def encoder(**changes) -> AudioSpectrogramTransformer:
    options = {"embed_dim": 16, "depth": 2, "num_heads": 2, "target_length": 32}
    return AudioSpectrogramTransformer(**(options | changes))


def make(kind: str) -> torch.nn.Module:
    """A tiny model of every kind that a model folder holds."""
    if kind == "encoder":
        return encoder(patch_size=(128, 2))
    if kind == "pretraining":
        return MaskedPatchModel(
            encoder(), PatchPredictionHead(16, 256), PatchPredictionHead(16, 256)
        )
    if kind == "reconstruction":
        return MaskedPatchModel(encoder(), reconstruction_head=PatchPredictionHead(16, 256))
    if kind == "autoencoder":
        heads = [PatchPredictionHead(8, 256) for _ in range(2)]
        body = encoder(positions="sinusoidal")
        return MaskedAutoencoder(body, *heads, 1, 8, 4, decoder_positions="sinusoidal")
    if kind == "classifier":
        body = encoder(patch_stride=(10, 10))
        return ClassificationModel(body, ClassificationHead(16, 3), pooling="prefix")
    if kind == "masked classifier":
        return ClassificationModel(encoder(), ClassificationHead(16, 3), padding="masked")
    return WeightedSumModel(encoder(), ProjectionHead(16, 3, hidden_dim=8), padding="masked")


CLASSIFIERS = ["classifier", "masked classifier", "weighted sum"]
KINDS = ["encoder", "pretraining", "reconstruction", "autoencoder", *CLASSIFIERS]


def save(folder, kind: str = "classifier", **options):
    """Writes a model folder and returns the model."""
    model = make(kind).eval()
    labels = LABELS if kind in CLASSIFIERS else ()
    save_model(folder, model, FRONT_END, labels, **options)
    return model


def outputs(model: torch.nn.Module) -> list[torch.Tensor]:
    spectrograms = torch.randn(2, 32, 128, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([32, 20])
    with torch.no_grad():
        if isinstance(model, MaskedPatchModel):
            found = model(spectrograms, torch.tensor([[0, 3], [1, 2]]))
            return [one for one in found if one is not None]
        if isinstance(model, AudioSpectrogramTransformer):
            return list(model(spectrograms)[:2])
        return [model(spectrograms, lengths)]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_is_loaded_exactly(tmp_path, kind):
    model = save(tmp_path / "m", kind, label_kind="multi", provenance={"dataset": "ESC-50"})
    loaded, config = load_model(tmp_path / "m")
    assert type(loaded) is type(model) and not loaded.training
    assert config.provenance == {"dataset": "ESC-50"}
    assert config.front_end == FRONT_END
    ours, theirs = model.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    for first, second in zip(outputs(model), outputs(loaded), strict=True):
        assert torch.equal(first, second)
    if kind in CLASSIFIERS:
        assert (config.labels, config.label_kind) == (tuple(LABELS), "multi")
    # What is told again of the loaded model is the same.
    save_model(tmp_path / "n", loaded, config.front_end, config.labels, "multi", config.provenance)
    assert read_config(tmp_path / "n") == config


def test_configuration_is_as_documented(tmp_path):
    save(tmp_path, "weighted sum")
    values = json.loads((tmp_path / "config.json").read_text())
    digest = values.pop("weights_sha256")
    assert len(digest) == 64
    assert values == {
        "format": "ssast-recipes",
        "format_version": 1,
        "kind": "classifier",
        "architecture": {
            "embed_dim": 16,
            "depth": 2,
            "num_heads": 2,
            "num_mel_bins": 128,
            "target_length": 32,
            "patch_size": [16, 16],
            "patch_stride": [16, 16],
        },
        "front_end": dataclasses.asdict(FRONT_END),
        "classifier": {
            "model": "WeightedSumModel",
            "head": "ProjectionHead",
            "padding": "masked",
            "hidden_dim": 8,
        },
        "labels": LABELS,
        "label_kind": "single",
        "provenance": {},
    }


def test_weights_drop_into_pretrained_encoders(tmp_path):
    model = save(tmp_path, "pretraining")
    weights, _ = read_model_weights(tmp_path)
    torch.save(weights, tmp_path / "weights.pth")
    fresh = encoder()
    load_pretrained_encoder(fresh, tmp_path / "weights.pth")
    for name, value in model.encoder.named_parameters():
        assert torch.equal(fresh.state_dict()[name], value), name


def test_loaded_weights_can_be_trained(tmp_path):
    save(tmp_path, "pretraining")
    model, _ = load_model(tmp_path)
    model(torch.randn(1, 32, 128), torch.tensor([[0, 3]])).contrastive.sum().backward()
    assert model.encoder.mask_token.grad.abs().sum() > 0


def test_a_model_is_replaced_and_other_files_are_left(tmp_path):
    save(tmp_path, "encoder")
    (tmp_path / "README.md").write_text("mine")
    model = save(tmp_path, "classifier")
    loaded, _ = load_model(tmp_path)
    assert torch.equal(outputs(model)[0], outputs(loaded)[0])
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["README.md", "config.json", "model.safetensors"]


def test_an_interrupted_save_leaves_no_model_that_does_not_fit(tmp_path, monkeypatch):
    save(tmp_path, "encoder")

    def fail(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_folder.safetensors.torch, "save_file", fail)
    with pytest.raises(OSError):
        save(tmp_path, "classifier")
    assert load_model(tmp_path)[1].kind == "encoder"  # the earlier one, whole
    monkeypatch.undo()
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError):
        save(tmp_path, "classifier")
    with pytest.raises(FileNotFoundError, match="not a model folder, or not whole"):
        load_model(tmp_path)


def test_runs_folders_are_found(tmp_path):
    save(tmp_path / "run" / "model")
    assert find_model_folder(tmp_path / "run") == tmp_path / "run" / "model"
    assert find_model_folder(tmp_path / "run" / "model") == tmp_path / "run" / "model"
    with pytest.raises(FileNotFoundError, match="does not exist"):
        find_model_folder(tmp_path / "runs")
    with pytest.raises(FileNotFoundError, match="neither a model folder"):
        find_model_folder(tmp_path)


# --- what is refused ---


class OwnHead(ClassificationHead):
    """A head that a configuration cannot describe."""


@pytest.mark.parametrize(
    ("model", "labels", "message"),
    [
        (torch.nn.Linear(1, 1), (), "cannot hold a Linear"),
        (ClassificationModel(encoder(), OwnHead(16, 3)), LABELS, "cannot hold a OwnHead"),
        (ClassificationModel(encoder(), ClassificationHead(16, 2)), LABELS, "3 labels for 2"),
        (ClassificationModel(encoder(), ClassificationHead(16, 1)), (), "labels are one name"),
        (encoder(target_length=64), (), "target_length is 64 in architecture, 32 in front_end"),
        (encoder(mlp_ratio=2.0), (), "is of shape"),
    ],
)
def test_models_that_a_folder_cannot_hold(tmp_path, model, labels, message):
    with pytest.raises(ValueError, match=message):
        save_model(tmp_path / "m", model, FRONT_END, labels)
    assert not (tmp_path / "m").exists()


def change(folder, *keys, value):
    """Changes one value of config.json; None removes the key."""
    path = folder / "config.json"
    values = inner = json.loads(path.read_text())
    for key in keys[:-1]:
        inner = inner[key]
    if value is None:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("format",), "other", "of another program"),
        (("format",), None, "of another program"),
        (("format_version",), 2, "format_version is 2, read is 1; update"),
        (
            ("kind",),
            "tagger",
            "kind is one of encoder, classifier, pretraining, recognition, not 'tagger'",
        ),
        (("kind",), ["encoder"], "kind is one of"),
        (("kind",), "encoder", "classifier is not known here"),
        (("heads",), {"contrastive": True}, "heads is not known here"),
        (("architecture",), [], "architecture is not an object"),
        (("architecture", "depth"), None, "architecture.depth is missing"),
        (("architecture", "deep"), 2, "architecture.deep is not known here"),
        (("architecture", "depth"), 2.0, "architecture.depth is 2.0, not a whole number"),
        (("architecture", "depth"), True, "architecture.depth is True"),
        (("architecture", "depth"), 10**12, "a whole number from 1 to 1024"),
        (("architecture", "depth"), 3, "holds 2 blocks, but config.json says 3"),
        (("architecture", "embed_dim"), 32, "is of shape"),
        (("architecture", "num_heads"), 3, "cannot be shared by 3 heads"),
        (("architecture", "patch_size"), [16], "two whole numbers"),
        (("architecture", "target_length"), 64, "32 in front_end"),
        (("front_end", "mean"), math.nan, "front_end.mean is nan"),
        (("front_end", "std"), 0, "std must be positive"),
        (("front_end", "sample_rate"), 10**9, "front_end.sample_rate is 1000000000"),
        (("front_end", "high_frequency"), 9000.0, "must be a range"),
        (("front_end", "pad_before_standardising"), 1, "true or false"),
        (("classifier", "pooling"), "max", "pooling is mean or prefix"),
        (("classifier", "pooling"), None, "classifier.pooling is missing"),
        (("classifier", "padding"), "heard", "padding is masked or released"),
        (("classifier", "head"), "ProjectionHead", "classifier.hidden_dim is missing"),
        (("classifier", "head"), "os.system", "classifier.head is one of"),
        (("labels",), ["cat", "dog"], "is of shape"),
        (("labels",), ["cat", "cat", "dog"], "labels are one name"),
        (("labels",), [1, 2, 3], "labels are one name"),
        (("label_kind",), "both", "label_kind is single or multi"),
        (("provenance",), "me", "provenance is not an object"),
        (("weights_sha256",), "0" * 64, "SHA-256 differs"),
        (("weights_sha256",), "0", "not 64 hexadecimal digits"),
    ],
)
def test_configurations_that_are_refused(tmp_path, keys, value, message):
    save(tmp_path)
    change(tmp_path, *keys, value=value)
    with pytest.raises(ValueError, match=message) as error:
        load_model(tmp_path)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "{" * 10**5, "\xff", '{"format": '])
def test_what_is_no_configuration(tmp_path, text):
    save(tmp_path)
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"config\.json is damaged \("):
        load_model(tmp_path)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def claim_terabytes(path):
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}})
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode())


def add_tensor(path):
    weights = safetensors.torch.load_file(path)
    safetensors.torch.save_file({**weights, "other.weight": torch.zeros(1)}, path)


def halve(path):
    weights = safetensors.torch.load_file(path)
    safetensors.torch.save_file({name: one.half() for name, one in weights.items()}, path)


def drop_tensor(path):
    weights = safetensors.torch.load_file(path)
    del weights["encoder.norm.bias"]
    safetensors.torch.save_file(weights, path)


def pickle_instead(path):
    torch.save({"encoder.norm.bias": torch.zeros(16)}, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "not readable as safetensors"),
        (flip, "SHA-256 differs"),
        (claim_terabytes, "not readable as safetensors"),
        (add_tensor, "other.weight is not a weight"),
        (drop_tensor, "encoder.norm.bias is missing"),
        (halve, "of type F16, not F32"),
        (pickle_instead, "not readable as safetensors"),
        (os.remove, "is missing"),
    ],
)
def test_weights_that_are_refused(tmp_path, damage, message):
    save(tmp_path)
    damage(tmp_path / "model.safetensors")
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        load_model(tmp_path)
    assert "model.safetensors" in str(error.value) and "\n" not in str(error.value)


def test_front_ends_are_told_and_rebuilt():
    filterbank = LogMelFilterbank(22050, 64, 32.0, 12.5, low_frequency=50.0, high_frequency=4000.0)
    front_end = SpectrogramFrontEnd(filterbank, 100, -3.0, 2.0, pad_before_standardising=False)
    rebuilt = describe_front_end(front_end, 22050).build()
    waveforms = torch.randn(2, 20000)
    assert torch.equal(front_end(waveforms), rebuilt(waveforms))


def test_front_ends_that_cannot_be_told():
    filterbank = LogMelFilterbank(low_frequency=50.0)
    filterbank.filters *= 2
    with pytest.raises(ValueError, match="not one of 128 mel bins for sample_rate=16000"):
        describe_front_end(SpectrogramFrontEnd(filterbank, 100, -3.0, 2.0), 16000)
    with pytest.raises(ValueError, match="sample_rate=8000"):
        describe_front_end(SpectrogramFrontEnd(LogMelFilterbank(), 100, -3.0, 2.0), 8000)


@pytest.mark.parametrize("kind", ["pretraining", "autoencoder"])
def test_padding_that_was_masked_is_told(tmp_path, kind):
    model = make(kind)
    model.padding = "masked"
    save_model(tmp_path, model, FRONT_END)
    loaded, config = load_model(tmp_path)
    assert loaded.padding == "masked" and config.masks_padding
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"masked"', '"mirrored"'))
    with pytest.raises(ValueError, match="padding is masked, or not there, and not 'mirrored'"):
        load_model(tmp_path)
