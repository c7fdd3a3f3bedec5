"""Labelled audio as people have it: a folder a class, or a table."""

import os
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ssast_recipes.data.manifest import why_unfit
from ssast_recipes.data.preparation.listing import audio_files, is_audio_name
from ssast_recipes.system.tables import check_columns, iterate_rows, read_names

SPLITS = ("train", "valid", "test")


class LabelledFile(NamedTuple):
    """An audio file with its labels."""

    path: str  # absolute
    labels: tuple[str, ...]
    split: str = ""  # of SPLITS; empty if none is given


def read_labelled_files(source: str | os.PathLike) -> list[LabelledFile]:
    """Reads which audio files there are, with their labels.

    Arguments
    ---------
    source : str or path
        A folder of folders, each named after the class of the audio files in and below it; or a CSV
        file with the columns `path`, `label` (several are separated by `;`) and, optionally,
        `split` (train, valid, test); capitals in the names of columns and splits mean nothing.
        Paths are relative to the CSV file.

    Returns
    -------
    list of LabelledFile
        Ordered by path.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file.
    ValueError
        If a file is no CSV file in UTF-8, a row is wrong, a file is listed twice, a class has a
        name that no manifest can hold, or there is nothing to learn: less than two classes.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "labels.csv").write_text("path,label\\na.wav,dog;rain\\nb.wav,rain\\n")
    >>> [
    ...     (os.path.basename(file.path), file.labels)
    ...     for file in read_labelled_files(folder / "labels.csv")
    ... ]
    [('a.wav', ('dog', 'rain')), ('b.wav', ('rain',))]
    """
    source = Path(source)
    if source.is_dir():
        files = [
            LabelledFile(path, (os.path.relpath(path, source).split(os.sep)[0],))
            for path in audio_files(source)
            if Path(path).parent != source.absolute()
        ]
        expected = "folders named after classes, with audio files in them"
        for label in {label for file in files for label in file.labels}:
            if ";" in label or label != label.strip():
                raise ValueError(
                    f"{source / label}: a label cannot hold ';', which separates labels, nor begin "
                    "or end with a blank; rename the folder"
                )
            if reason := why_unfit(label):
                raise ValueError(f"{source}: {reason}")
    elif source.is_file():
        if is_audio_name(source.name):
            raise ValueError(
                f"{source} is audio; labels are a folder of class folders, or a CSV file path,label"
            )
        files = _read_table(source)
        expected = "rows below the line path,label"
    else:
        raise FileNotFoundError(
            f"{source} is not there; give a folder of class folders, or a CSV file path,label"
        )
    classes = {label for file in files for label in file.labels}
    if len(classes) < 2:
        found = f"the only class is {min(classes)}" if classes else f"there are no {expected}"
        raise ValueError(f"{source}: {found}; there have to be two classes at least")
    return sorted(files)


def _read_table(table: Path) -> list[LabelledFile]:
    encoding = "utf-8-sig"  # as spreadsheets write it, with a mark in front
    names = [name.strip().lower() for name in read_names(table, encoding)]
    missing = [name for name in ("path", "label") if name not in names]
    if missing:
        raise ValueError(
            f"{table}: the column(s) {', '.join(missing)} are missing, the first line is "
            f"{','.join(names)!r}"
        )
    check_columns(table, names, [name for name in ("path", "label", "split") if name in names])
    rows = iterate_rows(table, encoding=encoding, is_ragged=True, names=names)
    files: dict[str, LabelledFile] = {}
    for where, row in rows:
        path = os.path.abspath(table.parent / (row["path"] or ""))
        labels = tuple(label.strip() for label in (row["label"] or "").split(";"))
        split = (row.get("split") or "").strip().lower()
        if not row["path"] or not all(labels):
            raise ValueError(f"{where}: a path and a label are needed, found {row}")
        if len(set(labels)) < len(labels):
            raise ValueError(f"{where}: a label is there twice: {row['label']}")
        for reason in filter(None, map(why_unfit, labels)):
            raise ValueError(f"{where}: {reason}")
        if split not in ("", *SPLITS):
            raise ValueError(f"{where}: split is one of {', '.join(SPLITS)}, not {row['split']!r}")
        if path in files:
            raise ValueError(f"{where}: {row['path']} was there before; give it several labels")
        files[path] = LabelledFile(path, labels, split)
    if len({not file.split for file in files.values()}) > 1:
        raise ValueError(f"{table}: some rows have a split and some have none; give all, or none")
    return list(files.values())


def split_files(
    files: Sequence[LabelledFile], seed: int = 0
) -> tuple[dict[str, list[LabelledFile]], str]:
    """Deals files to training, validation and test.

    Arguments
    ---------
    files : sequence of LabelledFile
        With splits, which are kept, or without.
    seed : int
        What the deal is drawn from.

    Returns
    -------
    dict of str to list of LabelledFile
        By split. Without given ones: of each set of labels, a tenth for validation and a fifth for
        test, rounded, of three files one for test and of five one for validation. Where only
        training and test are given, a tenth of training becomes validation.
    str
        What was done, in words.

    Raises
    ------
    ValueError
        If nothing is left for training or for test.

    Example
    -------
    >>> files = [LabelledFile(f"/{name}{n}", (name,)) for name in "ab" for n in range(10)]
    >>> {split: len(part) for split, part in split_files(files)[0].items()}
    {'train': 14, 'valid': 2, 'test': 4}
    """
    given = {file.split for file in files} - {""}
    parts: dict[str, list[LabelledFile]] = {split: [] for split in SPLITS}
    for file in files:
        parts[file.split or "train"].append(file)
    told = "splits as given"
    if not given:
        told = "a tenth for validation and a fifth for test, drawn from each class"
        parts["test"], parts["train"] = _draw(parts["train"], 0.2, 3, f"test {seed}")
    if "valid" not in given:
        # Of what is left: an eighth of four fifths is a tenth.
        share = 0.1 if given else 0.125
        parts["valid"], parts["train"] = _draw(parts["train"], share, 5, f"valid {seed}")
        told += ", a tenth of training for validation" if given else ""
    if not parts["valid"]:
        parts["valid"] = parts["test"]
        told += "; too few for validation, which is on the test files"
    for split in ("train", "test"):
        if not parts[split]:
            raise ValueError(f"there is no file for {split}: give more, or splits of your own")
    return parts, told


def _draw(
    files: Sequence[LabelledFile], share: float, least: int, seed: str
) -> tuple[list[LabelledFile], list[LabelledFile]]:
    """Draws a share of each group of files with the same labels: the drawn, and the others."""
    groups: dict[tuple[str, ...], list[LabelledFile]] = defaultdict(list)
    for file in files:
        groups[file.labels].append(file)
    drawn: set[LabelledFile] = set()
    rare: list[LabelledFile] = []  # too few to share a group: drawn from together
    for labels, group in sorted(groups.items()):
        if len(group) < least:
            rare += group
        else:
            count = max(1, round(share * len(group)))
            drawn.update(random.Random(f"{seed} {labels}").sample(group, count))
    several = any(len(file.labels) > 1 for file in files)
    if several and rare:  # of single labels, a class with two files needs both to train on
        drawn.update(random.Random(seed).sample(rare, round(share * len(rare))))
    return [file for file in files if file in drawn], [file for file in files if file not in drawn]
