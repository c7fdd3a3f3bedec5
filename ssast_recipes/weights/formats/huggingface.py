"""Names of the weights of Hugging Face's `ASTModel`, to ours and back."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

MODEL_TYPE = "audio-spectrogram-transformer"
# What `ASTForAudioClassification` puts before the encoder's names.
PREFIX = "audio_spectrogram_transformer."
# (ours, theirs): as stored in files. In memory, transformers 5 renames its layers.
_NAMES = [
    ("encoder.class_token", "embeddings.cls_token"),
    ("encoder.distillation_token", "embeddings.distillation_token"),
    ("encoder.position_embedding", "embeddings.position_embeddings"),
]
_MODULES = [
    ("encoder.patch_embedding.projection", "embeddings.patch_embeddings.projection"),
    ("encoder.norm", "layernorm"),
]
_BLOCK_MODULES = [
    ("norm1", "layernorm_before"),
    ("attention.projection", "attention.output.dense"),
    ("norm2", "layernorm_after"),
    ("mlp.fc1", "intermediate.dense"),
    ("mlp.fc2", "output.dense"),
]
_CLASSIFIER_MODULES = [
    ("classifier.norm", "classifier.layernorm"),
    ("classifier.linear", "classifier.dense"),
]
_LAYER = re.compile(r"encoder\.layer\.(\d+)\.")
_BLOCK = re.compile(r"encoder\.blocks\.(\d+)\.")


def huggingface_names(depth: int, with_classifier: bool = False) -> dict[str, tuple[str, ...]]:
    """Lists every tensor's name: ours, and theirs in a file of Hugging Face's.

    Ours is theirs one after the other along the first dimension: query, key and value are three
    tensors there.

    Arguments
    ---------
    depth : int
        Number of transformer blocks.
    with_classifier : bool
        The names of `ClassificationModel` and `ASTForAudioClassification`; otherwise those of the
        encoder and of `ASTModel`.

    Returns
    -------
    dict[str, tuple[str, ...]]
        Ours to theirs. Our mask token and pretraining heads have no place there.

    Example
    -------
    >>> huggingface_names(depth=1)["encoder.blocks.0.mlp.fc2.bias"]
    ('encoder.layer.0.output.dense.bias',)
    >>> len(huggingface_names(depth=1)["encoder.blocks.0.attention.qkv.weight"])
    3
    """
    names = {ours: (theirs,) for ours, theirs in _NAMES}
    modules = {ours: (theirs,) for ours, theirs in _MODULES}
    for index in range(depth):
        block, layer = f"encoder.blocks.{index}.", f"encoder.layer.{index}."
        modules |= {block + ours: (layer + theirs,) for ours, theirs in _BLOCK_MODULES}
        modules[f"{block}attention.qkv"] = tuple(
            f"{layer}attention.attention.{part}" for part in ("query", "key", "value")
        )
    for kind in ("weight", "bias"):
        names |= {
            f"{ours}.{kind}": tuple(f"{one}.{kind}" for one in theirs)
            for ours, theirs in modules.items()
        }
    if not with_classifier:
        return names
    names = {ours: tuple(PREFIX + one for one in theirs) for ours, theirs in names.items()}
    return names | {
        f"{ours}.{kind}": (f"{theirs}.{kind}",)
        for ours, theirs in _CLASSIFIER_MODULES
        for kind in ("weight", "bias")
    }


def ours_to_huggingface(
    state_dict: Mapping[str, Any], with_classifier: bool = False
) -> dict[str, Tensor]:
    """Renames our weights to Hugging Face's; what these have no place for is left out.

    Arguments
    ---------
    state_dict : mapping
        A state dict whose encoder's names begin with `encoder.`.
    with_classifier : bool
        Take the `ClassificationHead` along.

    Returns
    -------
    dict[str, Tensor]
        Copies of the tensors, under the names of `ASTModel` or `ASTForAudioClassification`.

    Example
    -------
    >>> from ssast_recipes.model.builders import ast_encoder
    >>> from ssast_recipes.model.classifiers import ClassificationModel
    >>> from ssast_recipes.model.heads import ClassificationHead
    >>> encoder = ast_encoder("tiny", depth=1, target_length=128)
    >>> model = ClassificationModel(encoder, ClassificationHead(192, num_classes=10))
    >>> theirs = ours_to_huggingface(model.state_dict())
    >>> theirs["encoder.layer.0.attention.attention.key.weight"].shape
    torch.Size([192, 192])
    """
    theirs = {}
    for ours, parts in huggingface_names(_depth(_BLOCK, state_dict), with_classifier).items():
        tensors = state_dict[ours].detach().chunk(len(parts))
        theirs |= {name: one.clone() for name, one in zip(parts, tensors, strict=True)}
    return theirs


def huggingface_to_ours(state_dict: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Renames the weights of an `ASTModel` or `ASTForAudioClassification` file to ours.

    Arguments
    ---------
    state_dict : mapping
        What the file holds. A model without `qkv_bias` gets biases of zero, which do the same.

    Returns
    -------
    tuple[dict[str, Tensor], list[str]]
        The tensors under our names, and which of theirs were not needed. The mask token, which
        Hugging Face has not, is missing.

    Raises
    ------
    ValueError
        If weights are missing.

    Example
    -------
    >>> huggingface_to_ours({"embeddings.cls_token": torch.zeros(1, 1, 192)})
    Traceback (most recent call last):
    ValueError: 'embeddings.distillation_token' and 5 more weights of Hugging Face's ASTModel are
        missing
    """
    with_classifier = any(name.startswith(PREFIX) for name in state_dict)
    names = huggingface_names(_depth(_LAYER, state_dict), with_classifier)
    parts = [part for theirs in names.values() for part in theirs]
    found = dict(state_dict)
    for name in parts:
        weight = name.removesuffix("bias") + "weight"
        if ".attention.attention." in name and name not in found and weight in found:
            found[name] = torch.zeros_like(found[weight][:, 0])
    if missing := [name for name in parts if name not in found]:
        more = f" and {len(missing) - 1} more weights" if len(missing) > 1 else ""
        model = "ASTForAudioClassification" if with_classifier else "ASTModel"
        raise ValueError(
            f"{missing[0]!r}{more} of Hugging Face's {model} {'are' if more else 'is'} missing"
        )
    ours = {name: torch.cat([found[part] for part in theirs]) for name, theirs in names.items()}
    return ours, sorted(state_dict.keys() - parts)


def _depth(pattern: re.Pattern[str], names: Mapping[str, Any]) -> int:
    return len({match[1] for name in names if (match := pattern.search(name))})
