"""Which patches to mask: batched, on the device, from each clip's own random numbers.

Patch index = frequency row * time columns + time column.

The cluster maskers are sequential by definition: random blocks are added until enough patches are
covered. Here every possible block gets a random arrival time instead, a patch is covered at the
earliest arrival among the blocks that hold it, and the patches covered first are masked. Both give
the same masks, because a repeated block adds nothing and the first occurrences of independent
uniform draws come in uniformly random order.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from ssast_recipes.model.randomness import ClipGenerator


@dataclass(frozen=True)
class Masker(ABC):
    """What the maskers share: each draws exactly `num_masked_patches` patches of every clip.

    Arguments
    ---------
    num_masked_patches : int
        How many patches of each clip to mask.

    Raises
    ------
    ValueError
        If `num_masked_patches` or a cluster factor is below 1, or there are no cluster factors.
    """

    num_masked_patches: int
    cluster_factors: ClassVar[Sequence[int]] = (1,)
    num_never_masked: ClassVar[int] = 0

    def __post_init__(self):
        factors = self.cluster_factors
        if not isinstance(self.num_masked_patches, int) or self.num_masked_patches < 1:
            raise ValueError(f"num_masked_patches must be a whole number of at least 1: {self}")
        if not isinstance(factors, Sequence) or not factors:
            raise ValueError(f"cluster_factors must be a list of whole numbers: {self}")
        if not all(isinstance(factor, int) and factor >= 1 for factor in factors):
            raise ValueError(f"cluster_factors must be whole numbers of at least 1: {self}")

    def __call__(
        self,
        generator: ClipGenerator,
        grid_size: tuple[int, int],
        visible_patches: Tensor | None = None,
    ) -> Tensor:
        """Draws one mask for each clip.

        Arguments
        ---------
        generator : ClipGenerator
            The clips' random numbers.
        grid_size : tuple[int, int]
            (frequency, time), in patches.
        visible_patches : Tensor, optional
            Which patches are no padding, [batch, patches] bool; by default all. Of each clip's own
            the same share is masked as of the whole grid, and one at least stays; what is wanting
            to `num_masked_patches` is padding.

        Returns
        -------
        masked_indices : Tensor
            [batch, num_masked_patches] int64, ascending.

        Raises
        ------
        ValueError
            If the grid has too few patches, both its sides are shorter than a cluster factor, or
            the masker cannot tell padding.
        """
        rows, columns = grid_size
        most = rows * columns - self.num_never_masked
        if self.num_masked_patches > most:
            raise ValueError(
                f"at most {most} patches of a grid of {rows} x {columns} can be masked by {self}"
            )
        if max(self.cluster_factors) > max(rows, columns):
            raise ValueError(f"a grid of {rows} x {columns} patches is too small for {self}")
        if visible_patches is not None:
            keys = self._keys(generator, rows, columns)
            return _mask_within(keys, visible_patches, self.num_masked_patches)
        return self._draw(generator, rows, columns)

    def _draw(self, generator: ClipGenerator, rows: int, columns: int) -> Tensor:
        order = self._keys(generator, rows, columns).argsort(dim=1)
        return order[:, : self.num_masked_patches].sort(dim=1).values

    @abstractmethod
    def _keys(self, generator: ClipGenerator, rows: int, columns: int) -> Tensor:
        """Draws when each patch's turn comes, [batch, patches], all different: the least first."""


class RandomMasker(Masker):
    """Masks uniformly random patches, as the frame-based models do.

    Arguments
    ---------
    num_masked_patches : int
        How many patches of each clip to mask.

    Example
    -------
    >>> generator = ClipGenerator(seed=1, step=0, places=torch.arange(2))
    >>> RandomMasker(num_masked_patches=400)(generator, grid_size=(1, 512)).shape
    torch.Size([2, 400])
    """

    def _draw(self, generator: ClipGenerator, rows: int, columns: int) -> Tensor:
        order = self._keys(generator, rows, columns)
        return order[:, : self.num_masked_patches].sort(dim=1).values

    def _keys(self, generator: ClipGenerator, rows: int, columns: int) -> Tensor:
        # A random order, which is its own kind of random keys.
        return _random_order(generator, rows * columns)


