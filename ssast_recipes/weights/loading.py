"""Pretrained weights: finding them, reading them safely, and fitting them into an encoder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ssast_recipes.model.encoder import (
    NUM_PREFIX_TOKENS,
    AudioSpectrogramTransformer,
    check_geometry,
)
from ssast_recipes.model.grid import adapt_positions
from ssast_recipes.system.files import file_digest
from ssast_recipes.weights.finding import find_test_fold, find_weights
from ssast_recipes.weights.formats.folder import read_model_weights
from ssast_recipes.weights.formats.recognition import recognise
from ssast_recipes.weights.formats.ssast import EXTRA_STATE
from ssast_recipes.weights.formats.tensors import read_tensors


def load_pretrained_encoder(
    encoder: AudioSpectrogramTransformer, source: str | Path
) -> dict[str, str | int]:
    """Loads pretrained weights into an encoder, position embeddings cut or stretched to its grid.

    Weights fine-tuned by the released code do not tell their grid, unless they are of a published
    AST: it must be the encoder's.

    Arguments
    ---------
    encoder : AudioSpectrogramTransformer
        The encoder to fill; its patch stride and input size may differ from the weights'.
    source : str or Path
        A pretraining run's output folder (its best checkpoint by validation is taken), one of
        its checkpoint folders, a model folder of ours or of Hugging Face's, or a file: a
        `model.ckpt` of ours or a released `.pth`. `recognise` tells what is known.

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
    path = find_weights(Path(source))
    weights = read_weights(path)
    try:
        fitted = _fit(weights, encoder)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    _load(encoder, fitted, path)
    loaded: dict[str, str | int] = {"name": source_name(path), "sha256": file_digest(path)}
    fold = find_test_fold(path)
    return loaded if fold is None else {**loaded, "test_fold": fold}


def load_pretrained_heads(heads: Mapping[str, nn.Module], source: str | Path) -> list[str]:
    """Loads pretraining heads, so that pretraining can go on from where the source ended.

    Arguments
    ---------
    heads : mapping
        `contrastive_head` and `reconstruction_head`, as far as there are any.
    source : str or Path
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
    path = find_weights(Path(source))
    weights = read_weights(path)
    loaded = []
    for name, head in heads.items():
        own = {
            key.removeprefix(f"{name}."): value
            for key, value in weights.items()
            if key.startswith(f"{name}.")
        }
        if own:
            _load(head, own, path)
            loaded.append(name)
    return loaded


def _load(module: nn.Module, weights: dict[str, Any], path: Path) -> None:
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:  # torch's list of tensors that are missing, or of other shapes
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None


def _fit(weights: dict[str, Any], encoder: AudioSpectrogramTransformer) -> dict[str, Any]:
    """Returns the encoder's part of a model's weights, position embeddings on its own grid."""
    geometry, wanted = weights[EXTRA_STATE], encoder.geometry()
    to_grid = wanted.pop("grid_size")
    try:
        check_geometry(geometry, wanted)
    except ValueError as error:
        raise ValueError(f"{error}; choose size and patch_size as pretrained") from None
    fitted = {
        name.removeprefix("encoder."): value
        for name, value in weights.items()
        if name.startswith("encoder.")
    }
    fitted["_extra_state"] = encoder.geometry()
    # Only what was pretrained by masking has a mask token, which classifying never needs.
    fitted.setdefault("mask_token", encoder.mask_token.detach())
    # They have lost their grid too: then positions can only be taken as they are.
    if "grid_size" in geometry and "position_embedding" in fitted:
        positions = fitted["position_embedding"]
        prefix, patches = positions[:, :NUM_PREFIX_TOKENS], positions[:, NUM_PREFIX_TOKENS:]
        patches = adapt_positions(patches, tuple(geometry["grid_size"]), tuple(to_grid))
        fitted["position_embedding"] = torch.cat([prefix, patches], dim=1)
    return fitted


def read_weights(path: Path) -> dict[str, Any]:
    """Reads a state dict under our names, whichever program wrote it; executes nothing.

    Arguments
    ---------
    path : Path
        A file written by `torch.save`, or of safetensors; of a model folder, what lies beside it is
        read too.

    Returns
    -------
    dict[str, Any]
        Weights and the encoder's geometry.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file cannot be read as weights alone, or holds no encoder that is known here.
    """
    weights = read_tensors(path)
    if EXTRA_STATE in weights:
        if not isinstance(weights[EXTRA_STATE], dict):
            raise ValueError(
                f"{path}: {EXTRA_STATE} is no geometry; the file is not of this toolkit"
            )
        return weights
    is_ours = any(name.startswith("encoder.blocks.") for name in weights)
    if is_ours and path.suffix == ".safetensors":
        return read_model_weights(path.parent)[0]
    try:
        return recognise(weights, path.parent).state_dict()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def source_name(path: Path) -> str:
    """Names a weights file, with its folder where all such files have one name.

    Example
    -------
    >>> source_name(Path("/models/SSAST-Tiny-Patch-400.pth"))
    'SSAST-Tiny-Patch-400.pth'
    >>> source_name(Path("/runs/save/CKPT+1/model.ckpt"))
    'CKPT+1/model.ckpt'
    """
    common = ("model.ckpt", "model.safetensors", "pytorch_model.bin")
    return path.name if path.name not in common else f"{path.absolute().parent.name}/{path.name}"
