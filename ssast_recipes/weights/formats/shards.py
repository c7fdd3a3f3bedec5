"""Weights in several files: the index that tells which tensor is in which."""

import hashlib
from pathlib import Path

from ssast_recipes.system.files import file_digest
from ssast_recipes.system.reading import read_json

_INDEX = ".index.json"
_SUFFIXES = (".safetensors", ".bin")


def is_index(path: Path) -> bool:
    """Whether a file is such an index, by its name."""
    return path.name.endswith(_INDEX)


def read_index(path: Path) -> dict[Path, list[str]]:
    """Reads an index: the files, all beside it, and the names of the tensors in each.

    Arguments
    ---------
    path : Path
        `model.safetensors.index.json`, or of `.bin`.

    Returns
    -------
    dict[Path, list[str]]
        Names by file.

    Raises
    ------
    ValueError
        If it is no index, names a file elsewhere or of another kind, or one that is not there.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "a.index.json").write_text('{"weight_map": {"b": "../a.safetensors"}}')
    >>> read_index(folder / "a.index.json")
    Traceback (most recent call last):
    ValueError: .../a.index.json: '../a.safetensors' is not the name of a weights file beside it
    """
    names = read_json(path, "copy it anew").get("weight_map")
    if not isinstance(names, dict) or not names:
        raise ValueError(f"{path}: holds no weight_map, names of tensors and their files")
    files: dict[Path, list[str]] = {}
    for name, file in names.items():
        is_name = isinstance(file, str) and not {*file} & {"/", "\\", "\0"}
        if not is_name or not file.endswith(_SUFFIXES):
            raise ValueError(f"{path}: {file!r} is not the name of a weights file beside it")
        files.setdefault(path.with_name(file), []).append(name)
    for file in files:
        if not file.is_file():
            raise ValueError(f"{path}: {file.name} is missing; copy the whole folder anew")
    return files


def digest_of_shards(path: Path) -> str:
    """A checksum of weights in several files: of the lines `checksum  name`, sorted by name."""
    lines = [f"{file_digest(file)}  {file.name}\n" for file in sorted(read_index(path))]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
