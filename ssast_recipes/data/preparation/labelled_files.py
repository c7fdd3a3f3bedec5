"""Labelled audio as people have it: class folders, a table, label tracks beside recordings."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ssast_recipes.data.headers import AudioInfo
from ssast_recipes.data.preparation.class_folders import is_hidden, read_class_folders
from ssast_recipes.data.preparation.label_tables import read_label_table
from ssast_recipes.data.preparation.label_tracks import find_tracks, read_label_tracks
from ssast_recipes.data.preparation.listing import audio_files, is_audio_name
from ssast_recipes.data.preparation.splitting import SPLITS, LabelledFile, split_files

__all__ = ["SPLITS", "LabelledFile", "read_labelled_files", "split_files"]

_LAYOUTS = "a folder of class folders, or a CSV file path,label"


def read_labelled_files(
    source: str | os.PathLike, notes: list[str] | None = None
) -> list[LabelledFile]:
    """Reads which audio files there are, with their labels.

    Arguments
    ---------
    source : str or path
        One of:

        * a folder of folders, each named after the class of the audio files in and below it. If all
          are named train, valid, val, validation, dev or test, they are splits, and the class
          folders are in them. Hidden folders are passed over;
        * a folder of recordings with label tracks of Audacity (`a.txt`) or selection tables of
          Raven (`a.Table.1.selections.txt`) beside them, of which every label is a stretch;
        * a CSV file, separated by commas, semicolons or tabs, with the columns `path`, relative to
          the file, and `label` (several are separated by `;`; none where some files have several)
          and, optionally, `split` (as above), `group` (recording, speaker, site: none comes into
          two splits), `start` and `end` in seconds. Capitals in the names of columns and splits
          mean nothing.
    notes : list of str, optional
        Gets what is to be told of it, besides.

    Returns
    -------
    list of LabelledFile
        Ordered by path and start.

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
    source, notes = Path(source), [] if notes is None else notes
    if source.is_dir():
        files, expected = _read_folder(source, notes)
    elif source.is_file():
        if is_audio_name(source.name):
            raise ValueError(f"{source} is audio; labels are {_LAYOUTS}")
        files, expected = read_label_table(source), "rows below the line path,label"
    else:
        raise FileNotFoundError(f"{source} is not there; give {_LAYOUTS}")
    classes = {label for file in files for label in file.labels}
    if len(classes) < 2:
        found = f"the only class is {min(classes)}" if classes else f"there are no {expected}"
        raise ValueError(f"{source}: {found}; there have to be two classes at least")
    return sorted(files, key=lambda file: (file.path, file.start, file.duration or 0, file.labels))


def _read_folder(source: Path, notes: list[str]) -> tuple[list[LabelledFile], str]:
    found = audio_files(source)
    paths = [path for path in found if not is_hidden(os.path.relpath(path, source))]
    if len(paths) < len(found):
        notes.append(f"{len(found) - len(paths):,} audio file(s) in hidden folders are passed over")
    tracks = find_tracks(paths)
    if tracks:
        return read_label_tracks(source, paths, tracks, notes), "labels in the label tracks"
    files = read_class_folders(source, paths, notes)
    return files, "folders named after classes, with audio files in them"


def check_there(source: str | os.PathLike, files: Sequence[LabelledFile]) -> None:
    """Refuses a table none of whose audio files is there, as of one that was moved.

    Arguments
    ---------
    source : str or path
        The table, or a folder.
    files : sequence of LabelledFile
        What is listed.

    Raises
    ------
    FileNotFoundError
        If so: says what paths are relative to.

    Example
    -------
    >>> check_there("/moved/labels.csv", [LabelledFile("/moved/a.wav", ("dog",))])
    Traceback (most recent call last):
    FileNotFoundError: /moved/labels.csv: none of its 1 audio files is there, such as ...
    """
    source = Path(source).absolute()
    if source.is_dir() or any(os.path.exists(file.path) for file in files):
        return
    raise FileNotFoundError(
        f"{source}: none of its {len(files):,} audio files is there, such as {files[0].path}; "
        f"relative paths begin at the table's own folder, {source.parent}: put it back beside its "
        "audio, or write paths that begin with /"
    )


def check_classes(
    source: str | os.PathLike, files: Sequence[LabelledFile], found: Mapping[str, AudioInfo]
) -> None:
    """Refuses labels if a class has no file that can be used.

    Arguments
    ---------
    source : str or path
        Where the labels are.
    files : sequence of LabelledFile
        What is listed.
    found : mapping
        Which files are good, from `scan_audio`.

    Raises
    ------
    ValueError
        If so: names the classes.

    Example
    -------
    >>> check_classes("labels.csv", [LabelledFile("/a.wav", ("dog",))], {})
    Traceback (most recent call last):
    ValueError: labels.csv: no file of the class 'dog' can be used, such as /a.wav; ...
    """
    usable = clip_durations(files, found)
    lost = {label for file in files for label in file.labels}
    lost -= {label for file in usable for label in file.labels}
    if lost:
        first = next(file for file in files if min(lost) in file.labels)
        more = f" (and {len(lost) - 1:,} other classes)" if len(lost) > 1 else ""
        raise ValueError(
            f"{source}: no file of the class {min(lost)!r}{more} can be used, such as "
            f"{first.path}; replace its files, or leave the class out"
        )


def clip_durations(
    files: Sequence[LabelledFile], found: Mapping[str, AudioInfo]
) -> dict[LabelledFile, float]:
    """Says how long those files, or stretches of files, are that can be used.

    Arguments
    ---------
    files : sequence of LabelledFile
        What is listed.
    found : mapping
        Which files are good, from `scan_audio`.

    Returns
    -------
    dict of LabelledFile to float
        Seconds, above 0: what begins behind the end of its file is left out.

    Example
    -------
    >>> files = [LabelledFile("/a.wav", ("dog",), "", "", start, 4.0) for start in (0.0, 8.0, 12.0)]
    >>> list(clip_durations(files, {"/a.wav": AudioInfo(100, 10, 1)}).values())
    [4.0, 2.0]
    """
    durations = {}
    for file in files:
        if file.path in found:
            rest = found[file.path].duration - file.start
            if rest > 0:
                durations[file] = rest if file.duration is None else min(rest, file.duration)
    return durations


def files_digest(files: Sequence[LabelledFile]) -> str:
    """Tells one list of files from another.

    Example
    -------
    >>> files = [LabelledFile("/a.wav", ("dog",))]
    >>> files_digest(files) == files_digest([files[0]._replace(group="1")])
    False
    """
    # As before there were groups and stretches, where there are none: runs go on.
    rows = [file[:3] if file[3:] == ("", 0.0, None) else file for file in files]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
