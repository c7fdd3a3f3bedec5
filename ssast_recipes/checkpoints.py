"""Weights from elsewhere: names of the released SSAST code, and transfer into fine-tuning."""

import hashlib
import math
import re
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from ssast_recipes.encoder import NUM_PREFIX_TOKENS, AudioSpectrogramTransformer, check_geometry
from ssast_recipes.positions import adapt_positions

# (released, ours), both anchored at the start of a name or of what follows `blocks.<i>.`
_NAMES = [
    ("v.cls_token", "encoder.class_token"),
    ("v.dist_token", "encoder.distillation_token"),
    ("v.pos_embed", "encoder.position_embedding"),
    ("v.patch_embed.proj.", "encoder.patch_embedding.projection."),
    ("v.blocks.", "encoder.blocks."),
    ("v.norm.", "encoder.norm."),
    ("mask_embed", "encoder.mask_token"),
    ("cpredlayer.0.", "contrastive_head.hidden."),
    ("cpredlayer.2.", "contrastive_head.output."),
    ("gpredlayer.0.", "reconstruction_head.hidden."),
    ("gpredlayer.2.", "reconstruction_head.output."),
    ("mlp_head.0.", "classifier.norm."),
    ("mlp_head.1.", "classifier.linear."),
]
_BLOCK_NAMES = [(".attn.qkv.", ".attention.qkv."), (".attn.proj.", ".attention.projection.")]
# The size of the pretraining input, in mel bins and frames: not a weight, but kept among them.
_INPUT_SIZE = ("p_input_fdim", "p_input_tdim")
# Leftovers of the ImageNet model.
_UNUSED = re.compile(r"v\.head\.|v\.head_dist\.|" + "|".join(_INPUT_SIZE))
# Released models are DeiT's, whose heads are all this wide.
_RELEASED_HEAD_WIDTH = 64
_PRETRAINING_HEADS = ("contrastive_head.", "reconstruction_head.")
_EXTRA_STATE = "encoder._extra_state"


def released_to_ours(state_dict: dict[str, Tensor]) -> dict[str, Any]:
    """Renames the weights of the released SSAST code to ours.

    Arguments
    ---------
    state_dict : dict[str, Tensor]
        A released checkpoint, its names with or without `module.`.

    Returns
    -------
    dict[str, Any]
        The same tensors under the names of `MaskedPatchModel` or `ClassificationModel`, with
        the geometry that our encoders check; ImageNet's unused classifier heads are left out.

    Raises
    ------
    ValueError
        If a name is not one of the released code's.

    Example
    -------
    >>> names = {"module.v.cls_token": torch.zeros(1, 1, 192)}
    >>> [name for name in released_to_ours(names) if "extra" not in name]
    ['encoder.class_token']
    """
    bare = {name.removeprefix("module."): value for name, value in state_dict.items()}
    ours: dict[str, Any] = {
        _rename(name, reverse=False): value
        for name, value in bare.items()
        if not _UNUSED.match(name)
    }
    if "v.patch_embed.proj.weight" in bare:
        ours[_EXTRA_STATE] = _released_geometry(bare)
    return ours


def ours_to_released(state_dict: dict[str, Any], prefix: str = "module.") -> dict[str, Tensor]:
    """Renames our weights to the released SSAST code's: the inverse of `released_to_ours`.

    Pretraining models also get the size of their input, which the released fine-tuning asks for.

    Arguments
    ---------
    state_dict : dict[str, Any]
        The state dict of a `MaskedPatchModel` or `ClassificationModel`.
    prefix : str
        What to put before every name.

    Returns
    -------
    dict[str, Tensor]
        The same tensors under the released names.

    Raises
    ------
    ValueError
        If a name is not one of ours.

    Example
    -------
    >>> list(ours_to_released({"classifier.linear.bias": torch.zeros(35)}))
    ['module.mlp_head.1.bias']
    """
    released = {
        prefix + _rename(name, reverse=True): value
        for name, value in state_dict.items()
        if name != _EXTRA_STATE
    }
    geometry = state_dict.get(_EXTRA_STATE)
    if geometry and any(name.startswith(_PRETRAINING_HEADS) for name in state_dict):
        sides = zip(_INPUT_SIZE, geometry["grid_size"], geometry["patch_size"], strict=True)
        released |= {prefix + name: torch.tensor(a * b) for name, a, b in sides}
    return released


