"""Transcribed audio as people have it: a table of files and of what is said in them."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from ssast_recipes.data.preparation.counts import Published
from ssast_recipes.data.preparation.labelled_files import check_there
from ssast_recipes.data.preparation.manifests import Entry, prepare_manifests
from ssast_recipes.data.preparation.splitting import LabelledFile, find_split, split_files
from ssast_recipes.data.text import normalise_text
from ssast_recipes.system.tables import iterate_rows, read_names

logger = logging.getLogger(__name__)

_NEEDED = ("path", "text")
_ENCODING = "utf-8-sig"  # as spreadsheets write it, with a mark in front
_SPEECH = ("speech",)  # all alike, where files are dealt to splits by their labels


def read_transcripts_table(
    table: str | os.PathLike,
) -> tuple[list[LabelledFile], dict[str, str]]:
    """Reads which audio files there are, with what is said in each.

    Arguments
    ---------
    table : str or path
        A CSV file, separated by commas, semicolons or tabs, with the columns `path`, relative to
        the file, and `text` and, optionally, `split` (train, valid, test) and `group` (a speaker:
        none comes into two splits).

    Returns
    -------
    list of LabelledFile
        In the order of the table, with splits and groups, all of one label.
    dict of str to str
        By path, the text in LibriSpeech's form; see `normalise_text`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no such table, a row is wrong, or a file is listed twice.

    Example
    -------
    >>> path = getfixture("tmp_path") / "spoken.csv"
    >>> _ = path.write_text("path,text\\n/a.wav,Hello there!\\n")
    >>> read_transcripts_table(path)[1]
    {'/a.wav': 'HELLO THERE'}
    """
    table = Path(table).absolute()
    if not table.is_file():
        raise FileNotFoundError(f"{table}: there is no such table of the columns path,text")
    delimiter, names = _read_header(table)
    files: list[LabelledFile] = []
    texts: dict[str, str] = {}
    rows = iterate_rows(table, encoding=_ENCODING, is_ragged=True, names=names, delimiter=delimiter)
    for where, row in rows:
        surplus = row.pop(None, ())
        cells = {name: (cell or "").strip() for name, cell in row.items()}
        if not any(cells.values()) and not any(surplus):
            continue  # a line of separators alone, as spreadsheets leave them
        if any(surplus):
            raise ValueError(
                f"{where}: there are more cells than names in the first line; put a text that "
                "holds a separator in quotes"
            )
        if not cells["path"]:
            raise ValueError(f"{where}: a path is needed, found {cells}")
        path = os.path.abspath(table.parent / cells["path"])
        if path in texts:
            raise ValueError(f"{where}: {cells['path']} was there before; a file has one text")
        split = find_split(cells["split"]) if cells.get("split") else ""
        if split is None:
            raise ValueError(
                f"{where}: split is one of train, valid, test (or val, validation, dev), not "
                f"{cells['split']!r}"
            )
        files.append(LabelledFile(path, _SPEECH, split, cells.get("group", "")))
        texts[path] = normalise_text(cells["text"])
    if not files:
        raise ValueError(f"{table}: there is no file in it")
    if len({bool(file.split) for file in files}) > 1:
        raise ValueError(f"{table}: some rows have a split and some have none; give all, or none")
    return files, texts


def prepare_transcribed(
    data_folder: str | os.PathLike,
    manifest_folder: str | os.PathLike,
    seed: int = 0,
    max_rejected: float = 0.1,
) -> str:
    """Writes `train.csv`, `valid.csv` and `test.csv` of transcribed files, with a column `text`.

    Arguments
    ---------
    data_folder : str or path
        A table; see `read_transcripts_table`.
    manifest_folder : str or path
        Where to write.
    seed : int
        What splits are drawn from, if none are given; see `split_files`.
    max_rejected : float
        The share of unusable files up to which preparation goes on without them.

    Returns
    -------
    str
        The name of the table.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_transcripts_table`, `check_there` and `split_files`; and if too many files are
        unusable.

    Example
    -------
    >>> import soundfile
    >>> from ssast_recipes.data.manifest import read_manifest
    >>> folder = getfixture("tmp_path")
    >>> for number in range(10):
    ...     soundfile.write(folder / f"{number}.wav", [0.0] * 800, 16000)
    >>> rows = "".join(f"{number}.wav,take {number}\\n" for number in range(10))
    >>> _ = (folder / "spoken.csv").write_text(f"path,text\\n{rows}")
    >>> prepare_transcribed(folder / "spoken.csv", folder / "manifests")
    'spoken'
    >>> clips = read_manifest(folder / "manifests" / "train.csv")
    >>> len(clips), clips[0].extra["text"] == f"TAKE {clips[0].id[0]}"
    (7, True)
    """
    table = Path(data_folder).absolute()
    files, texts = read_transcripts_table(table)
    check_there(table, files)
    splits, told = split_files(files, seed, source=table)
    logger.info("%s: %s", table.name, told)
    prepare_manifests(
        manifest_folder,
        {split: [_entry(file, table, texts) for file in part] for split, part in splits.items()},
        Published(table.stem, {}),
        options={"seed": seed},
        max_rejected=max_rejected,
    )
    return table.stem


def _entry(file: LabelledFile, table: Path, texts: Mapping[str, str]) -> Entry:
    name = os.path.relpath(file.path, table.parent)
    return Entry(name, file.path, extra={"text": texts[file.path]})


def _read_header(table: Path) -> tuple[str, list[str]]:
    """The separator and the names of the columns."""
    first: list[str] = []
    for delimiter in (",", ";", "\t"):
        names = [name.strip().lower() for name in read_names(table, _ENCODING, delimiter)]
        first = first or names
        if all(name in names for name in _NEEDED):
            return delimiter, names
    missing = [name for name in _NEEDED if name not in first]
    raise ValueError(
        f"{table}: the column(s) {', '.join(missing)} are missing, the first line is "
        f"{','.join(first)!r}"
    )
