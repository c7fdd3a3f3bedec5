"""Preparation of one's own audio: a folder of recordings, or labelled files."""

import logging
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from ssast_recipes.data.headers import AudioInfo
from ssast_recipes.data.preparation.background import add_background
from ssast_recipes.data.preparation.counts import Published
from ssast_recipes.data.preparation.label_report import find_warnings
from ssast_recipes.data.preparation.labelled_files import (
    check_classes,
    check_there,
    read_labelled_files,
)
from ssast_recipes.data.preparation.listing import audio_files
from ssast_recipes.data.preparation.manifests import Entry, prepare_manifests
from ssast_recipes.data.preparation.splitting import LabelledFile, Splits, split_files

logger = logging.getLogger(__name__)

VALID_SHARE = 0.05
MOST_VALID = 2000  # clips; more would only take time


def prepare_unlabelled(
    data_folder: str | os.PathLike,
    manifest_folder: str | os.PathLike,
    clip_seconds: float,
    seed: int = 0,
    max_rejected: float = 0.1,
) -> str:
    """Writes `train.csv` and `valid.csv`, for pretraining, of all audio in a folder and below it.

    Recordings longer than one and a half clips are cut into windows of equal length, about
    `clip_seconds`, as rows of the manifest: nothing is copied. A twentieth of the files, two
    thousand clips at most, is held out for validation: whole files, drawn from the seed, with no
    more than a tenth of the clips. Where these are less than half of a twentieth of the clips, as
    with few and long recordings, the last windows of long recordings make it up.

    Arguments
    ---------
    data_folder : str or path
        Audio in any format that soundfile reads, at any rate. It is only read.
    manifest_folder : str or path
        Where manifests, `rejected.csv` and `prepared.json` are written. A second call with the same
        files and options does nothing.
    clip_seconds : float
        Length of a window.
    seed : int
        What validation is drawn from.
    max_rejected : float
        The share of unusable files up to which preparation goes on without them.

    Returns
    -------
    str
        The folder's name.

    Raises
    ------
    FileNotFoundError
        If there is no audio.
    ValueError
        If there is a single clip, or too many files are unusable.

    Example
    -------
    >>> import soundfile
    >>> from ssast_recipes.data.manifest import read_manifest
    >>> folder = getfixture("tmp_path")
    >>> (folder / "audio").mkdir()
    >>> soundfile.write(folder / "audio" / "long.wav", [0.0] * 80000, 16000)
    >>> prepare_unlabelled(folder / "audio", folder / "manifests", clip_seconds=1.0)
    'audio'
    >>> [(clip.id, clip.start) for clip in read_manifest(folder / "manifests" / "train.csv")]
    [('long.wav#0', 0.0), ('long.wav#1', 1.0), ('long.wav#2', 2.0), ('long.wav#3', 3.0)]
    """
    folder = Path(data_folder).absolute()
    files = [Entry(os.path.relpath(path, folder), path) for path in find_audio(folder)]
    prepare_manifests(
        manifest_folder,
        {"all": files},
        Published(folder.name, {}),
        options={"clip_seconds": clip_seconds, "seed": seed},
        max_rejected=max_rejected,
        cut=lambda found: _windows(folder, found, clip_seconds, seed),
    )
    return folder.name


