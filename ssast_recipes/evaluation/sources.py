"""Tasks as a command line names them: one's own labels, and corpora by their recipes."""

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

from ssast_recipes.data.manifest import read_classes, read_manifest
from ssast_recipes.data.preparation.counts import Published
from ssast_recipes.data.preparation.labelled_files import read_labelled_files
from ssast_recipes.data.preparation.manifests import prepare_manifests
from ssast_recipes.data.preparation.own_audio import prepare_labelled
from ssast_recipes.evaluation.tasks import Task, make_task, read_splits
from ssast_recipes.system.recipes import recipe_folder

_NAME = re.compile(r"[\w.-]+")


def read_task(text: str, folder: Path, num_folds: int | None = None) -> Task:
    """Prepares a task and reads it.

    Arguments
    ---------
    text : str
        `esc50=DIR` for a corpus of a recipe, `NAME=LABELS` for labels of one's own, as
        `read_labelled_files` takes them.
    folder : Path
        In which each task gets a folder of manifests; what is prepared there is used again.
    num_folds : int, optional
        Cross-validates labels of one's own that have no splits, by groups if there are some.

    Returns
    -------
    Task

    Raises
    ------
    ValueError, OSError
        If the text names no task, or what it names is not there or not as it should be.
    """
    name, equals, source = text.partition("=")
    if not equals or not source or not _NAME.fullmatch(name):
        known = ", ".join(f"{one}=DIR" for one in _CORPORA)
        raise ValueError(f"--tasks {text}: write NAME=LABELS or one of {known}")
    if name in _CORPORA:
        return _CORPORA[name](name, source, folder / name)
    return _read_own(name, Path(source).absolute(), folder / name, num_folds)


def _read_own(name: str, source: Path, folder: Path, num_folds: int | None) -> Task:
    notes: list[str] = []
    files = read_labelled_files(source, notes)
    has_splits = any(file.split for file in files)
    if num_folds and not has_splits:
        folds = {}
        for number in range(1, num_folds + 1):
            made = folder / f"fold{number}"
            prepare_labelled(source, made, test_fold=number, num_folds=num_folds)
            folds[f"fold {number}"] = read_splits(made)
        return make_task(name, folds, read_classes(made / "classes.txt"), notes=notes)
    if num_folds:
        notes.append("has splits, which are kept: --folds deals what has none")
    prepare_labelled(source, folder)
    classes = read_classes(folder / "classes.txt")
    return make_task(name, {"": read_splits(folder)}, classes, notes=notes)


def _read_esc50(name: str, source: str, folder: Path) -> Task:
    """By the corpus' folds; its files are used where they are, at their own rate."""
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


_CORPORA = {"esc50": _read_esc50}
