"""Tasks as a command line names them: own labels, corpora by their recipes, HEAR's folders."""

import re
from pathlib import Path

from ssast_recipes.data.manifest import read_classes
from ssast_recipes.data.preparation.labelled_files import read_labelled_files
from ssast_recipes.data.preparation.own_audio import prepare_labelled
from ssast_recipes.evaluation.corpora import CORPORA
from ssast_recipes.evaluation.hear_tasks import read_hear_task
from ssast_recipes.evaluation.tasks import Task, make_task, read_splits

HEAR = "hear:"
_NAME = re.compile(r"[\w.-]+")


def read_task(text: str, folder: Path, num_folds: int | None = None) -> Task:
    """Prepares a task and reads it.

    Arguments
    ---------
    text : str
        A corpus of a recipe, as `esc50=DIR`: see `CORPORA`; `hear:DIR`, a folder of
        `read_hear_task`; `NAME=LABELS` for labels of one's own, of `read_labelled_files`.
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
    if text.startswith(HEAR):
        return read_hear_task(text.removeprefix(HEAR), folder)
    name, equals, source = text.partition("=")
    if not equals or not source or not _NAME.fullmatch(name):
        known = ", ".join(f"{one}=DIR" for one in CORPORA)
        raise ValueError(f"--tasks {text}: write NAME=LABELS, {HEAR}DIR or one of {known}")
    if name in CORPORA:
        return CORPORA[name](name, source, folder / name)
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
