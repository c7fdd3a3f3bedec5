import math
from collections import Counter

import pytest
import torch
from torch.utils.data import DataLoader

from ssast_recipes.data.orders import epoch_draws, epoch_order
from ssast_recipes.data.sampling import ClipKey, EvaluationBatches, TrainingBatches


def first(batches, count):
    iterator = iter(batches)
    return [next(iterator) for _ in range(count)]


def merged(shares):
    """The global batches of the processes' batches: keys by place."""
    steps = zip(*shares, strict=True)
    return [
        sorted((key for part in step for key in part), key=lambda key: key.place) for step in steps
    ]


# ---- epochs with an end


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("num_clips", [12, 13, 17, 24])
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_clip_is_shown_once_an_epoch(num_clips, world_size, shuffle):
    shares = []
    for rank in range(world_size):
        batches = TrainingBatches(
            num_clips, 4, seed=3, shuffle=shuffle, rank=rank, world_size=world_size
        )
        batches.start_at(2, 0)
        shares.append(list(batches))
        assert len(batches) == len(shares[-1])
    sizes = [[len(batch) for batch in share] for share in shares]
    assert all(each == sizes[0] for each in sizes)  # none waits for another
    assert all(size == 4 for size in sizes[0][:-1])
    keys = [key for share in shares for batch in share for key in batch]
    seen = Counter(key.index for key in keys)
    assert set(seen.values()) == {1}
    assert len(seen) == num_clips - num_clips % world_size
    assert {key.epoch for key in keys} == {2}


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize(
    ("world_size", "accumulation", "batch_size"),
    [(2, 1, 4), (1, 2, 4), (2, 2, 2), (4, 2, 1), (8, 1, 1)],
)
def test_a_global_batch_is_the_same_however_it_is_shared_out(
    continuous, world_size, accumulation, batch_size
):
    options = {"seed": 5, "continuous": continuous}
    # Within an epoch, of 24 clips; the continuous ones go on into the fourth.
    count = 9 if continuous else 3
    whole = first(TrainingBatches(24, 8, **options), count)
    shares = [
        first(
            TrainingBatches(
                24,
                batch_size,
                rank=rank,
                world_size=world_size,
                accumulation=accumulation,
                **options,
            ),
            count * accumulation,
        )
        for rank in range(world_size)
    ]
    parts = merged(shares)
    joined = [sum(parts[i : i + accumulation], []) for i in range(0, len(parts), accumulation)]
    assert joined == whole
    assert all([key.place for key in batch] == list(range(8)) for batch in whole)


def test_processes_have_disjoint_clips_and_places_in_every_batch():
    shares = [list(TrainingBatches(20, 4, rank=rank, world_size=2)) for rank in (0, 1)]
    for one, two in zip(*shares, strict=True):
        assert not {key.index for key in one} & {key.index for key in two}
        assert not {key.place for key in one} & {key.place for key in two}


def test_the_order_is_drawn_from_seed_and_epoch():
    def order(seed, epoch):
        batches = TrainingBatches(50, 7, seed=seed)
        batches.start_at(epoch, 0)
        return [key.index for batch in batches for key in batch]

    assert order(1, 1) == order(1, 1) == epoch_order(50, 1, 1).tolist()
    orders = {tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (1, 2, 3)}
    assert len(orders) == 6


def test_orders_are_uniform():
    firsts = Counter(int(epoch_order(5, seed=1, epoch=epoch)[0]) for epoch in range(2000))
    assert all(abs(count - 400) < 4.5 * 18 for count in firsts.values()) and len(firsts) == 5


def test_without_shuffling_the_order_is_the_manifests():
    batches = TrainingBatches(7, 3, shuffle=False)
    for epoch in (1, 2):
        batches.start_at(epoch, 0)
        assert [[key.index for key in batch] for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]


# ---- going on


@pytest.mark.parametrize("world_size", [1, 2])
def test_an_epoch_goes_on_at_any_batch(world_size):
    for rank in range(world_size):
        batches = TrainingBatches(23, 3, seed=1, rank=rank, world_size=world_size)
        batches.start_at(4, 0)
        whole = list(batches)
        for start in range(len(whole) + 1):
            batches.start_at(4, start)
            assert list(batches) == whole[start:]
            assert len(batches) == len(whole) - start


@pytest.mark.parametrize("world_size", [1, 2])
def test_endless_batches_go_on_at_any_batch(world_size):
    for rank in range(world_size):
        batches = TrainingBatches(10, 4, seed=1, continuous=True, rank=rank, world_size=world_size)
        whole = first(batches, 15)
        for start in (1, 2, 7, 12):
            batches.start_at(1, start)
            assert first(batches, 15 - start) == whole[start:]


