"""Folders named after classes, in folders named after splits or not."""

import os
from collections.abc import Sequence
from pathlib import Path

from ssast_recipes.data.manifest import why_unfit
from ssast_recipes.data.preparation.listing import is_left_behind
from ssast_recipes.data.preparation.splitting import LabelledFile, find_split


def is_hidden(path: str) -> bool:
    """Whether a relative path leads through a folder that is nobody's class.

    Example
    -------
    >>> [is_hidden(path) for path in ("dog/a.wav", "dog/.ipynb_checkpoints/a.wav", "__MACOSX/a")]
    [False, True, True]
    """
    return any(map(is_left_behind, path.split(os.sep)[:-1]))


def read_class_folders(folder: Path, paths: Sequence[str], notes: list[str]) -> list[LabelledFile]:
    """Labels audio files by the folders that they are in.

    Arguments
    ---------
    folder : Path
        See `read_labelled_files`.
    paths : sequence of str
        The audio files in it and below it, absolute, none of them hidden.
    notes : list of str
        Gets what is to be told.

    Returns
    -------
    list of LabelledFile
        In the order of the paths.

    Raises
    ------
    ValueError
        If folders of splits hold none of classes, or are beside others.

    Example
    -------
    >>> paths = ["/data/train/dog/a.wav", "/data/val/dog/b.wav", "/data/c.wav"]
    >>> notes = []
    >>> [(file.labels, file.split) for file in read_class_folders(Path("/data"), paths, notes)]
    [(('dog',), 'train'), (('dog',), 'valid')]
    >>> notes[0]
    '1 audio file(s) in no class folder are left out, such as /data/c.wav'
    """
    folder = folder.absolute()
    places = {path: os.path.relpath(path, folder).split(os.sep) for path in paths}
    loose = [path for path, parts in places.items() if len(parts) == 1]
    if loose:
        notes.append(
            f"{len(loose):,} audio file(s) in no class folder are left out, such as {loose[0]}"
        )
        places = {path: parts for path, parts in places.items() if len(parts) > 1}
    tops = sorted({parts[0] for parts in places.values()})
    splits = [top for top in tops if find_split(top)]
    with_audio = {parts[0] for parts in places.values() if len(parts) == 2}
    are_splits = bool(splits) and splits == tops
    if are_splits and (named := with_audio & set(splits)):
        top = min(named)
        raise ValueError(
            f"{folder / top}: audio lies in the folder of a split, which is to hold folders of "
            f"classes, {top}/CLASS/a.wav; without splits, give the folder of the classes"
        )
    if not are_splits and len(splits) > 1 and not with_audio & set(splits):
        others = ", ".join(top for top in tops if top not in splits)
        raise ValueError(
            f"{folder}: beside the folders of splits, {', '.join(splits)}, there are others: "
            f"{others}; move these into a split, or begin their names with a dot"
        )
    if are_splits:
        told = ", ".join(f"{top} ({find_split(top)})" for top in splits)
        notes.append(f"folders taken for splits: {told}")
    files = []
    for path, parts in places.items():
        split = find_split(parts[0]) if are_splits else ""
        label = parts[1] if are_splits else parts[0]
        files.append(LabelledFile(path, (label,), split))
    _check_labels(folder, {file.labels[0] for file in files})
    return files


def _check_labels(folder: Path, labels: set[str]) -> None:
    for label in sorted(labels):
        if ";" in label or label != label.strip():
            raise ValueError(
                f"{folder / label}: a label cannot hold ';', which separates labels, nor begin or "
                "end with a blank; rename the folder"
            )
        if reason := why_unfit(label):
            raise ValueError(f"{folder}: {reason}")
