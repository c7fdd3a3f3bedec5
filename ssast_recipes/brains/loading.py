"""Loaders of a Brain's batches, and how a pass over one begins."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from torch.utils.data import DataLoader, Dataset, Sampler

from ssast_recipes.data.batches import ClipBatch, collate
from ssast_recipes.data.sampling import ClipKey
from ssast_recipes.system.interruption import holding_interrupts

_MOST_SECONDS_WITHOUT_DATA = 900


def make_loader(
    dataset: Dataset,
    batches: Sampler[Sequence[ClipKey]],
    least_samples: int = 0,
    **options: Any,
) -> DataLoader:
    """Makes the loader of a process's batches.

    Arguments
    ---------
    dataset : Dataset
        Clips, asked for by `ClipKey`.
    batches : Sampler
        The keys of each batch.
    least_samples : int
        What waveforms are padded to.
    **options
        Of torch's DataLoader.

    Returns
    -------
    DataLoader
        Yields `ClipBatch`.
    """
    if options.get("num_workers"):
        # Before 3.12, a fork of Python may hang for ever if another thread, of torch's
        # collectives for instance, comes or goes at that moment: one fork, not one a pass, and
        # an error in the end, from which the same command goes on.
        options.setdefault("persistent_workers", True)
        options.setdefault("timeout", _MOST_SECONDS_WITHOUT_DATA)
    batches = _Held(batches)
    together = partial(collate, least_samples=least_samples)
    return DataLoader(dataset, batch_sampler=batches, collate_fn=together, **options)


class _Held(Sampler[Sequence[ClipKey]]):
    """Batches, or none as long as they are held back."""

    def __init__(self, batches: Sampler[Sequence[ClipKey]]):
        self.batches, self.is_held = batches, False

    def __iter__(self) -> Iterator[Sequence[ClipKey]]:
        return iter(()) if self.is_held else iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def fork_workers(loader: DataLoader) -> None:
    """Forks the persistent workers of a loader, and lets them read nothing yet.

    What they read before the first pass would lie in shared memory until then, to be thrown away.

    Arguments
    ---------
    loader : DataLoader
        Of `make_loader`. Those of another one are forked, and read ahead.
    """
    batches = loader.batch_sampler
    if isinstance(batches, _Held):
        batches.is_held = True
    try:
        begin(loader)
    finally:
        if isinstance(batches, _Held):
            batches.is_held = False


def begin(loader: DataLoader) -> Iterator[ClipBatch]:
    """Begins a pass over a loader; its workers are forked, if they have not been."""
    with holding_interrupts():
        return iter(loader)
