"""How much masks differ and which patches they favour, so that a degenerate one is seen at once."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssast_recipes.model.randomness import ClipGenerator

NUM_DRAWS = 4000
LEAST_DISTINCT = 1000  # of so many draws
MOST_UNEVEN = 0.15  # from the mean masked share to that of a row or a column
_BATCH = 500  # masks at a time, which fit a processor's cache
# How far a share has to be from what is uneven, so that no more draws are needed: twice the largest
# standard error of a share of 1,000 masks.
_SURE = 0.03


class MaskStatistics(NamedTuple):
    """What many masks of one grid have in common.

    A mask is degenerate if there are few of them, so that what is hidden can be learnt by heart, or
    if rows or columns are hidden much more or less often than others.
    """

    num_draws: int
    num_distinct: int  # masks that differ from each other
    row_shares: list[float]  # masked share of each row, the lowest frequency first
    column_shares: list[float]  # masked share of each column, the earliest first

    @property
    def masked_share(self) -> float:
        """The mean over all patches."""
        return sum(self.row_shares) / len(self.row_shares)

    @property
    def repeats(self) -> bool:
        """Whether there are fewer than 1,000 distinct masks (of fewer draws, a quarter)."""
        return self.num_distinct < LEAST_DISTINCT * self.num_draws / NUM_DRAWS

    @property
    def uneven_rows(self) -> list[int]:
        """Rows whose share differs from the mean by more than 0.15; a single row never does."""
        return _uneven(self.row_shares, self.masked_share)

    @property
    def uneven_columns(self) -> list[int]:
        """Columns whose share differs from the mean by more than 0.15."""
        return _uneven(self.column_shares, self.masked_share)

    @property
    def are_shares_sure(self) -> bool:
        """Whether no share is so close to being uneven that more draws might show another side."""
        shares = (*self.row_shares, *self.column_shares)
        distances = (abs(abs(share - self.masked_share) - MOST_UNEVEN) for share in shares)
        return min(distances) > _SURE

    @property
    def is_degenerate(self) -> bool:
        """Whether any of this is so."""
        return bool(self.repeats or self.uneven_rows or self.uneven_columns)

    def describe_faults(self) -> str:
        """Says in one line what is degenerate; nothing if nothing is.

        Example
        -------
        >>> MaskStatistics(4000, 20, [0.3, 0.7], [0.5]).describe_faults()
        '20 distinct masks in 4,000 draws; 2 of 2 rows are masked 30 to 70 % of the time, all...'
        """
        faults = []
        if self.repeats:
            faults.append(f"{self.num_distinct:,} distinct masks in {self.num_draws:,} draws")
        for kind, uneven, shares in (
            ("row", self.uneven_rows, self.row_shares),
            ("column", self.uneven_columns, self.column_shares),
        ):
            if uneven:
                percents = sorted(100 * shares[index] for index in uneven)
                if len(uneven) == 1:
                    which = f"{kind} {uneven[0]} of {len(shares)} is masked {percents[0]:.0f} %"
                else:
                    which = (
                        f"{len(uneven)} of {len(shares)} {kind}s are masked {percents[0]:.0f} to "
                        f"{percents[-1]:.0f} %"
                    )
                faults.append(f"{which} of the time, all patches {100 * self.masked_share:.0f} %")
        return "; ".join(faults)


def measure_masks(
    masker: Callable[[ClipGenerator, tuple[int, int]], Tensor],
    grid_size: tuple[int, int],
    num_draws: int = NUM_DRAWS,
    device: torch.device | str = "cpu",
) -> MaskStatistics:
    """Draws masks and counts, until it is clear whether they are degenerate.

    The draws are the same every time. Neither the masker nor anybody's random numbers notice: a
    copy of it draws, and the states of the global generators are put back.

    Arguments
    ---------
    masker : callable
        A `Masker`, or what takes its place: (generator, grid_size) to [batch, masked] int64.
    grid_size : tuple[int, int]
        (frequency, time), in patches.
    num_draws : int
        How many masks at most. It ends at 1,000 different ones, if no row's or column's share is
        close to being uneven.
    device : torch.device or str
        Where to draw them.

    Returns
    -------
    MaskStatistics
        Counts, and masked shares in [0, 1].

    Raises
    ------
    ValueError
        If the masker finds that it does not fit the grid.

    Example
    -------
    >>> from ssast_recipes.model.masking import OfficialClusterMasker, RandomMasker
    >>> speech = measure_masks(RandomMasker(24), grid_size=(1, 32))
    >>> speech.num_draws, speech.num_distinct, speech.masked_share, speech.is_degenerate
    (1500, 1499, 0.75, False)
    >>> short = measure_masks(OfficialClusterMasker(12), grid_size=(8, 2))
    >>> short.num_distinct, short.repeats, short.uneven_rows
    (20, True, [0, 2, 3, 4, 5, 7])
    """
    masker, num_patches = deepcopy(masker), grid_size[0] * grid_size[1]
    distinct: set[bytes] = set()
    counts = torch.zeros(num_patches, dtype=torch.int64)
    with _undisturbed(torch.device(device)):
        for places in torch.arange(num_draws).split(_BATCH):
            generator = ClipGenerator(seed=0, step=0, places=places.to(device))
            masked = masker(generator, grid_size).cpu()
            hidden = torch.zeros(len(places), num_patches, dtype=torch.bool)
            hidden.scatter_(1, masked, True)
            counts += hidden.sum(dim=0)
            distinct.update(mask.tobytes() for mask in np.packbits(hidden.numpy(), axis=1))
            drawn = int(places[-1]) + 1
            shares = (counts.double() / drawn).view(grid_size)
            found = MaskStatistics(
                drawn, len(distinct), shares.mean(dim=1).tolist(), shares.mean(dim=0).tolist()
            )
            if found.num_distinct >= LEAST_DISTINCT and found.are_shares_sure:
                break
    return found


def _uneven(shares: list[float], mean: float) -> list[int]:
    return [index for index, share in enumerate(shares) if abs(share - mean) > MOST_UNEVEN]


@contextmanager
def _undisturbed(device: torch.device) -> Iterator[None]:
    """Puts the states of Python's, NumPy's and torch's global generators back."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
