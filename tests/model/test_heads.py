"""The heads against their formulas, and the table of sizes against the published counts."""

import pytest
import torch
from torch import nn

from ssast_recipes.model.builders import SIZES, ast_encoder
from ssast_recipes.model.heads import ClassificationHead, PatchPredictionHead, ProjectionHead


def count(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def test_prediction_head_is_two_layers_with_a_relu(device):
    head = PatchPredictionHead(24, patch_area=10).to(device)
    tokens = torch.randn(2, 5, 24, device=device)
    hidden = (tokens @ head.hidden.weight.T + head.hidden.bias).clamp(min=0)
    assert hidden.shape == tokens.shape and (hidden == 0).any()
    expected = hidden @ head.output.weight.T + head.output.bias
    torch.testing.assert_close(head(tokens), expected)


def test_classification_head_normalises_then_projects(device):
    head = ClassificationHead(24, num_classes=7).to(device).double()
    nn.init.normal_(head.norm.weight)
    nn.init.normal_(head.norm.bias)
    # So faint that the norm's epsilon decides.
    embeddings = 3e-3 * torch.randn(4, 24, device=device, dtype=torch.float64)
    centred = embeddings - embeddings.mean(dim=1, keepdim=True)
    normalised = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
    normalised = normalised * head.norm.weight + head.norm.bias
    expected = normalised @ head.linear.weight.T + head.linear.bias
    torch.testing.assert_close(head(embeddings), expected)


def test_projection_head_is_two_layers_and_nothing_between(device):
    head = ProjectionHead(24, num_classes=7, hidden_dim=10).to(device)
    embeddings = torch.randn(4, 24, device=device)
    hidden = embeddings @ head.projection.weight.T + head.projection.bias
    assert hidden.shape == (4, 10) and (hidden < 0).any()
    torch.testing.assert_close(head(embeddings), hidden @ head.linear.weight.T + head.linear.bias)
    assert ProjectionHead(24, 7).projection.weight.shape == (256, 24)


@pytest.mark.parametrize("head", [ClassificationHead, ProjectionHead])
@pytest.mark.parametrize("num_classes", ["ten", 0, -1, 2.0, True, None])
def test_numbers_of_classes_that_are_none_are_refused(head, num_classes):
    message = f"num_classes is a whole number above 0, not {num_classes!r}"
    with pytest.raises(ValueError, match=message):
        head(24, num_classes)


@pytest.mark.parametrize("size, millions", [("tiny", 6), ("small", 23), ("base", 89)])
def test_sizes_have_the_published_numbers_of_parameters(size, millions):
    """The paper counts all of the released pretraining model.

    That is the encoder of 512 patches, both prediction heads, and two unused ImageNet classifiers.
    """
    with torch.device("meta"):
        encoder = ast_encoder(size)
        heads = [PatchPredictionHead(encoder.embed_dim, 256) for _ in range(2)]
        leftovers = [nn.Linear(encoder.embed_dim, 1000) for _ in range(2)]
    assert round(count(encoder, *heads, *leftovers) / 1e6) == millions


@pytest.mark.parametrize("size", SIZES)
def test_encoders_have_as_many_parameters_as_their_definition(size):
    with torch.device("meta"):
        encoder = ast_encoder(size)
    width, blocks = encoder.embed_dim, len(encoder.blocks)
    of_a_block = 12 * width**2 + 13 * width  # qkv, projection, 4 x wider network; biases, norms
    patches = 256 * width + width
    tokens = 3 * width + (2 + 512) * width  # class, distillation, mask; positions
    assert count(encoder) == blocks * of_a_block + patches + tokens + 2 * width
    assert width // encoder.num_heads == 64


def test_what_is_given_replaces_the_size(device):
    encoder = ast_encoder("small", depth=1, num_heads=3, target_length=128, patch_size=(128, 2))
    assert (encoder.embed_dim, len(encoder.blocks), encoder.num_heads) == (384, 1, 3)
    assert encoder.grid_size == (1, 64)
    output = encoder.to(device)(torch.zeros(2, 128, 128, device=device))
    assert output.patch_tokens.shape == (2, 64, 384)


def test_unknown_sizes_are_refused():
    with pytest.raises(ValueError, match="size is one of tiny, small, base, not 'large'"):
        ast_encoder("large")
