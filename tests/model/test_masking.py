"""The maskers against the released code's statistics, simulations block by block, and geometry."""

import json
import random
import re
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from ssast_recipes.model.masking import (
    ClusterMasker,
    OfficialClusterMasker,
    RandomMasker,
    find_mask_fault,
)
from ssast_recipes.model.randomness import ClipGenerator
from tests.reference.mask_statistics import mask_statistics

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "released_model.json").read_text()
)
PATCH_GRID, FRAME_GRID = (8, 64), (1, 512)
DRAWS = 5000
MASKERS = [RandomMasker, ClusterMasker, OfficialClusterMasker]


@cache
def draw(masker, grid_size, draws=DRAWS) -> np.ndarray:
    batches = torch.arange(draws).split(500)  # small enough for the processor's cache
    return torch.cat([masker(ClipGenerator(1, 0, places), grid_size) for places in batches]).numpy()


@cache
def statistics_of(masker, grid_size=PATCH_GRID) -> dict:
    return mask_statistics(draw(masker, grid_size), grid_size)


def standard_error(share, draws: int):
    share = np.asarray(share)
    return np.sqrt(share * (1 - share) / draws)


# --- what every masker promises ---


@pytest.mark.parametrize("grid_size", [PATCH_GRID, FRAME_GRID, (5, 7), (512, 1)])
@pytest.mark.parametrize("masker_class", MASKERS)
def test_masks_are_distinct_ascending_patches(masker_class, grid_size, device):
    num_patches = grid_size[0] * grid_size[1]
    generator = ClipGenerator(1, 2, torch.arange(64, device=device))
    for num_masked in (1, num_patches // 3, num_patches - 2):
        masked = masker_class(num_masked)(generator, grid_size)
        assert masked.shape == (64, num_masked) and masked.dtype == torch.int64
        assert masked.device.type == device.type
        assert (masked.diff(dim=1) > 0).all()
        assert masked.min() >= 0 and masked.max() < num_patches


@pytest.mark.parametrize("masker_class", [RandomMasker, ClusterMasker])
def test_all_patches_can_be_masked(masker_class):
    masked = masker_class(512)(ClipGenerator(1, 2, torch.arange(2)), PATCH_GRID)
    assert torch.equal(masked, torch.arange(512).expand(2, -1))


@pytest.mark.parametrize("masker_class", MASKERS)
def test_a_clip_has_the_same_mask_in_every_batch(masker_class, device):
    masker = masker_class(100)
    whole = masker(ClipGenerator(1, 2, torch.arange(32, device=device)), PATCH_GRID)
    places = torch.tensor([5, 31, 0], device=device)
    assert torch.equal(masker(ClipGenerator(1, 2, places), PATCH_GRID), whole[places])
    assert len(whole.unique(dim=0)) == 32
    on_cpu = masker(ClipGenerator(1, 2, torch.arange(32)), PATCH_GRID)
    assert torch.equal(whole.cpu(), on_cpu)


@pytest.mark.parametrize("masker_class", MASKERS)
def test_masking_never_reads_values(masker_class):
    """Tensors without values can neither wait for a device nor branch on what is drawn."""
    generator = ClipGenerator(1, 2, torch.arange(4, device="meta"))
    assert masker_class(400)(generator, PATCH_GRID).shape == (4, 400)


@pytest.mark.parametrize(
    "masker, head",
    [
        (RandomMasker(400), [0, 1, 2, 3, 4, 5, 6, 7]),
        (ClusterMasker(400), [0, 4, 5, 6, 7, 8, 10, 11]),
        (OfficialClusterMasker(400), [13, 14, 15, 16, 17, 18, 22, 23]),
    ],
)
def test_masks_never_change(masker, head):
    """Golden values: a change here would silently change every run."""
    assert masker(ClipGenerator(1, 2, torch.tensor([3])), PATCH_GRID)[0, :8].tolist() == head


# --- the released code, by its statistics ---


def assert_matches_reference(ours: dict, reference: dict, rows: float) -> None:
    for key, value in reference.items():
        if key == "sorted" or key.startswith("first_draw_"):
            continue  # of Python's own generator; ours are always sorted
        where = f"{key}: {ours[key]}, reference {value}"
        match key:
            case "draws":
                pass
            case "masked_mean" | "masked_min" | "unsorted":
                assert ours[key] == value, where
            case "row_freq":
                assert np.abs(np.subtract(ours[key], value)).max() <= rows, where
            case "col_freq":
                assert np.abs(np.subtract(ours[key], value)).max() <= 0.04, where
            case "n_components" | "largest_component" | "neighbour_frac" | "highest_index":
                error = np.hypot(ours[key][1], value[1])
                assert abs(ours[key][0] - value[0]) <= 4 * error, where
            case _:
                error = standard_error(ours[key], reference.get("draws", 2000))
                assert (np.abs(np.subtract(ours[key], value)) <= 4 * error).all(), where


@pytest.mark.parametrize(
    "case, masker, rows",
    [
        ("mask/patch/N100", OfficialClusterMasker(100), 0.01),
        ("mask/patch/N400", OfficialClusterMasker(400), 0.01),
        ("mask/patch_by_cluster/N400/c3", OfficialClusterMasker(400, (3,)), 0.02),
        ("mask/patch_by_cluster/N400/c4", OfficialClusterMasker(400, (4,)), 0.02),
        ("mask/patch_by_cluster/N400/c5", OfficialClusterMasker(400, (5,)), 0.02),
        ("mask/uniform_reference/N400", RandomMasker(400), 0.01),
    ],
)
def test_masks_have_the_released_statistics(case, masker, rows):
    assert_matches_reference(statistics_of(masker), REFERENCE[case], rows)


def test_frame_masks_have_the_released_statistics():
    masked = draw(RandomMasker(400), FRAME_GRID, draws=2000)
    statistics = mask_statistics(masked, FRAME_GRID)
    assert_matches_reference(statistics, REFERENCE["mask/frame/N400"], rows=0)


# --- the arrival times, against adding block after block ---


def released_mask(grid_size, num_masked: int, factor: int, chance: random.Random) -> tuple:
    """One mask as the released code's rule reads, one block after another."""
    num_patches = grid_size[0] * grid_size[1]
    covered = set()
    while len(covered) <= num_masked:
        start = chance.randrange(num_patches)
        block = {start + grid_size[1] * i + j for i in range(factor) for j in range(factor)}
        covered |= {patch for patch in block if 0 < patch < num_patches}
    return tuple(sorted(covered)[:num_masked])


def clean_mask(grid_size, num_masked: int, factor: int, chance: random.Random) -> tuple:
    """One mask of clusters that begin anywhere and end at the grid's edges."""
    rows, columns = grid_size
    covered = set()
    while True:
        top, left = chance.randrange(1 - factor, rows), chance.randrange(1 - factor, columns)
        block = {
            row * columns + column
            for row in range(max(top, 0), min(top + factor, rows))
            for column in range(max(left, 0), min(left + factor, columns))
        } - covered
        if len(covered) + len(block) >= num_masked:
            taken = chance.sample(sorted(block), num_masked - len(covered))
            return tuple(sorted(covered.union(taken)))
        covered |= block


@pytest.mark.parametrize(
    "simulate, masker_class",
    [
        (released_mask, OfficialClusterMasker),
        (clean_mask, ClusterMasker),
    ],
)
@pytest.mark.parametrize(
    "grid_size, num_masked, factors",
    [
        ((3, 4), 3, (2,)),
        ((3, 4), 6, (1, 2, 3)),
        ((4, 3), 5, (2, 4)),
        ((1, 9), 4, (3,)),
        ((2, 5), 8, (1, 3)),
    ],
)
def test_whole_masks_come_as_often_as_in_a_simulation(
    simulate, masker_class, grid_size, num_masked, factors
):
    chance = random.Random(0)
    draws = 10000
    simulated = Counter(
        simulate(grid_size, num_masked, chance.choice(factors), chance) for _ in range(draws)
    )
    ours = Counter(map(tuple, draw(masker_class(num_masked, factors), grid_size, draws).tolist()))
    masks = simulated | ours
    common = [mask for mask in masks if simulated[mask] + ours[mask] >= 10]
    table = np.array([[counts[mask] for mask in common] for counts in (simulated, ours)])
    rare = draws - table.sum(axis=1, keepdims=True)
    table = np.hstack([table, rare]) if rare.any() else table
    assert stats.chi2_contingency(table).pvalue > 0.001


# --- the clean clusters ---


@pytest.mark.parametrize("num_masked", [100, 400])
def test_clusters_mask_every_patch_alike(num_masked):
    masker = ClusterMasker(num_masked)
    statistics = statistics_of(masker)
    share = num_masked / 512
    error = standard_error(share, DRAWS)
    assert np.abs(np.array(statistics["row_freq"]) - share).max() < 0.003 + error
    patches = np.bincount(draw(masker, PATCH_GRID).ravel(), minlength=512) / DRAWS
    assert np.abs(patches - share).max() < 0.01 + 4 * error


def test_larger_factors_make_larger_clusters():
    uniform = 399 / 511
    single, *clustered = (
        statistics_of(ClusterMasker(400, (factor,)))["neighbour_frac"] for factor in (1, 3, 4, 5)
    )
    assert abs(single[0] - uniform) < 4 * single[1]
    shares = [mean for mean, _ in clustered]
    assert uniform + 0.1 < shares[0] < shares[1] - 0.01 < shares[2] - 0.02


@pytest.mark.parametrize(
    "grid_size, factor, sides",
    [
        (PATCH_GRID, 3, (3, 3)),
        (PATCH_GRID, 5, (5, 5)),
        (FRAME_GRID, 4, (1, 4)),
    ],
)
def test_first_block_is_whole_wherever_it_fits(grid_size, factor, sides):
    """As many patches as a block has: the mask is one whole block if the first lies inside."""
    masked = draw(ClusterMasker(sides[0] * sides[1], (factor,)), grid_size)
    row, column = masked // grid_size[1], masked % grid_size[1]
    whole = (np.ptp(row, axis=1) < sides[0]) & (np.ptp(column, axis=1) < sides[1])
    # A block lower than its factor, as on frames, can only be cut at the two ends.
    fits = [
        (size - side + 1) / (size + side - 1) for size, side in zip(grid_size, sides, strict=True)
    ]
    expected = fits[0] * fits[1]
    assert abs(whole.mean() - expected) < 4 * standard_error(expected, DRAWS)


def test_clusters_never_wrap():
    """Two patches come from one block, or from a corner's: never from a row's end and the next."""
    masked = draw(ClusterMasker(2, (2,)), (4, 6))
    assert not ((masked == (11, 12)).all(axis=1)).any()
    assert ((masked == (10, 11)).all(axis=1)).any() and ((masked == (12, 13)).all(axis=1)).any()


# --- the released rule's corners ---


def test_official_masker_spares_the_first_and_the_last_patch():
    masked = OfficialClusterMasker(510)(ClipGenerator(1, 2, torch.arange(2)), PATCH_GRID)
    assert torch.equal(masked, torch.arange(1, 511).expand(2, -1))


# --- bad input and words ---


@pytest.mark.parametrize("num_masked", [0, -3, 0.75])
@pytest.mark.parametrize("masker_class", MASKERS)
def test_bad_number_of_patches_is_named(masker_class, num_masked):
    with pytest.raises(ValueError, match=f"at least 1: .*num_masked_patches={num_masked}"):
        masker_class(num_masked)


@pytest.mark.parametrize("factors", [(), (0, 3), (3, 2.5), 4])
@pytest.mark.parametrize("masker_class", [ClusterMasker, OfficialClusterMasker])
def test_bad_cluster_factors_are_named(masker_class, factors):
    with pytest.raises(
        ValueError, match=f"cluster_factors must be .*cluster_factors={re.escape(repr(factors))}"
    ):
        masker_class(400, factors)


@pytest.mark.parametrize(
    "masker, most",
    [
        (RandomMasker(513), 512),
        (ClusterMasker(513), 512),
        (OfficialClusterMasker(511), 510),
    ],
)
def test_too_small_a_grid_is_named(masker, most):
    with pytest.raises(
        ValueError,
        match=f"at most {most} patches of a grid of 8 x 64 .* by {masker.__class__.__name__}",
    ):
        masker(ClipGenerator(1, 2, torch.arange(2)), PATCH_GRID)


@pytest.mark.parametrize("masker_class", [ClusterMasker, OfficialClusterMasker])
def test_too_large_a_cluster_is_named(masker_class):
    with pytest.raises(ValueError, match="grid of 2 x 4 patches is too small for"):
        masker_class(3)(ClipGenerator(1, 2, torch.arange(2)), (2, 4))


def test_repr_is_what_was_asked_for():
    assert repr(RandomMasker(400)) == "RandomMasker(num_masked_patches=400)"
    assert repr(OfficialClusterMasker(400)) == (
        "OfficialClusterMasker(num_masked_patches=400, cluster_factors=(3, 4, 5))"
    )


# --- masks of others ---


@pytest.mark.parametrize(
    ("mask", "fault"),
    [
        ([[0, 1], [0, 1]], "a list"),
        (torch.tensor([[0, 1], [0, 1]], dtype=torch.int32), "a tensor of torch.int32"),
        (torch.tensor([[True, False], [True, False]]), "a tensor of torch.bool"),
        (torch.tensor([0, 1]), "the shape [2] for 2 clips"),
        (torch.tensor([[0, 1]]), "the shape [1, 2] for 2 clips"),
        (torch.empty(2, 0, dtype=torch.int64), "the shape [2, 0] for 2 clips"),
        (torch.tensor([[0, 1], [8, 3]]), "index 8"),
        (torch.tensor([[0, 1], [-1, 3]]), "index -1"),
        (torch.tensor([[0, 1], [3, 3]]), "a patch twice in one clip"),
        (torch.tensor([[3, 0, 3], [0, 1, 2]]), "a patch twice in one clip"),
        (torch.tensor([[7, 0], [0, 7]]), None),  # in any order
    ],
    ids=str,
)
def test_the_fault_of_a_mask_is_named(mask, fault, device):
    mask = mask.to(device) if isinstance(mask, torch.Tensor) else mask
    assert find_mask_fault(mask, batch_size=2, num_patches=8) == fault


@pytest.mark.parametrize("masker_class", MASKERS)
def test_our_masks_have_no_fault(masker_class, device):
    generator = ClipGenerator(1, 2, torch.arange(4, device=device))
    masked = masker_class(400)(generator, PATCH_GRID)
    assert find_mask_fault(masked, batch_size=4, num_patches=512) is None


# --- padding ---


@pytest.mark.parametrize("masker", [RandomMasker(24), ClusterMasker(24), ClusterMasker(24, (1,))])
@pytest.mark.parametrize("grid_size", [(1, 32), (4, 8)])
def test_a_clips_own_patches_are_masked_in_proportion(masker, grid_size, device):
    lengths = torch.tensor([32, 31, 20, 9, 3, 2, 1] * 20, device=device)
    visible = torch.arange(32, device=device) < lengths.unsqueeze(1)
    visible[1::2] = visible[1::2].flip(1)  # padding in front
    generator = ClipGenerator(1, 2, torch.arange(len(lengths), device=device))
    masked = masker(generator, grid_size, visible)
    assert find_mask_fault(masked, len(lengths), 32) is None
    assert masked.shape[1] == 24 and (masked.diff(dim=1) > 0).all()
    own = visible.gather(1, masked).sum(dim=1)
    expected = {32: 24, 31: 23, 20: 15, 9: 7, 3: 2, 2: 1, 1: 0}
    assert own.tolist() == [expected[length] for length in lengths.tolist()]


def test_masks_within_a_clip_are_uniform():
    visible = (torch.arange(16) < 10).expand(4000, -1)
    generator = ClipGenerator(1, 2, torch.arange(4000))
    masked = RandomMasker(8)(generator, (1, 16), visible)
    counts = torch.zeros(4000, 16).scatter(1, masked, 1.0).mean(dim=0)
    assert torch.allclose(counts[:10], torch.full([10], 0.5), atol=0.04)
    assert counts[10:].sum().item() == pytest.approx(3)


def test_with_nothing_padded_clusters_are_those_of_the_whole_grid():
    masker, visible = ClusterMasker(20), torch.ones(64, 32, dtype=torch.bool)
    whole = masker(ClipGenerator(1, 2, torch.arange(64)), (4, 8))
    assert torch.equal(masker(ClipGenerator(1, 2, torch.arange(64)), (4, 8), visible), whole)


def test_the_released_masker_knows_no_padding():
    with pytest.raises(ValueError, match="padding: masked take ClusterMasker or RandomMasker"):
        visible = torch.ones(1, 512, dtype=torch.bool)
        OfficialClusterMasker(400)(ClipGenerator(1, 2, torch.arange(1)), PATCH_GRID, visible)
