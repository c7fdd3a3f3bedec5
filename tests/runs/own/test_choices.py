"""How long clips and trainings are planned to be."""

import pytest

from ssast_recipes.model.filterbank import LogMelFilterbank
from ssast_recipes.runs.own.choices import choose_clip_frames, choose_num_steps


@pytest.mark.parametrize("seconds", [0.1, 0.42, 0.66, 1.0, 2.283, 5.0])
@pytest.mark.parametrize("step", [1, 2, 16])
def test_most_clips_fit_whole(seconds, step):
    frames = choose_clip_frames([seconds] * 20, step, of_encoder=0)
    needed = LogMelFilterbank().num_frames(round(16000 * seconds))
    assert frames % step == 0
    assert max(needed, 2 * step) <= frames < max(needed + step, 2 * step + 1)


def test_one_of_twenty_is_cut():
    assert choose_clip_frames([0.5] * 19 + [60.0], 2, 0) == choose_clip_frames([0.5], 2, 0) == 48
    assert choose_clip_frames([0.5] * 18 + [1.0] * 2, 2, 0) == 98


def test_a_clip_is_never_longer_than_published():
    assert choose_clip_frames([3600.0], 2, 0) == 1024
    assert choose_clip_frames([3600.0], 100, 0) == 1000


@pytest.mark.parametrize("num_clips", [10, 100, 1000, 5000, 100_000, 2_000_000])
def test_few_labels_train_long_and_many_briefly(num_clips):
    steps = choose_num_steps(num_clips, 32, embed_dim=128)
    passes = 32 * steps / num_clips
    assert steps >= 1000 and passes > 2.9
    assert num_clips < 1000 or passes < 40
    assert choose_num_steps(num_clips, 32, embed_dim=768) <= steps
