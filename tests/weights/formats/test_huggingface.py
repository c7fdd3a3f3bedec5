"""Names and settings as Hugging Face's AST has them; `transformers` itself is asked where there."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from ssast_recipes.weights.formats.config import Architecture, FrontEndConfig
from ssast_recipes.weights.formats.huggingface import (
    PREFIX,
    huggingface_names,
    huggingface_to_ours,
    ours_to_huggingface,
)
from ssast_recipes.weights.formats.huggingface_settings import (
    huggingface_config,
    huggingface_preprocessor,
)
from tests.exported_models import FRONT_END, LABELS, make_model

ARCHITECTURE = Architecture(48, 2, 3, 32, 64, patch_size=(16, 16), patch_stride=(8, 12))


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("with_classifier", [False, True])
def test_there_and_back_is_exact(with_classifier):
    weights = make_model("prefix").state_dict()
    theirs = ours_to_huggingface(weights, with_classifier)
    kept = huggingface_names(depth=2, with_classifier=with_classifier)
    back, left_over = huggingface_to_ours(theirs)
    assert left_over == []
    assert_same(back, {name: weights[name] for name in kept})
    assert weights.keys() - kept.keys() - {"encoder._extra_state", "encoder.mask_token"} == (
        set() if with_classifier else {name for name in weights if name.startswith("classifier.")}
    )


def test_query_key_and_value_are_cut_in_this_order():
    weights = make_model("prefix").state_dict()
    theirs = ours_to_huggingface(weights)
    whole = weights["encoder.blocks.1.attention.qkv.weight"]
    for index, part in enumerate(("query", "key", "value")):
        found = theirs[f"encoder.layer.1.attention.attention.{part}.weight"]
        assert torch.equal(found, whole[48 * index : 48 * (index + 1)])


@pytest.mark.parametrize("class_name", ["ASTModel", "ASTForAudioClassification"])
def test_the_names_are_those_that_transformers_writes(tmp_path, class_name):
    transformers = pytest.importorskip("transformers")
    with_classifier = class_name != "ASTModel"
    settings = huggingface_config(ARCHITECTURE, 192, LABELS if with_classifier else (), "multi")
    model = getattr(transformers, class_name)(transformers.ASTConfig(**settings))
    model.save_pretrained(tmp_path)
    written = load_file(tmp_path / "model.safetensors")
    ours, left_over = huggingface_to_ours(written)
    assert left_over == []
    assert_same(ours_to_huggingface(ours, with_classifier), written)
    # Whatever of ours is not a default of theirs comes back from their own file.
    theirs = json.loads((tmp_path / "config.json").read_text())
    assert {key: theirs[key] for key in settings} == settings


def test_without_biases_of_query_key_and_value_they_are_zero():
    theirs = ours_to_huggingface(make_model("prefix").state_dict())
    parts = ("query.bias", "key.bias", "value.bias")
    bare = {name: value for name, value in theirs.items() if not name.endswith(parts)}
    assert len(bare) == len(theirs) - 6
    ours, _ = huggingface_to_ours(bare)
    assert torch.equal(ours["encoder.blocks.0.attention.qkv.bias"], torch.zeros(144))


def test_what_is_missing_and_what_is_left_over_is_named():
    theirs = ours_to_huggingface(make_model("prefix").state_dict(), with_classifier=True)
    theirs["lm_head.weight"] = torch.zeros(1)
    assert huggingface_to_ours(theirs)[1] == ["lm_head.weight"]
    del theirs[f"{PREFIX}layernorm.weight"]
    with pytest.raises(
        ValueError, match="layernorm.weight' of .*ForAudioClassification is missing"
    ):
        huggingface_to_ours(theirs)


def test_settings_keep_frequency_and_time_apart():
    settings = huggingface_config(ARCHITECTURE, 192)
    assert (settings["frequency_stride"], settings["time_stride"]) == (8, 12)
    assert (settings["num_mel_bins"], settings["max_length"]) == (32, 64)
    assert settings["architectures"] == ["ASTModel"] and "id2label" not in settings


@pytest.mark.parametrize("patch_size", [(32, 2), (16, 8)])
def test_patches_that_are_not_square_are_refused_in_one_line(patch_size):
    architecture = dataclasses.replace(ARCHITECTURE, patch_size=patch_size)
    with pytest.raises(ValueError, match=r"cannot go to Hugging Face's AST, .*square") as caught:
        huggingface_config(architecture, 192)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("frame_length", 20.0),
        ("frame_shift", 20.0),
        ("low_frequency", 0.0),
        ("high_frequency", 7000.0),
        ("pad_before_standardising", False),
    ],
)
def test_a_front_end_that_theirs_is_not_is_refused_by_name(key, value):
    front_end = FrontEndConfig(**{**FRONT_END, key: value})
    with pytest.raises(ValueError, match=f"cannot do {key} {value} "):
        huggingface_preprocessor(front_end)
