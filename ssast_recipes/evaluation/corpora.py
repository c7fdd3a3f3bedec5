"""Corpora that have a recipe, as tasks: dealt by their own folds and lists."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from ssast_recipes.data.manifest import read_classes, read_manifest
from ssast_recipes.data.preparation.counts import Published
from ssast_recipes.data.preparation.manifests import prepare_manifests
from ssast_recipes.evaluation.tasks import Task, make_task, read_splits
from ssast_recipes.system.recipes import recipe_folder


def read_esc50(name: str, source: str, folder: Path) -> Task:
    """ESC-50 or ESC-10 by its five folds; its files are used where they are, at their own rate."""
    module = load_preparation("ESC50", "esc50_prepare")
    _, recordings, classes = module.read_esc50(source)
    entries = {
        f"fold{number}": [module.as_entry(one) for one in recordings if one.fold == number]
        for number in module.FOLDS
    }
    prepare_manifests(folder, entries, Published("ESC-50", {}), classes)
    clips = {fold: read_manifest(folder / f"{fold}.csv") for fold in entries}
    folds = {
        f"fold {number}": {
            "train": [clip for fold in clips if fold != f"fold{number}" for clip in clips[fold]],
            "test": clips[f"fold{number}"],
        }
        for number in module.FOLDS
    }
    return make_task(name, folds, classes)


def read_speech_commands(name: str, source: str, folder: Path) -> Task:
    """Speech Commands: version 2 by its lists, version 1 as SUPERB's keyword spotting.

    Of version 1, validation is every clip once, and silence the noise files' seconds one by one.
    """
    version = "v1" if name.endswith("v1") else "v2"
    module = load_preparation("SpeechCommands", "speechcommands_prepare")
    module.prepare_speechcommands(source, folder, version)
    splits = read_splits(folder, {"valid": "valid_fixed"} if version == "v1" else None)
    return make_task(name, {"": splits}, read_classes(folder / "classes.txt"))


def read_voxceleb(name: str, source: str, folder: Path) -> Task:
    """VoxCeleb1's speakers, by its list for identification."""
    load_preparation("VoxCeleb", "voxceleb_prepare").prepare_voxceleb(source, folder)
    return make_task(name, {"": read_splits(folder)}, read_classes(folder / "classes.txt"))


def read_iemocap(name: str, source: str, folder: Path) -> Task:
    """IEMOCAP's four emotions, each session tested in turn, as in SUPERB."""
    module = load_preparation("IEMOCAP", "iemocap_prepare")
    folds = {}
    for session in module.SESSIONS:
        module.prepare_iemocap(source, folder, session)
        folds[f"fold {session}"] = read_splits(folder / f"fold{session}")
    return make_task(name, folds, module.CLASSES)


def load_preparation(recipe: str, module: str) -> ModuleType:
    """Imports a recipe's preparation, from where the recipes are.

    Example
    -------
    >>> load_preparation("ESC50", "esc50_prepare").FOLDS
    (1, 2, 3, 4, 5)
    """
    folder = str(recipe_folder(recipe))
    sys.path.insert(0, folder)  # it may import what lies beside it
    try:
        return importlib.import_module(module)
    finally:
        sys.path.remove(folder)


# By what the command line calls them: (name, where the corpus is, folder for manifests) to a task.
CORPORA: dict[str, Callable[[str, str, Path], Task]] = {
    "esc50": read_esc50,
    "esc10": read_esc50,
    "speechcommands": read_speech_commands,
    "speechcommands-v1": read_speech_commands,
    "voxceleb": read_voxceleb,
    "iemocap": read_iemocap,
}
