"""Prepares AudioSet: matches its lists of clips with the audio files that are there.

AudioSet (Gemmeke et al., "Audio Set: An ontology and human-labeled dataset for audio events",
ICASSP 2017) is published as lists of ten-second segments of YouTube videos. Videos vanish, so
everybody's copy is another part of it, and files are named after several customs.
"""

import csv
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ssast_recipes.data.preparation.counts import Published
from ssast_recipes.data.preparation.listing import audio_files
from ssast_recipes.data.preparation.manifests import Entry, prepare_manifests

logger = logging.getLogger(__name__)

# A video that is listed twice stays where it comes first: nothing tested is trained on.
LISTS = {
    "eval": "eval_segments.csv",
    "balanced_train": "balanced_train_segments.csv",
    "unbalanced_train": "unbalanced_train_segments.csv",
}
CLASS_LIST = "class_labels_indices.csv"
PUBLISHED = Published(
    "AudioSet",
    {"eval": 20_371, "balanced_train": 22_160, "unbalanced_train": 2_041_789},
    num_classes=527,
)
# <YTID>, Y<YTID>, and behind either _<start> or _<start>_<end>, in seconds or milliseconds. IDs
# have 11 characters, "-", "_" and "Y" among them; no name can be read in two ways.
FILE_STEM = re.compile(r"Y?([\w-]{11})(?:_(\d+(?:\.\d+)?)(?:_\d+(?:\.\d+)?)?)?", re.ASCII)


class Segment(NamedTuple):
    """What the lists say of a video."""

    split: str
    start: float  # in seconds
    labels: tuple[str, ...]


def prepare_audioset(
    data_folder: str | os.PathLike,
    manifest_folder: str | os.PathLike,
    splits: Sequence[str] = ("balanced_train", "eval"),
    list_folder: str | os.PathLike | None = None,
    max_rejected: float = 0.01,
) -> str:
    """Writes ``<split>.csv`` for each split, and ``classes.txt``, to the manifest folder.

    A clip is taken where there is an audio file for it, anywhere in the data folder: named
    ``<YTID>`` or ``Y<YTID>``, perhaps followed by ``_<start>`` or ``_<start>_<end>``, in any format
    that soundfile reads. How many clips of each list have none is told. Of several files of a
    clip, the first by path is taken. AudioSet takes one segment of a video; of a video that is
    listed several times, only the first segment is kept, the evaluation list coming first.

    Beside the manifests lie ``rejected.csv`` (files that cannot be used, and why) and
    ``prepared.json``. A second call with the same data and options finds it and does nothing. The
    data folder is only read.

    Arguments
    ---------
    data_folder : str or path
        Holds the audio files, in folders as you like.
    manifest_folder : str or path
        Where manifests are written.
    splits : sequence of str
        Of ``eval``, ``balanced_train`` and ``unbalanced_train``.
    list_folder : str or path, optional
        Holds ``class_labels_indices.csv`` and ``<split>_segments.csv``; by default the data folder.
    max_rejected : float
        The share of unusable files up to which preparation goes on without them.

    Returns
    -------
    str
        The corpus' name.

    Raises
    ------
    ValueError
        If there is no such split, a list is wrong, or too many files are unusable.
    FileNotFoundError
        If a list is not there, or no audio file of one.

    Example
    -------
    >>> from ssast_recipes.data.manifest import read_manifest
    >>> from ssast_recipes.data.synthetic import make_audioset
    >>> folder = getfixture("tmp_path")
    >>> corpus = make_audioset(folder / "corpus", {"balanced_train": 6, "eval": 3}, duration=0.1)
    >>> prepare_audioset(corpus, folder / "manifests")
    'AudioSet'
    >>> [
    ...     len(read_manifest(folder / f"manifests/{name}.csv"))
    ...     for name in ("balanced_train", "eval")
    ... ]
    [6, 3]
    """
    unknown = [split for split in splits if split not in LISTS]
    if unknown or not splits:
        raise ValueError(f"splits: AudioSet has {', '.join(LISTS)}, not {unknown or 'none'}")
    corpus = Path(data_folder).absolute()
    lists = corpus if list_folder is None else Path(list_folder).absolute()
    if not corpus.is_dir():
        raise FileNotFoundError(f"data_folder {corpus} does not exist, or is not a folder")
    classes = read_classes(_find(lists, CLASS_LIST))
    paths = {split: _find(lists, LISTS[split]) for split in LISTS if split in splits}
    entries = {split: [] for split in splits}
    _match(_read_lists(paths, classes), corpus, entries)
    prepare_manifests(
        manifest_folder,
        entries,
        PUBLISHED,
        list(classes.values()),
        max_rejected=max_rejected,
    )
    return PUBLISHED.name