# ---- batches without end


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_endless_batches_are_full_and_show_every_clip_once_an_epoch(world_size):
    shares = [
        first(TrainingBatches(10, 4, seed=2, continuous=True, rank=rank, world_size=world_size), 20)
        for rank in range(world_size)
    ]
    assert all(len(batch) == 4 for share in shares for batch in share)
    keys = [key for batch in merged(shares) for key in batch]
    for epoch in range(1, 1 + len(keys) // 10):
        part = keys[10 * (epoch - 1) : 10 * epoch]
        assert [key.epoch for key in part] == [epoch] * 10
        assert [key.index for key in part] == epoch_order(10, 2, epoch).tolist()


def test_endless_batches_have_no_length():
    with pytest.raises(TypeError, match="no end"):
        len(TrainingBatches(10, 4, continuous=True))


def test_a_batch_may_be_larger_than_the_set():
    batches = first(TrainingBatches(3, 8, continuous=True), 3)
    assert Counter(key.index for batch in batches for key in batch) == {0: 8, 1: 8, 2: 8}
    assert [len(batch) for batch in TrainingBatches(3, 8)] == [3]


def test_loading_workers_keep_the_order():
    class Keys(torch.utils.data.Dataset):
        def __getitem__(self, key):
            return tuple(key)

    def loaded(num_workers):
        batches = TrainingBatches(10, 4, seed=2, continuous=True)
        batches.start_at(1, 3)
        loader = DataLoader(Keys(), batch_sampler=batches, collate_fn=list, num_workers=num_workers)
        return first(loader, 8)

    assert loaded(0) == loaded(2)


# ---- evaluation


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("num_clips", [3, 8, 13])
def test_every_clip_is_evaluated_exactly_once(num_clips, world_size):
    shares = [
        EvaluationBatches(num_clips, 2, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    keys = [key for share in shares for batch in share for key in batch]
    assert sorted(key.index for key in keys) == list(range(num_clips))
    assert all(key == ClipKey(0, key.index, key.index) for key in keys)
    for share in shares:
        sizes = [len(batch) for batch in share]
        assert len(share) == len(sizes) and set(sizes[:-1]) <= {2} and 1 <= sizes[-1] <= 2
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("make", [TrainingBatches, EvaluationBatches])
@pytest.mark.parametrize(
    ("num_clips", "batch_size", "world_size"), [(1, 4, 2), (0, 4, 1), (5, 0, 1)]
)
def test_what_cannot_be_shared_out_is_refused(make, num_clips, batch_size, world_size):
    message = (
        f"{num_clips} clips cannot be shared by {world_size} processes in batches of {batch_size}"
    )
    with pytest.raises(ValueError, match=message):
        make(num_clips, batch_size, world_size=world_size)


# ---- drawing by weights

WEIGHTS = torch.tensor([1.0, 0.0, 3.0, 0.5, 0.5, 7.0, 2.0, 1.0, 1.0, 4.0], dtype=torch.float64)


def test_draws_are_as_frequent_as_their_weights():
    counts = torch.zeros(10)
    for epoch in range(2000):
        indices, _ = epoch_draws(WEIGHTS, 3, epoch)
        assert len(indices) == 10
        counts += torch.bincount(indices, minlength=10)
    expected = 20000 * (WEIGHTS / WEIGHTS.sum()).float()
    assert counts[1] == 0
    # Four and a half standard deviations of a binomial count.
    assert ((counts - expected).abs() <= 4.5 * expected.sqrt()).all()


def test_the_draws_of_a_clip_are_counted_within_an_epoch():
    indices, draws = epoch_draws(WEIGHTS, 5, 2)
    seen = Counter()
    for index, draw in zip(indices.tolist(), draws.tolist(), strict=True):
        assert draw == seen[index]
        seen[index] += 1
    assert max(seen.values()) > 1


def test_draws_are_a_function_of_seed_epoch_and_weights():
    found = {
        tuple(epoch_draws(weights, seed, epoch)[0].tolist())
        for weights in (WEIGHTS, WEIGHTS.flip(0))
        for seed in (1, 2)
        for epoch in (1, 2)
    }
    assert len(found) == 8
    again = epoch_draws(WEIGHTS.clone(), 1, 1)
    assert torch.equal(again[0], epoch_draws(WEIGHTS, 1, 1)[0])


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize(("world_size", "accumulation", "batch_size"), [(2, 1, 2), (2, 2, 1)])
def test_drawn_batches_are_the_same_however_they_are_shared_out(
    continuous, world_size, accumulation, batch_size
):
    options = {"seed": 5, "continuous": continuous, "weights": WEIGHTS}
    count = 7 if continuous else 2
    whole = first(TrainingBatches(10, 4, **options), count)
    shared = {**options, "world_size": world_size, "accumulation": accumulation}
    shares = [
        first(TrainingBatches(10, batch_size, rank=rank, **shared), count * accumulation)
        for rank in range(world_size)
    ]
    parts = merged(shares)
    joined = [sum(parts[i : i + accumulation], []) for i in range(0, len(parts), accumulation)]
    assert joined == whole


@pytest.mark.parametrize("continuous", [False, True])
def test_drawn_batches_go_on_at_any_batch(continuous):
    batches = TrainingBatches(10, 4, seed=1, continuous=continuous, weights=WEIGHTS)
    batches.start_at(1 if continuous else 3, 0)
    whole = first(batches, 3)
    for start in (1, 2):
        batches.start_at(1 if continuous else 3, start)
        assert first(batches, 3 - start) == whole[start:]
    assert {key.epoch for key in whole[0]} == ({1} if continuous else {3})


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.ones(9), r"\(9,\), not one of 10 clips"),
        (torch.zeros(10), "0 to 0"),
        (torch.tensor([-1.0] + [1.0] * 9), "-1 to 1"),
        (torch.tensor([math.inf] + [1.0] * 9), "1 to inf"),
    ],
)
def test_weights_that_draw_nothing_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        TrainingBatches(10, 4, weights=weights)


def test_weights_are_refused_without_shuffling():
    with pytest.raises(ValueError, match="leave shuffle at True"):
        TrainingBatches(10, 4, weights=WEIGHTS, shuffle=False)