@dataclass(frozen=True)
class ClusterMasker(Masker):
    """Masks random square clusters of patches, every patch equally often.

    Each clip draws its cluster factor C. Blocks of C x C patches may begin up to C - 1 patches
    outside the grid, so C * C possible blocks cover every patch, those on the edges included, and
    none wraps. Blocks are added in random order until `num_masked_patches` are covered; of the last
    one, random patches are taken. On a grid with fewer than C rows a block is as high as the grid:
    frame-based grids get runs of C frames.

    Patches are masked equally often but for a small effect of the edges: with 400 of 8 x 64 patches
    masked, a row's share differs from the mean share by at most 0.003, a corner's by 0.01.

    Arguments
    ---------
    num_masked_patches : int
        How many patches of each clip to mask.
    cluster_factors : Sequence[int]
        Each clip draws its block's side from these, with equal chances.

    Example
    -------
    >>> generator = ClipGenerator(seed=1, step=0, places=torch.arange(2))
    >>> ClusterMasker(num_masked_patches=400)(generator, grid_size=(8, 64)).shape
    torch.Size([2, 400])
    """

    cluster_factors: Sequence[int] = (3, 4, 5)

    def _keys(self, generator: ClipGenerator, rows: int, columns: int) -> Tensor:
        margin = max(self.cluster_factors) - 1
        starts = _random_order(generator, (rows + margin) * (columns + margin))
        starts = starts.view(-1, rows + margin, columns + margin)

        def cover(factor: int) -> Tensor:
            near = starts[:, : rows + factor - 1, : columns + factor - 1]
            return _earliest(_earliest(near, factor, dim=1), factor, dim=2).flatten(1)

        arrivals = _of_drawn_factor(generator, self.cluster_factors, cover)  # [batch, patches]
        # Patches of one block arrive together; without this the last block would lose its highest.
        return arrivals * (rows * columns) + _random_order(generator, rows * columns)


@dataclass(frozen=True)
class OfficialClusterMasker(Masker):
    """Masks clusters exactly as the released SSAST code does, its biases included.

    Each clip draws its cluster factor C. Blocks begin at uniformly random patches and hold the flat
    indices `start + time_columns * i + j` for i, j in 0 ... C - 1: they grow towards higher
    frequency and later time only and wrap from a row's end into the next row. Indices beyond the
    grid are dropped, and so is index 0. Blocks are added until *strictly more* than
    `num_masked_patches` are covered, and the lowest indices are kept. Hence patch 0 and the last
    patch are never masked, the lowest rows less often. On a frame-based grid blocks are runs of C.

    (The released code keeps the lowest through Python's order of small sets of ints, which is
    ascending on its 512 patches from 76 masked ones on; here it always is.)

    Arguments
    ---------
    num_masked_patches : int
        How many patches of each clip to mask.
    cluster_factors : Sequence[int]
        Each clip draws its block's side from these, with equal chances.

    Example
    -------
    >>> generator = ClipGenerator(seed=1, step=0, places=torch.arange(2))
    >>> OfficialClusterMasker(num_masked_patches=400)(generator, grid_size=(8, 64)).shape
    torch.Size([2, 400])
    """

    num_never_masked = 2
    cluster_factors: Sequence[int] = (3, 4, 5)

    def _draw(self, generator: ClipGenerator, rows: int, columns: int) -> Tensor:
        num_patches = rows * columns
        starts = _random_order(generator, num_patches)
        never = num_patches  # later than every arrival

        def cover(factor: int) -> Tensor:
            runs = _earliest(pad(starts, (factor - 1, 0), value=never), factor, dim=1)
            below = pad(runs.view(-1, rows, columns), (0, 0, factor - 1, 0), value=never)
            return _earliest(below, factor, dim=1).flatten(1)

        arrivals = _of_drawn_factor(generator, self.cluster_factors, cover)  # [batch, patches]
        arrivals[:, 0] = never
        last = arrivals.sort(dim=1).values[:, self.num_masked_patches, None]
        indices = torch.arange(num_patches, device=generator.device)
        candidates = torch.where(arrivals <= last, indices, num_patches)
        return candidates.sort(dim=1).values[:, : self.num_masked_patches]

    def _keys(self, generator: ClipGenerator, rows: int, columns: int) -> Tensor:
        raise ValueError(
            "OfficialClusterMasker masks padding like sound, as released; with padding: masked "
            "take ClusterMasker or RandomMasker"
        )


