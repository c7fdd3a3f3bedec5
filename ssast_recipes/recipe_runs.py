"""A recipe's YAML file with other values, written to a folder and run from there."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssast_recipes.errors import RunError
from ssast_recipes.files import write_text
from ssast_recipes.recipe_files import recipe_folder


def write_hparams(source: Path, target: Path, values: Mapping[str, Any]) -> None:
    """Copies a recipe's YAML file, comments and all, with other values at its top level.

    Arguments
    ---------
    source : Path
        A file in the recipe's `hparams`.
    target : Path
        The copy, anywhere: files that it includes are named by their absolute paths.
    values : mapping
        By key; plain ones, as JSON has them.

    Raises
    ------
    KeyError
        If the file has no such key on a line of its own.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "a.yaml").write_text("lr: 1.0e-4 # published\\nsize: base\\n")
    >>> write_hparams(folder / "a.yaml", folder / "b.yaml", {"lr": 5e-4})
    >>> print((folder / "b.yaml").read_text().strip())
    lr: 0.0005 # published
    size: base
    """
    text = source.read_text(encoding="utf-8")
    for key, value in values.items():
        line = re.compile(rf"^{key}: .*?(?P<comment> +#.*)?$", re.MULTILINE)
        if not line.search(text):
            raise KeyError(f"{source} has no line {key}: …")
        told = f"{key}: {json.dumps(value, ensure_ascii=False)}"
        text = line.sub(lambda found, told=told: told + (found["comment"] or ""), text, count=1)
    text = re.sub(
        r"(!include:)(\.\S+)",
        lambda found: f"{found[1]}{(source.parent / found[2]).resolve()}",
        text,
    )
    write_text(target, text)


def train_command(recipe: str, hparams_file: Path, device: str | None = None) -> list[str]:
    """Returns the words that run a recipe's `train.py` on a YAML file.

    Example
    -------
    >>> train_command("OwnAudio", Path("mine.yaml"), "cpu")[-3:]
    ['mine.yaml', '--device', 'cpu']
    """
    train = recipe_folder(recipe) / "train.py"
    return [
        sys.executable,
        str(train),
        str(hparams_file),
        *(["--device", device] if device else []),
    ]


def run_recipe(recipe: str, hparams_file: Path, device: str | None = None) -> None:
    """Runs a recipe's `train.py` on a YAML file; what it prints is seen as it comes.

    Raises
    ------
    RunError
        If it fails; it has said why.
    """
    command = train_command(recipe, hparams_file, device)
    status = subprocess.run(command, check=False).returncode
    if status:
        raise RunError(f"train.py ended with status {status}; the same command goes on from there")


def is_same_request(folder: Path, request: Mapping[str, Any]) -> bool:
    """Tells whether a folder holds a run that was asked for before.

    Arguments
    ---------
    folder : Path
        The run's folder, in which `keep_request` keeps `request.json`.
    request : mapping
        What the user asks for, in plain values and paths.

    Returns
    -------
    bool
        Whether the same was asked for before; False if nothing was.

    Raises
    ------
    ValueError
        If something else was.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> is_same_request(folder, {"size": "tiny"})
    False
    >>> keep_request(folder, {"size": "tiny"})
    >>> is_same_request(folder, {"size": "tiny"})
    True
    """
    path = folder / "request.json"
    if not path.exists():
        return False
    before, now = json.loads(path.read_text(encoding="utf-8")), json.loads(_as_text(request))
    changed = [key for key in now if before.get(key) != now[key]]
    if changed:
        told = ", ".join(f"{key} was {before.get(key)}, is {now[key]}" for key in changed)
        raise ValueError(f"{folder} was begun with other options ({told}); choose another --output")
    return True


def keep_request(folder: Path, request: Mapping[str, Any]) -> None:
    """Notes what was asked for, once all that it takes is there: see `is_same_request`."""
    write_text(folder / "request.json", _as_text(request))


def _as_text(request: Mapping[str, Any]) -> str:
    return json.dumps(request, indent=2, default=str) + "\n"
