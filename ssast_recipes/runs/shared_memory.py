"""Whether batches fit where loading workers hand them over, looked at before training."""

from collections.abc import Mapping
from typing import Any

from ssast_recipes.data.dataset import ClipDataset
from ssast_recipes.system.errors import RunError
from ssast_recipes.system.machine import free_shared_memory

_CLIPS = 200  # whose lengths are looked at
_PREFETCHED = 2  # batches a worker is ahead, torch's default
_BYTES = 2  # of a sample, the least that one takes


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
        `{train,valid}_dataloader_opts`; `read_waveform`, or that of a split.
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
    sizes = {split: _batch_bytes(hparams, split, datasets[split]) for split in ("train", "valid")}
    workers = max(sizes[split][1] for split in sizes)

    def in_number(split: str, ahead: int) -> int:
        if split == "train":  # which has no end, and one batch in use
            return ahead + 1
        options = hparams.get("valid_dataloader_opts") or {}
        return min(ahead, -(-len(datasets[split]) // int(options.get("batch_size") or 1)))

    def needed(most_workers: int) -> float:
        in_flight = {
            split: size * in_number(split, _PREFETCHED * min(most_workers, count))
            for split, (size, count) in sizes.items()
            if min(most_workers, count)
        }
        return processes * sum(in_flight.values())

    if workers and needed(workers) > free:
        fitting = next(count for count in range(workers, -1, -1) if needed(count) <= free)
        raise RunError(
            f"{workers} loading workers hand over their batches in shared memory, /dev/shm, and "
            f"these take {needed(workers) / 1e6:,.0f} MB at least, but {free / 1e6:,.0f} MB are "
            "free; start the container with more (docker run --shm-size 8g), or give "
            f"--num_workers {fitting}"
        )


def _batch_bytes(hparams: Mapping[str, Any], split: str, dataset: Any) -> tuple[float, int]:
    """The least that a batch of a split takes, and how many workers make such."""
    options = hparams.get(f"{split}_dataloader_opts") or {}
    workers = int(options.get("num_workers") or 0)
    read = hparams.get(f"{split}_read_waveform", hparams.get("read_waveform"))
    rate = getattr(read, "sample_rate", None)
    if not workers or not len(dataset) or rate is None:  # or a reader of the user's own
        return 0.0, workers
    longest = getattr(read, "max_duration", None) or float("inf")
    step = max(1, len(dataset) // _CLIPS)
    lengths = [min(longest, dataset.table[i].duration) for i in range(0, len(dataset), step)]
    clips = min(len(dataset), int(options.get("batch_size") or 1))
    return clips * sum(lengths) / len(lengths) * rate * _BYTES, workers
