"""Reading tensors from files that anybody may have written: nothing in them is executed."""

import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

_ZIP = b"PK\x03\x04"  # how torch's files begin, since 1.6
_END, _LOCATOR = b"PK\x05\x06", b"PK\x06\x07"  # and end: the latter, if given, tells of a record
_END_SIZE, _LOCATOR_SIZE, _RECORD_SIZE = 22, 20, 56


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
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        is_zip = _is_zip(path)
        is_plain = not is_zip or _is_stored(path)
        if is_plain:
            weights = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except FileNotFoundError:
        raise
    except SafetensorError as error:
        raise ValueError(f"{path}: not readable as weights: damaged ({error})") from None
    except Exception as error:  # a damaged file raises whatever reading it stumbles over
        reason = f"damaged, or objects other than tensors ({type(error).__name__})"
        advice = "copy it anew, or name another"
        raise ValueError(f"{path}: not readable as weights: {reason}; {advice}") from None
    if not is_plain:
        raise ValueError(
            f"{path}: not readable as weights: a ZIP archive that is compressed, or claims to hold "
            "more than it does, as torch.save writes none; take the file as it was saved"
        )
    return _checked(weights, path)


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


def _checked(weights: Any, path: Path) -> dict[str, Any]:
    # The DeiT files hold their weights under one name.
    if isinstance(weights, dict) and isinstance(weights.get("model"), dict):
        weights = weights["model"]
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        raise ValueError(f"{path}: holds a {type(weights).__name__}, not weights by name")
    # Nor does torch mind one value that is told to be a terabyte, or tensors without values.
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
