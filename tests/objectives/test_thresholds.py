"""Thresholds against every other threshold there is."""

import pytest
import torch

from ssast_recipes.objectives.thresholds import best_thresholds


def f1_above(scores, truth, threshold):
    told = scores >= threshold
    return 2 * (told & truth).sum().item() / max(1, (told.sum() + truth.sum()).item())


@pytest.mark.parametrize("seed", range(5))
def test_no_other_threshold_has_a_higher_f1(seed):
    generator = torch.Generator().manual_seed(seed)
    scores = (torch.rand(40, 3, generator=generator) * 20).round() / 20  # many are equal
    truth = torch.rand(40, 3, generator=generator) + scores > 1
    found = best_thresholds(scores, truth.float())
    for one in range(3):
        highest = max(f1_above(scores[:, one], truth[:, one], i / 40) for i in range(41))
        assert f1_above(scores[:, one], truth[:, one], found[one]) == pytest.approx(highest)


def test_single_labels_and_classes_without_clips():
    scores = torch.tensor([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.6, 0.3, 0.1]])
    found = best_thresholds(scores, torch.tensor([0, 1, 0]))
    torch.testing.assert_close(found, torch.tensor([0.5, 0.4, 0.5]))
