"""The grid of patches: positions on it or fitted to another, and which patches are padding."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

POSITIONS = ("learned", "sinusoidal")


def make_positions(
    kind: str, grid_size: tuple[int, int], embed_dim: int, num_prefix_tokens: int
) -> nn.Parameter:
    """Makes position embeddings of some prefix tokens and of a grid of patches.

    Both kinds are a parameter of the same name and shape, so that weights of either fit an encoder
    of the other; what is fixed takes no gradient.

    Arguments
    ---------
    kind : str
        "learned": zeros, to be drawn. "sinusoidal": fixed, zero for the prefix tokens.
    grid_size : tuple[int, int]
        Patch rows (frequency) and patch columns (time).
    embed_dim : int
        Width of a token.
    num_prefix_tokens : int
        Tokens before the patches.

    Returns
    -------
    nn.Parameter
        [1, prefix tokens + patches, width].

    Raises
    ------
    ValueError
        If there is no such kind, or the width does not suit it.

    Example
    -------
    >>> positions = make_positions("sinusoidal", (8, 64), 192, num_prefix_tokens=2)
    >>> positions.shape, positions.requires_grad
    (torch.Size([1, 514, 192]), False)
    """
    if kind not in POSITIONS:
        raise ValueError(f"positions are {' or '.join(POSITIONS)}, not {kind!r}")
    positions = torch.zeros(1, num_prefix_tokens + grid_size[0] * grid_size[1], embed_dim)
    if kind == "sinusoidal":
        positions[:, num_prefix_tokens:] = sinusoidal_positions(grid_size, embed_dim)
    return nn.Parameter(positions, requires_grad=kind == "learned")


def sinusoidal_positions(grid_size: tuple[int, int], embed_dim: int) -> Tensor:
    """Makes fixed positions of sines and cosines (Vaswani et al., 2017).

    A number p of w values: sin(p f) and then cos(p f) for the w / 2 frequencies
    f = 10000 ** (-2 i / w). In a grid of one row, of frames, p is the column; otherwise the first
    half of the values is of the row and the second of the column.

    Arguments
    ---------
    grid_size : tuple[int, int]
        Patch rows (frequency) and patch columns (time).
    embed_dim : int
        Width of a token, a multiple of 2 with one row and of 4 with several.

    Returns
    -------
    Tensor
        [1, patches, width] float32.

    Raises
    ------
    ValueError
        If the width is no such multiple.

    Example
    -------
    >>> sinusoidal_positions((1, 2), embed_dim=2)
    tensor([[[0.0000, 1.0000],
             [0.8415, 0.5403]]])
    """
    rows, columns = grid_size
    axes = 1 if rows == 1 else 2
    if embed_dim % (2 * axes):
        raise ValueError(
            f"sinusoidal positions need a width that is a multiple of {2 * axes}, not {embed_dim}"
        )
    width = embed_dim // axes
    steps = torch.arange(0, width, 2, dtype=torch.float64) / width

    def waves(count: int) -> Tensor:  # [count, width]
        angles = torch.arange(count, dtype=torch.float64).unsqueeze(1) * 10000.0**-steps
        return torch.cat([angles.sin(), angles.cos()], dim=1).float()

    of_time = waves(columns).expand(rows, -1, -1)
    if axes == 1:
        return of_time
    of_frequency = waves(rows).unsqueeze(1).expand(-1, columns, -1)
    return torch.cat([of_frequency, of_time], dim=2).reshape(1, rows * columns, embed_dim)


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


def check_padding(padding: str) -> None:
    """Refuses an unknown way of dealing with the padding of clips.

    Raises
    ------
    ValueError
        If it is neither "masked" nor "released".
    """
    if padding not in ("masked", "released"):
        raise ValueError(f"padding is masked or released, not {padding!r}")


def patches_within(
    num_frames: Tensor,
    grid_size: tuple[int, int],
    patch_stride: tuple[int, int],
    starts: Tensor | None = None,
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
    starts : Tensor, optional
        The frames at which the clips begin, [batch] integers, with patches that do not overlap; by
        default 0.

    Returns
    -------
    Tensor
        True where a patch begins before its clip's end, and ends behind its start, [batch, patches]
        bool.

    Example
    -------
    >>> patches_within(torch.tensor([8, 3]), grid_size=(1, 4), patch_stride=(128, 2)).tolist()
    [[True, True, True, True], [True, True, False, False]]
    """
    rows, columns = grid_size
    places = torch.arange(columns, device=num_frames.device) * patch_stride[1]
    begins = 0 if starts is None else starts.unsqueeze(1)
    ends = begins + num_frames.clamp(min=1).unsqueeze(1)
    within = (places < ends) & (places + patch_stride[1] > begins)  # [batch, columns]
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
