"""Weights as training programs leave them: under keys, behind words, beside objects, in parts."""

import argparse
import collections
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from ssast_recipes.weights.finding import find_weights, source_name
from ssast_recipes.weights.formats.folder import load_model, read_model_weights
from ssast_recipes.weights.formats.tensors import check_finite, read_tensors
from ssast_recipes.weights.importing import import_model
from ssast_recipes.weights.loading import read_pretrained
from tests.weights.formats.test_tensors import WEIGHTS, Called, refusal, save_legacy
from tests.weights.test_front_ends import folder_of
from tests.weights.test_loading import pretraining_model, released_checkpoint

PREFIXED = {f"module.{name}": value for name, value in WEIGHTS.items()}
OURS = {"encoder.class_token": torch.ones(1), "encoder.norm.bias": torch.zeros(2)}
RELEASED = {"v.cls_token": torch.ones(1), "mlp_head.1.bias": torch.zeros(2)}
TIMM = {"cls_token": torch.ones(1), "pos_embed": torch.zeros(2)}
HUGGING_FACE = {
    "audio_spectrogram_transformer.embeddings.cls_token": torch.ones(1),
    "classifier.dense.bias": torch.zeros(2),
}


def named(weights, prefix: str):
    return {f"{prefix}{name}": value for name, value in weights.items()}


def saved(content, path: Path) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "content",
    [
        named(WEIGHTS, "_orig_mod."),
        named(WEIGHTS, "module.module."),
        named(WEIGHTS, "_orig_mod.module."),
        named(WEIGHTS, "module.") | {"n_averaged": torch.tensor(3)},
        {"state_dict": PREFIXED},
        {"ema": WEIGHTS},
        {"model": {"module": WEIGHTS}, "step": torch.tensor(3)},
        {"model": WEIGHTS, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}, "epoch": 3},
        {"mine": WEIGHTS, "epoch": 3},
        {"model": WEIGHTS, "args": argparse.Namespace(lr=0.1), "best": np.float64(0.5)},
        collections.OrderedDict(state_dict=PREFIXED, callbacks={Path: Path("a")}),
    ],
)
@pytest.mark.parametrize("save", [torch.save, save_legacy], ids=["zip", "legacy"])
def test_what_is_wrapped_around_weights_is_taken_off(content, save, tmp_path):
    save(content, tmp_path / "a.pth")
    found = read_tensors(tmp_path / "a.pth")
    assert found.keys() == WEIGHTS.keys()
    assert all(torch.equal(found[name], value) for name, value in WEIGHTS.items())


@pytest.mark.parametrize("prefix", ["model.", "net.encoder.", "backbone._orig_mod."])
@pytest.mark.parametrize("weights", [OURS, RELEASED, TIMM, HUGGING_FACE])
def test_what_a_program_calls_its_model_is_no_part_of_names(prefix, weights, tmp_path, caplog):
    content = {"state_dict": named(weights, prefix) | {"criterion.bias": torch.ones(3)}}
    found = read_tensors(saved(content, tmp_path / "a.ckpt"))
    assert found.keys() == weights.keys()
    assert "passed over what is not of" in caplog.text and "criterion.bias" in caplog.text


def test_a_wrapped_part_is_unwrapped_where_it_is(tmp_path):
    names = {name.replace("encoder.", "encoder.module.") for name in OURS}
    path = saved(dict.fromkeys(names, torch.ones(1)), tmp_path / "a.pth")
    assert read_tensors(path).keys() == OURS.keys()


def test_of_several_one_is_taken_and_told(tmp_path, caplog):
    average = {name: value + 1 for name, value in WEIGHTS.items()}
    path = saved({"ema": average, "state_dict": WEIGHTS}, tmp_path / "a.pth")
    assert torch.equal(read_tensors(path)["b"], WEIGHTS["b"])
    assert "a.pth holds state_dict, ema; state_dict is taken" in caplog.text
    unknown = saved({"one": WEIGHTS, "two": WEIGHTS}, tmp_path / "b.pth")
    assert "holds weights under one, two; save one of them alone" in refusal(unknown)
    twice = saved(WEIGHTS | PREFIXED, tmp_path / "c.pth")
    assert "several weights of one name" in refusal(twice)


