"""`ssast show`: what a pretrained model makes of masked patches, or why a classifier decided so."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # at run time after the arguments, so that --help need not wait for torch
    from matplotlib.figure import Figure
    from torch import Tensor

    from ssast_recipes.model.encoder import AudioSpectrogramTransformer
    from ssast_recipes.model.filterbank import LogMelFilterbank
    from ssast_recipes.model.masked_patches import MaskedPatchModel

_MASK_RATIO = 0.78  # 400 of 512 patches, as in the paper
_MASKERS = ("RandomMasker", "ClusterMasker", "OfficialClusterMasker")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.commands.main`."""
    parser.add_argument("model", metavar="MODEL", help="model folder or run folder")
    parser.add_argument("file", metavar="FILE", help="an audio file; its beginning is shown")
    parser.add_argument("--output", type=Path, help="the PNG; default: FILE's name with .png, here")
    parser.add_argument(
        "--mask-ratio",
        type=float,
        help="of the patches; default: as many as in the run, or 0.78 without its folder",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the mask; default: 0")
    parser.add_argument(
        "--label", metavar="CLASS", help="of a classifier: which to explain; default: the likeliest"
    )


def run(arguments: argparse.Namespace) -> None:
    """Draws the picture: of a classifier, which patches spoke for a class.

    Raises
    ------
    ValueError
        If the model has neither prediction heads nor classes, there is no such class, the ratio is
        none of masking, or the output no PNG.
    """
    ratio = arguments.mask_ratio
    if ratio is not None and not 0 < ratio < 1:
        raise ValueError(
            f"--mask-ratio is a share of the patches, above 0 and below 1, not {ratio:g}"
        )
    output = arguments.output or Path(Path(arguments.file).stem + ".png")
    if output.suffix.lower() != ".png":
        raise ValueError(f"--output {output}: the picture is a PNG; give a name that ends in .png")

    import torch

    from ssast_recipes.inference.audio_model import AudioModel
    from ssast_recipes.inference.reading import read_audio
    from ssast_recipes.model.randomness import ClipGenerator
    from ssast_recipes.system.files import beside

    waveform, sample_rate = read_audio(arguments.file)
    reader = AudioModel.from_pretrained(arguments.model, device="cpu")
    model, config = reader.model, reader.config
    if config.kind == "classifier":
        _explain(arguments, output)
        return
    if arguments.label is not None:
        raise ValueError(f"--label: {arguments.model} has no classes")
    if config.kind != "pretraining":
        raise ValueError(
            f"{arguments.model} holds a model of kind {config.kind}, without the heads that "
            "predict masked patches, and without classes; give a pretraining run's or a classifier"
        )
    encoder = model.encoder
    masker, count = _choose_masker(Path(arguments.model), ratio, encoder)
    masked = masker(ClipGenerator(arguments.seed, 0, torch.arange(1)), encoder.grid_size)
    (windows,) = reader.apply_to_windows(
        [waveform], sample_rate, lambda spectrograms, _: spectrograms
    )
    standardised = config.provenance.get("targets") == "standardised_patches"
    filterbank = reader.front_end.filterbank
    figure = draw_predictions(model, windows.outputs[:1], masked, standardised, filterbank)
    with beside(output) as part:
        figure.savefig(part, format="png", dpi=120)
    print(f"{output}\n{count} of {encoder.num_patches} patches are masked")
    if standardised:
        print("Predicted are standardised patches, drawn with their own means and deviations")


def _choose_masker(
    source: Path, ratio: float | None, encoder: "AudioSpectrogramTransformer"
) -> tuple[Callable[..., "Tensor"], int]:
    """The run's own masker and number of patches, as far as its folder tells and nobody asks else.

    Otherwise clusters of patches, but single columns where there is one row.
    """
    from ssast_recipes.model import masking
    from ssast_recipes.records.hparams import object_name
    from ssast_recipes.records.run import Run

    name = "OfficialClusterMasker" if encoder.grid_size[0] > 1 else "RandomMasker"
    count = round((ratio or _MASK_RATIO) * encoder.num_patches)
    run = Run(source)
    if run.has_begun:
        own, number = run.nodes.get("masker"), run.value("num_masked_patches")
        if own is not None and object_name(own) in _MASKERS:
            name = object_name(own)
        if ratio is None and type(number) is int and 0 < number < encoder.num_patches:
            count = number
    return getattr(masking, name)(count), count


def _explain(arguments: argparse.Namespace, output: Path) -> None:
    from ssast_recipes.inference.classifying import AudioClassifier
    from ssast_recipes.inference.explaining import explain_class
    from ssast_recipes.reporting.explanations import draw_explanation
    from ssast_recipes.system.files import beside
    from ssast_recipes.system.words import shown

    classifier = AudioClassifier.from_pretrained(arguments.model, device="cpu")
    found = explain_class(classifier, arguments.file, label=arguments.label, seed=arguments.seed)
    figure = draw_explanation(found, classifier)
    with beside(output) as part:
        figure.savefig(part, format="png", dpi=120)
    print(
        f"{shown(found.label)}: {found.score:.2f}; while patches are taken away, on average "
        f"{found.deleted.mean():.2f} if those that spoke most for it go first, "
        f"{found.deleted_at_random.mean():.2f} in random order"
    )
    if not found.is_confirmed:
        print(
            "Warning: taking them away lowers the score no faster than taking random ones away: do "
            "not trust the picture"
        )
    print(output)


def draw_predictions(
    model: "MaskedPatchModel",
    spectrograms: "Tensor",
    masked_indices: "Tensor",
    standardised: bool = False,
    filterbank: "LogMelFilterbank | None" = None,
) -> "Figure":
    """Draws a spectrogram, what the encoder sees of it, and what the heads make of the rest.

    Arguments
    ---------
    model : MaskedPatchModel
        Any heads.
    spectrograms : Tensor
        One standardised spectrogram, [1, frames, mel bins].
    masked_indices : Tensor
        Patches to hide, [1, masked] int64.
    standardised : bool
        Whether the heads predict standardised patches: drawn with each patch's own mean and
        deviation.
    filterbank : LogMelFilterbank, optional
        What made the spectrogram, for axes in seconds and kHz.

    Returns
    -------
    Figure
        As of `draw_reconstructions`: below each other, as far as there is a head for it.
    """
    import torch

    from ssast_recipes.brains.pictures import draw_reconstructions
    from ssast_recipes.model.patches import (
        patchify,
        select_patches,
        standardise_patches,
        unstandardise_patches,
    )
    from ssast_recipes.objectives.metrics import found_patches

    size = model.encoder.patch_size
    with torch.no_grad():
        contrastive, reconstruction = model(spectrograms, masked_indices)
    found = None
    patches = select_patches(patchify(spectrograms, size), masked_indices)
    if standardised and reconstruction is not None:
        reconstruction = unstandardise_patches(reconstruction, patches)
    if contrastive is not None:
        targets = standardise_patches(patches) if standardised else patches
        found = masked_indices, found_patches(contrastive, targets).float()
    grid = model.encoder.grid_size
    return draw_reconstructions(
        spectrograms,
        masked_indices,
        reconstruction,
        size,
        grid,
        found=found,
        filterbank=filterbank,
    )
