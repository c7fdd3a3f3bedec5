"""Position embeddings on other grids, and which patches are padding."""

import pytest
import torch

from ssast_recipes.model.grid import adapt_positions, mean_within, patches_within
from ssast_recipes.model.patches import compute_grid_size, patchify


def coordinates(grid_size: tuple[int, int], device) -> torch.Tensor:
    """Each patch's row, column and index as its embedding, [1, patches, 3]."""
    rows, columns = grid_size
    index = torch.arange(rows * columns, device=device, dtype=torch.float32)
    return torch.stack([index // columns, index % columns, index], dim=1).unsqueeze(0)


def stretched(length: int, to_length: int) -> torch.Tensor:
    """Places of `to_length` points, evenly over `length` cells, in cells' centres."""
    places = (torch.arange(to_length) + 0.5) * length / to_length - 0.5
    return places.clamp(0, length - 1)


@pytest.mark.parametrize("grid_size", [(8, 64), (1, 512), (5, 7)])
def test_the_same_grid_changes_nothing(grid_size, device):
    positions = torch.randn(1, grid_size[0] * grid_size[1], 6, device=device)
    assert torch.equal(adapt_positions(positions, grid_size, grid_size), positions)


@pytest.mark.parametrize(
    "from_grid, to_grid, first_row, first_column",
    [
        ((8, 64), (8, 32), 0, 16),
        ((8, 64), (8, 33), 0, 16),  # 64 // 2 - 33 // 2
        ((8, 64), (8, 1), 0, 32),
        ((1, 512), (1, 511), 0, 1),
        ((8, 64), (7, 64), 1, 0),
        ((8, 64), (5, 10), 2, 27),
        ((5, 7), (2, 4), 1, 1),
    ],
)
def test_shorter_grids_are_cut_from_the_middle(from_grid, to_grid, first_row, first_column, device):
    adapted = adapt_positions(coordinates(from_grid, device), from_grid, to_grid)
    expected = coordinates(to_grid, device)[..., :2]
    expected += torch.tensor([first_row, first_column], device=device)
    assert torch.equal(adapted[..., :2], expected)


@pytest.mark.parametrize(
    "from_grid, to_grid",
    [((8, 64), (8, 100)), ((8, 64), (12, 101)), ((1, 512), (1, 1023)), ((6, 5), (7, 11))],
)
def test_longer_grids_are_stretched_linearly(from_grid, to_grid, device):
    adapted = adapt_positions(coordinates(from_grid, device), from_grid, to_grid)
    rows, columns, _ = adapted.unflatten(1, to_grid).cpu().unbind(dim=3)  # [1, rows, columns]
    expected = stretched(from_grid[0], to_grid[0])[None, :, None].expand_as(rows)
    torch.testing.assert_close(rows, expected, rtol=0, atol=1e-4)
    expected = stretched(from_grid[1], to_grid[1])[None, None, :].expand_as(columns)
    torch.testing.assert_close(columns, expected, rtol=0, atol=1e-4)


def test_one_side_is_cut_while_the_other_is_stretched(device):
    """As in fine-tuning with overlap on short clips: (8, 64) to (12, 50)."""
    adapted = adapt_positions(coordinates((8, 64), device), (8, 64), (12, 50))
    rows, columns, _ = adapted.unflatten(1, (12, 50)).cpu().unbind(dim=3)
    torch.testing.assert_close(rows[0, :, 0], stretched(8, 12), rtol=0, atol=1e-4)
    assert torch.equal(columns[0, 0], torch.arange(7.0, 57.0))


def test_one_row_stays_constant_along_frequency(device):
    positions = torch.randn(1, 9, 6, device=device)
    adapted = adapt_positions(positions, (1, 9), (4, 9)).unflatten(1, (4, 9))
    torch.testing.assert_close(adapted, positions.unsqueeze(1).expand(1, 4, 9, 6))


def test_positions_that_do_not_fill_their_grid_are_refused():
    with pytest.raises(ValueError, match=r"512 position embeddings do not fill .*\(8, 63\)"):
        adapt_positions(torch.zeros(1, 512, 4), (8, 63), (8, 64))


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


@pytest.mark.parametrize("size", [(16, 16), (128, 2), (64, 4)])
def test_patches_within_a_clip_that_begins_later_hold_one_of_its_frames(device, size):
    lengths = torch.tensor([1, 2, 9, 10, 40], device=device)
    starts = torch.tensor([0, 62, 15, 17, 3], device=device)
    frames = torch.arange(64, device=device)
    begins = starts.unsqueeze(1)
    inside = (frames >= begins) & (frames < begins + lengths.unsqueeze(1))
    spectrograms = inside.float().unsqueeze(2).repeat(1, 1, 128)
    expected = patchify(spectrograms, size).amax(dim=2) > 0
    grid_size = compute_grid_size(128, 64, size)
    assert torch.equal(patches_within(lengths, grid_size, size, starts), expected)
