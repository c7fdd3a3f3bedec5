"""Prepares ESC-50: checks the corpus, resamples it once, and writes a fold's manifests.

The corpus (Piczak, "ESC: Dataset for Environmental Sound Classification", 2015) is 2000 clips of
5 s in 50 classes and 5 folds; its subset ESC-10 has the same layout. Train on four folds, test on
the fifth, report the mean of five.
"""

import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ssast_recipes.data.preparation.archives import Archive, fetch
from ssast_recipes.data.preparation.counts import Published
from ssast_recipes.data.preparation.manifests import Entry, prepare_manifests
from ssast_recipes.data.preparation.resampling import resample_clip
from ssast_recipes.data.preparation.scanning import scan_audio
from ssast_recipes.data.recognition import is_audio_name
from ssast_recipes.system.files import file_digest
from ssast_recipes.system.tables import iterate_rows

URL = "https://github.com/karoldvl/ESC-50/archive/master.zip"
ARCHIVE_FOLDER = "ESC-50-master"
ARCHIVE_SIZE = 645_000_000  # bytes, about
FOLDS = (1, 2, 3, 4, 5)
HOLD_OUT_EVERY = 10  # training clips: enough to watch pretraining by


class Corpus(NamedTuple):
    """What was published."""

    name: str
    num_classes: int
    clips_per_fold: int


ESC10 = Corpus("ESC-10", num_classes=10, clips_per_fold=80)
ESC50 = Corpus("ESC-50", num_classes=50, clips_per_fold=400)


class Recording(NamedTuple):
    """A row of ``meta/esc50.csv``."""

    path: str
    fold: int
    category: str


def prepare_esc50(
    data_folder: str | os.PathLike,
    manifest_folder: str | os.PathLike,
    test_fold: int,
    download: bool = False,
    download_sha256: str | None = None,
    sample_rate: int = 16000,
    max_rejected: float = 0.01,
) -> str:
    """Writes ``train.csv``, ``test.csv`` and ``classes.txt`` to ``<manifest_folder>/fold<k>``.

    For pretraining, which is to see nothing of the test fold, ``held_out.csv`` is every tenth clip
    of ``train.csv``, and ``pretrain.csv`` the others. Beside them lie ``rejected.csv`` (files that
    cannot be used, and why) and ``prepared.json``. A second call with the same data and options
    finds it and does nothing. The data folder is only read, but for a download.

    A download is GitHub's archive of the corpus' repository. GitHub may pack the same files into
    other bytes any day, so no checksum of it can be built in. What was unpacked, each file by the
    checksum within the archive, is checked instead: the list has to have ESC-50's 2000 clips in 50
    classes and 5 folds of 400, and each has to be there as readable audio.

    Arguments
    ---------
    data_folder : str or path
        Holds ``audio/`` and ``meta/esc50.csv``, or ``ESC-50-master`` which does.
    manifest_folder : str or path
        Where manifests and resampled audio are written.
    test_fold : int
        The fold to test on, 1 to 5.
    download : bool
        Whether to download the corpus to ``data_folder`` if it is not there.
    download_sha256 : str, optional
        The archive's SHA-256 in hexadecimal digits, for who wants the same one as before.
    sample_rate : int
        Every clip is resampled once, in Hz, to 16-bit mono WAV files in
        ``<manifest_folder>/audio_<sample_rate>`` which all folds share.
    max_rejected : float
        The share of unusable files up to which preparation goes on without them.

    Returns
    -------
    str
        The corpus' name: ESC-10 if there are at most ten classes, otherwise ESC-50.

    Raises
    ------
    ValueError
        If there is no such fold, the meta file is wrong, too many files are unusable, all are
        silent, or what was downloaded is not ESC-50.
    FileNotFoundError
        If the corpus, or a file that it lists, is not there.

    Example
    -------
    >>> from ssast_recipes.data.manifest import read_manifest
    >>> from ssast_recipes.data.synthetic import make_esc50
    >>> folder = getfixture("tmp_path")
    >>> corpus = make_esc50(folder / "corpus", duration=0.1)
    >>> prepare_esc50(corpus, folder / "manifests", test_fold=1)
    'ESC-10'
    >>> [len(read_manifest(folder / f"manifests/fold1/{split}.csv")) for split in ("train", "test")]
    [16, 4]
    """
    if test_fold not in FOLDS:
        raise ValueError(f"test_fold: ESC-50 has no fold {test_fold!r}; choose from 1 to 5")
    folds = {"train": [fold for fold in FOLDS if fold != test_fold], "test": [test_fold]}

    corpus, recordings, classes = read_esc50(data_folder, download, download_sha256)
    entries = {
        split: [as_entry(recording) for recording in recordings if recording.fold in folds[split]]
        for split in folds
    }
    train = entries["train"]
    entries["pretrain"] = [entry for i, entry in enumerate(train) if i % HOLD_OUT_EVERY]
    entries["held_out"] = train[::HOLD_OUT_EVERY]

    published = ESC10 if len(classes) <= ESC10.num_classes else ESC50
    num_clips = {split: published.clips_per_fold * len(folds[split]) for split in folds}
    manifest_folder = Path(manifest_folder).absolute()
    audio_folder = manifest_folder / f"audio_{sample_rate}"
    prepare_manifests(
        manifest_folder / f"fold{test_fold}",
        entries,
        Published(published.name, num_clips, published.num_classes),
        classes,
        options={
            "sample_rate": sample_rate,
            "hold_out_every": HOLD_OUT_EVERY,
            "meta": file_digest(corpus / "meta" / "esc50.csv"),
        },
        max_rejected=max_rejected,
        copy=partial(resample_clip, folder=audio_folder, sample_rate=sample_rate),
    )
    return published.name


