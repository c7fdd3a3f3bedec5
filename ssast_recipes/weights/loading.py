"""Pretrained weights: found and read once, safely, and fitted into an encoder and heads."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssast_recipes.model.encoder import (
    EXTRA_STATE,
    NUM_PREFIX_TOKENS,
    AudioSpectrogramTransformer,
    check_geometry,
)
from ssast_recipes.model.grid import adapt_positions
from ssast_recipes.system.checksums import check_file
from ssast_recipes.system.files import file_digest
from ssast_recipes.weights.finding import find_run, find_test_fold, find_weights, source_name
from ssast_recipes.weights.formats.folder import read_model_weights
from ssast_recipes.weights.formats.foreign import ImportedModel
from ssast_recipes.weights.formats.geometry import checked_geometry
from ssast_recipes.weights.formats.recognition import recognise
from ssast_recipes.weights.formats.shards import digest_of_shards, is_index
from ssast_recipes.weights.formats.tensors import check_finite, read_tensors
from ssast_recipes.weights.front_ends import known_front_end


@dataclass(frozen=True)
class PretrainedWeights:
    """What a weights file holds, whichever program wrote it, and where it comes from.

    Arguments
    ---------
    path : Path
        The file.
    tensors : dict[str, Tensor]
        Its tensors under our names: `encoder.*`, `contrastive_head.*`, …
    geometry : dict
        As of `AudioSpectrogramTransformer.geometry`, perhaps without `grid_size`.
    imported : ImportedModel, optional
        What it was recognised as, if it is another maker's.
    """

    path: Path
    tensors: dict[str, Tensor]
    geometry: dict[str, Any]
    imported: ImportedModel | None = None

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of a part, as `encoder`, by its own names; empty if there is none."""
        return {
            key.removeprefix(f"{name}."): value
            for key, value in self.tensors.items()
            if key.startswith(f"{name}.")
        }

    @property
    def name(self) -> str:
        """The file's name; see `source_name`."""
        return source_name(self.path)

    @cached_property
    def sha256(self) -> str:
        """The file's checksum; of several files, see `digest_of_shards`."""
        return digest_of_shards(self.path) if is_index(self.path) else file_digest(self.path)

    @cached_property
    def test_fold(self) -> int | None:
        """The fold that the run that made them left out; see `find_test_fold`."""
        return find_test_fold(self.path)

    @cached_property
    def run(self) -> dict[str, Any]:
        """What is known of the run that made them; see `find_run`."""
        return find_run(self.path)

    @cached_property
    def front_end(self) -> dict[str, Any]:
        """What is known of the filterbank that they learnt behind; see `known_front_end`."""
        heads = [self.part(name) for name in ("contrastive_head", "reconstruction_head")]
        return known_front_end(self.path, self.geometry, self.imported, any(heads))


def read_pretrained(source: str | Path) -> PretrainedWeights:
    """Finds and reads pretrained weights; executes nothing.

    Arguments
    ---------
    source : str or Path
        A pretraining run's output folder (its best checkpoint by validation is taken), one of
        its checkpoint folders, a model folder of ours or of Hugging Face's, or a file: a
        `model.ckpt` of ours or a released `.pth`. `recognise` tells what is known.

    Returns
    -------
    PretrainedWeights
        The weights.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or a folder without checkpoint.
    ValueError
        If the file cannot be read as weights alone, holds no encoder that is known here, or values
        that are no numbers.
    """
    path = find_weights(Path(source))
    weights, imported = _read(path)
    try:
        geometry = checked_geometry(weights.pop(EXTRA_STATE))
        check_finite(weights)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return PretrainedWeights(path, weights, geometry, imported)


def load_pretrained_encoder(
    encoder: AudioSpectrogramTransformer, source: str | Path | PretrainedWeights
) -> dict[str, str | int]:
    """Loads pretrained weights into an encoder, position embeddings cut or stretched to its grid.

    Weights fine-tuned by the released code do not tell their grid, unless they are of a published
    AST: it must be the encoder's.

    Arguments
    ---------
    encoder : AudioSpectrogramTransformer
        The encoder to fill; its patch stride and input size may differ from the weights'.
    source : str, Path or PretrainedWeights
        The weights, or a path as for `read_pretrained`.

    Returns
    -------
    dict[str, str | int]
        What was loaded: its `name`, the `sha256` of the file and, if it is of a run with folds, the
        `test_fold` that pretraining left out.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or a folder without checkpoint.
    ValueError
        If the file holds no readable weights, or an encoder of another geometry.
    """
    weights = _read_once(source)
    try:
        fitted = _fit(weights, encoder)
    except ValueError as error:
        raise ValueError(f"{weights.path}: {error}") from None
    _load(encoder, fitted, weights.path)
    loaded: dict[str, str | int] = {"name": weights.name, "sha256": weights.sha256}
    fold = weights.test_fold
    return loaded if fold is None else {**loaded, "test_fold": fold}


def load_pretrained_heads(
    heads: Mapping[str, nn.Module], source: str | Path | PretrainedWeights
) -> list[str]:
    """Loads pretraining heads, so that pretraining can go on from where the source ended.

    Arguments
    ---------
    heads : mapping
        `contrastive_head` and `reconstruction_head`, as far as there are any.
    source : str, Path or PretrainedWeights
        As for `load_pretrained_encoder`.

    Returns
    -------
    list[str]
        Names of the heads that the source has too; the others are left as they are.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file holds no readable weights, or a head of another size.
    """
    weights = _read_once(source)
    loaded = [name for name in heads if weights.part(name)]
    for name in loaded:
        _load(heads[name], weights.part(name), weights.path)
    return loaded


def _read_once(source: str | Path | PretrainedWeights) -> PretrainedWeights:
    return source if isinstance(source, PretrainedWeights) else read_pretrained(source)


def _load(module: nn.Module, weights: dict[str, Any], path: Path) -> None:
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:  # torch's list of tensors that are missing, or of other shapes
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None


def _fit(weights: PretrainedWeights, encoder: AudioSpectrogramTransformer) -> dict[str, Any]:
    """Returns the encoder's part of a model's weights, position embeddings on its own grid."""
    geometry, wanted = weights.geometry, encoder.geometry()
    to_grid = wanted.pop("grid_size")
    try:
        check_geometry(geometry, wanted)
    except ValueError as error:
        raise ValueError(f"{error}; choose size and patch_size as pretrained") from None
    fitted: dict[str, Any] = {**weights.part("encoder"), "_extra_state": encoder.geometry()}
    # Only what was pretrained by masking has a mask token, which classifying never needs.
    fitted.setdefault("mask_token", encoder.mask_token.detach())
    # They have lost their grid too: then positions can only be taken as they are.
    if "grid_size" in geometry and "position_embedding" in fitted:
        positions = fitted["position_embedding"]
        prefix, patches = positions[:, :NUM_PREFIX_TOKENS], positions[:, NUM_PREFIX_TOKENS:]
        patches = adapt_positions(patches, tuple(geometry["grid_size"]), tuple(to_grid))
        fitted["position_embedding"] = torch.cat([prefix, patches], dim=1)
    return fitted


def _read(path: Path) -> tuple[dict[str, Any], ImportedModel | None]:
    """Reads a state dict under our names, the encoder's geometry in it, and whose it is."""
    check_file(path)
    weights = read_tensors(path)
    if EXTRA_STATE in weights:
        return weights, None
    is_ours = any(name.startswith("encoder.blocks.") for name in weights)
    if is_ours and path.suffix == ".safetensors":
        return read_model_weights(path.parent)[0], None
    try:
        imported = recognise(weights, path.parent)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return imported.state_dict(), imported
