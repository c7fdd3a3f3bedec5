"""Whose model a file holds: what the names and shapes of its weights tell."""

from pathlib import Path

import pytest
import torch

from ssast_recipes.model.builders import SIZES, size_name
from ssast_recipes.weights.formats.recognition import recognise
from ssast_recipes.weights.formats.ssast import released_to_ours
from tests.reference import formulas

HERE = Path("nowhere")


def released(embed_dim=128, depth=2, patch_size=(16, 16), frames=128, prefix="module."):
    weights = formulas.released_checkpoint(embed_dim, depth, patch_size, "hash", (128, frames))
    return {prefix + name.removeprefix("module."): value for name, value in weights.items()}


def fine_tuned(num_classes, num_patches, embed_dim=128):
    """As the released fine-tuning code leaves it: no input size, no mask token, a classifier."""
    weights = released(embed_dim)
    gone = ("module.p_input", "module.mask_embed", "module.cpredlayer", "module.gpredlayer")
    weights = {name: value for name, value in weights.items() if not name.startswith(gone)}
    positions = formulas.weight("v.pos_embed", (1, 2 + num_patches, embed_dim), "hash")
    classifier = formulas.released_classifier(embed_dim, num_classes, "hash")
    return weights | classifier | {"module.v.pos_embed": positions}


def deit(side, embed_dim=128, depth=2):
    """As timm stores it: SSAST's encoder, for pictures of three channels."""
    size = (16 * side, 16 * side)
    weights = formulas.released_checkpoint(embed_dim, depth, (16, 16), "hash", size)
    weights = {
        name.removeprefix("module.v."): value
        for name, value in weights.items()
        if name.startswith("module.v.")
    }
    kernel = formulas.weight("patch_embed.proj.weight", (embed_dim, 3, 16, 16), "hash")
    return weights | {"patch_embed.proj.weight": kernel}


