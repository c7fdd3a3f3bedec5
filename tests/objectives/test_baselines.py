"""Chance and log-mel features, against counting and averaging by hand."""

import pytest
import torch

from ssast_recipes.objectives.baselines import chance_scores, log_mel_features
from ssast_recipes.objectives.metrics import accuracy, mean_average_precision


@pytest.mark.parametrize("frames", [1, 5, 12, 13, 97])
def test_a_step_is_the_middle_of_its_part(frames):
    generator = torch.Generator().manual_seed(0)
    log_mel = torch.randn(frames, 3, generator=generator, dtype=torch.float64)
    steps = []
    for step in range(12):
        place = min(max((step + 0.5) * frames / 12 - 0.5, 0), frames - 1)
        before = min(int(place), max(0, frames - 2))
        after = min(before + 1, frames - 1)
        share = place - before
        steps.append((1 - share) * log_mel[before] + share * log_mel[after])
    torch.testing.assert_close(log_mel_features(log_mel), torch.cat(steps))


def test_chance_is_the_share_of_the_commonest_class():
    targets = torch.eye(3)[[0, 1, 1, 2, 1]]
    scores = chance_scores(targets, 4)
    assert accuracy(scores, torch.tensor([1, 0, 1, 2])).item() == 0.5


def test_chance_of_several_labels_is_the_mean_share_of_a_class():
    truth = torch.tensor([[1, 0], [1, 1], [1, 0], [0, 0]])
    scores = chance_scores(torch.tensor([[1, 0], [1, 1]]), 4)
    assert mean_average_precision(scores, truth).item() == pytest.approx((3 / 4 + 1 / 4) / 2)
