"""Batches by length: bounded, exact on resume, the same on any number of processes."""

import itertools

import numpy as np
import pytest
import torch

from ssast_recipes.data.batches import collate
from ssast_recipes.data.lengths import LengthBatches, LengthEvaluationBatches
from ssast_recipes.data.pipelines import WaveformReader
from ssast_recipes.data.speed import SpeedPerturbation

DURATIONS = torch.from_numpy(np.random.default_rng(0).uniform(1, 35, 300))


def take(batches, count):
    return list(itertools.islice(batches, count))


def seconds(batch):
    return len(batch) * max(float(DURATIONS[key.index]) for key in batch)


def test_an_epoch_shows_every_clip_once_in_batches_bounded_in_seconds():
    batches = LengthBatches(DURATIONS, max_seconds=100.0, seed=1)
    for epoch in (1, 2):
        batches.start_at(epoch, 0)
        found = list(batches)
        assert len(found) == len(batches)
        assert sorted(key.index for batch in found for key in batch) == [*range(300)]
        assert all(seconds(batch) <= 100.0 for batch in found)
        assert {key.epoch for batch in found for key in batch} == {epoch}
        # Of like lengths, and so with little padding.
        padding = 1 - float(DURATIONS.sum()) / sum(map(seconds, found))
        assert padding < 0.15


def test_batches_are_functions_of_seed_and_epoch_and_others_each_time():
    def of(seed, epoch):
        batches = LengthBatches(DURATIONS, 100.0, seed=seed)
        batches.start_at(epoch, 0)
        return [[key.index for key in batch] for batch in batches]

    assert of(1, 3) == of(1, 3)
    assert of(1, 3) != of(1, 4) != of(2, 4)
    assert {*map(frozenset, of(1, 3))} != {*map(frozenset, of(1, 4))}  # not in their order alone


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("accumulation", [1, 3])
def test_a_killed_run_goes_on_with_the_next_batch(continuous, accumulation):
    options = {"seed": 1, "accumulation": accumulation, "continuous": continuous}
    whole = take(LengthBatches(DURATIONS, 60.0, **options), 250)
    for number in (0, 1, 17, 120 * continuous):
        resumed = LengthBatches(DURATIONS, 60.0, **options)
        resumed.start_at(1, number)
        assert take(resumed, 30) == whole[number : number + 30]
    if continuous:
        batches = LengthBatches(DURATIONS, 60.0, **options)
        told = [batches.epoch_of(number) for number in range(250)]
        assert told == [batch[0].epoch for batch in whole] and told[-1] > 1


@pytest.mark.parametrize("continuous", [False, True])
def test_processes_and_accumulated_batches_share_the_same_steps(continuous):
    """Two processes see what one sees that accumulates two batches, at the same places."""
    options = {"seed": 1, "continuous": continuous}
    one = take(LengthBatches(DURATIONS, 80.0, accumulation=2, **options), 40)
    ranks = [
        take(LengthBatches(DURATIONS, 80.0, rank=rank, world_size=2, **options), 20)
        for rank in (0, 1)
    ]
    assert [batch for pair in zip(*ranks, strict=True) for batch in pair] == one
    for first, second in zip(*ranks, strict=True):
        assert len(first) == len(second)
        assert [key.place for key in first + second] == [*range(2 * len(first))]
        assert max(seconds(first), seconds(second)) <= 80.0


def test_steps_tell_their_clips_and_where_they_end():
    batches = LengthBatches(DURATIONS, 60.0, accumulation=3, continuous=True)
    for number, batch in enumerate(take(batches, 60)):
        assert batches.step_of(number) == (3 * len(batch), number % 3 == 2)


def test_positions_are_kept_in_clips_that_other_shares_count_alike():
    """As `TrainingPosition` does, which divides by `clips_per_batch`."""
    one = LengthBatches(DURATIONS, 80.0, accumulation=2, continuous=True)
    two = LengthBatches(DURATIONS, 80.0, world_size=2, continuous=True)
    assert one.clips_per_step == two.clips_per_step
    assert 14 * one.clips_per_batch == 7 * two.clips_per_batch


def test_what_no_batch_can_hold_is_told():
    with pytest.raises(ValueError, match=r"max_batch_seconds is 20, but a clip takes 34\.\d+ s"):
        LengthBatches(DURATIONS, 20.0)
    with pytest.raises(ValueError, match=r"max_batch_seconds is 20, but a clip takes"):
        LengthEvaluationBatches(DURATIONS, 20.0)
    with pytest.raises(ValueError, match="300 clips cannot be shared by 301 processes"):
        LengthBatches(DURATIONS, 100.0, world_size=301)


@pytest.mark.parametrize("world_size", [1, 3])
def test_evaluation_asks_for_every_clip_once(world_size):
    found = [
        list(LengthEvaluationBatches(DURATIONS, 90.0, rank, world_size))
        for rank in range(world_size)
    ]
    batches = [batch for share in found for batch in share]
    assert sorted(key.index for batch in batches for key in batch) == [*range(300)]
    assert all(seconds(batch) <= 90.0 for batch in batches)
    assert all(key.epoch == 0 for batch in batches for key in batch)


def test_transcripts_are_padded_and_their_lengths_told():
    def clip(index, tokens):
        return {
            "id": str(index), "index": index, "place": index, "waveform": torch.ones(4),
            "text": "A" * len(tokens), "target": torch.tensor(tokens, dtype=torch.int64),
        }  # fmt: skip

    batch = collate([clip(0, [1, 2, 3]), clip(1, []), clip(2, [5])])
    assert batch.targets.tolist() == [[1, 2, 3], [0, 0, 0], [5, 0, 0]]
    assert batch.num_targets.tolist() == [3, 0, 1]
    assert batch.texts == ["AAA", "", "A"]


def test_speed_is_a_function_of_seed_epoch_and_clip_and_evaluation_hears_none(tmp_path):
    import soundfile

    path = tmp_path / "a.wav"
    soundfile.write(path, np.sin(np.arange(16000) * 2 * np.pi * 440 / 16000) / 2, 16000)
    reader = SpeedPerturbation(WaveformReader(), factors=[0.5, 1.0, 2.0], seed=1)
    read = {e: reader(path, 0.0, 1.0, epoch=e, clip_id="a") for e in range(20)}
    assert {len(one) for one in read.values()} == {8000, 16000, 32000}
    assert len(read[0]) == 16000 and reader.sample_rate == 16000
    for epoch, waveform in read.items():
        assert torch.equal(reader(path, 0.0, 1.0, epoch=epoch, clip_id="a"), waveform)
        heard = torch.fft.rfft(waveform.float()).abs().argmax() * 16000 / len(waveform)
        assert heard == pytest.approx(440 * 16000 / len(waveform), rel=0.01)
    with pytest.raises(ValueError, match="factors from 0.5 to 2, not"):
        SpeedPerturbation(WaveformReader(), factors=[3.0])