def _find(lists: Path, name: str) -> Path:
    if not (lists / name).is_file():
        raise FileNotFoundError(
            f"{lists / name} is not there: put AudioSet's lists into the data folder, or name "
            "theirs with --list_folder; see the recipe's README for where to get them"
        )
    return lists / name


def read_classes(path: str | os.PathLike) -> dict[str, str]:
    """Reads the list of classes.

    Arguments
    ---------
    path : str or path
        ``class_labels_indices.csv``, with the columns ``index,mid,display_name``.

    Returns
    -------
    dict of str to str
        Names by mid ("/m/09x0r"), in the order of the indices.

    Raises
    ------
    ValueError
        If it is no such list.

    Example
    -------
    >>> path = getfixture("tmp_path") / "class_labels_indices.csv"
    >>> _ = path.write_text('index,mid,display_name\\n0,/m/05zppz,"Male speech, man speaking"')
    >>> read_classes(path)
    {'/m/05zppz': 'Male speech, man speaking'}
    """
    classes: dict[str, str] = {}
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.reader(file, skipinitialspace=True)
        if next(rows, None) != ["index", "mid", "display_name"]:
            raise ValueError(f"{path}: the first line is to be index,mid,display_name")
        for row in rows:
            if len(row) != 3 or row[0] != str(len(classes)) or row[1] in classes:
                raise ValueError(
                    f"{path}, line {rows.line_num}: expected index {len(classes)}, a mid that was "
                    f"not there before and a name, found {row}"
                )
            classes[row[1]] = row[2]
    return classes


def _read_lists(paths: dict[str, Path], classes: dict[str, str]) -> dict[str, Segment]:
    """What the lists say, by video."""
    segments: dict[str, Segment] = {}
    again: Counter[str] = Counter()
    for split, path in paths.items():
        for video, start, labels in _read_list(path, classes):
            segment = Segment(split, start, labels)
            again[split] += segments.setdefault(video, segment) is not segment
    for split, number in again.items():
        if number:
            logger.warning(
                "%s: %s clips left out, of videos that were listed before, there or in a list that "
                "comes first (%s)",
                paths[split],
                f"{number:,}",
                ", ".join(paths),
            )
    return segments


def _read_list(path: Path, classes: dict[str, str]) -> Iterator[tuple[str, float, tuple[str, ...]]]:
    """Videos, where in them clips begin, and labels: two million, so labels alike are shared."""
    shared: dict[str, tuple[str, ...]] = {}
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.reader(file, skipinitialspace=True)
        for row in rows:
            if not row or row[0].startswith("#"):
                continue
            try:
                video, start, _, mids = row
                if not re.fullmatch(r"[\w-]{11}", video, re.ASCII):
                    raise ValueError(f"{video!r} is no YouTube ID of 11 characters")
                if mids not in shared:
                    shared[mids] = tuple(classes[mid] for mid in mids.split(","))
                yield video, float(start), shared[mids]
            except KeyError as error:
                raise ValueError(
                    f"{path}, line {rows.line_num}: the label {error} is not in {CLASS_LIST}"
                ) from None
            except ValueError as error:
                raise ValueError(
                    f'{path}, line {rows.line_num}: expected YTID, start, end, "mid,mid,…": {error}'
                ) from None


def _match(segments: dict[str, Segment], corpus: Path, entries: dict[str, list[Entry]]) -> None:
    """Sorts the clips that have an audio file into their splits, and tells how many there are."""
    found: dict[str, str] = {}
    copies = others = 0
    for path in audio_files(corpus, look_inside=False):
        name = FILE_STEM.fullmatch(os.path.basename(path).rpartition(".")[0])
        segment = segments.get(name[1]) if name else None
        if segment is None or not _is_start(name[2], segment.start):
            others += 1
        elif found.setdefault(name[1], path) is not path:
            copies += 1
    for video, path in found.items():
        entries[segments[video].split].append(Entry(video, path, segments[video].labels))
    listed = Counter(segment.split for segment in segments.values())
    for split, present in entries.items():
        if not present:
            raise FileNotFoundError(
                f"data_folder {corpus} has no audio file of any of the {listed[split]:,} clips of "
                f"{LISTS[split]}, but {others + len(found):,} others; files are to be named "
                "<YTID>.wav, Y<YTID>.wav, <YTID>_<start>.flac or <YTID>_<start>_<end>.flac"
            )
        logger.info(
            "%s: %s of %s listed clips have an audio file, %s are missing",
            split,
            f"{len(present):,}",
            f"{listed[split]:,}",
            f"{listed[split] - len(present):,}",
        )
    if copies or others:
        logger.info(
            "%s audio files are further copies of a clip, %s belong to no clip of these lists",
            f"{copies:,}",
            f"{others:,}",
        )


def _is_start(written: str | None, start: float) -> bool:
    """Whether a file's name says nothing of the start, or the list's, in seconds or milliseconds.

    Some names leave the decimals away.
    """
    return written is None or int(float(written)) in (int(start), round(1000 * start))
