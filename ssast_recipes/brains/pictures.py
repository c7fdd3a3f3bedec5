"""Pictures of what a model makes of a clip."""

import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor

from ssast_recipes.model.patches import patchify, unpatchify

# Of patches that were missed (0) and found (1); apart for the colour-blind, too.
FOUND_COLOURS = ListedColormap(["#d55e00", "#009e73"])


def draw_reconstructions(
    spectrograms: Tensor,
    masked_indices: Tensor,
    predictions: Tensor | None,
    patch_size: tuple[int, int],
    grid_size: tuple[int, int],
    num_clips: int = 3,
    found: tuple[Tensor, Tensor] | None = None,
) -> Figure:
    """Draws clips beside their masked version, their reconstruction, and what was found of them.

    Arguments
    ---------
    spectrograms : Tensor
        Standardised spectrograms, [batch, frames, mel bins].
    masked_indices : Tensor
        Masked patches, [batch, masked], int64.
    predictions : Tensor or None
        What the reconstruction head put there, [batch, masked, patch area]; None without one.
    patch_size : tuple[int, int]
        Height (mel bins) and length (frames) of a patch.
    grid_size : tuple[int, int]
        Patch rows (frequency) and patch columns (time).
    num_clips : int
        How many clips to draw, spread evenly over the batch: in a set sorted by class, neighbours
        are alike.
    found : tuple of two Tensors, optional
        Of the contrastive head: masked patches, [batch, masked] int64, and which of them it found,
        [batch, masked] floating point: 1, 0, or not a number for those that were not asked for.

    Returns
    -------
    Figure
        One row a clip: the spectrogram, what the encoder saw of it, the reconstruction, and the
        masked patches that were found (green) and missed (red).

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
    spectrograms = _take(spectrograms, chosen).float()
    patches = patchify(spectrograms, patch_size)  # [clips, patches, patch area]
    hidden = _put(float("nan"), _take(masked_indices, chosen), patches)
    columns = {"spectrogram": patches, "as the encoder sees it": hidden}
    if predictions is not None:
        redrawn = _take(predictions, chosen).float()
        columns["reconstruction"] = _put(redrawn, _take(masked_indices, chosen), patches)
    if found is not None:
        indices, is_found = (_take(values, chosen) for values in found)
        is_found = is_found.unsqueeze(2).expand(-1, -1, patches.shape[2])
        nowhere = torch.full_like(patches, float("nan"))
        columns["found (green), missed (red)"] = _put(is_found, indices, nowhere)
    figure = Figure(figsize=(4 * len(columns), 2.2 * len(spectrograms)), layout="constrained")
    axes = figure.subplots(len(spectrograms), len(columns), squeeze=False, sharex=True, sharey=True)
    for column, (title, values) in enumerate(columns.items()):
        pictures = unpatchify(values, patch_size, grid_size)  # [clips, frames, mel bins]
        axes[0][column].set_title(title)
        for row, picture in enumerate(pictures.cpu().numpy()):
            low, high = spectrograms[row].min().item(), spectrograms[row].max().item()
            colours = {"vmin": low, "vmax": high, "cmap": "magma"}
            if title.startswith("found"):
                colours = {"vmin": 0, "vmax": 1, "cmap": FOUND_COLOURS, "interpolation": "nearest"}
            axes[row][column].set_facecolor("lightgrey")
            axes[row][column].imshow(picture.T, origin="lower", aspect="auto", **colours)
    for axis in axes[-1]:
        axis.set_xlabel("frame")
    for row in axes:
        row[0].set_ylabel("mel bin")
    return figure


def _take(values: Tensor, chosen: Tensor) -> Tensor:
    return values[chosen.to(values.device)]


def _put(values: Tensor | float, indices: Tensor, patches: Tensor) -> Tensor:
    where = indices.unsqueeze(2).expand(-1, -1, patches.shape[2])
    return patches.scatter(1, where, values)