def find_mask_fault(masked_indices: Any, batch_size: int, num_patches: int) -> str | None:
    """Says what of a mask would make training go wrong, so that a masker can be checked once.

    Arguments
    ---------
    masked_indices : Any
        What a masker returned.
    batch_size : int
        For how many clips.
    num_patches : int
        How many patches each clip has.

    Returns
    -------
    str | None
        The fault; None if the mask is [batch, masked] int64, without repetitions or strangers.

    Example
    -------
    >>> find_mask_fault(torch.tensor([[0, 1], [7, 3]]), batch_size=2, num_patches=8)
    >>> find_mask_fault(torch.tensor([[0, 1], [8, 3]]), batch_size=2, num_patches=8)
    'index 8'
    """
    if not isinstance(masked_indices, Tensor):
        return f"a {type(masked_indices).__name__}"
    if masked_indices.dtype != torch.int64:
        return f"a tensor of {masked_indices.dtype}"
    if masked_indices.ndim != 2 or len(masked_indices) != batch_size or not masked_indices.numel():
        return f"the shape {list(masked_indices.shape)} for {batch_size} clips"
    low, high = masked_indices.min().item(), masked_indices.max().item()
    if low < 0 or high >= num_patches:
        return f"index {low if low < 0 else high}"
    neighbours = masked_indices.sort(dim=1).values.diff(dim=1)
    return "a patch twice in one clip" if (neighbours == 0).any() else None


def _mask_within(keys: Tensor, visible: Tensor, count: int) -> Tensor:
    """Masks the first by `keys` of each clip's own patches, and padding up to `count` in all."""
    own = visible.sum(dim=1, keepdim=True)  # [batch, 1]
    masked_own = (own * count / keys.shape[1]).round().long()
    masked_own = masked_own.clamp(min=1).minimum((own - 1).clamp(min=0))
    # Each patch's place in the order: first a clip's own by their keys, then its padding.
    order = torch.where(visible, keys, keys + keys.max() + 1).argsort(dim=1)
    place = order.argsort(dim=1)
    is_masked = (place < masked_own) | ((place >= own) & (place < own + count - masked_own))
    return (~is_masked).to(torch.uint8).argsort(dim=1, stable=True)[:, :count]


def _random_order(generator: ClipGenerator, count: int) -> Tensor:
    """A random permutation of 0 ... count - 1 for each clip, [batch, count]."""
    # Integers leave no ties between blocks. Of the numbers themselves two tie in about one clip in
    # a hundred: too seldom to bias, and a stable sort settles it alike on every device.
    return generator.uniform(count).argsort(dim=1, stable=True)


def _earliest(arrivals: Tensor, length: int, dim: int) -> Tensor:
    """The minimum of every `length` neighbours along a dimension."""
    count = arrivals.shape[dim] - length + 1
    return reduce(torch.minimum, (arrivals.narrow(dim, first, count) for first in range(length)))


def _of_drawn_factor(
    generator: ClipGenerator, factors: Sequence[int], cover: Callable[[int], Tensor]
) -> Tensor:
    """Each clip's row of `cover(factor)` [batch, patches] for a factor drawn per clip."""
    drawn = (generator.uniform() * len(factors)).long()
    clips = torch.arange(generator.batch_size, device=generator.device)
    return torch.stack([cover(factor) for factor in factors])[drawn, clips]
