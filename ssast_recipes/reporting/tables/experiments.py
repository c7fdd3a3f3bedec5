"""What experiments are, with options of the command line: read from their YAML files, not run."""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hyperpyyaml import resolve_references

from ssast_recipes.records.hparams import read_hparams, read_value
from ssast_recipes.records.settings import read_settings
from ssast_recipes.system.recipes import recipe_folder

# Reading a YAML file takes a tenth of a second: what does not change the settings is left out.
_NO_SETTINGS = {
    "data_folder",
    "librispeech_manifest",
    "manifest_folder",
    "output_folder",
    "pretrained_encoder",
    "seed",
    "test_fold",
}


def expected_settings(experiment: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Reads the settings of an experiment with options of the command line.

    Arguments
    ---------
    experiment : str
        Recipe and YAML file.
    options : mapping
        By key, as the command line gives them.

    Returns
    -------
    dict
        As `read_settings`; placeholders are told by the options.

    Example
    -------
    >>> settings = expected_settings("ESC50/finetune_patch", {"data_folder": "/d", "lr": 0.5})
    >>> settings["lr"], settings["number_of_epochs"], settings["schedule"]
    (0.5, 50, 'EpochDecay(decay=0.85, first_epoch=6)')
    """
    kept = {
        key: value.replace("{manifests}", "MANIFESTS") if isinstance(value, str) else value
        for key, value in options.items()
        if key not in _NO_SETTINGS
    }
    return dict(_settings(experiment, tuple(sorted(kept.items()))))


@cache
def _settings(experiment: str, options: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    given = {"data_folder": "DATA", "output_folder": "OUT", **dict(options)}
    overrides = "\n".join(f"{key}: {_as_yaml(value)}" for key, value in given.items())
    with open(hparams_file(experiment), encoding="utf-8") as file:
        return read_settings(resolve_references(file, overrides).getvalue())


def hparams_file(experiment: str) -> Path:
    """Finds an experiment's YAML file.

    Example
    -------
    >>> hparams_file("ESC50/finetune_patch").name
    'finetune_patch.yaml'
    """
    recipe, name = experiment.split("/")
    return recipe_folder(recipe) / "hparams" / f"{name}.yaml"


@cache
def manifest_place(experiment: str) -> str:
    """Where, below a data set's manifests, those of an experiment are: each split its own."""
    manifests = read_hparams(hparams_file(experiment))["manifest_folder"]
    return read_value(manifests).partition("/manifests")[2].strip("/")


def _as_yaml(value: Any) -> str:
    """A value as SpeechBrain's command line would write it into the YAML file."""
    if isinstance(value, str) and re.fullmatch(r"[\[{].*|[\w.+-]+", value):
        return value
    return json.dumps(value, default=str)
