"""What programs wrap weights in when they save them: things beside, and words before names."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

logger = logging.getLogger(__name__)

# Keys under which weights lie, the first that is there; averages last, because not all take them.
_CONTAINERS = (
    *("state_dict", "model_state_dict", "model", "module", "net", "student", "teacher"),
    *("ema_state_dict", "state_dict_ema", "model_ema", "ema_model", "ema"),
)
# Of torch's distributed and compiled modules, anywhere in a name.
_WRAPPERS = re.compile(r"(?<![^.])(?:(?:module|_orig_mod)\.)+")
_COUNTER = "n_averaged"  # which torch's AveragedModel puts among the weights
# Names that tell whose weights they are. What is before them is what a program calls its model.
_ANCHORS = (
    "encoder.class_token",
    "v.cls_token",
    "audio_spectrogram_transformer.embeddings.cls_token",
    "deit.embeddings.cls_token",
    "embeddings.cls_token",
    "cls_token",
)
_MOST_WRAPPED = 4


def unwrap(content: Any, path: Path) -> Any:
    """Takes weights out of what they lie in, and off their names what is not theirs.

    What is passed over is told in a warning.

    Arguments
    ---------
    content : any
        What a file holds: tensors by name, or such a mapping under `state_dict`, `model`, `ema`, …
    path : Path
        The file, for messages.

    Returns
    -------
    any
        Tensors by name; what holds none, as it is.

    Raises
    ------
    ValueError
        If several things in it may be the weights, or two have one name.

    Example
    -------
    >>> import torch
    >>> weights = {"module._orig_mod.fc.bias": torch.zeros(2)}
    >>> list(unwrap({"state_dict": weights, "epoch": 3}, Path("a.ckpt")))
    ['fc.bias']
    """
    for _ in range(_MOST_WRAPPED):
        key = _container(content, path)
        if key is None:
            break
        content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        return content
    weights = {_WRAPPERS.sub("", name): value for name, value in content.items()}
    if len(weights) < len(content):
        raise ValueError(f"{path}: holds several weights of one name; take those of one model")
    weights.pop(_COUNTER, None)
    prefix = _prefix(weights)
    if not prefix:
        return weights
    others = [name for name in weights if not name.startswith(prefix)]
    if others:
        told = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
        logger.warning("Warning: %s: passed over what is not of %s (%s)", path, prefix[:-1], told)
    return {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix)
    }


def _container(content: Any, path: Path) -> str | None:
    """The key under which the weights lie; None if they lie at the top, or nowhere."""
    if not isinstance(content, Mapping):
        return None
    holding = [key for key, value in content.items() if _holds(value, _MOST_WRAPPED)]
    known = [key for key in _CONTAINERS if key in holding]
    if not known and any(isinstance(value, Tensor) for value in content.values()):
        return None
    if not known and len(holding) > 1:
        told = ", ".join(map(str, holding[:5]))
        raise ValueError(f"{path}: holds weights under {told}; save one of them alone")
    if not known and not holding:
        return None
    key = (known or holding)[0]
    averages = [other for other in known[1:] if other != key]
    if averages:
        logger.warning("Warning: %s holds %s; %s is taken", path, ", ".join(known), key)
    return key


def _holds(value: Any, depth: int) -> bool:
    """Whether there are tensors under names of their own, perhaps deeper under known ones."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        return False
    if any(isinstance(one, Tensor) for one in value.values()):
        return True
    return depth > 0 and any(_holds(value[key], depth - 1) for key in _CONTAINERS if key in value)


def _prefix(weights: Mapping[str, Any]) -> str:
    for anchor in _ANCHORS:
        found = {
            name.removesuffix(anchor)
            for name in weights
            if name == anchor or name.endswith(f".{anchor}")
        }
        if anchor == "cls_token":
            found = {prefix for prefix in found if f"{prefix}pos_embed" in weights}
        if found:
            return min(found, key=len)
    return ""
