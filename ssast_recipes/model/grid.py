"""The grid of patches: positions fitted to another one, and which patches are padding."""

import torch
from torch import Tensor
from torch.nn import functional as F


def adapt_positions(
    positions: Tensor, from_grid: tuple[int, int], to_grid: tuple[int, int]
) -> Tensor:
    """Cuts or interpolates the position embeddings of one patch grid to fit another.

    Time first, then frequency: where the new grid is shorter, its middle is cut out of the old
    one (absolute positions stay what they were learned as); where it is longer, the old one is
    stretched bilinearly. This equals the released SSAST rule on every grid of 1 or 8 rows, where
    that rule works, and extends it to others.

    Arguments
    ---------
    positions : Tensor
        Position embeddings of the patches without prefix tokens, [1, patches, width].
    from_grid : tuple[int, int]
        Patch rows (frequency) and columns (time) that the embeddings were learned on.
    to_grid : tuple[int, int]
        Patch rows and columns wanted.

    Returns
    -------
    Tensor
        Position embeddings, [1, rows * columns of `to_grid`, width].

    Raises
    ------
    ValueError
        If `positions` does not hold one row for each patch of `from_grid`.

    Example
    -------
    >>> import torch
    >>> adapt_positions(torch.zeros(1, 512, 192), (8, 64), (12, 50)).shape
    torch.Size([1, 600, 192])
    """
    if positions.shape[1] != from_grid[0] * from_grid[1]:
        raise ValueError(
            f"{positions.shape[1]} position embeddings do not fill a grid of {tuple(from_grid)}"
        )
    grid = positions.transpose(1, 2).unflatten(2, from_grid)  # [1, width, rows, columns]
    grid = _cut_or_stretch(grid, dim=3, length=to_grid[1])
    grid = _cut_or_stretch(grid, dim=2, length=to_grid[0])
    return grid.flatten(2).transpose(1, 2)


def _cut_or_stretch(grid: Tensor, dim: int, length: int) -> Tensor:
    if length <= grid.shape[dim]:
        start = grid.shape[dim] // 2 - length // 2
        return grid.narrow(dim, start, length)
    size = [length if axis == dim else grid.shape[axis] for axis in (2, 3)]
    return F.interpolate(grid, size=size, mode="bilinear", align_corners=False)


def patches_within(
    num_frames: Tensor, grid_size: tuple[int, int], patch_stride: tuple[int, int]
) -> Tensor:
    """Tells which patches hold something of their clip, not padding alone.

    Arguments
    ---------
    num_frames : Tensor
        The clips' lengths in frames, [batch] integers; a clip has one frame at least.
    grid_size : tuple[int, int]
        Patch rows (frequency) and patch columns (time).
    patch_stride : tuple[int, int]
        Mel bins and frames from one patch to the next.

    Returns
    -------
    Tensor
        True where a patch begins before its clip's end, [batch, patches] bool.

    Example
    -------
    >>> patches_within(torch.tensor([8, 3]), grid_size=(1, 4), patch_stride=(128, 2)).tolist()
    [[True, True, True, True], [True, True, False, False]]
    """
    rows, columns = grid_size
    starts = torch.arange(columns, device=num_frames.device) * patch_stride[1]
    within = starts < num_frames.clamp(min=1).unsqueeze(1)  # [batch, columns]
    return within.repeat(1, rows)


def mean_within(tokens: Tensor, within: Tensor) -> Tensor:
    """Averages each clip's own tokens.

    Arguments
    ---------
    tokens : Tensor
        [batch, patches, width].
    within : Tensor
        Which of them count, at least one a clip, [batch, patches] bool.

    Returns
    -------
    Tensor
        [batch, width].

    Example
    -------
    >>> mean_within(torch.tensor([[[1.0], [3.0], [8.0]]]), torch.tensor([[True, True, False]]))
    tensor([[2.]])
    """
    return (tokens * within.unsqueeze(2)).sum(dim=1) / within.sum(dim=1, keepdim=True)