def find_audio(folder: Path) -> list[str]:
    """Lists the audio files in a folder and below it.

    Raises
    ------
    FileNotFoundError
        If there are none.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist, or is not a folder")
    paths = audio_files(folder)
    if not paths:
        raise FileNotFoundError(f"{folder}: there is no audio file in it or below it")
    return paths


def _windows(
    folder: Path, found: Mapping[str, AudioInfo], clip_seconds: float, seed: int
) -> dict[str, list[Entry]]:
    by_file: dict[str, list[Entry]] = {}
    for path, info in found.items():
        name = os.path.relpath(path, folder)
        count = max(1, round(info.duration / clip_seconds))
        length = info.duration / count
        by_file[path] = [
            Entry(name if count == 1 else f"{name}#{part}", path, (), part * length, length)
            for part in range(count)
        ]
    total = sum(map(len, by_file.values()))
    if total < 2:
        raise ValueError(f"{folder} holds {total} clip(s) of {clip_seconds:g} s; give more audio")
    held_out = _hold_out({path: len(clips) for path, clips in by_file.items()}, seed)
    entries: dict[str, list[Entry]] = {"train": [], "valid": []}
    for path, clips in by_file.items():
        kept = len(clips) - held_out.get(path, 0)
        entries["train"] += clips[:kept]
        entries["valid"] += clips[kept:]
    return entries


def _hold_out(counts: Mapping[str, int], seed: int) -> dict[str, int]:
    """How many of a file's clips are held out for validation, of how many, the last ones."""
    wanted = min(MOST_VALID, max(1, round(VALID_SHARE * sum(counts.values()))))
    most_files = min(len(counts) - 1, max(1, round(VALID_SHARE * len(counts))))
    paths = sorted(counts)
    random.Random(seed).shuffle(paths)
    held_out: dict[str, int] = {}
    missing = wanted
    for path in paths:
        # A much longer recording than what is wanted would leave little to train on.
        fits = wanted - missing + counts[path] <= min(2 * wanted, MOST_VALID)
        if missing > 0 and fits and len(held_out) < most_files:
            held_out[path] = counts[path]
            missing -= counts[path]
    if 2 * missing <= wanted:
        return held_out
    # From the shortest on, so that what these cannot give is left to longer ones; a clip that is
    # all of its file stays where it is.
    others = sorted((path for path in paths if path not in held_out), key=counts.__getitem__)
    for number, path in enumerate(others):
        part = min(counts[path] // 2, missing // (len(others) - number))
        if part:
            held_out[path] = part
            missing -= part
    return held_out


def prepare_labelled(
    data_folder: str | os.PathLike,
    manifest_folder: str | os.PathLike,
    seed: int = 0,
    max_rejected: float = 0.1,
    background: str | None = None,
    test_fold: int | None = None,
    num_folds: int | None = None,
) -> str:
    """Writes `train.csv`, `valid.csv`, `test.csv` and `classes.txt` of labelled audio files.

    Arguments
    ---------
    data_folder : str or path
        Class folders, a table, or recordings with label tracks; see `read_labelled_files`.
    manifest_folder : str or path
        Where to write; see `prepare_unlabelled`.
    seed : int
        What splits are drawn from, if none are given.
    max_rejected : float
        The share of unusable files up to which preparation goes on without them.
    background : str, optional
        The class of what nobody labelled in recordings of which stretches are; see
        `add_background`. By default that is left out.
    test_fold, num_folds : int, optional
        Tests on that one, from 1, of so many folds; see `split_files`.

    Returns
    -------
    str
        The name of the folder or file.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_labelled_files`, `check_there`, `add_background` and `split_files`; and if too many
        files are unusable, or all of a class.

    Example
    -------
    >>> import soundfile
    >>> from ssast_recipes.data.manifest import read_manifest
    >>> folder = getfixture("tmp_path")
    >>> for name in ("dog", "rain"):
    ...     (folder / "sounds" / name).mkdir(parents=True)
    ...     for number in range(10):
    ...         soundfile.write(folder / "sounds" / name / f"{number}.wav", [0.0] * 800, 16000)
    >>> prepare_labelled(folder / "sounds", folder / "manifests")
    'sounds'
    >>> [(clip.id, clip.labels) for clip in read_manifest(folder / "manifests" / "valid.csv")]
    [('dog/...wav', ('dog',)), ('rain/...wav', ('rain',))]
    """
    source, notes = Path(data_folder).absolute(), []
    files = read_labelled_files(source, notes)
    check_there(source, files)
    if num_folds and not test_fold:
        raise ValueError(f"num_folds is {num_folds}: give --test_fold, 1 to {num_folds}")
    if test_fold and not num_folds:
        raise ValueError(f"test_fold is {test_fold}: give --num_folds, too")
    given = {"background": background, "test_fold": test_fold, "num_folds": num_folds}
    folds = (test_fold, num_folds if test_fold else None)
    root = source if source.is_dir() else source.parent
    has_groups = any(file.group for file in files)

    def as_entries(listed: Sequence[LabelledFile]) -> tuple[dict[str, list[Entry]], str, Splits]:
        splits, told = split_files(listed, seed, *folds, source)
        entries = {
            split: [_entry(file, root, has_groups) for file in part]
            for split, part in splits.items()
        }
        return entries, told, splits

    def cut(found: Mapping[str, AudioInfo]) -> dict[str, list[Entry]]:
        chosen = files
        if background:
            chosen, added = add_background(files, found, background, seed)
            notes.append(f"background: {added}")
        check_classes(source, files, found)
        entries, told, splits = as_entries(chosen)
        notes.append(told)
        for line in notes:
            logger.info("%s: %s", source.name, line)
        for line in find_warnings(splits):
            logger.warning("Warning: %s", line)
        return entries

    classes = {label for file in files for label in file.labels}
    several = any(len(file.labels) > 1 for file in files)
    prepare_manifests(
        manifest_folder,
        as_entries(files)[0],
        Published(source.stem, {}),
        sorted(classes | ({background} if background and not several else set())),
        {"seed": seed, **{key: value for key, value in given.items() if value}},
        max_rejected=max_rejected,
        cut=cut,
    )
    return source.stem


def _entry(file: LabelledFile, root: Path, has_groups: bool) -> Entry:
    name = os.path.relpath(file.path, root)
    if file.is_stretch:
        end = "" if file.duration is None else f"{file.start + file.duration:.10g}"
        name = f"{name}#{file.start:.10g}-{end}"
    extra = {"group": file.group} if has_groups else {}
    return Entry(name, file.path, file.labels, file.start, file.duration, extra)
