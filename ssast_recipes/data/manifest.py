"""Manifests: the one list of clips that every preparation writes and every experiment reads.

A manifest is a CSV file with the columns ``ID,path,start,duration,sample_rate,labels`` and, behind
them, whatever else a data set knows of its clips (``fold``, ``speaker``). It loads with
``speechbrain.dataio.dataset.DynamicItemDataset.from_csv``, unless a path holds a ``$name``, which
that takes for a variable.
"""

import csv
import io
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from ssast_recipes.system.reading import read_text
from ssast_recipes.system.tables import iterate_rows, write_csv

COLUMNS = ("ID", "path", "start", "duration", "sample_rate", "labels")


@dataclass(frozen=True, slots=True)
class Clip:
    """One row of a manifest: a stretch of an audio file and its labels.

    Arguments
    ---------
    id : str
        Unique within its manifest.
    path : str
        Absolute path of the audio file; of one in a shard, `SHARD.tar:OFFSET:SIZE` (see
        `ssast_recipes.data.shards`).
    start, duration : float
        The stretch of the file that is the clip, in seconds.
    sample_rate : int
        The file's own sample rate in Hz.
    labels : tuple of str
        Class names; empty for an unlabelled clip.
    extra : mapping of str to str
        Further columns.

    Raises
    ------
    ValueError
        If a value could not be written to a manifest and read back.

    Example
    -------
    >>> Clip("a", "/data/a.wav", 0.0, 5.0, 44100, ("dog", "rain")).labels
    ('dog', 'rain')
    """

    id: str
    path: str
    start: float
    duration: float
    sample_rate: int
    labels: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError(f"the clip of {self.path} has no ID")
        if printable(self.id) != self.id:
            raise ValueError(f"the ID '{printable(self.id)}' is not named in UTF-8, rename it")
        if not os.path.isabs(self.path):
            raise ValueError(f"clip {self.id}: the path {self.path!r} is not absolute")
        is_rate = 0 < self.sample_rate < 2**31
        if not (self.start >= 0 and 0 < self.duration < math.inf and is_rate):
            raise ValueError(
                f"clip {self.id}: start {self.start}, duration {self.duration} and sample rate "
                f"{self.sample_rate} do not describe a stretch of audio"
            )
        for label in self.labels:
            if not label or ";" in label or label != label.strip():
                raise ValueError(
                    f"clip {self.id}: the label {label!r} is empty, or holds ';' (which separates "
                    "labels) or surrounding blanks"
                )
        reasons = map(why_unfit, (*self.labels, *self.extra.values()))
        for reason in filter(None, (why_undecodable(self.path), *reasons)):
            raise ValueError(f"clip {self.id}: {reason}")


def why_unfit(text: str) -> str | None:
    """Says why a label cannot stand in a manifest, if it cannot.

    Example
    -------
    >>> why_unfit("cash $5")
    "'cash $5' holds a '$name', rename it"
    >>> why_unfit("Töne")
    """
    # SpeechBrain would take it for a variable and ask for its replacement.
    if "$" in text and re.search(r"\$[\w.]", text):
        return f"'{printable(text)}' holds a '$name', rename it"
    return why_undecodable(text)


def why_undecodable(name: str) -> str | None:
    r"""Says why a file's path cannot stand in a manifest, if it cannot.

    Example
    -------
    >>> why_undecodable(os.fsdecode("Töne.wav".encode("latin-1")))
    "'T\\udcf6ne.wav' is not named in UTF-8, rename it"
    >>> why_undecodable("/sounds/cash $5.wav")
    """
    return (
        None if printable(name) == name else f"'{printable(name)}' is not named in UTF-8, rename it"
    )


def printable(text: str) -> str:
    r"""Escapes what UTF-8 cannot hold: bytes of file names in another encoding.

    Example
    -------
    >>> printable(os.fsdecode(b"T\xf6ne.wav")), printable("Töne.wav")
    ('T\\udcf6ne.wav', 'Töne.wav')
    """
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def write_manifest(path: str | os.PathLike, clips: Iterable[Clip]) -> None:
    """Writes clips as a manifest, at once or not at all.

    Arguments
    ---------
    path : str or path
        The CSV file.
    clips : iterable of Clip
        All with the same extra columns.

    Raises
    ------
    ValueError
        If two clips have the same ID or clips differ in their extra columns.

    Example
    -------
    >>> path = getfixture("tmp_path") / "train.csv"
    >>> write_manifest(path, [Clip("a", "/a.wav", 0.0, 5.0, 44100, ("dog",), {"fold": "1"})])
    >>> print(path.read_text().strip())
    ID,path,start,duration,sample_rate,labels,fold
    a,/a.wav,0.0,5.0,44100,dog,1
    """
    clips = iter(clips)
    first = next(clips, None)
    extra = tuple(first.extra) if first is not None else ()
    if set(extra) & set(COLUMNS):
        raise ValueError(f"{path}: the extra columns {extra} repeat one of {COLUMNS}")
    rows = _rows(path, chain([first], clips), extra) if first is not None else ()
    write_csv(path, COLUMNS + extra, rows)


