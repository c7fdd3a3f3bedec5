"""Shared memory is looked at before training: a container has 64 MB."""

from types import SimpleNamespace

import pytest

from ssast_recipes.data.manifest import Clip
from ssast_recipes.data.table import ClipTable
from ssast_recipes.runs.shared_memory import check_shared_memory
from ssast_recipes.runs.steps import train_and_evaluate
from ssast_recipes.system.errors import RunError


def dataset(count: int, seconds: float = 30.0):
    clips = [Clip(str(i), f"/{i}.wav", 0.0, seconds, 16000, ()) for i in range(count)]
    table = ClipTable(clips)

    class Clips(SimpleNamespace):
        def __len__(self):
            return count

    return Clips(table=table)


def hparams(workers: int, **reader):
    options = {"batch_size": 50, "num_workers": workers}
    read = SimpleNamespace(sample_rate=16000, max_duration=10.0, **reader)
    return {
        "train_dataloader_opts": options,
        "valid_dataloader_opts": options,
        "read_waveform": read,
    }


BATCH = 50 * 10 * 16000 * 2  # bytes: 16 MB
SETS = {"train": dataset(1000), "valid": dataset(200)}


def test_what_does_not_fit_is_refused_with_what_would():
    # Two workers are two batches ahead, in training and in validation, and one is in use.
    check_shared_memory(hparams(2), SETS, free=9 * BATCH)
    with pytest.raises(RunError) as raised:
        check_shared_memory(hparams(2), SETS, free=9 * BATCH - 1)
    assert str(raised.value) == (
        "2 loading workers hand over their batches in shared memory, /dev/shm, and these take 144 "
        "MB at least, but 144 MB are free; start the container with more (docker run --shm-size "
        "8g), or give --num_workers 1"
    )
    with pytest.raises(RunError, match="288 MB at least, but 144 .* give --num_workers 0$"):
        check_shared_memory(hparams(2), SETS, processes=2, free=9 * BATCH)


def test_short_clips_and_small_sets_take_less():
    few = {"train": dataset(5, seconds=1.0), "valid": dataset(0)}
    need = 5 * 16000 * 2 * 5
    check_shared_memory(hparams(2), few, free=need)
    with pytest.raises(RunError, match="--num_workers 1"):
        check_shared_memory(hparams(2), few, free=need - 1)


def test_of_validation_no_more_is_shared_than_there_is():
    sets = {"train": dataset(0), "valid": dataset(5, seconds=1.0)}
    need = 5 * 16000 * 2  # one batch, however many workers
    check_shared_memory(hparams(8), sets, free=need)
    with pytest.raises(RunError):
        check_shared_memory(hparams(8), sets, free=need - 1)


def test_without_workers_nothing_is_shared():
    check_shared_memory(hparams(0), SETS, free=0)
    # A reader of the user's own may read anything.
    own = {**hparams(2), "read_waveform": lambda *_: None}
    check_shared_memory(own, SETS, free=0)


def test_every_training_looks_before_it_begins(monkeypatch):
    monkeypatch.setattr("ssast_recipes.runs.shared_memory.free_shared_memory", lambda: 2**26)
    with pytest.raises(RunError, match="docker run --shm-size"):
        train_and_evaluate(hparams(2), None, SETS)


def test_a_batch_by_steps_is_full_however_small_the_set():
    few = {"train": dataset(5, seconds=1.0), "valid": dataset(0)}
    by_steps = {**hparams(2), "num_steps": 10}
    check_shared_memory(by_steps, few, free=50 * 16000 * 2 * 5)
    with pytest.raises(RunError, match="--num_workers 1"):
        check_shared_memory(by_steps, few, free=50 * 16000 * 2 * 5 - 1)