def _rename(name: str, reverse: bool) -> str:
    for pair in _NAMES:
        old, new = reversed(pair) if reverse else pair
        if name.startswith(old):
            name = new + name.removeprefix(old)
            for block_pair in _BLOCK_NAMES:
                name = name.replace(*(reversed(block_pair) if reverse else block_pair))
            return name
    side = "this toolkit" if reverse else "the released SSAST code"
    raise ValueError(f"{name!r} is not the name of a weight of {side}")


def _released_geometry(bare: dict[str, Tensor]) -> dict[str, Any]:
    embed_dim, _, *patch_size = bare["v.patch_embed.proj.weight"].shape
    geometry = {
        "embed_dim": embed_dim,
        "depth": len({name.split(".")[2] for name in bare if name.startswith("v.blocks.")}),
        "num_heads": embed_dim // _RELEASED_HEAD_WIDTH,
        "patch_size": patch_size,
    }
    # Fine-tuned checkpoints keep neither their input's size nor the overlap of their patches.
    if all(name in bare for name in _INPUT_SIZE):
        input_size = (int(bare[name]) for name in _INPUT_SIZE)
        geometry["grid_size"] = [a // b for a, b in zip(input_size, patch_size, strict=True)]
    return geometry


def load_pretrained_encoder(
    encoder: AudioSpectrogramTransformer, source: str | Path
) -> dict[str, str]:
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
    dict[str, str]
        What was loaded: its `name` and the `sha256` of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or a folder without checkpoint.
    ValueError
        If the file holds no readable weights, or an encoder of another geometry.
    """
    path = find_weights(Path(source))
    weights = read_weights(path)
    if _EXTRA_STATE not in weights:
        raise ValueError(f"{path}: holds no encoder weights (no {_EXTRA_STATE!r} in it)")
    try:
        encoder.load_state_dict(_fit(weights, encoder))
    except RuntimeError as error:  # torch's list of tensors that are missing, or of other shapes
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return {"name": _name(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _fit(weights: dict[str, Any], encoder: AudioSpectrogramTransformer) -> dict[str, Any]:
    """Returns the encoder's part of a model's weights, position embeddings on its own grid."""
    geometry, wanted = weights[_EXTRA_STATE], encoder.geometry()
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


def find_weights(source: Path) -> Path:
    """Finds the weights file that a user's path means.

    Arguments
    ---------
    source : Path
        A run's output folder, a checkpoint folder, or a file.

    Returns
    -------
    Path
        The file: of a run, the checkpoint with the highest `valid_score`, or else the newest.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    """
    if source.is_file():
        return source
    if (source / "model.ckpt").is_file():
        return source / "model.ckpt"
    found = [path.parent for path in source.glob("save/CKPT*/model.ckpt")]
    if not found:
        raise FileNotFoundError(
            f"{source}: neither a weights file, nor a checkpoint folder (with model.ckpt), nor a "
            "run's output folder (with save/CKPT*)"
        )
    return max(found, key=_rank) / "model.ckpt"


def _rank(checkpoint: Path) -> tuple[float, float]:
    path = checkpoint / "CKPT.yaml"
    try:
        meta = yaml.safe_load(path.read_bytes())
        score = meta.get("valid_score", -math.inf)
        return (-math.inf if math.isnan(score) else score), meta["unixtime"]
    except (OSError, AttributeError, KeyError, TypeError, yaml.YAMLError):
        raise ValueError(
            f"{path} is missing or damaged; name the checkpoint folder to take instead"
        ) from None


def _name(path: Path) -> str:
    return path.name if path.name != "model.ckpt" else f"{path.parent.name}/{path.name}"
