"""Patches against index arithmetic and against convolutions."""

import pytest
import torch
from torch.nn import functional as F

from ssast_recipes.model.patches import (
    PatchEmbedding,
    compute_grid_size,
    patchify,
    select_patches,
    unpatchify,
)

GEOMETRIES = [
    # patch size, patch stride, frames
    ((16, 16), (16, 16), 96),
    ((128, 2), (128, 2), 64),
    ((16, 16), (10, 10), 100),
    ((128, 2), (128, 1), 33),
    ((32, 8), (32, 8), 45),  # five frames are left over
]


@pytest.mark.parametrize("patch_size, patch_stride, frames", GEOMETRIES)
def test_every_value_is_where_the_order_says(patch_size, patch_stride, frames, device):
    """Patch = row * columns + column, rows from low frequencies; value = mel bin, then frame."""
    spectrogram = torch.arange(frames * 128, device=device).view(frames, 128)
    patches = patchify(spectrogram.unsqueeze(0), patch_size, patch_stride)[0]
    rows, columns = compute_grid_size(128, frames, patch_size, patch_stride)
    assert patches.shape == (rows * columns, patch_size[0] * patch_size[1])
    patch, value = (torch.arange(count, device=device) for count in patches.shape)
    mel_bin = (patch // columns * patch_stride[0])[:, None] + value // patch_size[1]
    frame = (patch % columns * patch_stride[1])[:, None] + value % patch_size[1]
    assert torch.equal(patches, spectrogram[frame, mel_bin])


@pytest.mark.parametrize("patch_size, patch_stride, frames", GEOMETRIES)
def test_patchify_is_the_convolution_with_unit_weights(patch_size, patch_stride, frames, device):
    spectrograms = torch.randn(2, frames, 128, device=device, dtype=torch.float64)
    area = patch_size[0] * patch_size[1]
    weights = torch.eye(area, dtype=torch.float64, device=device).view(area, 1, *patch_size)
    images = spectrograms.transpose(1, 2).unsqueeze(1)
    expected = F.conv2d(images, weights, stride=patch_stride).flatten(2).transpose(1, 2)
    assert torch.equal(patchify(spectrograms, patch_size, patch_stride), expected)


@pytest.mark.parametrize("patch_size", [(16, 16), (128, 2), (8, 32)])
def test_unpatchify_inverts_patchify(patch_size, device):
    spectrograms = torch.randn(2, 96, 128, device=device)
    patches = patchify(spectrograms, patch_size)
    grid_size = compute_grid_size(128, 96, patch_size)
    assert torch.equal(unpatchify(patches, patch_size, grid_size), spectrograms)
    patches = torch.randn_like(patches)
    assert torch.equal(patchify(unpatchify(patches, patch_size, grid_size), patch_size), patches)


@pytest.mark.parametrize("patch_size, patch_stride, frames", GEOMETRIES)
def test_an_embedding_is_a_linear_map_of_a_patch(patch_size, patch_stride, frames, device):
    """The tokens' order and each token's receptive field are those of `patchify`."""
    embedding = PatchEmbedding(24, patch_size, patch_stride).to(device).double()
    spectrograms = torch.randn(2, frames, 128, device=device, dtype=torch.float64)
    weight, bias = embedding.projection.weight.flatten(1), embedding.projection.bias
    expected = F.linear(patchify(spectrograms, patch_size, patch_stride), weight, bias)
    torch.testing.assert_close(embedding(spectrograms), expected)


@pytest.mark.parametrize(
    "patch_size, patch_stride, target_length, grid_size",
    [
        ((16, 16), None, 1024, (8, 64)),
        ((128, 2), None, 1024, (1, 512)),
        ((16, 16), (10, 10), 1024, (12, 101)),
        ((16, 16), (10, 10), 128, (12, 12)),
        ((128, 2), (128, 1), 1024, (1, 1023)),
        ((16, 16), None, 100, (8, 6)),
        ([16, 16], [10, 10], 100, (12, 9)),  # as YAML gives them
        ((128, 100), None, 100, (1, 1)),
    ],
)
def test_grid_sizes(patch_size, patch_stride, target_length, grid_size):
    assert compute_grid_size(128, target_length, patch_size, patch_stride) == grid_size


@pytest.mark.parametrize(
    "patch_size, patch_stride, message",
    [
        ((16, 65), None, "64 frames"),
        ((129, 2), None, "128 mel bins"),
        ((16, 0), None, "positive"),
        ((16, 16), (16, 0), "positive"),
        ((16, 16), (-1, 16), "positive"),
    ],
)
def test_patches_that_do_not_fit_are_refused(patch_size, patch_stride, message):
    with pytest.raises(ValueError, match=message):
        compute_grid_size(128, 64, patch_size, patch_stride)


def test_select_patches_gathers_by_clip_in_the_order_asked(device):
    values = torch.randn(3, 10, 4, device=device)
    indices = torch.tensor([[9, 0, 3], [1, 1, 2], [5, 4, 3]], device=device)
    expected = torch.stack([clip[places] for clip, places in zip(values, indices, strict=True)])
    assert torch.equal(select_patches(values, indices), expected)
