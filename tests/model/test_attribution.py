"""Integrated gradients: complete, zero where nothing is, and they find the patch that decides."""

import pytest
import torch
from torch import nn

from ssast_recipes.model.attribution import attribute_patches, delete_patches
from ssast_recipes.model.classifiers import ClassificationModel, WeightedSumModel
from ssast_recipes.model.encoder import AudioSpectrogramTransformer
from ssast_recipes.model.heads import ProjectionHead

FRAMES = torch.tensor([64])


def first(logits):
    return logits[:, 0]


def make_model(kind=ClassificationModel, **options):
    encoder = AudioSpectrogramTransformer(
        16, depth=2, num_heads=2, num_mel_bins=32, target_length=64, **options
    )
    head = ProjectionHead(16, 3, hidden_dim=8)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return kind(encoder, head).eval()


@pytest.mark.parametrize("kind", [ClassificationModel, WeightedSumModel])
@pytest.mark.parametrize("stride", [None, (10, 10)])
def test_attributions_add_up_to_what_the_patches_change(kind, stride):
    model, spectrogram = make_model(kind, patch_stride=stride), torch.randn(1, 64, 32)
    found = attribute_patches(model, spectrogram, FRAMES, first, num_steps=256)
    with torch.no_grad():
        whole, nothing = (first(model(x, FRAMES)) for x in (spectrogram, 0 * spectrogram))
    assert abs(whole - nothing) > 1e-2
    torch.testing.assert_close(found.sum(), (whole - nothing)[0], rtol=0.02, atol=1e-3)


def test_patches_at_the_mean_have_no_say():
    model, spectrogram = make_model(), torch.zeros(1, 64, 32)
    spectrogram[:, 16:32, :16] = 2.0  # frames 16 to 31 of the lower row: patch 1
    found = attribute_patches(model, spectrogram, FRAMES, first)
    assert found[1] != 0 and not found[[0, 2, 3, 4, 5, 6, 7]].any()


class Loudest(nn.Module):
    """Scores one patch alone: the mean token of patch 5, in a linear model."""

    def __init__(self):
        super().__init__()
        self.encoder = make_model().encoder

    def forward(self, spectrograms, num_frames):
        return self.encoder.patch_embedding(spectrograms)[:, 5].mean(dim=1, keepdim=True)


def test_the_patch_that_decides_is_found_and_deleting_it_is_enough():
    model, spectrogram = Loudest(), torch.randn(1, 64, 32)
    found = attribute_patches(model, spectrogram, FRAMES, first)
    assert found.abs().argmax() == 5 and not found[[0, 1, 2, 3, 4, 6, 7]].any()
    others = [0, 1, 2, 3, 4, 6, 7]
    orders = torch.tensor([[5, *others], [*others, 5]])
    scores = delete_patches(model, spectrogram, FRAMES, first, orders, num_points=9)
    with torch.no_grad():
        whole, nothing = (first(model(x, FRAMES)) for x in (spectrogram, 0 * spectrogram))
    torch.testing.assert_close(scores[0], torch.cat([whole, nothing.expand(8)]))
    torch.testing.assert_close(scores[1], torch.cat([whole.expand(8), nothing]))
    # And nothing is left behind in the model.
    torch.testing.assert_close(first(model(spectrogram, FRAMES)), whole)
