"""Counts of masks against the masks themselves, and what is called degenerate."""

import random

import numpy as np
import pytest
import torch

from ssast_recipes.model.mask_statistics import MaskStatistics, measure_masks
from ssast_recipes.model.masking import ClusterMasker, OfficialClusterMasker, RandomMasker
from ssast_recipes.model.randomness import ClipGenerator
from tests.reference.mask_statistics import mask_statistics as reference_statistics


@pytest.mark.parametrize("masker", [RandomMasker(9), ClusterMasker(9), OfficialClusterMasker(9)])
def test_shares_and_distinct_masks_are_those_of_the_draws(masker, device):
    found = measure_masks(masker, (3, 5), num_draws=1100, device=device)  # in three batches
    masks = masker(ClipGenerator(0, 0, torch.arange(1100)), (3, 5))
    expected = reference_statistics(masks.numpy(), (3, 5))
    assert found.num_draws == 1100
    assert found.num_distinct == len({tuple(mask) for mask in masks.tolist()}) < 1100
    assert found.row_shares == pytest.approx(expected["row_freq"], abs=1e-6)
    assert found.column_shares == pytest.approx(expected["col_freq"], abs=1e-6)
    assert found.masked_share == pytest.approx(9 / 15)


def test_no_more_are_drawn_than_tell():
    assert measure_masks(RandomMasker(48), (1, 64)).num_draws == 1000
    assert measure_masks(RandomMasker(3), (1, 4)).num_draws == 4000  # 4 masks

    def uneven(upper):
        """A masker of `upper` patches of the first of two rows, and of the rest of 32 below it."""

        def draw(generator, grid_size):
            first, second = (generator.uniform(32).argsort(dim=1) for _ in range(2))
            return torch.cat([first[:, :upper], 32 + second[:, : 32 - upper]], dim=1)

        return draw

    for upper, num_draws in ((18, 1000), (20, 4000), (21, 4000), (26, 1000)):
        found = measure_masks(uneven(upper), (2, 32))
        assert found.num_draws == num_draws
        assert found.row_shares == pytest.approx([upper / 32, 1 - upper / 32])
        assert bool(found.uneven_rows) == (upper > 20)


def test_nobodys_random_numbers_are_disturbed():
    class Careless:
        """Draws from everybody's generators, and keeps a state of its own."""

        calls = 0

        def __call__(self, generator, grid_size):
            self.calls += 1
            first = random.randrange(4) + np.random.randint(4)
            return first + torch.rand(generator.batch_size, 16).argsort(dim=1)[:, :8]

    masker, draws = Careless(), []
    for counts in (False, True):
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        if counts:
            measure_masks(masker, (4, 16), num_draws=600)
        draws.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert draws[0] == draws[1]
    assert masker.calls == 0


@pytest.mark.parametrize(
    ("masker", "grid_size", "few", "rows", "columns"),
    [
        (RandomMasker(24), (1, 32), False, [], []),
        (ClusterMasker(100), (8, 16), False, [], []),
        (OfficialClusterMasker(100), (8, 16), False, [0], []),
        (OfficialClusterMasker(12), (8, 2), True, [0, 7], []),
        (RandomMasker(3), (1, 4), True, [], []),
        (lambda generator, grid: RandomMasker(8)(generator, (1, 16)), (1, 32), False, [], "all"),
    ],
)
def test_what_is_degenerate(masker, grid_size, few, rows, columns):
    found = measure_masks(masker, grid_size)
    assert found.repeats == few
    assert set(rows) <= set(found.uneven_rows) and bool(rows) == bool(found.uneven_rows)
    assert found.uneven_columns == ([] if columns == [] else found.uneven_columns)
    assert found.is_degenerate == bool(few or rows or found.uneven_columns)
    assert bool(found.describe_faults()) == found.is_degenerate


def test_faults_are_said_in_a_line():
    even = [0.5] * 10
    assert MaskStatistics(4000, 1000, even, even).describe_faults() == ""
    assert MaskStatistics(4000, 999, even, even).describe_faults() == (
        "999 distinct masks in 4,000 draws"
    )
    assert MaskStatistics(4000, 4000, [0.3, 0.5, 0.7], [0.5]).describe_faults() == (
        "2 of 3 rows are masked 30 to 70 % of the time, all patches 50 %"
    )
    assert MaskStatistics(100, 25, [0.5], [*even, 0.1]).describe_faults() == (
        "column 10 of 11 is masked 10 % of the time, all patches 50 %"
    )