def test_other_objects_are_told_and_never_made(tmp_path, caplog):
    trace = tmp_path / "trace"
    content = {"model": WEIGHTS, "args": Called(shutil.copy, __file__, str(trace))}
    assert read_tensors(saved(content, tmp_path / "a.pth")).keys() == WEIGHTS.keys()
    assert "other objects, too (shutil.copy); they are passed over, unread" in caplog.text
    assert not trace.exists()
    torch.load(tmp_path / "a.pth", weights_only=False)
    assert trace.exists()  # it would have worked


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (WEIGHTS | {"c": argparse.Namespace()}, "'c' is of type another program's, no tensor"),
        ({"model": WEIGHTS, "c": collections.UserDict}, None),
        ({"model": WEIGHTS, "c": collections.ChainMap()}, None),
        (torch.nn.Linear(2, 2), "holds a UnreadObject, not weights by name"),
        (
            {"model": WEIGHTS, "c": collections.defaultdict(list, a=[1])},
            "holds other objects than tensors (collections.defaultdict, builtins.list), which are "
            "never read; where it was made, save the tensors alone: "
            "torch.save(model.state_dict(), FILE)",
        ),
    ],
)
def test_what_nothing_can_stand_in_for_is_named(content, told, tmp_path):
    path = saved(content, tmp_path / "a.pth")
    if told is None:
        assert read_tensors(path).keys() == WEIGHTS.keys()
    else:
        line = refusal(path)
        assert told in line and "damaged" not in line


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_halves_become_32_bit(kind, suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    save = torch.save if suffix == ".pth" else safetensors.torch.save_file
    save({"a": torch.tensor([0.1]).to(kind), "b": torch.tensor(3)}, path)
    found = read_tensors(path)
    assert found["a"].dtype == torch.float32 and found["b"].dtype == torch.int64
    assert found["a"].item() == torch.tensor(0.1).to(kind).item()


# --- in several files ---


def shards(folder: Path, weight_map=None, suffix=".safetensors") -> Path:
    folder.mkdir()
    save = safetensors.torch.save_file if suffix == ".safetensors" else torch.save
    save({"a.weight": WEIGHTS["a.weight"]}, folder / f"model-1{suffix}")
    save({"b": WEIGHTS["b"]}, folder / f"model-2{suffix}")
    files = {"a.weight": f"model-1{suffix}", "b": f"model-2{suffix}"}
    name = "model.safetensors" if suffix == ".safetensors" else "pytorch_model.bin"
    path = folder / f"{name}.index.json"
    path.write_text(json.dumps({"weight_map": files if weight_map is None else weight_map}))
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_weights_in_several_files_are_read_as_one(suffix, tmp_path):
    index = shards(tmp_path / "model", suffix=suffix)
    assert find_weights(tmp_path / "model") == index
    found = read_tensors(index)
    assert found.keys() == WEIGHTS.keys()
    assert all(torch.equal(found[name], value) for name, value in WEIGHTS.items())
    assert source_name(index) == f"model/{index.name}"


@pytest.mark.parametrize(
    ("weight_map", "told"),
    [
        ({"a.weight": "../a.safetensors"}, "is not the name of a weights file beside it"),
        ({"a.weight": "/tmp/a.safetensors"}, "is not the name of a weights file beside it"),
        ({"a.weight": "..\\a.safetensors"}, "is not the name of a weights file beside it"),
        ({"a.weight": "config.json"}, "is not the name of a weights file beside it"),
        ({"a.weight": 3}, "3 is not the name of a weights file beside it"),
        ({"a.weight": "model-3.safetensors"}, "model-3.safetensors is missing; copy the whole"),
        ([], "holds no weight_map"),
        ({}, "holds no weight_map"),
    ],
)
def test_an_index_that_is_refused(weight_map, told, tmp_path):
    torch.save(WEIGHTS, tmp_path / "a.safetensors")
    assert told in refusal(shards(tmp_path / "model", weight_map))


def test_an_index_that_tells_more_than_there_is(tmp_path):
    index = shards(tmp_path / "model", {"c": "model-1.safetensors"})
    with pytest.raises(ValueError, match=r"model-1.safetensors: c is not in it, as the index says"):
        read_tensors(index)


def test_the_newest_checkpoint_of_a_trainer(tmp_path):
    for step in ("9", "10", "200", "last"):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in ("9", "10"):  # that of step 200 was cut off
        safetensors.torch.save_file(WEIGHTS, tmp_path / f"checkpoint-{step}" / "model.safetensors")
    assert find_weights(tmp_path) == tmp_path / "checkpoint-10" / "model.safetensors"
    safetensors.torch.save_file(WEIGHTS, tmp_path / "model.safetensors")
    assert find_weights(tmp_path) == tmp_path / "model.safetensors"


# --- what is no number ---


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(value, tmp_path):
    released = released_checkpoint()
    name = next(name for name in released if name.endswith("blocks.1.mlp.fc1.bias"))
    released[name][3] = value
    told = r"encoder.blocks.1.mlp.fc1.bias holds NaN or infinity, 1 of its 512 values"
    path = saved(released, tmp_path / "a.pth")
    for use in (read_pretrained, lambda path: import_model(path, tmp_path / "out")):
        with pytest.raises(ValueError, match=rf"a.pth: {told}"):
            use(path)
    assert not (tmp_path / "out").exists()
    model = pretraining_model()
    model.encoder.blocks[1].mlp.fc1.bias.data[3] = value
    with pytest.raises(ValueError, match=told):
        read_pretrained(saved(model.state_dict(), tmp_path / "model.ckpt"))


def test_a_model_folder_of_no_numbers_is_not_used(tmp_path, monkeypatch):
    folder = folder_of(tmp_path / "model")
    weights, _ = read_model_weights(folder)
    weights["encoder.norm.bias"][0] = float("nan")
    monkeypatch.setattr(safetensors.torch, "load_file", lambda path: {**weights})
    with pytest.raises(ValueError, match=r"model.safetensors: encoder.norm.bias holds NaN"):
        load_model(folder)


def test_large_values_are_numbers(tmp_path):
    large = {"a": torch.full((4,), 3e38), "b": torch.tensor(1)}
    check_finite(large)
