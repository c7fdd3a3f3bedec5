"""Weights from elsewhere: names of the released SSAST code, and transfer into fine-tuning."""

import hashlib
import pickle
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
# Leftovers of the ImageNet model, and the input size, which is read on its own.
_UNUSED = re.compile(r"v\.head\.|v\.head_dist\.|p_input_[ft]dim$")
# Released models are DeiT's, whose heads are all this wide.
_RELEASED_HEAD_WIDTH = 64
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
    return {
        prefix + _rename(name, reverse=True): value
        for name, value in state_dict.items()
        if name != _EXTRA_STATE
    }


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
    num_patches = bare["v.pos_embed"].shape[1] - NUM_PREFIX_TOKENS
    # Fine-tuned checkpoints do not keep their input size; all released ones have 128 mel bins.
    num_mel_bins = int(bare.get("p_input_fdim", 128))
    rows = num_mel_bins // patch_size[0]
    return {
        "embed_dim": embed_dim,
        "depth": len({name.split(".")[2] for name in bare if name.startswith("v.blocks.")}),
        "num_heads": embed_dim // _RELEASED_HEAD_WIDTH,
        "patch_size": list(patch_size),
        "grid_size": [rows, num_patches // rows],
    }


def load_pretrained_encoder(
    encoder: AudioSpectrogramTransformer, source: str | Path
) -> dict[str, str]:
    """Loads pretrained weights into an encoder, position embeddings cut or stretched to its grid.

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
    geometry = weights.pop(_EXTRA_STATE, None)
    if geometry is None:
        raise ValueError(f"{path}: holds no encoder weights (no {_EXTRA_STATE!r} in it)")
    wanted = encoder.geometry()
    to_grid = wanted.pop("grid_size")
    try:
        check_geometry(geometry, wanted)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; choose size and patch_size as pretrained") from None
    weights = {
        name.removeprefix("encoder."): value
        for name, value in weights.items()
        if name.startswith("encoder.")
    }
    positions = weights["position_embedding"]
    prefix, patches = positions[:, :NUM_PREFIX_TOKENS], positions[:, NUM_PREFIX_TOKENS:]
    patches = adapt_positions(patches, tuple(geometry["grid_size"]), tuple(to_grid))
    weights["position_embedding"] = torch.cat([prefix, patches], dim=1)
    weights["_extra_state"] = encoder.geometry()
    # Fine-tuned released checkpoints have lost their mask token, which classifying never needs.
    weights.setdefault("mask_token", encoder.mask_token.detach())
    encoder.load_state_dict(weights)
    return {"name": _name(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


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
    except (RuntimeError, EOFError, pickle.UnpicklingError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: not readable as weights: {reason}") from None
    if not isinstance(weights, dict):
        raise ValueError(f"{path}: holds a {type(weights).__name__}, not a state dict")
    released = any(name.removeprefix("module.").startswith("v.") for name in weights)
    return released_to_ours(weights) if released else weights


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
    found = [path.parent for path in source.glob("save/CKPT*/CKPT.yaml")]
    if not found:
        raise FileNotFoundError(
            f"{source}: neither a weights file, nor a checkpoint folder (with model.ckpt), nor a "
            "run's output folder (with save/CKPT*)"
        )
    return max(found, key=_rank) / "model.ckpt"


def _rank(checkpoint: Path) -> tuple[float, float]:
    meta = yaml.safe_load((checkpoint / "CKPT.yaml").read_text(encoding="utf-8"))
    return meta.get("valid_score", float("-inf")), meta["unixtime"]


def _name(path: Path) -> str:
    return path.name if path.name != "model.ckpt" else f"{path.parent.name}/{path.name}"
