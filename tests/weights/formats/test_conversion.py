"""Recognised models into ours: settings told or lacking, positions, shapes before memory."""

import pytest
import torch

from ssast_recipes.model.grid import adapt_positions
from ssast_recipes.weights.formats.conversion import Settings, convert
from ssast_recipes.weights.formats.recognition import recognise
from tests.weights.formats.test_recognition import HERE, deit, fine_tuned, released


def positions_of(model) -> torch.Tensor:
    return getattr(model, "encoder", model).position_embedding


def test_pretraining_models_keep_heads_and_input():
    model, config = convert(recognise(released(frames=256), HERE))
    assert (config.kind, config.heads.contrastive, config.heads.reconstruction) == (
        ("pretraining", True, True)
    )
    assert (config.architecture.num_mel_bins, config.architecture.target_length) == (128, 256)
    weights = released(frames=256)
    assert torch.equal(model.contrastive_head.hidden.weight, weights["module.cpredlayer.0.weight"])
    assert torch.equal(model.reconstruction_head.output.bias, weights["module.gpredlayer.2.bias"])
    assert torch.equal(positions_of(model), weights["module.v.pos_embed"])
    assert torch.equal(model.encoder.mask_token, weights["module.mask_embed"])


def test_one_head_alone():
    weights = {name: value for name, value in released().items() if "gpredlayer" not in name}
    model, config = convert(recognise(weights, HERE))
    assert (config.heads.contrastive, config.heads.reconstruction) == (True, False)
    assert model.reconstruction_head is None


def test_published_ast_needs_to_be_told_nothing():
    weights = fine_tuned(35, 144)
    model, config = convert(recognise(weights, HERE))
    assert (model.pooling, config.label_kind) == ("prefix", "single")
    assert config.labels == tuple(str(index) for index in range(35))
    assert model.encoder.grid_size == (12, 12)
    assert torch.equal(positions_of(model), weights["module.v.pos_embed"])
    assert torch.equal(model.classifier.linear.weight, weights["module.mlp_head.1.weight"])
    assert not model.encoder.mask_token.any()


def test_what_is_told_counts_more():
    told = Settings(
        pooling="mean", labels=tuple(map(chr, range(65, 100))), label_kind="multi", mean=-1, std=2
    )
    model, config = convert(recognise(fine_tuned(35, 144), HERE), told)
    assert (model.pooling, config.label_kind, config.labels[0]) == ("mean", "multi", "A")
    assert (config.front_end.mean, config.front_end.std) == (-1, 2)


def test_other_fine_tuned_models_need_to_be_told_their_input():
    imported = recognise(fine_tuned(7, 12 * 18), HERE)
    with pytest.raises(ValueError, match="its 216 patches; give --target_length"):
        convert(imported, Settings(pooling="mean"))
    told = {"target_length": 190, "patch_stride": (10, 10)}
    with pytest.raises(ValueError, match="give --pooling mean"):
        convert(imported, Settings(**told))
    model, _ = convert(imported, Settings(**told, pooling="mean"))
    assert model.encoder.grid_size == (12, 18)
    assert torch.equal(positions_of(model), fine_tuned(7, 12 * 18)["module.v.pos_embed"])
    wrong = Settings(target_length=200, patch_stride=(10, 10), pooling="mean")
    with pytest.raises(ValueError, match=r"216 position embeddings do not fill .*\(12, 19\)"):
        convert(imported, wrong)


@pytest.mark.parametrize(
    "settings, grid",
    [
        (Settings(), (8, 64)),
        (Settings(target_length=128), (8, 8)),
        (Settings(target_length=512, patch_stride=(10, 10)), (12, 50)),
    ],
)
def test_deit_is_fitted_to_a_grid_of_spectrograms(settings, grid):
    weights = deit(14)
    model, config = convert(recognise(weights, HERE), settings)
    assert (config.kind, model.grid_size) == ("encoder", grid)
    expected = adapt_positions(weights["pos_embed"][:, 2:], (14, 14), grid)
    assert torch.equal(model.position_embedding[:, 2:], expected)
    assert torch.equal(model.position_embedding[:, :2], weights["pos_embed"][:, :2])


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"v.blocks.0.mlp.fc1.bias": (3,)}, r"mlp.fc1.bias is of shape \[3\], not \[512\]"),
        ({"v.blocks.7.mlp.fc1.bias": (512,)}, r"blocks\.2\..* is missing"),
        ({"cpredlayer.2.bias": (5,)}, r"contrastive_head.output.bias is of shape \[5\]"),
        ({"mlp_head.0.bias": (128,)}, "classifier.norm.bias is not a weight of such a model"),
        # 9 GB of weights, if memory were taken before shapes are compared.
        ({"v.patch_embed.proj.weight": (2**14, 1, 1, 1)}, "position embeddings do not fill"),
    ],
)
def test_weights_of_other_shapes_are_refused_before_they_take_memory(changed, message):
    weights = released()
    for name, shape in changed.items():
        weights[f"module.{name}"] = torch.zeros(shape)
    with pytest.raises(ValueError, match=message):
        convert(recognise(weights, HERE))


@pytest.mark.parametrize(
    "width, message",
    [(2**14, "is of shape"), (2**24, "embed_dim of its geometry is no whole number")],
)
def test_a_huge_width_is_refused_before_it_takes_memory(width, message):
    weights = released() | {
        "module.v.patch_embed.proj.weight": torch.zeros(1, 1, 16, 16).expand(width, -1, -1, -1)
    }
    with pytest.raises(ValueError, match=message):  # 9 GB of weights, 10 PB
        convert(recognise(weights, HERE))


@pytest.mark.parametrize(
    "settings, message",
    [
        (Settings(labels=("a", "b")), "2 labels are given for its 35 classes"),
        (Settings(labels=("a",) * 35), "its 35 classes have 1 names"),
        (Settings(target_length=0), "target_length is 0, not a whole number from 1 to"),
        (Settings(patch_stride=(0, 10)), r"patch_stride is \(0, 10\), not two whole numbers"),
        (Settings(std=0.0), "std must be positive"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        convert(recognise(fine_tuned(35, 144), HERE), settings)


@pytest.mark.parametrize("weights", [released(), deit(14)], ids=["SSAST", "DeiT"])
def test_a_classifier_that_is_not_there_is_not_told_of(weights):
    with pytest.raises(ValueError, match="no classifier, which --pooling, --labels would be of"):
        convert(recognise(weights, HERE), Settings(pooling="mean", labels=("dog",)))


def test_what_the_source_was_made_for_is_not_all_it_can_do():
    weights = released()
    model, config = convert(recognise(weights, HERE), Settings(target_length=64))
    assert (config.kind, model.encoder.grid_size) == ("pretraining", (8, 4))
    positions = weights["module.v.pos_embed"][:, 2:].unflatten(1, (8, 8))[:, :, 2:6]
    assert torch.equal(positions_of(model)[:, 2:], positions.flatten(1, 2))
