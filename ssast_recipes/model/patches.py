"""Cutting spectrograms into patches, and putting them together again."""

import torch
from torch import Tensor, nn


def compute_grid_size(
    num_mel_bins: int,
    target_length: int,
    patch_size: tuple[int, int],
    patch_stride: tuple[int, int] | None = None,
) -> tuple[int, int]:
    """Returns how many patches fit a spectrogram, along frequency and time.

    Arguments
    ---------
    num_mel_bins : int
        Height of the spectrogram in mel bins.
    target_length : int
        Length of the spectrogram in frames.
    patch_size : tuple[int, int]
        Height (mel bins) and length (frames) of a patch.
    patch_stride : tuple[int, int], optional
        Mel bins and frames from one patch to the next; by default the patch size (no overlap).

    Returns
    -------
    tuple[int, int]
        The number of patch rows (frequency) and patch columns (time).

    Raises
    ------
    ValueError
        If a patch or its stride is empty, or a patch is larger than the spectrogram.

    Example
    -------
    >>> compute_grid_size(128, 1024, patch_size=(16, 16))
    (8, 64)
    >>> compute_grid_size(128, 1024, patch_size=(16, 16), patch_stride=(10, 10))
    (12, 101)
    """
    patch_size, patch_stride = tuple(patch_size), tuple(patch_stride or patch_size)
    if min(patch_size) < 1 or min(patch_stride) < 1:
        raise ValueError(
            f"patch_size {patch_size} and patch_stride {patch_stride} must be positive"
        )
    if patch_size[0] > num_mel_bins or patch_size[1] > target_length:
        raise ValueError(
            f"patch_size {patch_size} does not fit a spectrogram of {num_mel_bins} mel bins and "
            f"{target_length} frames; make the patch smaller or target_length longer"
        )
    rows = (num_mel_bins - patch_size[0]) // patch_stride[0] + 1
    columns = (target_length - patch_size[1]) // patch_stride[1] + 1
    return rows, columns


def patchify(
    spectrograms: Tensor,
    patch_size: tuple[int, int],
    patch_stride: tuple[int, int] | None = None,
) -> Tensor:
    """Cuts spectrograms into patches.

    Mel bins and frames that fill no whole patch are left out.

    Arguments
    ---------
    spectrograms : Tensor
        Spectrograms, [batch, frames, mel bins].
    patch_size : tuple[int, int]
        Height (mel bins) and length (frames) of a patch.
    patch_stride : tuple[int, int], optional
        Mel bins and frames from one patch to the next; by default the patch size (no overlap).

    Returns
    -------
    Tensor
        Patches, [batch, patches, patch area]. Patch `row * columns + column` lies in that row
        (from the lowest frequency) and column of the grid; its values run through time first.

    Example
    -------
    >>> import torch
    >>> patchify(torch.zeros(2, 1024, 128), patch_size=(16, 16)).shape
    torch.Size([2, 512, 256])
    """
    patch_stride = patch_stride or patch_size
    windows = spectrograms.unfold(2, patch_size[0], patch_stride[0])
    windows = windows.unfold(1, patch_size[1], patch_stride[1])
    # [batch, columns, rows, patch height, patch length] -> [batch, rows, columns, …]
    return windows.transpose(1, 2).flatten(3).flatten(1, 2)


def unpatchify(patches: Tensor, patch_size: tuple[int, int], grid_size: tuple[int, int]) -> Tensor:
    """Puts patches without overlap together into spectrograms: the inverse of `patchify`.

    Arguments
    ---------
    patches : Tensor
        Patches, [batch, patches, patch area].
    patch_size : tuple[int, int]
        Height (mel bins) and length (frames) of a patch.
    grid_size : tuple[int, int]
        Patch rows (frequency) and patch columns (time).

    Returns
    -------
    Tensor
        Spectrograms, [batch, frames, mel bins].

    Example
    -------
    >>> import torch
    >>> spectrograms = torch.rand(2, 64, 128)
    >>> patches = patchify(spectrograms, patch_size=(16, 16))
    >>> torch.equal(unpatchify(patches, (16, 16), grid_size=(8, 4)), spectrograms)
    True
    """
    windows = patches.unflatten(2, patch_size).unflatten(1, grid_size)
    # [batch, rows, columns, height, length] -> [batch, columns, length, rows, height]
    return windows.permute(0, 2, 4, 1, 3).flatten(3).flatten(1, 2)


def select_patches(values: Tensor, indices: Tensor) -> Tensor:
    """Gathers each clip's patches (or tokens) at the given indices.

    Arguments
    ---------
    values : Tensor
        One vector a patch, [batch, patches, width].
    indices : Tensor
        Patch indices, [batch, selected], int64.

    Returns
    -------
    Tensor
        The vectors selected, [batch, selected, width].

    Example
    -------
    >>> import torch
    >>> values = torch.tensor([[[0.0], [10.0], [20.0]]])
    >>> select_patches(values, torch.tensor([[2, 0]])).flatten().tolist()
    [20.0, 0.0]
    """
    return values.gather(1, indices.unsqueeze(2).expand(-1, -1, values.shape[2]))