@pytest.mark.parametrize("prefix", ["module.", ""])
@pytest.mark.parametrize("patch_size, stride", [((16, 16), (16, 16)), ((128, 2), (128, 2))])
@pytest.mark.parametrize("size", SIZES)
def test_ssast_for_pretraining(size, patch_size, stride, prefix):
    numbers = SIZES[size] | {"depth": 1}
    weights = released(numbers["embed_dim"], 1, patch_size, 1024, prefix)
    model = recognise(weights, HERE)
    assert model.description == "SSAST for pretraining, as released"
    assert size_name(model.geometry | {"depth": 12}) == size
    assert model.geometry["patch_size"] == list(patch_size)
    assert (model.num_mel_bins, model.target_length, model.patch_stride) == (128, 1024, stride)
    assert model.heads == {"contrastive_head", "reconstruction_head"}
    leftovers = ["v.head.bias", "v.head.weight", "v.head_dist.bias", "v.head_dist.weight"]
    assert model.left_over == leftovers
    expected = released_to_ours(weights)
    assert model.geometry == expected.pop("encoder._extra_state")
    assert model.weights.keys() == expected.keys()
    assert all(torch.equal(model.weights[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    "classes, patches, stride, length, kind",
    [
        (527, 12 * 101, 10, 1024, "multi"),
        (527, 10 * 85, 12, 1024, "multi"),
        (527, 9 * 73, 14, 1024, "multi"),
        (527, 8 * 64, 16, 1024, "multi"),
        (35, 12 * 12, 10, 128, "single"),
    ],
)
def test_published_ast(classes, patches, stride, length, kind):
    model = recognise(fine_tuned(classes, patches), HERE)
    assert model.description.startswith("AST of ")
    assert model.patch_stride == (stride, stride)
    assert (model.num_mel_bins, model.target_length) == (128, length)
    assert model.geometry["grid_size"][0] * model.geometry["grid_size"][1] == patches
    assert (model.pooling, model.label_kind, model.num_classes) == ("prefix", kind, classes)
    statistics = (-4.2677393, 4.5689974) if classes == 527 else (-6.845978, 5.5654526)
    assert (model.front_end["mean"], model.front_end["std"]) == statistics


@pytest.mark.parametrize("classes, patches", [(7, 12 * 101), (527, 77), (35, 12 * 101)])
def test_of_other_fine_tuned_weights_nothing_is_guessed(classes, patches):
    model = recognise(fine_tuned(classes, patches), HERE)
    assert (model.target_length, model.patch_stride, model.pooling) == (None, None, None)
    assert "grid_size" not in model.geometry
    assert (model.num_classes, model.num_patches) == (classes, patches)


@pytest.mark.parametrize("side", [14, 24])
def test_deit(side):
    weights = deit(side)
    model = recognise(weights, HERE)
    assert model.description == "DeiT, distilled"
    assert model.geometry["grid_size"] == [side, side]
    assert model.left_over == ["head.bias", "head.weight", "head_dist.bias", "head_dist.weight"]
    assert not model.heads
    kernel = model.weights["encoder.patch_embedding.projection.weight"]
    colours = weights["patch_embed.proj.weight"]
    # Of a grey picture, the same as the three channels are of three equal ones.
    grey = torch.randn(1, 1, 32, 16)
    expected = torch.conv2d(grey.expand(-1, 3, -1, -1), colours)
    assert torch.allclose(torch.conv2d(grey, kernel), expected, atol=1e-4)
    name = "blocks.1.attn.qkv.weight"
    assert torch.equal(model.weights["encoder.blocks.1.attention.qkv.weight"], weights[name])


def without(weights, *names):
    return {name: value for name, value in weights.items() if name not in names}


@pytest.mark.parametrize(
    "weights, message",
    [
        ({"fc.weight": torch.zeros(1)}, "kind that is known here, but fc.weight"),
        (without(released(), "module.v.pos_embed"), "no encoder.position_embedding in it"),
        (without(released(), "module.v.cls_token"), "no encoder.class_token in it"),
        (
            without(released(), "module.v.patch_embed.proj.weight"),
            "no encoder.patch_embedding.projection.weight in it",
        ),
        (released() | {"module.fc": torch.zeros(1)}, "'fc' is not the name of a weight"),
        (
            released() | {"module.v.patch_embed.proj.weight": torch.zeros(128, 256)},
            r"proj.weight is of shape \[128, 256\], not of a patch",
        ),
        (
            released() | {"module.v.patch_embed.proj.weight": torch.zeros(128, 1, 0, 16)},
            r"proj.weight is of shape \[128, 1, 0, 16\], not of a patch",
        ),
        (
            released() | {"module.v.patch_embed.proj.weight": torch.zeros(100, 1, 16, 16)},
            "tokens 100 wide are no multiple of 64",
        ),
        *(
            (released() | {"module.p_input_tdim": value}, "p_input_tdim is not a whole number")
            for value in (torch.tensor(-128), torch.tensor(float("inf")), torch.tensor([1, 2]))
        ),
        (
            released() | {"module.v.pos_embed": torch.zeros(66)},
            r"position_embedding is of shape \[66\], not of 3",
        ),
        (
            released() | {"module.v.norm.weight": torch.zeros(128, dtype=torch.int8)},
            "encoder.norm.weight is of type torch.int8",
        ),
        (without(deit(8), "dist_token"), "without dist_token"),
        (deit(8) | {"pos_embed": torch.zeros(1, 2 + 65, 128)}, "65 position embeddings are not"),
        ({"encoder.blocks.0.norm1.weight": torch.zeros(1)}, "of this toolkit, which needs no imp"),
    ],
)
def test_what_is_not_known_or_not_whole_is_refused(weights, message):
    with pytest.raises(ValueError, match=message) as raised:
        recognise(weights, HERE)
    assert "\n" not in str(raised.value)
