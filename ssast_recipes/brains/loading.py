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
    together = partial(collate, least_samples=least_samples)
    return DataLoader(dataset, batch_sampler=batches, collate_fn=together, **options)


def begin(loader: DataLoader) -> Iterator[ClipBatch]:
    """Begins a pass over a loader; its workers are forked, if they have not been."""
    with holding_interrupts():
        return iter(loader)
