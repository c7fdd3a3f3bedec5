"""Reading tensors from files that anybody may have written: nothing in them is executed."""

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ssast_recipes.weights.formats.objects import UnreadObject, load_tensors
from ssast_recipes.weights.formats.shards import is_index, read_index
from ssast_recipes.weights.formats.wrapping import unwrap

_ZIP = b"PK\x03\x04"  # how torch's files begin, since 1.6
_END, _LOCATOR = b"PK\x05\x06", b"PK\x06\x07"  # and end: the latter, if given, tells of a record
_END_SIZE, _LOCATOR_SIZE, _RECORD_SIZE = 22, 20, 56


def read_tensors(path: str | Path) -> dict[str, Any]:
    """Reads named tensors from a file of `torch.save` or of safetensors.

    The tensors of newer files are mapped from the disk, not read: only what is used is loaded.
    Together they are no larger than the file, whatever they claim. What programs wrap weights in is
    taken off (`unwrap`), and 16-bit numbers become 32-bit ones.

    Arguments
    ---------
    path : str or Path
        The file; `.safetensors` at its end tells that it is one, `.index.json` that it names
        several.

    Returns
    -------
    dict[str, Any]
        Tensors on the CPU by name. The plain Python values that our encoders keep among them, under
        names that end in `_extra_state`, are the only others.

    Raises
    ------
    ValueError
        If the file is damaged, compressed, holds objects other than tensors, or tensors that are
        larger than the file.

    Example
    -------
    >>> path = getfixture("tmp_path") / "weights.pth"
    >>> torch.save({"bias": torch.ones(2)}, path)
    >>> read_tensors(path)
    {'bias': tensor([1., 1.])}
    """
    path = Path(path)
    if is_index(path):
        content: Any = {
            name: value
            for file, names in read_index(path).items()
            for name, value in _of_shard(file, names).items()
        }
    else:
        content = _read_file(path)
    weights = unwrap(content, path)
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        raise ValueError(f"{path}: holds a {type(weights).__name__}, not weights by name")
    if path.suffix != ".safetensors" and not is_index(path):
        _check_sizes(weights, path)
    return {name: _in_32_bit(value) for name, value in weights.items()}


def check_finite(weights: Mapping[str, Any]) -> None:
    """Refuses weights that are not numbers: what uses them would give nothing, without a word.

    Arguments
    ---------
    weights : mapping
        Tensors by name; other values are passed over.

    Raises
    ------
    ValueError
        That names the first such tensor.

    Example
    -------
    >>> check_finite({"a.bias": torch.tensor([0.0, float("nan")])})
    Traceback (most recent call last):
    ValueError: a.bias holds NaN or infinity, 1 of its 2 values; take weights of before that
    """
    for name, value in weights.items():
        # The sum, which takes a quarter of the time, may overflow: then the values tell.
        if not isinstance(value, Tensor) or value.sum().isfinite():
            continue
        count = int((~value.isfinite()).sum())
        if count:
            raise ValueError(
                f"{name} holds NaN or infinity, {count} of its {value.numel()} values; take "
                "weights of before that"
            )


def _in_32_bit(value: Any) -> Any:
    is_half = isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if is_half else value


def _of_shard(path: Path, names: list[str]) -> dict[str, Any]:
    content = _read_file(path)
    missing = [name for name in names if not isinstance(content, dict) or name not in content]
    if missing:
        raise ValueError(f"{path}: {missing[0]} is not in it, as the index says; copy it anew")
    if path.suffix != ".safetensors":
        _check_sizes(content, path)
    return {name: content[name] for name in names}


def _read_file(path: Path) -> Any:
    """What one file holds."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        is_zip = _is_zip(path)
        if not is_zip or _is_stored(path):
            return load_tensors(path, mmap=is_zip)
    except FileNotFoundError:
        raise
    except SafetensorError as error:
        raise ValueError(f"{path}: not readable as weights: damaged ({error})") from None
    except Exception as error:  # a damaged file raises whatever reading it stumbles over
        if isinstance(error, ValueError) and str(error).startswith(f"{path}: not readable as w"):
            raise
        reason = f"damaged, or no weights file ({type(error).__name__})"
        advice = "copy it anew, or name another"
        raise ValueError(f"{path}: not readable as weights: {reason}; {advice}") from None
    raise ValueError(
        f"{path}: not readable as weights: a ZIP archive that is compressed, or claims to hold "
        "more than it does, as torch.save writes none; take the file as it was saved"
    )


def _is_zip(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(_ZIP)) == _ZIP


def _is_stored(path: Path) -> bool:
    """Whether the members of a ZIP archive are stored as they are, and no larger than the file.

    Neither torch nor zipfile minds: torch would unpack a thousand times what the file takes.
    """
    size = path.stat().st_size
    with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        return (
            all(member.compress_type == zipfile.ZIP_STORED for member in members)
            and sum(member.file_size for member in members) <= size
            and archive.start_dir == _directory_start(file, size)
        )


def _directory_start(file: BinaryIO, size: int) -> int | None:
    """Where torch will look for the directory of an archive without a comment.

    Python's module looks right before the end, whatever the archive tells: it might be shown
    another directory than torch. (Newer ones refuse some of these.)
    """
    file.seek(max(0, size - _END_SIZE - _LOCATOR_SIZE - _RECORD_SIZE))
    tail = file.read()
    end, locator = tail[-_END_SIZE:], tail[-_END_SIZE - _LOCATOR_SIZE : -_END_SIZE]
    if not end.startswith(_END):
        return None
    if not locator.startswith(_LOCATOR):
        return struct.unpack_from("<L", end, 16)[0]
    (record,) = struct.unpack_from("<Q", locator, 8)
    is_before = record == size - _END_SIZE - _LOCATOR_SIZE - _RECORD_SIZE
    return struct.unpack_from("<Q", tail, 48)[0] if is_before else None


def _check_sizes(weights: Mapping[str, Any], path: Path) -> None:
    """Refuses tensors that are not what the file holds: torch minds neither of these."""
    # One value that is told to be a terabyte, or tensors without values.
    total, size = 0, path.stat().st_size
    for name, value in weights.items():
        if name.endswith("_extra_state"):
            continue
        if not isinstance(value, Tensor):
            kind = "another program's" if isinstance(value, UnreadObject) else type(value).__name__
            raise ValueError(f"{path}: {name!r} is of type {kind}, no tensor")
        total += value.numel() * value.element_size()
        is_stored = value.layout == torch.strided and value.device.type == "cpu"
        if not is_stored or total > size:
            raise ValueError(
                f"{path}: {name!r} claims to be larger than what the file holds; copy it anew"
            )
