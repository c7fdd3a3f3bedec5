"""What encoders are evaluated on: clips with labels, dealt to training, validation and test."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ssast_recipes.data.labels import MultiHotEncoder
from ssast_recipes.data.manifest import Clip, read_manifest

SPLITS = ("train", "valid", "test")


class Fold(NamedTuple):
    """One way in which a task's clips are dealt: their places in `Task.clips`, by split."""

    name: str  # "fold 1", or empty if there is one way only
    train: list[int]
    valid: list[int]
    test: list[int]

    @property
    def has_valid(self) -> bool:
        """Whether validation clips are there, and are not the test's."""
        return bool(self.valid) and not set(self.valid) & set(self.test)


@dataclass(frozen=True)
class Task:
    """Labelled clips, and how they are dealt.

    Arguments
    ---------
    name : str
        What it is called in tables.
    clips : sequence of Clip
        Every clip once, ordered by file and place.
    classes : sequence of str
        Their names, in the order of the scores.
    folds : sequence of Fold
        The ways in which they are dealt; results are averaged over them.
    metrics : tuple of str
        Names of `METRICS`, what it is judged by first.
    notes : sequence of str
        What is to be told of it.
    """

    name: str
    clips: Sequence[Clip]
    classes: Sequence[str]
    folds: Sequence[Fold]
    metrics: tuple[str, ...]
    notes: Sequence[str] = field(default=())

    @property
    def is_multi(self) -> bool:
        """Whether clips have several labels, or none."""
        return any(len(clip.labels) != 1 for clip in self.clips)

    @property
    def metric(self) -> str:
        """What it is judged by."""
        return self.metrics[0]

    @cached_property
    def targets(self) -> Tensor:
        """Which classes every clip has, [clips, classes], 0 or 1."""
        encode = MultiHotEncoder(self.classes, allows_none=True)
        return torch.stack([encode(clip.labels) for clip in self.clips])

    @cached_property
    def digest(self) -> str:
        """Changes when clips, labels or folds do; not with what is in the files."""
        clips = [(clip.path, clip.start, clip.duration, clip.labels) for clip in self.clips]
        text = json.dumps([clips, list(self.classes), self.folds, self.metrics])
        return hashlib.sha256(text.encode()).hexdigest()


def make_task(
    name: str,
    folds: Mapping[str, Mapping[str, Sequence[Clip]]],
    classes: Sequence[str],
    metrics: tuple[str, ...] = (),
    notes: Sequence[str] = (),
) -> Task:
    """Makes a task of dealt clips.

    Arguments
    ---------
    name : str
        Of the task.
    folds : mapping of str to mapping of str to sequence of Clip
        By the fold's name, clips by split; "valid" may be missing.
    classes : sequence of str
        Their names.
    metrics : tuple of str
        By default accuracy or, where clips have several labels, mAP.
    notes : sequence of str
        What is to be told of it.

    Returns
    -------
    Task

    Raises
    ------
    ValueError
        If a fold has no clip to train on, or none to test on.

    Example
    -------
    >>> clips = [Clip(name, f"/{name}.wav", 0.0, 1.0, 16000, (name[0],)) for name in ("a1", "b1")]
    >>> task = make_task("mine", {"": {"train": clips, "test": clips[:1]}}, ["a", "b"])
    >>> task.folds[0].train, task.folds[0].test, task.metric, task.targets.tolist()
    ([0, 1], [0], 'accuracy', [[1.0, 0.0], [0.0, 1.0]])
    """
    known = {_place(clip): clip for dealt in folds.values() for clip in _all(dealt)}
    clips = [known[place] for place in sorted(known)]
    index = {_place(clip): number for number, clip in enumerate(clips)}
    made = []
    for fold, dealt in folds.items():
        parts = {split: [index[_place(clip)] for clip in dealt.get(split, ())] for split in SPLITS}
        for split in ("train", "test"):
            if not parts[split]:
                where = f", {fold}" if fold else ""
                raise ValueError(f"task {name}{where}: there is no clip for {split}")
        made.append(Fold(fold, **parts))
    several = any(len(clip.labels) != 1 for clip in clips)
    told = list(notes)
    if any(fold.test == fold.valid for fold in made):
        told.append("validation has no clips but the test's, which choose nothing")
    return Task(
        name, clips, list(classes), made, metrics or ("mAP" if several else "accuracy",), told
    )


def read_splits(folder: Path, names: Mapping[str, str] | None = None) -> dict[str, list[Clip]]:
    """Reads the manifests of a prepared folder, by split.

    Arguments
    ---------
    folder : Path
        With `train.csv`, `test.csv` and, perhaps, `valid.csv`.
    names : mapping of str to str, optional
        Other names of manifests, without `.csv`, by split.

    Returns
    -------
    dict of str to list of Clip
    """
    paths = {split: folder / f"{(names or {}).get(split, split)}.csv" for split in SPLITS}
    return {
        split: read_manifest(path)
        for split, path in paths.items()
        if split != "valid" or path.exists()
    }


def _all(dealt: Mapping[str, Sequence[Clip]]) -> Iterator[Clip]:
    for clips in dealt.values():
        yield from clips


def _place(clip: Clip) -> tuple[str, float, float]:
    return clip.path, clip.start, clip.duration
