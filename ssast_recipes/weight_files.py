"""Reading tensors from files that anybody may have written: nothing in them is executed."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

_ZIP = b"PK\x03\x04"  # how torch's files begin, since 1.6


def read_tensors(path: str | Path) -> dict[str, Any]:
    """Reads named tensors from a file of `torch.save` or of safetensors.

    The tensors of newer files are mapped from the disk, not read: only what is used is loaded.
    Together they are no larger than the file, whatever they claim.

    Arguments
    ---------
    path : str or Path
        The file; `.safetensors` at its end tells that it is one.

    Returns
    -------
    dict[str, Any]
        Tensors on the CPU by name. The plain Python values that our encoders keep among them, under
        names that end in `_extra_state`, are the only others.

    Raises
    ------
    ValueError
        If the file is damaged, holds objects other than tensors, or tensors that are larger than
        the file.

    Example
    -------
    >>> path = getfixture("tmp_path") / "weights.pth"
    >>> torch.save({"bias": torch.ones(2)}, path)
    >>> read_tensors(path)
    {'bias': tensor([1., 1.])}
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        weights = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except FileNotFoundError:
        raise
    except SafetensorError as error:
        raise ValueError(f"{path}: not readable as weights: damaged ({error})") from None
    except Exception as error:  # a damaged file raises whatever reading it stumbles over
        reason = f"damaged, or objects other than tensors ({type(error).__name__})"
        advice = "copy it anew, or name another"
        raise ValueError(f"{path}: not readable as weights: {reason}; {advice}") from None
    return _checked(weights, path)


def _is_zip(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(_ZIP)) == _ZIP


def _checked(weights: Any, path: Path) -> dict[str, Any]:
    # The DeiT files hold their weights under one name.
    if isinstance(weights, dict) and isinstance(weights.get("model"), dict):
        weights = weights["model"]
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        raise ValueError(f"{path}: holds a {type(weights).__name__}, not weights by name")
    total, size = 0, path.stat().st_size
    for name, value in weights.items():
        if name.endswith("_extra_state"):
            continue
        if not isinstance(value, Tensor):
            raise ValueError(f"{path}: {name!r} is of type {type(value).__name__}, no tensor")
        total += value.numel() * value.element_size()
        is_stored = value.layout == torch.strided and value.device.type == "cpu"
        if not is_stored or total > size:
            raise ValueError(
                f"{path}: {name!r} claims to be larger than what the file holds; copy it anew"
            )
    return weights
