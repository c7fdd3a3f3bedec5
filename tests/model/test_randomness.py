"""The generator of clips' random numbers: known answers, quality, and independence of the batch."""

import pytest
import torch
from scipy import stats

from ssast_recipes.model import randomness
from ssast_recipes.model.randomness import ClipGenerator, philox

# counter, key, words: the known answers published with the Random123 library, Philox-4x32-10.
KNOWN_ANSWERS = [
    (
        [0x00000000, 0x00000000, 0x00000000, 0x00000000],
        [0x00000000, 0x00000000],
        [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8],
    ),
    (
        [0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF],
        [0xFFFFFFFF, 0xFFFFFFFF],
        [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
    ),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]

GOLDEN = [  # by call, place and element: multiples of 2**-24, computed with plain integers
    [
        [1196235, 2573836, 16189265, 10832154, 7352038],
        [7239107, 1009343, 962071, 6670656, 14874256],
    ],
    [
        [5255479, 13945431, 4552342, 1041748, 2541927],
        [7332795, 4155489, 3711873, 14022467, 4080220],
    ],
]


@pytest.mark.parametrize("counter, key, words", KNOWN_ANSWERS)
def test_philox_gives_the_published_answers(counter, key, words, device):
    counter = tuple(torch.tensor([word], device=device) for word in counter)
    assert [word.item() for word in philox(counter, tuple(key))] == words


def test_streams_never_change(device):
    """Golden values: a change here would silently change every run's masks and augmentations."""
    generator = ClipGenerator(seed=2**40 + 123, step=1000, places=torch.tensor([0, 5]).to(device))
    draws = [(generator.uniform(5) * 2**24).tolist() for _ in range(2)]
    assert draws == GOLDEN


def test_numbers_fill_the_unit_interval_evenly(device):
    numbers = ClipGenerator(1, 2, torch.arange(48, device=device)).uniform(64, 64)
    assert numbers.shape == (48, 64, 64) and numbers.dtype == torch.float32
    numbers = numbers.cpu().double().flatten()
    assert stats.kstest(numbers, "uniform").pvalue > 0.01
    whole = numbers * 2**24
    assert (whole == whole.floor()).all()
    lowest_bits = torch.bincount((whole % 256).long(), minlength=256)
    assert stats.chisquare(lowest_bits).pvalue > 0.01


def test_largest_number_is_below_one(monkeypatch, device):
    monkeypatch.setattr(
        randomness, "philox", lambda counter, key: [sum(counter) * 0 + 2**32 - 1] * 4
    )
    assert ClipGenerator(0, 0, torch.zeros(1).long().to(device)).uniform().item() == 1 - 2**-24


def draws(seed: int = 3, step: int = 4, first_place: int = 0, skip: int = 0) -> torch.Tensor:
    generator = ClipGenerator(seed, step, torch.arange(first_place, first_place + 256))
    for _ in range(skip):
        generator.uniform()
    return generator.uniform(257)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(draws()[:, 1:], id="next element"),
        pytest.param(draws(first_place=1), id="next place"),
        pytest.param(draws(step=5), id="next step"),
        pytest.param(draws(seed=4), id="next seed"),
        pytest.param(draws(seed=3 + 2**32), id="next seed in the upper word"),
        pytest.param(draws(skip=1), id="next call"),
    ],
)
def test_neighbouring_streams_are_independent(other):
    cells = (draws()[:, :256] * 16).long() * 16 + (other[:, :256] * 16).long()
    assert stats.chisquare(torch.bincount(cells.flatten(), minlength=256)).pvalue > 0.01


def test_no_input_stands_in_for_another():
    numbers = (0, 1, 2, 2**16, 2**31, 2**32 - 1)
    seeds = (*numbers, 2**32, 2**33, 2**63, 2**64 - 1)
    places = torch.tensor(numbers)
    generators = [ClipGenerator(seed, step, places) for seed in seeds for step in numbers]
    clips = torch.cat([generator.uniform(4) for generator in generators for _ in range(3)])
    assert len(clips) == len(clips.unique(dim=0)) == len(seeds) * len(numbers) * 3 * len(numbers)


def test_a_clip_draws_the_same_in_every_batch():
    whole = ClipGenerator(1, 2, torch.arange(8))
    alone = ClipGenerator(1, 2, torch.tensor([5]))
    shuffled = ClipGenerator(1, 2, torch.tensor([7, 5, 6]))
    for shape in [(7,), (), (2, 3)]:
        expected = whole.uniform(*shape)
        assert torch.equal(alone.uniform(*shape), expected[[5]])
        assert torch.equal(shuffled.uniform(*shape), expected[[7, 5, 6]])


def test_every_device_draws_the_same(device):
    places = torch.arange(6)
    there = ClipGenerator(2**63, 9, places.to(device))
    assert there.device == there.places.device and there.batch_size == 6
    assert torch.equal(there.uniform(1001).cpu(), ClipGenerator(2**63, 9, places).uniform(1001))


def test_drawing_never_reads_values():
    """Tensors without values can neither wait for a device nor branch on what is drawn."""
    numbers = ClipGenerator(1, 2, torch.arange(3, device="meta")).uniform(4, 5)
    assert numbers.shape == (3, 4, 5) and numbers.device.type == "meta"


@pytest.mark.parametrize(
    "seed, step, places, message",
    [
        (-1, 0, torch.arange(2), "seed must be in .* not -1"),
        (2**64, 0, torch.arange(2), "seed must be in"),
        (0, -1, torch.arange(2), "step must be in .* not -1"),
        (0, 2**32, torch.arange(2), "step must be in"),
        (0, 0, torch.arange(2.0), r"places must be int64 .* torch.float32"),
        (0, 0, torch.zeros(2, 3).long(), r"places must be .* of \[2, 3\]"),
    ],
)
def test_bad_input_is_named(seed, step, places, message):
    with pytest.raises(ValueError, match=message):
        ClipGenerator(seed, step, places)


def test_repr_names_the_stream():
    generator = ClipGenerator(1, 2, torch.arange(3))
    generator.uniform()
    assert repr(generator) == (
        "ClipGenerator(seed=1, step=2, batch_size=3, device='cpu', num_draws=1)"
    )
