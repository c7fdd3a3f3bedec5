"""Pictures of what a model makes of a clip."""

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssast_recipes.patches import patchify, unpatchify


def draw_reconstructions(
    spectrograms: Tensor,
    masked_indices: Tensor,
    predictions: Tensor,
    patch_size: tuple[int, int],
    grid_size: tuple[int, int],
    num_clips: int = 3,
) -> Figure:
    """Draws clips beside their masked version and their reconstruction.

    Arguments
    ---------
    spectrograms : Tensor
        Standardised spectrograms, [batch, frames, mel bins].
    masked_indices : Tensor
        Masked patches, [batch, masked], int64.
    predictions : Tensor
        What the reconstruction head put there, [batch, masked, patch area].
    patch_size : tuple[int, int]
        Height (mel bins) and length (frames) of a patch.
    grid_size : tuple[int, int]
        Patch rows (frequency) and patch columns (time).
    num_clips : int
        How many clips to draw, spread evenly over the batch: in a set sorted by class, neighbours
        are alike.

    Returns
    -------
    Figure
        One row a clip: the spectrogram, what the encoder saw of it, and the reconstruction.

    Example
    -------
    >>> spectrograms = torch.rand(4, 64, 128)
    >>> masked = torch.tensor([[0, 5]]).expand(4, 2)
    >>> len(
    ...     draw_reconstructions(
    ...         spectrograms, masked, torch.zeros(4, 2, 256), (16, 16), (8, 4)
    ...     ).axes
    ... )
    9
    """
    last = len(spectrograms) - 1
    chosen = torch.linspace(0, last, min(num_clips, last + 1)).round().long()
    spectrograms, masked_indices, predictions = (
        values[chosen.to(values.device)] for values in (spectrograms, masked_indices, predictions)
    )
    spectrograms = spectrograms.float()
    patches = patchify(spectrograms, patch_size)  # [clips, patches, patch area]
    where = masked_indices.unsqueeze(2).expand(-1, -1, patches.shape[2])
    hidden = patches.scatter(1, where, float("nan"))
    redrawn = patches.scatter(1, where, predictions.float())
    columns = {
        "spectrogram": patches,
        "as the encoder sees it": hidden,
        "reconstruction": redrawn,
    }
    figure = Figure(figsize=(12, 2.2 * len(spectrograms)), layout="constrained")
    axes = figure.subplots(len(spectrograms), len(columns), squeeze=False, sharex=True, sharey=True)
    for column, (title, values) in enumerate(columns.items()):
        pictures = unpatchify(values, patch_size, grid_size)  # [clips, frames, mel bins]
        axes[0][column].set_title(title)
        for row, picture in enumerate(pictures.cpu().numpy()):
            low, high = spectrograms[row].min().item(), spectrograms[row].max().item()
            axes[row][column].set_facecolor("lightgrey")
            axes[row][column].imshow(
                picture.T, origin="lower", aspect="auto", vmin=low, vmax=high, cmap="magma"
            )
    for axis in axes[-1]:
        axis.set_xlabel("frame")
    for row in axes:
        row[0].set_ylabel("mel bin")
    return figure
