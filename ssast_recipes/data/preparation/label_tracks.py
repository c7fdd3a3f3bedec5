"""Labels of stretches, in text files beside recordings: of Audacity and of Raven.

Audacity exports a label track as lines of start, end and label, separated by tabs; with spectral
selection, each is followed by a line that begins with a backslash. Raven saves a selection table
with a first line of column names.
"""

import csv
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ssast_recipes.data.manifest import why_unfit
from ssast_recipes.data.preparation.splitting import LabelledFile, find_split
from ssast_recipes.system.reading import read_text

_ENDINGS = (".txt", ".tsv")
_RAVEN_START, _RAVEN_END = "Begin Time (s)", "End Time (s)"
_RAVEN_LABELS = ("annotation", "label", "class", "species", "common name", "tag", "type")


def find_tracks(paths: Sequence[str]) -> dict[str, str]:
    """Finds text files that begin as label tracks, named after the audio file beside them.

    Arguments
    ---------
    paths : sequence of str
        Audio files.

    Returns
    -------
    dict of str to str
        The track of each audio file that has one; none if no file of the set begins as a track
        does, as where texts beside class folders' files are notes.

    Raises
    ------
    ValueError
        If an audio file has two.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "a.txt").write_text("0.0\\t1.5\\tdog\\n")
    >>> [os.path.basename(track) for track in find_tracks([str(folder / "a.wav")]).values()]
    ['a.txt']
    """
    found: dict[str, str] = {}
    by_folder: dict[str, list[str]] = {}
    for path in paths:
        by_folder.setdefault(os.path.dirname(path), []).append(path)
    for folder, members in by_folder.items():
        texts = sorted(
            name for name in os.listdir(folder) if os.path.splitext(name)[1].lower() in _ENDINGS
        )
        if not texts:
            continue
        by_stem: dict[str, list[str]] = {}
        for name in texts:
            by_stem.setdefault(_stem(name), []).append(name)
        for path in members:
            own = by_stem.get(os.path.splitext(os.path.basename(path))[0], [])
            if len(own) > 1:
                raise ValueError(f"{path} has several label tracks: {', '.join(own)}; keep one")
            if own:
                found[path] = os.path.join(folder, own[0])
    return found if any(map(_begins_as_track, found.values())) else {}


def _stem(name: str) -> str:
    """What an audio file beside a text file would be called: of Raven's, up to `.Table.1`."""
    stem = os.path.splitext(name)[0]
    if stem.lower().endswith(".selections"):
        stem = stem[: -len(".selections")]
        before, _, number = stem.rpartition(".")
        if number.isdigit() and before.lower().endswith(".table"):
            stem = before[: -len(".table")]
    return stem


