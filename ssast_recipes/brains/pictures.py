"""Pictures of what a model makes of a clip."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ssast_recipes.model.filterbank import LogMelFilterbank
from ssast_recipes.model.patches import patchify, unpatchify

if TYPE_CHECKING:  # a training without pictures does not wait for it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of patches that were missed (0) and found (1); apart for the colour-blind, too.
_FOUND_COLOURS = ("#d55e00", "#009e73")

_KILOHERTZ = (0.5, 1, 2, 4, 8, 16)


def draw_reconstructions(
    spectrograms: Tensor,
    masked_indices: Tensor,
    predictions: Tensor | None,
    patch_size: tuple[int, int],
    grid_size: tuple[int, int],
    num_clips: int = 3,
    found: tuple[Tensor, Tensor] | None = None,
    filterbank: LogMelFilterbank | None = None,
) -> "Figure":
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
    filterbank : LogMelFilterbank, optional
        What made the spectrograms: axes are then in seconds and kHz, not in frames and mel bins.

    Returns
    -------
    Figure
        One row a clip: the spectrogram, what the encoder saw of it, the reconstruction, and the
        masked patches that were found (green) and missed (red). Of a single clip, all that below
        each other.

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
    panels = {"spectrogram": patches, "as the encoder sees it": hidden}
    if predictions is not None:
        redrawn = _take(predictions, chosen).float()
        panels["reconstruction"] = _put(redrawn, _take(masked_indices, chosen), patches)
    if found is not None:
        indices, is_found = (_take(values, chosen) for values in found)
        title = "found (green), missed (red)"
        if len(chosen) == 1:
            title += f": {is_found.nansum():.0f} of {indices.numel()} masked patches"
        is_found = is_found.unsqueeze(2).expand(-1, -1, patches.shape[2])
        panels[title] = _put(is_found, indices, torch.full_like(patches, float("nan")))
    pictures = {
        title: unpatchify(values, patch_size, grid_size).cpu() for title, values in panels.items()
    }
    figure = _arrange(pictures, spectrograms.flatten(1).cpu())
    if filterbank is not None:
        show_units(figure.axes, filterbank)
    return figure


def _arrange(pictures: dict[str, Tensor], levels: Tensor) -> "Figure":
    """Draws pictures [clips, frames, mel bins], by title; levels [clips, …] say their colours."""
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    alone = len(levels) == 1
    width, height = (10, 2.2 * len(pictures)) if alone else (4 * len(pictures), 2.2 * len(levels))
    figure = Figure(figsize=(width, height))
    # Margins in inches: a layout that matplotlib works out takes longer than all the drawing.
    figure.subplots_adjust(0.6 / width, 0.5 / height, 1 - 0.1 / width, 1 - 0.3 / height)
    figure.subplots_adjust(wspace=0.08, hspace=0.3 if alone else 0.12)
    shape = (len(pictures), 1) if alone else (len(levels), len(pictures))
    axes = figure.subplots(*shape, squeeze=False, sharex=True, sharey=True)
    for column, (title, clips) in enumerate(pictures.items()):
        shown = axes[column] if alone else axes[:, column]  # an axis a clip
        shown[0].set_title(title, loc="left" if alone else "center")
        for axis, picture, level in zip(shown, clips.numpy(), levels, strict=True):
            options = {"vmin": level.min().item(), "vmax": level.max().item(), "cmap": "magma"}
            if title.startswith("found"):
                colours = ListedColormap(_FOUND_COLOURS)
                options = {"vmin": 0, "vmax": 1, "cmap": colours, "interpolation": "nearest"}
            axis.set_facecolor("lightgrey")
            axis.imshow(picture.T, origin="lower", aspect="auto", **options)
    for axis in axes[-1]:
        axis.set_xlabel("frame")
    for row in axes:
        row[0].set_ylabel("mel bin")
    return figure


def show_units(drawn: Sequence["Axes"], filterbank: LogMelFilterbank) -> None:
    """Marks seconds and kHz on axes that count frames and mel bins.

    Arguments
    ---------
    drawn : sequence of Axes
        With spectrograms, lowest mel bin first.
    filterbank : LogMelFilterbank
        What made these.
    """
    from matplotlib.ticker import MaxNLocator

    seconds = filterbank.samples_per_shift / filterbank.sample_rate
    heights = {f"{value:g}": filterbank.mel_bin_at(1000 * value) for value in _KILOHERTZ}
    highest = filterbank.num_mel_bins - 0.5  # ticks beyond the edges would move these
    heights = {name: place for name, place in heights.items() if -0.5 <= place <= highest}
    for axis in drawn:  # which may share what is marked
        frames = axis.get_xlim()[1] + 0.5
        ticks = MaxNLocator(nbins=5).tick_values(0, frames * seconds)
        ticks = [tick for tick in ticks if 0 <= tick <= frames * seconds]
        # A pixel's centre is a frame's number; its left edge is where the frame begins.
        axis.set_xticks([tick / seconds - 0.5 for tick in ticks], [f"{tick:g}" for tick in ticks])
        axis.set_yticks(list(heights.values()), list(heights))
        if axis.get_xlabel():
            axis.set_xlabel("time / s")
        if axis.get_ylabel():
            axis.set_ylabel("frequency / kHz")


def _take(values: Tensor, chosen: Tensor) -> Tensor:
    return values[chosen.to(values.device)]


def _put(values: Tensor | float, indices: Tensor, patches: Tensor) -> Tensor:
    where = indices.unsqueeze(2).expand(-1, -1, patches.shape[2])
    return patches.scatter(1, where, values)
