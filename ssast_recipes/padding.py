"""Which patches belong to a clip, and which to the padding behind its end."""

import torch
from torch import Tensor


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
