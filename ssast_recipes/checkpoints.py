"""Pretrained weights: finding them, reading them safely, and fitting them into an encoder."""

from pathlib import Path
from typing import Any

import torch

from ssast_recipes.encoder import NUM_PREFIX_TOKENS, AudioSpectrogramTransformer, check_geometry
from ssast_recipes.files import file_digest
from ssast_recipes.positions import adapt_positions
from ssast_recipes.pretrained import find_test_fold, find_weights
from ssast_recipes.released import EXTRA_STATE, released_to_ours


def load_pretrained_encoder(
    encoder: AudioSpectrogramTransformer, source: str | Path
) -> dict[str, str | int]:
    """Loads pretrained weights into an encoder, position embeddings cut or stretched to its grid.

    Weights fine-tuned by the released code do not tell their grid: it must be the encoder's.

    Arguments
    ---------
    encoder : AudioSpectrogramTransformer
        The encoder to fill; its patch stride and input size may differ from the weights'.
    source : str or Path
        A pretraining run's output folder (its best checkpoint by validation is taken), one of
        its checkpoint folders, or a file: a `model.ckpt` of ours or a released `.pth`.

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
    if EXTRA_STATE not in weights:
        raise ValueError(f"{path}: holds no encoder weights (no {EXTRA_STATE!r} in it)")
    try:
        encoder.load_state_dict(_fit(weights, encoder))
    except RuntimeError as error:  # torch's list of tensors that are missing, or of other shapes
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    loaded: dict[str, str | int] = {"name": _name(path), "sha256": file_digest(path)}
    fold = find_test_fold(path)
    return loaded if fold is None else {**loaded, "test_fold": fold}


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
    # Fine-tuned released checkpoints have lost their mask token, which classifying never needs.
    fitted.setdefault("mask_token", encoder.mask_token.detach())
    # They have lost their grid too: then positions can only be taken as they are.
    if "grid_size" in geometry and "position_embedding" in fitted:
        positions = fitted["position_embedding"]
        prefix, patches = positions[:, :NUM_PREFIX_TOKENS], positions[:, NUM_PREFIX_TOKENS:]
        patches = adapt_positions(patches, tuple(geometry["grid_size"]), tuple(to_grid))
        fitted["position_embedding"] = torch.cat([prefix, patches], dim=1)
    return fitted


def read_weights(path: Path) -> dict[str, Any]:
    """Reads a state dict under our names, whichever code wrote it; executes nothing.

    Arguments
    ---------
    path : Path
        A file written by `torch.save`.

    Returns
    -------
    dict[str, Any]
        The state dict, released names replaced by ours.

    Raises
    ------
    ValueError
        If the file cannot be read as weights alone.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises whatever reading it stumbles over
        reason = f"damaged, or objects other than tensors ({type(error).__name__})"
        advice = "copy it anew, or name another"
        raise ValueError(f"{path}: not readable as weights: {reason}; {advice}") from None
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        raise ValueError(f"{path}: holds a {type(weights).__name__}, not weights by name")
    if not any(name.removeprefix("module.").startswith("v.") for name in weights):
        return weights
    try:
        return released_to_ours(weights)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _name(path: Path) -> str:
    return path.name if path.name != "model.ckpt" else f"{path.parent.name}/{path.name}"
