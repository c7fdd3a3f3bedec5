"""Whether batches fit where loading workers hand them over, looked at before training."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from ssast_recipes.data.dataset import ClipDataset
from ssast_recipes.system.errors import RunError
from ssast_recipes.system.machine import free_shared_memory

_CLIPS = 200  # whose lengths are looked at
_PREFETCHED = 2  # batches a worker is ahead, torch's default
_BYTES = 2  # of a sample, the least that one takes


class _Batches(NamedTuple):
    """Batches of a split that workers hand over."""

    size: float  # bytes that one takes at least
    workers: int
    number: float  # that there are; training has no end

    def bytes_ahead(self, most_workers: int) -> float:
        """What lies in shared memory at a time, with so many workers at most."""
        workers = min(most_workers, self.workers)
        if not workers:
            return 0.0
        in_use = 1 if self.number == math.inf else 0
        return self.size * min(self.number, _PREFETCHED * workers + in_use)


def check_shared_memory(
    hparams: Mapping[str, Any],
    datasets: Mapping[str, ClipDataset],
    processes: int = 1,
    free: float | None = None,
) -> None:
    """Refuses a training whose loading workers have too little shared memory.

    A container has 64 MB, unless it was started with more. What is counted is the least that
    batches take: clips of the mean length, in 16 bits.

    Arguments
    ---------
    hparams : mapping
        `{train,valid}_dataloader_opts`; `read_waveform`, or that of a split; `num_steps`, if steps
        are counted, not epochs.
    datasets : mapping of str to ClipDataset
        Of `train` and `valid`.
    processes : int
        How many train on this machine.
    free : float, optional
        Bytes that there are; by default, what the system tells.

    Raises
    ------
    RunError
        That tells how much is missing, and what to do.

    Example
    -------
    >>> check_shared_memory(
    ...     {"train_dataloader_opts": {"num_workers": 0}}, {"train": [], "valid": []}
    ... )
    """
    free = free_shared_memory() if free is None else free
    splits = [_batches(hparams, split, datasets[split]) for split in ("train", "valid")]
    workers = max(batches.workers for batches in splits)

    def needed(most_workers: int) -> float:
        return processes * sum(batches.bytes_ahead(most_workers) for batches in splits)

    if workers and needed(workers) > free:
        fitting = next(count for count in range(workers, -1, -1) if needed(count) <= free)
        raise RunError(
            f"{workers} loading workers hand over their batches in shared memory, /dev/shm, and "
            f"these take {needed(workers) / 1e6:,.0f} MB at least, but {free / 1e6:,.0f} MB are "
            "free; start the container with more (docker run --shm-size 8g), or give "
            f"--num_workers {fitting}"
        )


def _batches(hparams: Mapping[str, Any], split: str, dataset: Any) -> _Batches:
    options = hparams.get(f"{split}_dataloader_opts") or {}
    workers = int(options.get("num_workers") or 0)
    read = hparams.get(f"{split}_read_waveform", hparams.get("read_waveform"))
    rate = getattr(read, "sample_rate", None)
    if not workers or not len(dataset) or rate is None:  # or a reader of the user's own
        return _Batches(0.0, workers, 0)
    longest = getattr(read, "max_duration", None) or float("inf")
    step = max(1, len(dataset) // _CLIPS)
    lengths = [min(longest, dataset.table[i].duration) for i in range(0, len(dataset), step)]
    mean = sum(lengths) / len(lengths)
    clips = max(1, int(options.get("batch_size") or options.get("max_batch_seconds", 0) / mean))
    if split != "train" or hparams.get("num_steps") is None:  # steps go on into the next epoch
        clips = min(len(dataset), clips)
    number = math.inf if split == "train" else math.ceil(len(dataset) / clips)
    return _Batches(clips * mean * rate * _BYTES, workers, number)