def read_esc50(
    data_folder: str | os.PathLike, download: bool = False, download_sha256: str | None = None
) -> tuple[Path, list[Recording], list[str]]:
    """Finds the corpus and reads its list.

    Arguments
    ---------
    data_folder, download, download_sha256
        As for `prepare_esc50`.

    Returns
    -------
    tuple
        The corpus' folder, its recordings, and its classes in the order of their indices.

    Raises
    ------
    ValueError, FileNotFoundError
        As `prepare_esc50`.
    """
    corpus = _find_corpus(Path(data_folder).absolute(), download, download_sha256)
    return corpus, *_read_meta(corpus)


def _find_corpus(data_folder: Path, download: bool, sha256: str | None) -> Path:
    """The folder that holds ``meta/esc50.csv`` and ``audio``, downloaded if need be."""
    inner = data_folder / ARCHIVE_FOLDER
    if download and not _is_corpus(data_folder) and not _is_corpus(inner):
        archive = Archive(URL, ARCHIVE_FOLDER, ARCHIVE_SIZE, top=ARCHIVE_FOLDER, sha256=sha256)
        fetch([archive], data_folder, _check_download)
        if not _is_corpus(inner):
            raise FileExistsError(
                f"{inner} holds another thing than ESC-50: move it to download anew"
            )
    for folder in (data_folder, inner):
        if _is_corpus(folder):
            return folder
    what = "is not ESC-50" if data_folder.exists() else "does not exist"
    raise FileNotFoundError(
        f"data_folder {data_folder} {what}: expected meta/esc50.csv and audio/ in it or in its "
        f"{ARCHIVE_FOLDER}/; --download True fetches them there, or unpack {URL}"
    )


def _is_corpus(folder: Path) -> bool:
    return (folder / "meta" / "esc50.csv").is_file() and (folder / "audio").is_dir()


def _check_download(corpus: Path) -> None:
    """Compares a corpus with what was published."""
    if not _is_corpus(corpus):
        raise FileNotFoundError("meta/esc50.csv or audio/ is missing")
    recordings, classes = _read_meta(corpus)
    per_fold = Counter(recording.fold for recording in recordings)
    if len(classes) != ESC50.num_classes or any(
        per_fold[fold] != ESC50.clips_per_fold for fold in FOLDS
    ):
        raise ValueError(
            f"it lists {len(classes)} classes, {'/'.join(str(per_fold[fold]) for fold in FOLDS)} "
            f"clips per fold; published are {ESC50.num_classes} and {ESC50.clips_per_fold} each"
        )
    _, rejected = scan_audio(recording.path for recording in recordings)
    if rejected:
        first = next(iter(rejected.values()))
        raise ValueError(f"{len(rejected)} of {len(recordings)} files cannot be used: {first}")


def _read_meta(corpus: Path) -> tuple[list[Recording], list[str]]:
    """The recordings that ``meta/esc50.csv`` lists, and the categories ordered by target."""
    meta = corpus / "meta" / "esc50.csv"
    audio = {entry.name: entry.path for entry in os.scandir(corpus / "audio")}
    # A corpus may have been converted (to FLAC, say) and its list left as it was.
    converted = {Path(name).stem: audio[name] for name in sorted(audio) if is_audio_name(name)}
    recordings, absent, targets, stems = [], [], {}, set()
    for where, row in _rows(meta):
        name, category = row["filename"], row["category"]
        try:
            fold, target = int(row["fold"]), int(row["target"])
        except (TypeError, ValueError):
            raise ValueError(
                f"{where}: fold {row['fold']!r} and target {row['target']!r} are to be integers"
            ) from None
        if not name or not category:
            raise ValueError(f"{where}: the filename or the category is missing")
        stem = Path(name).stem
        if fold not in FOLDS:
            raise ValueError(f"{where}: ESC-50 has folds 1 to 5, not {fold}")
        if stem in stems:
            raise ValueError(f"{where}: {name} is listed twice")
        if targets.setdefault(target, category) != category:
            raise ValueError(
                f"{where}: target {target} is {category!r} here, {targets[target]!r} above"
            )
        stems.add(stem)
        path = audio.get(name) or converted.get(stem)
        if path is None:
            absent.append(name)
        else:
            recordings.append(Recording(path, fold, category))
    if absent:
        raise FileNotFoundError(
            f"{len(absent)} of the {len(stems)} files that {meta} lists are not in "
            f"{corpus / 'audio'}: {', '.join(absent[:3])}{', …' if absent[3:] else ''}; copy them "
            "there, or take them off the list"
        )
    classes = [targets[target] for target in sorted(targets)]
    if len(set(classes)) < len(classes):
        repeated = Counter(classes).most_common(1)[0][0]
        raise ValueError(f"{meta}: the category {repeated!r} has several targets")
    return recordings, classes


def _rows(meta: Path) -> Iterator[tuple[str, dict[str, str | None]]]:
    """The rows of ``meta/esc50.csv``, each with its place in words."""
    try:
        yield from iterate_rows(meta, ("filename", "fold", "target", "category"), is_ragged=True)
    except ValueError as error:
        reason = str(error).removeprefix(str(meta)).removeprefix(":").strip()
        raise ValueError(
            f"{meta} is not ESC-50's list of clips: {reason}; take it from {URL}"
        ) from None


def as_entry(recording: Recording) -> Entry:
    """Makes a recording an entry of manifests; its fold is a column."""
    return Entry(
        id=Path(recording.path).stem,
        path=recording.path,
        labels=(recording.category,),
        extra={"fold": str(recording.fold)},
    )
