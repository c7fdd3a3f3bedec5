"""Weights of the released code and of our runs: names, transfer, and files that are refused."""

import hashlib
import json
import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml

from ssast_recipes.model.autoencoder import MaskedAutoencoder
from ssast_recipes.model.classifiers import ClassificationModel
from ssast_recipes.model.encoder import AudioSpectrogramTransformer
from ssast_recipes.model.grid import adapt_positions
from ssast_recipes.model.heads import ClassificationHead, PatchPredictionHead
from ssast_recipes.model.masked_patches import MaskedPatchModel
from ssast_recipes.system.checksums import write_checksums
from ssast_recipes.weights import loading
from ssast_recipes.weights.formats.huggingface import ours_to_huggingface
from ssast_recipes.weights.formats.ssast import ours_to_released, released_to_ours
from ssast_recipes.weights.loading import (
    load_pretrained_encoder,
    load_pretrained_heads,
    read_pretrained,
)
from tests.reference import formulas

WIDTH = 128  # two heads, as the released models' width of a head is 64


def small_encoder(**options) -> AudioSpectrogramTransformer:
    options = {"embed_dim": WIDTH, "depth": 2, "num_heads": 2, "target_length": 128} | options
    return AudioSpectrogramTransformer(**options)


def pretraining_model(**options) -> MaskedPatchModel:
    heads = [PatchPredictionHead(WIDTH, 256) for _ in range(2)]
    return MaskedPatchModel(small_encoder(**options), *heads)


def released_checkpoint(patch_size=(16, 16), frames=128) -> dict[str, torch.Tensor]:
    return formulas.released_checkpoint(WIDTH, 2, patch_size, "hash", input_size=(128, frames))


def assert_equal(weights, expected) -> None:
    """Two state dicts hold the same tensors under the same names."""
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(weights[name], value), name


def without_extra_state(weights):
    return {name: value for name, value in weights.items() if not name.endswith("_extra_state")}


@pytest.fixture
def released_file(tmp_path) -> Path:
    torch.save(released_checkpoint(), tmp_path / "SSAST-Tiny.pth")
    return tmp_path / "SSAST-Tiny.pth"


def save_run(folder: Path, checkpoints: dict[str, dict]) -> dict[str, dict[str, torch.Tensor]]:
    """Writes a pretraining run's output folder; returns its encoders' weights."""
    weights = {}
    for name, meta in checkpoints.items():
        path = folder / "save" / name
        path.mkdir(parents=True)
        (path / "CKPT.yaml").write_text(yaml.dump({"end-of-epoch": False} | meta))
        model = pretraining_model()
        torch.save(model.state_dict(), path / "model.ckpt")
        weights[name] = without_extra_state(model.encoder.state_dict())
    return weights


# --- names ---


def test_released_names_become_ours():
    released = released_checkpoint()
    ours = released_to_ours(released)
    pairs = {
        "v.cls_token": "encoder.class_token",
        "v.dist_token": "encoder.distillation_token",
        "mask_embed": "encoder.mask_token",
        "v.pos_embed": "encoder.position_embedding",
        "v.patch_embed.proj.weight": "encoder.patch_embedding.projection.weight",
        "v.blocks.1.norm1.bias": "encoder.blocks.1.norm1.bias",
        "v.blocks.1.attn.qkv.weight": "encoder.blocks.1.attention.qkv.weight",
        "v.blocks.0.attn.proj.bias": "encoder.blocks.0.attention.projection.bias",
        "v.blocks.0.mlp.fc2.weight": "encoder.blocks.0.mlp.fc2.weight",
        "v.norm.weight": "encoder.norm.weight",
        "cpredlayer.0.weight": "contrastive_head.hidden.weight",
        "cpredlayer.2.bias": "contrastive_head.output.bias",
        "gpredlayer.0.bias": "reconstruction_head.hidden.bias",
        "gpredlayer.2.weight": "reconstruction_head.output.weight",
    }
    for theirs, name in pairs.items():
        assert torch.equal(ours[name], released[f"module.{theirs}"]), theirs
    # Strict: every tensor of the model, of the right shape, and no other.
    pretraining_model().load_state_dict(ours)


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_released_weights_come_back_as_they_were(prefix):
    released = released_checkpoint()
    released = {prefix + name.removeprefix("module."): value for name, value in released.items()}
    again = ours_to_released(released_to_ours(released), prefix)
    leftovers = (f"{prefix}v.head.", f"{prefix}v.head_dist.")
    kept = {name: value for name, value in released.items() if not name.startswith(leftovers)}
    assert len(released) - len(kept) == 4
    assert_equal(again, kept)


