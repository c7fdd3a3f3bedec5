"""Pooling, and which weights fine-tuning and linear probes train."""

import pytest
import torch

from ssast_recipes.model.classifiers import ClassificationModel
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
