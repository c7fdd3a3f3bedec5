"""Windows of long recordings: everything is covered, on one grid, and merged by the mean."""

import pytest
import torch

from ssast_recipes.inference.windows import (
    WindowShape,
    cut_window,
    cut_windows,
    merge_columns,
    window_starts,
)


@pytest.mark.parametrize("target_length", [32, 100, 128])
@pytest.mark.parametrize("stride", [1, 2, 10, 16])
def test_windows_cover_a_recording_on_one_grid(target_length, stride):
    for num_frames in range(1, 500):
        starts = window_starts(num_frames, target_length, stride)
        assert starts[0] == 0 and all(start % stride == 0 for start in starts)
        assert num_frames <= starts[-1] + target_length < max(num_frames, target_length) + stride
        hops = [after - before for before, after in zip(starts, starts[1:], strict=False)]
        assert all(0 < hop <= target_length // 2 for hop in hops)
        # No more than needed: the one before the last does not reach the end.
        assert len(starts) == 1 or starts[-2] + target_length < num_frames


def test_patches_further_apart_than_half_a_window_overlap_less():
    assert window_starts(100, target_length=32, stride=20) == [0, 20, 40, 60, 80]


def test_a_window_behind_the_end_is_padded():
    assert cut_window(torch.ones(5), start=0, length=3).tolist() == [1, 1, 1]
    assert cut_window(torch.ones(5), start=4, length=3).tolist() == [1, 0, 0]


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
@pytest.mark.parametrize("num_samples", [1, 3, 60, 61, 333, 640])
def test_a_recording_in_pieces_gives_the_same_windows(num_samples, size):
    shape = WindowShape(length=12, stride=2, samples_per_shift=5, samples_per_frame=6)
    recording = torch.arange(1.0, num_samples + 1)
    starts = window_starts(max(1, (num_samples - 6) // 5 + 1), 12, 2)
    found = list(cut_windows(iter(recording.split(size)), shape))
    assert [window.start for window in found] == starts
    for window in found:
        assert torch.equal(window.samples, cut_window(recording, window.start * 5, 61))
        assert window.num_read >= min(num_samples, window.start * 5 + 61)
    assert found[-1].num_read == num_samples


def test_merged_columns_are_means(device):
    values = torch.randn(4, 5, 3, device=device)
    firsts = [0, 2, 4, 5]
    merged = merge_columns(values, torch.tensor(firsts, device=device), num_columns=9)
    assert merged.shape == (9, 3)
    for column in range(9):
        held = [
            values[i, column - first] for i, first in enumerate(firsts) if 0 <= column - first < 5
        ]
        torch.testing.assert_close(merged[column], torch.stack(held).mean(dim=0))
