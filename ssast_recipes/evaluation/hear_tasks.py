"""Tasks of HEAR in the folders that its preprocessing leaves (Turian et al., 2022).

`task_metadata.json` tells kind, splits and metrics; `labelvocabulary.csv` the classes and their
indices; `SPLIT.json` the labels of each file; `16000/SPLIT/` holds the files.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssast_recipes.data.manifest import read_manifest
from ssast_recipes.data.preparation.counts import Published
from ssast_recipes.data.preparation.manifests import Entry, prepare_manifests
from ssast_recipes.evaluation.probes import METRICS
from ssast_recipes.evaluation.tasks import SPLITS, Task, make_task
from ssast_recipes.system.reading import read_json
from ssast_recipes.system.tables import iterate_rows

_ADVICE = "unpack HEAR's task anew"
_RATE = "16000"
_KFOLD = ("new_split_kfold", "presplit_kfold")


def read_hear_task(source: str, folder: Path) -> Task:
    """Prepares a scene task and reads it.

    Folds are HEAR's: each is tested in turn, the next one in order validates, and the others are
    for training.

    Arguments
    ---------
    source : str
        The task's folder.
    folder : Path
        In which the task gets a folder of manifests.

    Returns
    -------
    Task
        With HEAR's metrics, as far as they are of scenes, its first one first.

    Raises
    ------
    OSError, ValueError
        If it is no such folder, its files are damaged or do not go together, or it is a task of
        events.
    """
    root = Path(source).absolute()
    metadata = read_json(root / "task_metadata.json", _ADVICE)
    name = _text(root, metadata, "task_name")
    if _text(root, metadata, "embedding_type") != "scene":
        raise ValueError(f"{root}: scene tasks are evaluated, not those of events moment by moment")
    classes = _read_vocabulary(root / "labelvocabulary.csv")
    parts = _list_parts(root, metadata)
    entries = {part: _read_split(root, part, classes) for part in parts}
    prepare_manifests(folder / name, entries, Published(name, {}), classes)
    clips = {part: read_manifest(folder / name / f"{part}.csv") for part in parts}
    if parts == SPLITS:
        folds = {"": clips}
    else:
        folds = {}
        for number, test in enumerate(parts):
            valid = parts[(number + 1) % len(parts)]
            train = [clip for part in parts if part not in (test, valid) for clip in clips[part]]
            folds[test] = {"train": train, "valid": clips[valid], "test": clips[test]}
    asked = metadata.get("evaluation") or []
    metrics = tuple(one for one in asked if one in METRICS)
    if not metrics:
        raise ValueError(f"{root}: none of its metrics is known here: {', '.join(map(str, asked))}")
    left_out = [str(one) for one in asked if one not in METRICS]
    notes = [f"metrics left out: {', '.join(left_out)}"] if left_out else []
    return make_task(name, folds, classes, metrics, notes)


def _text(root: Path, metadata: dict[str, Any], key: str) -> str:
    value = metadata.get(key)
    if not isinstance(value, str) or not value or "/" in value:
        raise ValueError(f"{root / 'task_metadata.json'}: {key} is {value!r}; {_ADVICE}")
    return value


def _list_parts(root: Path, metadata: dict[str, Any]) -> Sequence[str]:
    mode = _text(root, metadata, "split_mode")
    if mode == "trainvaltest":
        return SPLITS
    where = root / "task_metadata.json"
    if mode not in _KFOLD:
        known = ", ".join(("trainvaltest", *_KFOLD))
        raise ValueError(f"{where}: split_mode is one of {known}, not {mode!r}")
    splits = metadata.get("splits")
    is_list = isinstance(splits, list) and all(isinstance(one, str) for one in splits)
    if not is_list or len(set(splits)) < len(splits) or len(splits) < 3:
        raise ValueError(f"{where}: splits are names of three folds at least, not {splits!r}")
    return tuple(sorted(splits))


def _read_vocabulary(path: Path) -> list[str]:
    found: dict[int, str] = {}
    for where, row in iterate_rows(path, ("idx", "label")):
        try:
            found[int(row["idx"])] = row["label"]
        except (TypeError, ValueError):
            raise ValueError(f"{where}: idx is {row['idx']!r}, not a number; {_ADVICE}") from None
    if sorted(found) != list(range(len(found))) or len(found) < 2:
        raise ValueError(f"{path}: indices are to be 0, 1, … of two classes at least; {_ADVICE}")
    return [found[index] for index in range(len(found))]


def _read_split(root: Path, part: str, classes: Sequence[str]) -> list[Entry]:
    path, known = root / f"{part}.json", set(classes)
    entries = []
    for file, labels in read_json(path, _ADVICE).items():
        named = labels if isinstance(labels, list) else [labels]
        names = tuple(dict.fromkeys(str(label) for label in named))
        if not known.issuperset(names):
            raise ValueError(f"{path}: {file} is labelled {labels!r}, not of the vocabulary")
        entries.append(Entry(f"{part}/{file}", str(root / _RATE / part / file), names))
    return entries