def _begins_as_track(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            line = file.readline(10_000).decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        return False
    cells = line.split("\t")
    if _RAVEN_START in cells:
        return True
    try:
        return len(cells) > 2 and all(_seconds(cell) >= 0 for cell in cells[:2])
    except ValueError:
        return False


def read_label_tracks(
    folder: Path, paths: Sequence[str], tracks: Mapping[str, str], notes: list[str]
) -> list[LabelledFile]:
    """Reads the labelled stretches of recordings.

    Arguments
    ---------
    folder : Path
        Of the recordings; if all folders in it are named after splits, these are given.
    paths : sequence of str
        The audio files in it and below it, absolute.
    tracks : mapping
        From `find_tracks`.
    notes : list of str
        Gets what is to be told.

    Returns
    -------
    list of LabelledFile
        Stretches, those of the same start and end as one, with all labels.

    Raises
    ------
    ValueError
        If a line is wrong: names the file and the line.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "a.txt").write_text("0.0\\t1.5\\tdog\\n2\\t3\\tsea\\n")
    >>> audio, notes = str(folder / "a.wav"), []
    >>> files = read_label_tracks(folder, [audio], find_tracks([audio]), notes)
    >>> [(file.labels, file.start, file.duration) for file in files], notes
    ([(('dog',), 0.0, 1.5), (('sea',), 2.0, 1.0)], ['1 recording(s) have label tracks'])
    """
    tops = {os.path.relpath(path, folder).split(os.sep)[0] for path in paths}
    are_splits = all(find_split(top) for top in tops)
    files: list[LabelledFile] = []
    for path, track in tracks.items():
        split = find_split(os.path.relpath(path, folder).split(os.sep)[0]) if are_splits else ""
        labels: dict[tuple[float, float], list[str]] = {}
        for where, start, end, label in _read_track(path, track):
            if not 0 <= start < end < math.inf:
                raise ValueError(
                    f"{where}: {start:g} to {end:g} s is no stretch; give the label a start and, "
                    "behind it, an end"
                )
            if not label or ";" in label:
                raise ValueError(f"{where}: the label {label!r} is empty, or holds ';'")
            if reason := why_unfit(label):
                raise ValueError(f"{where}: {reason}")
            of_stretch = labels.setdefault((start, end), [])
            if label in of_stretch:
                raise ValueError(f"{where}: this stretch has the label {label!r} twice")
            of_stretch.append(label)
        files += [
            LabelledFile(path, tuple(of_stretch), split, "", start, end - start)
            for (start, end), of_stretch in labels.items()
        ]
    notes.append(f"{len(tracks):,} recording(s) have label tracks")
    labelled = {file.path for file in files}
    if empty := [track for path, track in tracks.items() if path not in labelled]:
        notes.append(f"{len(empty):,} label track(s) hold no label, such as {empty[0]}")
    if without := [path for path in paths if path not in tracks]:
        notes.append(
            f"{len(without):,} recording(s) without a label track are left out, such as "
            f"{without[0]}"
        )
    return files


def _read_track(audio: str, track: str) -> Iterator[tuple[str, float, float, str]]:
    text = read_text(track).removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    is_raven = _RAVEN_START in lines[0].split("\t")
    yield from _read_raven(audio, track, lines) if is_raven else _read_audacity(track, lines)


def _read_audacity(track: str, lines: Sequence[str]) -> Iterator[tuple[str, float, float, str]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("\\"):
            continue
        where = f"{track}, line {number}"
        cells = line.split("\t")
        try:
            if len(cells) < 3:
                raise ValueError
            yield where, _seconds(cells[0]), _seconds(cells[1]), " ".join(cells[2:]).strip()
        except ValueError:
            raise ValueError(
                f"{where}: expected start, end and label, separated by tabs, as Audacity writes "
                f"them, or a first line of Raven's; found {line[:60]!r}"
            ) from None


def _read_raven(
    audio: str, track: str, lines: Sequence[str]
) -> Iterator[tuple[str, float, float, str]]:
    names = [name.strip() for name in lines[0].split("\t")]
    lower = [name.lower() for name in names]
    column = next((lower.index(name) for name in _RAVEN_LABELS if name in lower), None)
    if column is None or _RAVEN_END not in names:
        raise ValueError(
            f"{track}: a selection table needs the columns {_RAVEN_START}, {_RAVEN_END} and one "
            f"for the label, such as Annotation; its first line has {', '.join(names)}"
        )
    begin, end = names.index(_RAVEN_START), names.index(_RAVEN_END)
    seen: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        where = f"{track}, line {number}"
        cells = next(csv.reader([line], delimiter="\t", quoting=csv.QUOTE_NONE))
        if len(cells) > len(names) or len(cells) <= max(begin, end):
            raise ValueError(f"{where}: expected {len(names)} values, found {len(cells)}")
        cells += [""] * (len(names) - len(cells))
        row = dict(zip(names, cells, strict=True))
        if (of := row.get("Begin File")) and of != os.path.basename(audio):
            raise ValueError(
                f"{where}: this selection is of {of} (Begin File), the table lies beside "
                f"{os.path.basename(audio)}; save one table a recording"
            )
        told = (cells[begin], cells[end], cells[column])
        selection = row.get("Selection")
        if selection:  # Raven lists a selection once a view: in the waveform, in the spectrogram
            if seen.get(selection) == told:
                continue
            if selection in seen:
                raise ValueError(f"{where}: selection {selection} was there before, otherwise")
            seen[selection] = told
        try:
            yield where, _seconds(cells[begin]), _seconds(cells[end]), cells[column].strip()
        except ValueError:
            raise ValueError(
                f"{where}: {cells[begin]!r} or {cells[end]!r} is not a number of seconds"
            ) from None


def _seconds(text: str) -> float:
    return float(text.strip().replace(",", "."))
