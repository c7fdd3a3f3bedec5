"""Where clips are put, against the clips themselves."""

import torch

from ssast_recipes.model.placement import place_at_random
from ssast_recipes.model.randomness import ClipGenerator


def test_a_clip_moves_whole_to_every_place_there_is(device):
    clips = 300
    spectrograms = torch.full((clips, 12, 3), -7.0, device=device)
    spectrograms[:, :9] = torch.arange(9.0, device=device).unsqueeze(1)
    generator = ClipGenerator(1, 5, torch.arange(clips, device=device))
    placed, starts = place_at_random(spectrograms, torch.full([clips], 9, device=device), generator)
    assert sorted(set(starts.tolist())) == [0, 1, 2, 3]
    assert starts.bincount().min() > clips / 4 * 0.7
    for clip, start in zip(placed, starts.tolist(), strict=True):
        assert torch.equal(clip[start : start + 9, 0].cpu(), torch.arange(9.0))
        assert (clip != -7).any(dim=1).sum() == 9


def test_a_clip_that_fills_the_spectrogram_stays(device):
    spectrograms = torch.randn(3, 8, 2, device=device)
    frames = torch.tensor([8, 9, 500], device=device)
    generator = ClipGenerator(1, 5, torch.arange(3, device=device))
    placed, starts = place_at_random(spectrograms, frames, generator)
    assert torch.equal(placed, spectrograms) and starts.tolist() == [0, 0, 0]


def test_a_clip_without_a_frame_is_no_error(device):
    spectrograms = torch.zeros(1, 4, 2, device=device)
    generator = ClipGenerator(1, 5, torch.arange(1, device=device))
    _, starts = place_at_random(
        spectrograms, torch.zeros(1, dtype=torch.int64).to(device), generator
    )
    assert 0 <= starts.item() <= 3
