"""Names of the released SSAST code's weights, to ours and back."""

from typing import Any

import torch
from torch import Tensor

from ssast_recipes.model.encoder import EXTRA_STATE

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
UNUSED_HEADS = ("v.head.", "v.head_dist.")
# Released models are DeiT's, whose heads are all this wide.
_RELEASED_HEAD_WIDTH = 64
_PRETRAINING_HEADS = ("contrastive_head.", "reconstruction_head.")


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
        If a name is not one of the released code's, or the patches' size cannot be told.

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
        if not name.startswith((*UNUSED_HEADS, *_INPUT_SIZE))
    }
    if "v.patch_embed.proj.weight" in bare:
        ours[EXTRA_STATE] = _released_geometry(bare)
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
        if name != EXTRA_STATE
    }
    geometry = state_dict.get(EXTRA_STATE)
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
    shape = list(bare["v.patch_embed.proj.weight"].shape)
    if len(shape) != 4 or 0 in shape:
        raise ValueError(f"v.patch_embed.proj.weight is of shape {shape}, not of a patch")
    embed_dim, _, *patch_size = shape
    if embed_dim % _RELEASED_HEAD_WIDTH:
        raise ValueError(f"tokens {embed_dim} wide are no multiple of {_RELEASED_HEAD_WIDTH}")
    geometry = {
        "embed_dim": embed_dim,
        "depth": len({name.split(".")[2] for name in bare if name.startswith("v.blocks.")}),
        "num_heads": embed_dim // _RELEASED_HEAD_WIDTH,
        "patch_size": patch_size,
    }
    # Fine-tuned checkpoints keep neither their input's size nor the overlap of their patches.
    if all(name in bare for name in _INPUT_SIZE):
        input_size = [_count(bare, name) for name in _INPUT_SIZE]
        geometry["grid_size"] = [a // b for a, b in zip(input_size, patch_size, strict=True)]
    return geometry


def _count(bare: dict[str, Tensor], name: str) -> int:
    value = bare[name]
    if value.numel() != 1 or value.is_floating_point() or value < 1:
        raise ValueError(f"{name} is not a whole number above 0")
    return int(value)
