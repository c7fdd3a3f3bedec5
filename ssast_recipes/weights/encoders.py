"""What is known of an encoder to go on from, whoever made it: sizes, front end, padding."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from ssast_recipes.model.patches import compute_grid_size
from ssast_recipes.records.run import Run, checkpoint_step
from ssast_recipes.weights.formats.config import (
    Architecture,
    FrontEndConfig,
    ModelConfig,
    check_config,
    read_config,
)
from ssast_recipes.weights.formats.conversion import Settings, configure
from ssast_recipes.weights.formats.folder import CONFIG_FILE, is_model_folder
from ssast_recipes.weights.formats.foreign import ImportedModel
from ssast_recipes.weights.loading import PretrainedWeights, read_pretrained
from ssast_recipes.weights.source import fetch_weights


class KnownEncoder(NamedTuple):
    """An encoder that a training may begin with.

    Arguments
    ---------
    path : Path
        Its model folder, checkpoint or file: what `pretrained_encoder` is set to.
    architecture : Architecture
        Its numbers.
    front_end : FrontEndConfig
        What it learnt behind.
    masks_padding : bool
        Whether it learnt without attending to padding.
    told : str
        What else people are to know of it, a sentence; or nothing.
    """

    path: Path
    architecture: Architecture
    front_end: FrontEndConfig
    masks_padding: bool
    told: str = ""


def describe_encoder(source: str | Path) -> KnownEncoder:
    """Finds or downloads an encoder, and tells what is known of it.

    Arguments
    ---------
    source : str or Path
        As of `fetch_weights`: a run's folder, of which the folder `model` is taken, or else the
        best checkpoint; a checkpoint of a run; a model folder; or weights of other makers, as
        `recognise` knows them.

    Returns
    -------
    KnownEncoder

    Raises
    ------
    OSError
        If there is no such source, or it cannot be had.
    ValueError
        If it is not readable, not known, or nothing tells what has to be known.
    """
    path = fetch_weights(source)
    for folder in (path, path / "model") if path.is_dir() else (path.parent,):
        if (folder / CONFIG_FILE).is_file() and is_model_folder(folder):
            return _known(folder, read_config(folder))
    weights = read_pretrained(path)
    try:
        if weights.imported is not None:
            told = f"{path.name}: {weights.imported.description}"
            return _known(weights.path, _config_of_import(weights.imported), told)
        return _of_checkpoint(weights)
    except ValueError as error:
        raise ValueError(f"{weights.path}: {error}") from None


def _known(path: Path, config: ModelConfig, told: str = "") -> KnownEncoder:
    return KnownEncoder(path, config.architecture, config.front_end, config.masks_padding, told)


def _config_of_import(imported: ImportedModel) -> ModelConfig:
    parts = imported.weights.items()
    encoder = {name: value for name, value in parts if name.startswith("encoder.")}
    try:
        config = configure(dataclasses.replace(imported, weights=encoder), Settings())
    except ValueError as error:
        raise ValueError(f"{error}, to: ssast import SOURCE OUT; then name OUT instead") from None
    check_config(config)
    return config


def _of_checkpoint(weights: PretrainedWeights) -> KnownEncoder:
    """An encoder of a run that left no model folder: it was interrupted, or goes on."""
    run, geometry = Run.of_weights(weights.path), weights.geometry
    unknown = "nothing tells its front end; give its run's folder, or a model folder"
    if run is None or "frame_shift" not in weights.front_end or "grid_size" not in geometry:
        raise ValueError(unknown)
    patch_size = tuple(geometry["patch_size"])
    stride = run.value("patch_stride") or patch_size
    length = run.value("target_length")
    if type(length) is not int:
        length = geometry["grid_size"][1] * patch_size[1]
    padding = run.value("pad_before_standardising")
    front_end = FrontEndConfig(
        **weights.front_end,
        target_length=length,
        mean=run.value("mean"),
        std=run.value("std"),
        pad_before_standardising=True if padding is None else padding,
    )
    architecture = Architecture(
        **{key: geometry[key] for key in ("embed_dim", "depth", "num_heads")},
        num_mel_bins=front_end.num_mel_bins,
        target_length=length,
        patch_size=patch_size,
        patch_stride=tuple(stride),
    )
    check_config(ModelConfig("encoder", architecture, front_end))
    grid = compute_grid_size(front_end.num_mel_bins, length, patch_size, architecture.patch_stride)
    if list(grid) != geometry["grid_size"]:
        raise ValueError(f"its grid is {geometry['grid_size']}, by its run's YAML file {grid}")
    checkpoint = weights.path.parent
    step = checkpoint_step(checkpoint)
    told = f"{run.path} was not finished: its weights of step {step or '?'} are taken"
    masks_padding = run.value("padding") == "masked"
    return KnownEncoder(checkpoint, architecture, front_end, masks_padding, told)
