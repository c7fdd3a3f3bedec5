"""Recognising whose model a weights file holds, by the names in it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssast_recipes.model.encoder import EXTRA_STATE
from ssast_recipes.model.patches import compute_grid_size
from ssast_recipes.weights.formats.deit import grey_encoder
from ssast_recipes.weights.formats.foreign import AUDIOSET, ImportedModel, check_encoder
from ssast_recipes.weights.formats.geometry import checked_geometry
from ssast_recipes.weights.formats.huggingface_folder import read_huggingface
from ssast_recipes.weights.formats.ssast import UNUSED_HEADS, released_to_ours

_NUM_MEL_BINS = 128
# The published AST models (Gong et al., Interspeech 2021) by number of classes: corpus, frames of
# input, statistics, labels of a clip. Their weights tell none of it.
_PUBLISHED_AST = {
    527: ("AudioSet", 1024, AUDIOSET, "multi"),
    35: ("Speech Commands", 128, {"mean": -6.845978, "std": 5.5654526}, "single"),
}
_PUBLISHED_STRIDES = (10, 12, 14, 16)


def recognise(weights: Mapping[str, Any], folder: Path) -> ImportedModel:
    """Recognises a model of other makers by the names of its weights.

    Known are SSAST as released, for pretraining or fine-tuned; AST as released; distilled DeiT as
    its authors, timm and Hugging Face store it; `ASTModel` and `ASTForAudioClassification` of
    Hugging Face. Theirs need the `config.json` that lies beside.

    Arguments
    ---------
    weights : mapping
        Tensors by name, with or without `module.`.
    folder : Path
        Where the file lies.

    Returns
    -------
    ImportedModel
        The model.

    Raises
    ------
    ValueError
        If it is none of these, or not whole.

    Example
    -------
    >>> import torch
    >>> recognise({"fc.weight": torch.zeros(2, 2)}, Path())
    Traceback (most recent call last):
    ValueError: holds no encoder weights of a kind that is known here, but fc.weight
    """
    bare = {name.removeprefix("module."): value for name, value in weights.items()}
    model = _recognise(bare, folder)
    for name, value in model.weights.items():
        if not value.is_floating_point():
            raise ValueError(
                f"{name} is of type {value.dtype}; take weights that are not quantised"
            )
    return replace(model, geometry=checked_geometry(model.geometry))


def _recognise(bare: Mapping[str, Any], folder: Path) -> ImportedModel:
    if any(name.startswith("encoder.blocks.") for name in bare):
        raise ValueError(
            "holds a model of this toolkit, which needs no import; a model folder is used as it "
            "is, and an evaluated run's folder holds one: model"
        )
    if any(name.startswith("v.") for name in bare):
        return _recognise_released(bare)
    if "pos_embed" in bare and "cls_token" in bare:
        return _recognise_deit(bare)
    if any(name.endswith("embeddings.cls_token") for name in bare):
        return read_huggingface(bare, folder)
    names = ", ".join(sorted(bare)[:3]) + (", …" if len(bare) > 3 else "")
    raise ValueError(f"holds no encoder weights of a kind that is known here, but {names}")


def _recognise_released(bare: Mapping[str, Any]) -> ImportedModel:
    ours = released_to_ours(bare)
    check_encoder(ours)
    geometry = ours.pop(EXTRA_STATE)
    left_over = sorted(name for name in bare if name.startswith(UNUSED_HEADS))
    model = ImportedModel("SSAST or AST, fine-tuned, as released", ours, geometry, left_over)
    if "grid_size" not in geometry:
        return _recognise_published(model)
    patch_size = geometry["patch_size"]
    sides = zip(geometry["grid_size"], patch_size, strict=True)
    num_mel_bins, target_length = (count * side for count, side in sides)
    return replace(
        model,
        description="SSAST for pretraining, as released",
        num_mel_bins=num_mel_bins,
        target_length=target_length,
        patch_stride=tuple(patch_size),
    )


def _recognise_published(model: ImportedModel) -> ImportedModel:
    """Adds what is known of a published AST, if the model has the numbers of one."""
    if model.num_classes not in _PUBLISHED_AST or model.geometry["patch_size"] != [16, 16]:
        return model
    corpus, target_length, front_end, label_kind = _PUBLISHED_AST[model.num_classes]
    for stride in _PUBLISHED_STRIDES:
        grid = compute_grid_size(_NUM_MEL_BINS, target_length, (16, 16), (stride, stride))
        if grid[0] * grid[1] == model.num_patches:
            return replace(
                model,
                description=f"AST of {corpus}, as released",
                geometry={**model.geometry, "grid_size": list(grid)},
                num_mel_bins=_NUM_MEL_BINS,
                target_length=target_length,
                patch_stride=(stride, stride),
                pooling="prefix",
                label_kind=label_kind,
                front_end=front_end,
            )
    return model


def _recognise_deit(bare: Mapping[str, Any]) -> ImportedModel:
    """DeiT's names are those of the released SSAST, which holds one as `v`."""
    if "dist_token" not in bare:
        raise ValueError("holds a ViT or DeiT without dist_token; take a distilled DeiT")
    model = _recognise_released({f"v.{name}": value for name, value in bare.items()})
    left_over = [name.removeprefix("v.") for name in model.left_over]
    return grey_encoder(replace(model, description="DeiT, distilled", left_over=left_over))