def _rows(
    path: str | os.PathLike, clips: Iterable[Clip], extra: tuple[str, ...]
) -> Iterator[tuple[Any, ...]]:
    """The rows of a manifest, one by one: two million clips at once take gigabytes."""
    seen = set()
    for clip in clips:
        if clip.id in seen:
            raise ValueError(f"{path}: two clips have the ID {clip.id}, the second is {clip.path}")
        if clip.extra.keys() != set(extra):
            raise ValueError(
                f"{path}: clip {clip.id} has the extra columns {tuple(clip.extra)}, "
                f"the first clip has {extra}"
            )
        seen.add(clip.id)
        values = (clip.id, clip.path, clip.start, clip.duration, clip.sample_rate)
        yield *values, ";".join(clip.labels), *(clip.extra[name] for name in extra)


def read_manifest(path: str | os.PathLike) -> list[Clip]:
    """Reads a manifest back.

    Arguments
    ---------
    path : str or path
        The CSV file.

    Returns
    -------
    list of Clip
        In the order of the file.

    Raises
    ------
    ValueError
        If a column or value is missing or does not parse: names the file and the line.

    Example
    -------
    >>> path = getfixture("tmp_path") / "train.csv"
    >>> clips = [Clip("a", "/a.wav", 0.0, 5.0, 44100, ("dog", "rain"))]
    >>> write_manifest(path, clips)
    >>> read_manifest(path) == clips
    True
    """
    return list(iterate_manifests([path]))


def iterate_manifests(paths: Iterable[str | os.PathLike]) -> Iterator[Clip]:
    """Reads the clips of one or several manifests, one by one.

    Arguments
    ---------
    paths : iterable of paths
        The CSV files.

    Yields
    ------
    Clip
        In the order of the files.

    Raises
    ------
    ValueError
        As `read_manifest`, and if two manifests have a clip of the same ID.

    Example
    -------
    >>> path = getfixture("tmp_path") / "train.csv"
    >>> write_manifest(path, [Clip("a", "/a.wav", 0.0, 5.0, 44100)])
    >>> [clip.id for clip in iterate_manifests([path])]
    ['a']
    """
    seen: set[str] = set()
    for path in paths:
        for place, row in iterate_rows(path, COLUMNS):
            try:
                if row["ID"] in seen:
                    raise ValueError(
                        f"the ID {row['ID']!r} was there before; IDs differ within a manifest "
                        "and between those that are joined"
                    )
                clip = _clip(row)
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from None
            seen.add(clip.id)
            yield clip


def _clip(row: Mapping[str, str]) -> Clip:
    return Clip(
        id=row["ID"],
        path=row["path"],
        start=float(row["start"]),
        duration=float(row["duration"]),
        sample_rate=int(row["sample_rate"]),
        labels=split_labels(row["labels"]),
        extra={name: row[name] for name in row if name not in COLUMNS},
    )


_NO_DELIMITER = "\x1f"  # a name that holds it is put in quotes, as one that holds a line break is


def write_classes(path: str | os.PathLike, classes: Iterable[str]) -> None:
    r"""Writes the names of classes, one a line: the order is that of their indices.

    A name that holds a line break or a quotation mark is put in quotes, as in a CSV file.

    Example
    -------
    >>> path = getfixture("tmp_path") / "classes.txt"
    >>> write_classes(path, ["dog, loud", "the\nsea"])
    >>> path.read_text()
    'dog, loud\n"the\nsea"\n'
    """
    write_csv(path, None, ([name] for name in classes), _NO_DELIMITER)


def read_classes(path: str | os.PathLike) -> list[str]:
    r"""Reads what `write_classes` wrote.

    Raises
    ------
    ValueError
        If it is no text in UTF-8, or holds a name that is longer than any.

    Example
    -------
    >>> path = getfixture("tmp_path") / "classes.txt"
    >>> write_classes(path, ["dog, loud", "the\nsea", "a\u2028b"])
    >>> read_classes(path)
    ['dog, loud', 'the\nsea', 'a\u2028b']
    """
    lines = io.StringIO(read_text(path), newline="")
    try:
        rows = list(csv.reader(lines, delimiter=_NO_DELIMITER))
    except csv.Error as error:
        raise ValueError(f"{path} is no list of classes: {error}") from None
    return ["".join(row) for row in rows]


def split_labels(text: str) -> tuple[str, ...]:
    """Takes the labels of a manifest's cell apart.

    Example
    -------
    >>> split_labels("dog;rain"), split_labels("")
    (('dog', 'rain'), ())
    """
    return tuple(text.split(";")) if text else ()
