"""What `ssast crossval` was given: checked before the first fold, and kept."""

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssast_recipes.records.configuration import PLACE_KEYS, changed_keys
from ssast_recipes.records.hparams import node_text, read_hparams
from ssast_recipes.records.run import HPARAMS, Run
from ssast_recipes.system.files import file_digest, write_text
from ssast_recipes.system.reading import read_json
from ssast_recipes.weights.finding import find_weights

if TYPE_CHECKING:
    from ssast_recipes.runs.crossval import Fold


def read_options(passed_on: Sequence[str], with_seeds: bool) -> dict[str, str]:
    """What is passed on by option, none of them crossval's to give."""
    options = _as_options(passed_on)
    own = {"test_fold": "--folds", "output_folder": "--output"}
    if with_seeds:
        own["seed"] = "--seeds"
    elif any("{seed}" in value for value in options.values()):
        raise ValueError("{seed} is filled in from --seeds, which is not given")
    for key in options.keys() & own.keys():
        raise ValueError(f"--{key} is given to every fold by crossval: use {own[key]}")
    return options


def _as_options(words: Iterable[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for word in words:
        if word.startswith("--"):
            key, _, value = word[2:].partition("=")
            options[key] = value
        elif options:
            options[key] = f"{options[key]} {word}".lstrip()
        else:
            raise ValueError(f"{word!r} after the YAML file: expected --key value")
    return options


def read_yaml(path: Path) -> dict[str, str]:
    """The text of every key of a YAML file, without comments and with its tags as they are."""
    return {key: node_text(node) for key, node in read_hparams(path).items()}


def keep_arguments(output: Path, given: Mapping[str, str]) -> None:
    """Writes `arguments.json`, unless folds were begun with others: then raises ValueError."""
    places = {f"--{key}" for key in PLACE_KEYS}
    now = {key: value for key, value in given.items() if key not in places}
    path = output / "arguments.json"
    # What never got as far as a checkpoint may be forgotten: a mistyped value, say.
    if any(output.glob("fold*/**/results.json")) or any(output.glob("fold*/**/save/*")):
        if not path.exists():
            raise ValueError(f"{output} has folds but no {path.name}: choose another --output")
        before = read_json(path, "choose another --output")
        # Version 0.1.0 noted the YAML file's texts as well, which `check_records` compares better.
        before = {key: value for key, value in before.items() if " in the YAML file" not in key}
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


def check_records(folds: Iterable["Fold"]) -> None:
    """Raises ValueError if the YAML file, or one it includes, was changed since a fold was begun.

    What each fold was begun with stands in its `hyperparams.yaml`, resolved.
    """
    for fold in folds:
        record = Run(fold.folder).path / HPARAMS
        if not fold.begun or not record.exists():
            continue
        changed = changed_keys(record.read_bytes(), _resolve(fold), record, length_may_change=False)
        if changed:
            more = ", …" if len(changed) > 6 else ""
            raise ValueError(
                f"{fold.name} was run with another {', '.join(changed[:6])}{more} in "
                f"{fold.hparams_file} (see {record}): choose another --output, or put it back"
            )


def _resolve(fold: "Fold") -> str:
    """The YAML file's text as `train.py` would resolve it, options of SpeechBrain's left out."""
    from hyperpyyaml import resolve_references
    from ruamel.yaml.error import YAMLError

    keys = read_hparams(Path(fold.hparams_file))
    given = {key: value for key, value in _as_options(fold.words).items() if key in keys}
    overrides = "\n".join(f"{key}: {value}" for key, value in given.items())
    try:
        with open(fold.hparams_file, encoding="utf-8") as file:
            return resolve_references(file, overrides).getvalue()
    except (TypeError, ValueError, YAMLError) as error:
        raise ValueError(f"{fold.hparams_file}: {error}") from error


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
    from ssast_recipes.weights.source import fetch_weights

    found = {}
    for fold in folds:
        try:
            found[fold] = find_weights(fetch_weights(fold.fill_in(source)))
        except OSError as error:
            if not fold.finished:
                raise FileNotFoundError(f"pretrained_encoder of {fold.name}: {error}") from None
    return found


def keep_encoders(output: Path, encoders: Mapping["Fold", Path]) -> None:
    """Writes `encoders.json`, unless a fold was begun with another file: then raises ValueError."""
    if not encoders:
        return
    path = output / "encoders.json"
    before = read_json(path, "choose another --output") if path.exists() else {}
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
