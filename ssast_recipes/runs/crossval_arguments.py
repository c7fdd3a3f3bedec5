"""What `ssast crossval` was given: read, checked before the first fold, and kept."""

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssast_recipes.records.configuration import PLACE_KEYS
from ssast_recipes.records.hparams import node_text, read_hparams
from ssast_recipes.system.files import write_text


def read_numbers(text: str, option: str) -> list[int]:
    """Reads numbers and ranges of numbers, separated by commas.

    Arguments
    ---------
    text : str
        What was given.
    option : str
        The option to which it was given.

    Returns
    -------
    list[int]
        The numbers, in their order.

    Raises
    ------
    ValueError
        If it is something else, a range is empty or a number comes twice.

    Example
    -------
    >>> read_numbers("1-3,5", "--folds")
    [1, 2, 3, 5]
    """
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text, re.ASCII):
        raise ValueError(f"{option} is to be like 1-5, 1,3,5 or 2, not {text!r}")
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if int(last or first) < int(first):
            raise ValueError(f"{option} {text}: {part} is empty; the lower number comes first")
        numbers.extend(range(int(first), int(last or first) + 1))
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"{option} {text}: a number comes twice")
    return numbers


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


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file to be read."""
    write_text(path, json.dumps(value, indent=2) + "\n")