@pytest.mark.parametrize("patch_size", [(16, 16), (128, 2)])
def test_our_weights_come_back_as_they_were(patch_size):
    weights = pretraining_model(patch_size=patch_size).state_dict()
    again = released_to_ours(ours_to_released(weights))
    assert again.pop("encoder._extra_state") == weights.pop("encoder._extra_state")
    assert_equal(again, weights)


def test_fine_tuned_weights_go_both_ways():
    model = ClassificationModel(small_encoder(patch_stride=(10, 10)), ClassificationHead(WIDTH, 7))
    released = ours_to_released(model.state_dict())
    assert torch.equal(released["module.mlp_head.1.weight"], model.classifier.linear.weight)
    assert torch.equal(released["module.mlp_head.0.bias"], model.classifier.norm.bias)
    assert not [name for name in released if "p_input" in name]
    again = released_to_ours(released)
    assert_equal(without_extra_state(again), without_extra_state(model.state_dict()))
    model.load_state_dict(again)


def test_foreign_names_are_refused():
    with pytest.raises(ValueError, match="'decoder.weight' is not .* released"):
        released_to_ours({"module.decoder.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="'decoder.weight' is not .* this toolkit"):
        ours_to_released({"decoder.weight": torch.zeros(1)})


# --- transfer ---


def test_a_released_file_fills_the_encoder(released_file):
    encoder = small_encoder()
    source = load_pretrained_encoder(encoder, released_file)
    expected = released_to_ours(torch.load(released_file))
    expected = {
        name.removeprefix("encoder."): value
        for name, value in without_extra_state(expected).items()
        if name.startswith("encoder.")
    }
    assert_equal(without_extra_state(encoder.state_dict()), expected)
    digest = hashlib.sha256(released_file.read_bytes()).hexdigest()
    assert source == {"name": "SSAST-Tiny.pth", "sha256": digest}


@pytest.mark.parametrize(
    "options",
    [{"patch_stride": (10, 10)}, {"target_length": 64}, {"target_length": 300, "num_mel_bins": 64}],
)
def test_other_strides_and_lengths_adapt_the_positions_alone(options, released_file):
    same, other = small_encoder(), small_encoder(**options)
    for encoder in (same, other):
        load_pretrained_encoder(encoder, str(released_file))
    adapted, weights = other.state_dict(), same.state_dict()
    positions, fitted = (state.pop("position_embedding") for state in (weights, adapted))
    assert_equal(without_extra_state(adapted), without_extra_state(weights))
    assert torch.equal(fitted[:, :2], positions[:, :2])
    expected = adapt_positions(positions[:, 2:], (8, 8), other.grid_size)
    assert torch.equal(fitted[:, 2:], expected)
    assert other.geometry()["grid_size"] == list(other.grid_size)


def test_a_run_means_its_best_checkpoint(tmp_path):
    weights = save_run(
        tmp_path,
        {
            "CKPT+a": {"unixtime": 1.0, "valid_score": 0.1},
            "CKPT+b": {"unixtime": 2.0, "valid_score": 0.3},
            "CKPT+c": {"unixtime": 3.0, "valid_score": 0.2},
            "CKPT+d": {"unixtime": 4.0},
            "CKPT+e": {"unixtime": 5.0, "valid_score": float("nan")},
        },
    )
    encoder = small_encoder()
    source = load_pretrained_encoder(encoder, tmp_path)
    assert source["name"] == "CKPT+b/model.ckpt"
    assert_equal(without_extra_state(encoder.state_dict()), weights["CKPT+b"])


def test_a_run_without_validation_means_its_newest_checkpoint(tmp_path):
    save_run(
        tmp_path,
        {name: {"unixtime": time} for name, time in [("CKPT+z", 1.0), ("CKPT+a", 3.0)]},
    )
    assert load_pretrained_encoder(small_encoder(), tmp_path)["name"] == "CKPT+a/model.ckpt"


def test_checkpoints_without_weights_are_passed_over(tmp_path):
    save_run(
        tmp_path,
        {
            "CKPT+a": {"unixtime": 1.0, "valid_score": 0.1},
            "CKPT+b": {"unixtime": 2.0, "valid_score": 0.3},
        },
    )
    (tmp_path / "save" / "CKPT+b" / "model.ckpt").unlink()
    assert load_pretrained_encoder(small_encoder(), tmp_path)["name"] == "CKPT+a/model.ckpt"


@pytest.mark.parametrize("path", ["save/CKPT+b", "save/CKPT+b/model.ckpt"])
def test_a_checkpoint_can_be_named(path, tmp_path):
    checkpoints = {
        "CKPT+a": {"unixtime": 1.0, "valid_score": 0.9},
        "CKPT+b": {"unixtime": 2.0, "valid_score": 0.1},
    }
    weights = save_run(tmp_path, checkpoints)
    encoder = small_encoder()
    assert load_pretrained_encoder(encoder, tmp_path / path)["name"] == "CKPT+b/model.ckpt"
    assert_equal(without_extra_state(encoder.state_dict()), weights["CKPT+b"])


def test_fine_tuned_weights_of_ours_tell_their_grid(tmp_path):
    model = ClassificationModel(small_encoder(patch_stride=(10, 10)), ClassificationHead(WIDTH, 7))
    torch.save(model.state_dict(), tmp_path / "model.ckpt")
    encoder = small_encoder(target_length=96)
    load_pretrained_encoder(encoder, tmp_path)
    positions = model.encoder.position_embedding[:, 2:]
    expected = adapt_positions(positions, (12, 12), (8, 6))
    assert torch.equal(encoder.position_embedding[:, 2:], expected)


def test_fine_tuned_released_weights_fit_encoders_of_the_same_grid(tmp_path):
    """Their 12 x 12 positions must not be taken for 8 x 18, which they would be without overlap."""
    model = ClassificationModel(small_encoder(patch_stride=(10, 10)), ClassificationHead(WIDTH, 7))
    released = ours_to_released(model.state_dict())
    del released["module.mask_embed"]
    torch.save(released, tmp_path / "fine_tuned.pth")
    encoder = small_encoder(patch_stride=(10, 10))
    mask_token = encoder.mask_token.detach().clone()
    load_pretrained_encoder(encoder, tmp_path / "fine_tuned.pth")
    assert torch.equal(encoder.position_embedding, model.encoder.position_embedding)
    assert torch.equal(encoder.mask_token, mask_token)
    with pytest.raises(ValueError, match="fine_tuned.pth: .*position_embedding"):
        load_pretrained_encoder(small_encoder(target_length=96), tmp_path / "fine_tuned.pth")


# --- what is refused ---


@pytest.mark.parametrize(
    "options, message",
    [
        ({"patch_size": (128, 2)}, r"patch_size is \[16, 16\] there, \[128, 2\] here"),
        ({"patch_size": (32, 8)}, r"patch_size is \[16, 16\] there, \[32, 8\] here"),
        ({"num_heads": 4}, "num_heads is 2 there, 4 here"),
        ({"depth": 3}, "depth is 2 there, 3 here"),
        ({"embed_dim": 64, "num_heads": 2}, "embed_dim is 128 there, 64 here"),
    ],
)
def test_another_geometry_is_refused_naming_both(options, message, released_file, tmp_path):
    torch.save(pretraining_model().state_dict(), tmp_path / "model.ckpt")
    for path in (released_file, tmp_path / "model.ckpt"):
        encoder = small_encoder(**options)
        before = {name: value.clone() for name, value in encoder.named_parameters()}
        with pytest.raises(ValueError, match=message) as raised:
            load_pretrained_encoder(encoder, path)
        assert str(raised.value).startswith(f"{path}: ")
        assert_equal(dict(encoder.named_parameters()), before)


def one_line(raised) -> str:
    assert "\n" not in str(raised.value)
    return str(raised.value)


def damaged(content: bytes) -> dict[str, bytes]:
    flipped = bytearray(content)
    flipped[len(content) // 2 :] = bytes(255 - byte for byte in content[len(content) // 2 :])
    return {
        "empty": b"",
        "text": b"<html>404 Not Found</html>",
        "truncated": content[: len(content) // 2],
        "flipped": bytes(flipped),
        # A pickle whose first instruction asks for what is not there.
        "short pickle": b"\x80\x02h\x07.",
        "bad text": b"\x80\x02X\x02\x00\x00\x00\xff\xfe.",
    }


@pytest.mark.parametrize("damage", damaged(b""))
def test_damaged_files_are_refused(damage, released_file):
    released_file.write_bytes(damaged(released_file.read_bytes())[damage])
    with pytest.raises(ValueError, match="SSAST-Tiny.pth: not readable as weights") as raised:
        load_pretrained_encoder(small_encoder(), released_file)
    one_line(raised)


@pytest.mark.parametrize(
    "content, message",
    [
        (torch.zeros(3), "holds a Tensor, not weights by name"),
        ({1: torch.zeros(3)}, "holds a dict, not weights by name"),
        ({"weight": torch.zeros(3)}, "holds no encoder weights"),
        ({"module.v.norm.bias": torch.zeros(3)}, "holds no encoder weights"),
        ({"v.norm.bias": torch.zeros(3), "fc": torch.zeros(3)}, "'fc' is not the name"),
    ],
)
def test_files_of_something_else_are_refused(content, message, tmp_path):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=f"other.pth: {message}") as raised:
        load_pretrained_encoder(small_encoder(), tmp_path / "other.pth")
    one_line(raised)


@pytest.mark.parametrize("name", ["v.norm.bias", "v.pos_embed", "v.blocks.1.attn.qkv.weight"])
def test_incomplete_weights_are_refused(name, tmp_path):
    weights = released_checkpoint()
    ours = next(iter(released_to_ours({name: weights.pop(f"module.{name}")})))
    torch.save(weights, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=f"part.pth: .*{ours.removeprefix('encoder.')}") as raised:
        load_pretrained_encoder(small_encoder(), tmp_path / "part.pth")
    one_line(raised)


def test_weights_of_other_shapes_are_refused(released_file):
    with pytest.raises(ValueError, match="SSAST-Tiny.pth: .*size mismatch.*mlp.fc1") as raised:
        load_pretrained_encoder(small_encoder(mlp_ratio=2.0), released_file)
    one_line(raised)


class Malicious:
    """Unpickled, it would make a folder."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_code_in_a_file_is_not_run(writer, tmp_path):
    trace = tmp_path / "trace"
    content = released_checkpoint() | {"module.v.extra": Malicious(trace)}
    with (tmp_path / "bad.pth").open("wb") as file:
        torch.save(content, file) if writer == "torch" else pickle.dump(content, file)
    with pytest.raises(ValueError, match="bad.pth: not readable as weights"):
        load_pretrained_encoder(small_encoder(), tmp_path / "bad.pth")
    assert not trace.exists()
    with (tmp_path / "bad.pth").open("rb") as file:  # it would have worked
        torch.load(file, weights_only=False) if writer == "torch" else pickle.load(file)
    assert trace.exists()


@pytest.mark.parametrize("path", ["nowhere", "nowhere/model.ckpt", "."])
def test_missing_weights_are_told(path, tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match="neither a weights file, nor a checkpoint folder|does not exist; give a pre",
    ):
        load_pretrained_encoder(small_encoder(), tmp_path / path)


# --- model folders ---


def save_huggingface(folder: Path) -> torch.Tensor:
    """Writes the folder of an ASTModel of 8 x 8 patches; returns its patches' positions."""
    weights = ours_to_huggingface(small_encoder().state_dict(prefix="encoder."))
    config = {"model_type": "audio-spectrogram-transformer", "hidden_size": WIDTH}
    config |= {"num_hidden_layers": 2, "num_attention_heads": 2, "num_mel_bins": 128}
    config |= {"max_length": 128, "frequency_stride": 16, "time_stride": 16}
    folder.mkdir()
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return weights["embeddings.position_embeddings"][:, 2:]


@pytest.mark.parametrize("path", ["theirs", "theirs/model.safetensors"])
def test_a_folder_of_hugging_face_fills_the_encoder(path, tmp_path):
    positions = save_huggingface(tmp_path / "theirs")
    encoder = small_encoder(patch_stride=(10, 10))
    loaded = load_pretrained_encoder(encoder, tmp_path / path)
    assert loaded["name"] == "theirs/model.safetensors"
    expected = adapt_positions(positions, (8, 8), (12, 12))
    assert torch.equal(encoder.position_embedding[:, 2:], expected)


def test_a_run_without_checkpoints_means_its_model_folder(tmp_path):
    save_huggingface(tmp_path / "model")
    (tmp_path / "hyperparams.yaml").write_text("test_fold: 2")
    loaded = load_pretrained_encoder(small_encoder(), tmp_path)
    assert (loaded["name"], loaded["test_fold"]) == ("model/model.safetensors", 2)
    save_run(tmp_path, {"CKPT+a": {"unixtime": 1.0}})
    assert load_pretrained_encoder(small_encoder(), tmp_path)["name"] == "CKPT+a/model.ckpt"


def test_another_geometry_of_a_folder_is_refused(tmp_path):
    save_huggingface(tmp_path / "theirs")
    with pytest.raises(ValueError, match="depth is 2 there, 3 here"):
        load_pretrained_encoder(small_encoder(depth=3), tmp_path / "theirs")


def test_a_geometry_that_is_none_is_refused(tmp_path):
    weights = {"encoder._extra_state": [1, 2], "encoder.norm.bias": torch.zeros(3)}
    torch.save(weights, tmp_path / "model.ckpt")
    with pytest.raises(ValueError, match="model.ckpt: its geometry is a list; it is not of this"):
        load_pretrained_encoder(small_encoder(), tmp_path)


# --- heads ---


def test_pretraining_goes_on_with_the_heads_of_the_source(released_file):
    heads = {
        "contrastive_head": PatchPredictionHead(WIDTH, 256),
        "reconstruction_head": PatchPredictionHead(WIDTH, 256),
    }
    assert load_pretrained_heads(heads, released_file) == [*heads]
    expected = released_to_ours(torch.load(released_file))
    for name, head in heads.items():
        for key, value in head.state_dict().items():
            assert torch.equal(value, expected[f"{name}.{key}"]), key


def test_a_source_without_heads_leaves_them(tmp_path):
    save_huggingface(tmp_path / "theirs")
    head = PatchPredictionHead(WIDTH, 256)
    before = {name: value.clone() for name, value in head.state_dict().items()}
    assert load_pretrained_heads({"contrastive_head": head}, tmp_path / "theirs") == []
    assert_equal(head.state_dict(), before)


def test_heads_of_another_size_are_refused(released_file):
    with pytest.raises(ValueError, match="SSAST-Tiny.pth: .*size mismatch.*output") as raised:
        load_pretrained_heads({"contrastive_head": PatchPredictionHead(WIDTH, 64)}, released_file)
    one_line(raised)


# --- once for all


def test_weights_are_found_and_read_once(released_file, monkeypatch):
    asked = []
    for name in ("find_weights", "read_tensors", "file_digest"):
        real = getattr(loading, name)
        monkeypatch.setattr(
            loading, name, lambda path, name=name, real=real: asked.append(name) or real(path)
        )
    weights = read_pretrained(released_file)
    heads = {"contrastive_head": PatchPredictionHead(WIDTH, 256)}
    first, second = small_encoder(), small_encoder()
    told = [load_pretrained_encoder(encoder, weights) for encoder in (first, second)]
    assert load_pretrained_heads(heads, weights) == [*heads]
    assert asked == ["find_weights", "read_tensors", "file_digest"]
    assert told[0] == told[1] == {"name": weights.name, "sha256": weights.sha256}
    assert_equal(*map(without_extra_state, (first.state_dict(), second.state_dict())))
    other = small_encoder()
    load_pretrained_encoder(other, released_file)
    assert_equal(*map(without_extra_state, (first.state_dict(), other.state_dict())))


# --- masked autoencoders ---


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_the_encoder_of_an_autoencoder_is_loaded_as_any_other(tmp_path, positions):
    heads = [PatchPredictionHead(WIDTH, 256) for _ in range(2)]
    model = MaskedAutoencoder(small_encoder(positions=positions), *heads)
    torch.save(model.state_dict(), tmp_path / "model.ckpt")
    for own in ("learned", "sinusoidal"):
        encoder = small_encoder(target_length=64, positions=own)
        load_pretrained_encoder(encoder, tmp_path / "model.ckpt")
        weights, fitted = (without_extra_state(e.state_dict()) for e in (model.encoder, encoder))
        before, after = (state.pop("position_embedding") for state in (weights, fitted))
        assert_equal(fitted, weights)
        assert torch.equal(after[:, 2:], adapt_positions(before[:, 2:], (8, 8), (8, 4)))


def test_released_weights_start_an_autoencoder(released_file):
    heads = [PatchPredictionHead(WIDTH, 256) for _ in range(2)]
    model = MaskedAutoencoder(small_encoder(), *heads)
    load_pretrained_encoder(model.encoder, released_file)
    loaded = load_pretrained_heads(
        {"contrastive_head": heads[0], "reconstruction_head": heads[1]}, released_file
    )
    assert loaded == ["contrastive_head", "reconstruction_head"]
    assert not model.encoder.mask_token.requires_grad


# --- geometry that somebody else wrote ---


def nested(depth):
    """2^depth lists in a file of some hundred bytes: printing them would take ages."""
    value = []
    for _ in range(depth):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embed_dim": nested(60)}, "embed_dim of its geometry is no whole number from 1 to"),
        ({"grid_size": nested(60)}, "grid_size of its geometry is no two whole numbers"),
        ({"grid_size": [8, 2**40]}, "grid_size of its geometry is no two whole numbers"),
        ({"patch_size": [-16, 16]}, "patch_size of its geometry is no two whole numbers"),
        ({"depth": float("nan")}, "depth of its geometry is no whole number"),
        ({"num_heads": 0}, "num_heads of its geometry is no whole number"),
        ({"num_heads": True}, "num_heads of its geometry is no whole number"),
        (None, "its geometry is a NoneType; it is not of this toolkit"),
    ],
    ids=["lists", "lists for a pair", "huge", "negative", "nan", "zero", "truth", "none"],
)
def test_a_hostile_geometry_is_one_line_at_once(tmp_path, change, message):
    weights = pretraining_model().state_dict()
    geometry = weights["encoder._extra_state"]
    weights["encoder._extra_state"] = None if change is None else {**geometry, **change}
    torch.save(weights, tmp_path / "model.ckpt")
    with pytest.raises(ValueError, match=f"model.ckpt: {message}"):
        load_pretrained_encoder(small_encoder(), tmp_path / "model.ckpt")


def test_a_checkpoint_whose_weights_are_damaged_gives_none(tmp_path):
    save_run(tmp_path, {"CKPT+a": {"unixtime": 1.0}})
    folder = tmp_path / "save" / "CKPT+a"
    write_checksums(folder)
    load_pretrained_encoder(small_encoder(), tmp_path)
    content = bytearray((folder / "model.ckpt").read_bytes())
    content[len(content) // 2] ^= 1  # in a weight: it would be read without an error
    (folder / "model.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=r"CKPT\+a is damaged: model.ckpt is not as it was writ"):
        load_pretrained_encoder(small_encoder(), tmp_path)
