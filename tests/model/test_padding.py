"""Which patches are padding, against patches cut from marked frames."""

import pytest
import torch

from ssast_recipes.model.grid import mean_within, patches_within
from ssast_recipes.model.patches import compute_grid_size, patchify


@pytest.mark.parametrize(
    "size, stride", [((16, 16), (10, 10)), ((128, 2), (128, 1)), ((64, 4),) * 2]
)
def test_patches_within_a_clip_hold_one_of_its_frames(device, size, stride):
    lengths = torch.tensor([1, 2, 9, 10, 11, 20, 21, 63, 64, 500], device=device)
    inside = torch.arange(64, device=device) < lengths.unsqueeze(1)  # [batch, frames]
    spectrograms = inside.float().unsqueeze(2).repeat(1, 1, 128)
    expected = patchify(spectrograms, size, stride).amax(dim=2) > 0
    grid_size = compute_grid_size(128, 64, size, stride)
    assert torch.equal(patches_within(lengths, grid_size, stride), expected)


def test_a_clip_without_a_frame_has_a_first_column(device):
    within = patches_within(torch.tensor([0], device=device), (2, 3), (16, 16))
    assert within.tolist() == [[True, False, False, True, False, False]]


def test_a_clips_mean_is_over_its_own_tokens(device):
    tokens = torch.randn(4, 9, 5, device=device, requires_grad=True)
    within = torch.rand(4, 9, device=device) < 0.5
    within[:, 3] = True
    expected = torch.stack(
        [clip[own].mean(dim=0) for clip, own in zip(tokens, within, strict=True)]
    )
    means = mean_within(tokens, within)
    torch.testing.assert_close(means, expected)
    means.sum().backward()
    assert torch.equal(tokens.grad.abs().sum(dim=2) > 0, within)