def remaining_patches(indices: Tensor, num_patches: int) -> Tensor:
    """Returns the patches that are not among the given ones; does not wait for the device.

    Arguments
    ---------
    indices : Tensor
        Patch indices, [batch, selected], int64, each clip's once each.
    num_patches : int
        Of a clip.

    Returns
    -------
    Tensor
        The others in ascending order, [batch, num_patches - selected], int64.

    Example
    -------
    >>> remaining_patches(torch.tensor([[3, 0], [1, 2]]), num_patches=5)
    tensor([[1, 2, 4],
            [0, 3, 4]])
    """
    is_selected = torch.zeros(
        len(indices), num_patches, dtype=torch.uint8, device=indices.device
    ).scatter(1, indices, 1)
    # Stable: those that are not selected come first, in their order.
    order = is_selected.argsort(dim=1, stable=True)
    return order[:, : num_patches - indices.shape[1]]


# Added to a patch's variance, which is nothing in silence.
_LEAST_VARIANCE = 1e-4


def standardise_patches(patches: Tensor) -> Tensor:
    """Takes from each patch its mean, and divides by sqrt(its variance + 1e-4).

    Arguments
    ---------
    patches : Tensor
        [batch, patches, patch area].

    Returns
    -------
    Tensor
        Of the same shape; zeros for a patch whose values are all the same.

    Example
    -------
    >>> standardise_patches(torch.tensor([[[1.0, 3.0], [5.0, 5.0]]]))
    tensor([[[-1.0000,  1.0000],
             [ 0.0000,  0.0000]]])
    """
    # A mean of equal values may round; one of zeros does not.
    patches = patches - patches[..., :1]
    deviation = _deviation(patches)
    return (patches - patches.mean(dim=-1, keepdim=True)) / deviation


def unstandardise_patches(standardised: Tensor, patches: Tensor) -> Tensor:
    """Gives standardised patches the mean and the deviation of other patches.

    Arguments
    ---------
    standardised : Tensor
        Such as predictions of `standardise_patches`, [batch, patches, patch area].
    patches : Tensor
        Whose mean and deviation they get, of the same shape.

    Returns
    -------
    Tensor
        Of the same shape.

    Example
    -------
    >>> patches = torch.rand(2, 3, 256)
    >>> again = unstandardise_patches(standardise_patches(patches), patches)
    >>> torch.allclose(again, patches, atol=1e-6)
    True
    """
    return standardised * _deviation(patches) + patches.mean(dim=-1, keepdim=True)


def _deviation(patches: Tensor) -> Tensor:
    variance = patches.var(dim=-1, correction=0, keepdim=True)
    return (variance + _LEAST_VARIANCE).sqrt()


def count_by_row(indices: Tensor, grid_size: tuple[int, int]) -> Tensor:
    """Counts a batch's patches by frequency row; does not wait for the device.

    Arguments
    ---------
    indices : Tensor
        Patch indices, [batch, selected], int64.
    grid_size : tuple[int, int]
        (frequency, time), in patches.

    Returns
    -------
    Tensor
        [rows] float32, the lowest frequency first.

    Example
    -------
    >>> count_by_row(torch.tensor([[0, 1, 5], [0, 6, 7]]), grid_size=(2, 4))
    tensor([3., 3.])
    """
    rows, columns = grid_size
    row = (indices // columns).unsqueeze(2)  # [batch, selected, 1]
    return (row == torch.arange(rows, device=row.device)).sum(dim=(0, 1)).float()


class PatchEmbedding(nn.Module):
    """Projects every patch of a spectrogram to a token.

    Arguments
    ---------
    embed_dim : int
        Width of a token.
    patch_size : tuple[int, int]
        Height (mel bins) and length (frames) of a patch.
    patch_stride : tuple[int, int], optional
        Mel bins and frames from one patch to the next; by default the patch size (no overlap).

    Example
    -------
    >>> import torch
    >>> PatchEmbedding(192, patch_size=(16, 16))(torch.zeros(2, 1024, 128)).shape
    torch.Size([2, 512, 192])
    """

    def __init__(
        self,
        embed_dim: int,
        patch_size: tuple[int, int],
        patch_stride: tuple[int, int] | None = None,
    ):
        super().__init__()
        self.projection = nn.Conv2d(
            1, embed_dim, kernel_size=tuple(patch_size), stride=tuple(patch_stride or patch_size)
        )

    def forward(self, spectrograms: Tensor) -> Tensor:
        """Embeds spectrograms [batch, frames, mel bins] as tokens [batch, patches, width]."""
        images = spectrograms.transpose(1, 2).unsqueeze(1)  # [batch, 1, mel bins, frames]
        return self.projection(images).flatten(2).transpose(1, 2)
