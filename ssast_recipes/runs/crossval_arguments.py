"""What `ssast crossval` was given: checked before the first fold, and kept."""

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssast_recipes.records.configuration import PLACE_KEYS
from ssast_recipes.records.hparams import node_text, read_hparams
from ssast_recipes.system.files import file_digest, write_text
from ssast_recipes.weights.finding import find_weights

if TYPE_CHECKING:
    from ssast_recipes.runs.crossval import Fold


def read_options(passed_on: Sequence[str], with_seeds: bool) -> dict[str, str]:
    """What is passed on by option, none of them crossval's to give."""
    options: dict[str, str] = {}
    for argument in passed_on:
        if argument.startswith("--"):
            key, _, value = argument[2:].partition("=")
            options[key] = value
        elif options:
            options[key] = f"{options[key]} {argument}".lstrip()
        else:
            raise ValueError(f"{argument!r} after the YAML file: expected --key value")
    own = {"test_fold": "--folds", "output_folder": "--output"}
    if with_seeds:
        own["seed"] = "--seeds"
    elif any("{seed}" in value for value in options.values()):
        raise ValueError("{seed} is filled in from --seeds, which is not given")
    for key in options.keys() & own.keys():
        raise ValueError(f"--{key} is given to every fold by crossval: use {own[key]}")
    return options


def read_yaml(path: Path) -> dict[str, str]:
    """The text of every key of a YAML file, without comments and with its tags as they are."""
    return {key: node_text(node) for key, node in read_hparams(path).items()}


def keep_arguments(output: Path, given: Mapping[str, str]) -> None:
    """Writes `arguments.json`, unless folds were begun with others: then raises ValueError."""
    places = {name for key in PLACE_KEYS for name in (f"--{key}", f"{key} in the YAML file")}
    now = {key: value for key, value in given.items() if key not in places}
    path = output / "arguments.json"
    # What never got as far as a checkpoint may be forgotten: a mistyped value, say.
    if any(output.glob("fold*/**/results.json")) or any(output.glob("fold*/**/save/*")):
        if not path.exists():
            raise ValueError(f"{output} has folds but no {path.name}: choose another --output")
        before = json.loads(path.read_text(encoding="utf-8"))
        differences = [
            f"{key} was {_shorten(before.get(key))} and is {_shorten(now.get(key))}"
            for key in {**before, **now}
            if before.get(key) != now.get(key)
        ]
        if differences:
            more = f"; and {len(differences) - 4} more" if len(differences) > 4 else ""
            raise ValueError(
                f"{output} has folds run with other arguments: {'; '.join(differences[:4])}{more}: "
                "choose another --output"
            )
    write_json(path, now)


def _shorten(value: str | None) -> str:
    return "not given" if value is None else textwrap.shorten(value, 60, placeholder=" …") or "''"


def write_json(path: Path, value: Any) -> Path:
    """Writes a JSON file to be read, and returns where."""
    write_text(path, json.dumps(value, indent=2) + "\n")
    return path


def find_encoders(source: str | None, folds: Iterable["Fold"]) -> dict["Fold", Path]:
    """Finds the weights that every fold is to begin with; of those finished, they may be gone.

    None if the encoder starts from scratch, or the YAML file computes its path.
    """
    if not source or source.startswith("!") or source in ("null", "Null", "NULL", "~"):
        return {}
    found = {}
    for fold in folds:
        try:
            found[fold] = find_weights(Path(fold.fill_in(source)))
        except FileNotFoundError as error:
            if not fold.finished:
                raise FileNotFoundError(f"pretrained_encoder of {fold.name}: {error}") from None
    return found


def keep_encoders(output: Path, encoders: Mapping["Fold", Path]) -> None:
    """Writes `encoders.json`, unless a fold was begun with another file: then raises ValueError."""
    if not encoders:
        return
    path = output / "encoders.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    now = {}
    for fold, weights in encoders.items():
        state = weights.stat()
        now[fold.name] = _digest(weights, state.st_mtime_ns, state.st_size)
        if fold.begun and before.get(fold.name, now[fold.name]) != now[fold.name]:
            raise ValueError(
                f"{fold.name} was run with another encoder: {weights} was replaced since; choose "
                "another --output, or put the old one back"
            )
    write_json(path, {**before, **now})


@lru_cache
def _digest(path: Path, modified: int, size: int) -> str:
    return file_digest(path)
