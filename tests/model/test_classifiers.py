"""Pooling, and which weights fine-tuning and linear probes train."""

import pytest
import torch

from ssast_recipes.model.classifiers import ClassificationModel, WeightedSumModel
from ssast_recipes.model.encoder import AudioSpectrogramTransformer
from ssast_recipes.model.heads import ClassificationHead


def small_model(device, **options) -> ClassificationModel:
    torch.manual_seed(1)
    encoder = AudioSpectrogramTransformer(32, depth=2, num_heads=4, target_length=64)
    return ClassificationModel(encoder, ClassificationHead(32, 7), **options).to(device)


def test_mean_pooling_averages_the_patch_tokens_alone(device):
    model = small_model(device)
    spectrograms = torch.randn(3, 64, 128, device=device)
    patch_tokens = model.encoder(spectrograms).patch_tokens
    assert patch_tokens.shape == (3, 32, 32)
    expected = patch_tokens.sum(dim=1) / 32
    torch.testing.assert_close(model.embed(spectrograms), expected)
    torch.testing.assert_close(model(spectrograms), model.classifier(expected))


def test_prefix_pooling_averages_the_two_prefix_tokens(device):
    model = small_model(device, pooling="prefix")
    spectrograms = torch.randn(3, 64, 128, device=device)
    class_token, distillation_token = model.encoder(spectrograms).prefix_tokens.unbind(dim=1)
    assert not torch.allclose(class_token, distillation_token)
    expected = (class_token + distillation_token) / 2
    torch.testing.assert_close(model(spectrograms), model.classifier(expected))


@pytest.mark.parametrize("pooling", ["mean", "prefix"])
def test_fine_tuning_trains_everything_but_the_mask_token(pooling, device):
    """DistributedDataParallel waits for the gradient of every weight that wants one."""
    model = small_model(device, pooling=pooling)
    model(torch.randn(2, 64, 128, device=device)).square().sum().backward()
    idle = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert idle == ["encoder.mask_token"]
    assert not model.encoder.mask_token.requires_grad


def test_a_frozen_encoder_gets_no_gradient(device):
    model = small_model(device, freeze_encoder=True)
    spectrograms = torch.randn(2, 64, 128, device=device)
    assert not model.embed(spectrograms).requires_grad
    model(spectrograms).square().sum().backward()
    trained = [name for name, weight in model.named_parameters() if weight.grad is not None]
    assert trained == [f"classifier.{name}" for name, _ in model.classifier.named_parameters()]
    assert trained == [name for name, weight in model.named_parameters() if weight.requires_grad]


def test_freezing_changes_no_logits(device):
    spectrograms = torch.randn(2, 64, 128, device=device)
    expected = small_model(device)(spectrograms)
    assert torch.equal(small_model(device, freeze_encoder=True)(spectrograms), expected)


def test_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="pooling is mean or prefix, not 'max'"):
        small_model("cpu", pooling="max")


# ---- padding


@pytest.mark.parametrize("pooling", ["mean", "prefix"])
def test_masked_padding_is_not_heard(pooling, device):
    model = small_model(device, pooling=pooling, padding="masked").eval()
    spectrograms = torch.randn(2, 64, 128, device=device)
    lengths = torch.tensor([64, 30], device=device)  # the second clip ends within its second column
    others = spectrograms.clone()
    others[1, 32:] = 7.0
    torch.testing.assert_close(model(spectrograms, lengths), model(others, lengths))
    # Of a clip without padding, the logits are those of a model that masks none.
    released = small_model(device, pooling=pooling).eval()
    torch.testing.assert_close(model(spectrograms, lengths)[0], released(spectrograms)[0])
    assert not torch.allclose(model(spectrograms, lengths)[1], released(spectrograms)[1])


def test_the_mean_is_over_the_patches_of_the_clip(device):
    model = small_model(device, padding="masked").eval()
    spectrograms = torch.randn(1, 64, 128, device=device)
    within = torch.tensor([[True, True, False, False]], device=device).repeat(1, 8)
    tokens = model.encoder(spectrograms, visible_patches=within).patch_tokens
    expected = torch.stack([tokens[0, place] for place in range(32) if place % 4 < 2]).mean(dim=0)
    found = model.embed(spectrograms, torch.tensor([30], device=device))[0]
    torch.testing.assert_close(found, expected)


def test_masking_padding_needs_the_lengths():
    with pytest.raises(ValueError, match="masking padding needs num_frames"):
        small_model("cpu", padding="masked")(torch.randn(1, 64, 128))


def test_unknown_padding_is_refused():
    with pytest.raises(ValueError, match="padding is masked or released, not 'heard'"):
        small_model("cpu", padding="heard")


@pytest.mark.parametrize("kind", [ClassificationModel, WeightedSumModel])
def test_branch_scales_reach_the_blocks(kind, device):
    torch.manual_seed(1)
    encoder = AudioSpectrogramTransformer(32, depth=2, num_heads=4, target_length=64)
    model = kind(encoder, ClassificationHead(32, 7), padding="released").to(device)
    spectrograms = torch.randn(2, 64, 128, device=device)
    ones = torch.ones(2, 2, 2, device=device)
    torch.testing.assert_close(model(spectrograms, None, ones), model(spectrograms))
    dropped = ones.clone()
    dropped[0, 1] = 0
    first, second = model(spectrograms, None, dropped) - model(spectrograms)
    assert first.abs().max() > 1e-4 and second.abs().max() < 1e-6
