"""Prepares ESC-50: checks the corpus, resamples it once, and writes a fold's manifests.

The corpus (Piczak, "ESC: Dataset for Environmental Sound Classification", 2015) is 2000 clips of
5 s in 50 classes and 5 folds; its subset ESC-10 has the same layout. Train on four folds, test on
the fifth, report the mean of five.
"""

import csv
import hashlib
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import soundfile

from ssast_recipes.data.download import download as download_file
from ssast_recipes.data.download import extract
from ssast_recipes.data.manifest import Clip, read_manifest, write_manifest
from ssast_recipes.data.preparation import mark_prepared, prepared
from ssast_recipes.data.resampling import ResampledClip, resample_clip
from ssast_recipes.data.scanning import check_rejected, scan_audio, write_rejected
from ssast_recipes.files import file_digest, write_text

logger = logging.getLogger(__name__)

URL = "https://github.com/karoldvl/ESC-50/archive/master.zip"
ARCHIVE_FOLDER = "ESC-50-master"
FOLDS = (1, 2, 3, 4, 5)
CLIP_SECONDS = 5.0
HOLD_OUT_EVERY = 10  # training clips: enough to watch pretraining by


class Corpus(NamedTuple):
    """What was published."""

    name: str
    num_classes: int
    num_clips: int
    clips_per_fold: int


ESC10 = Corpus("ESC-10", num_classes=10, num_clips=400, clips_per_fold=80)
ESC50 = Corpus("ESC-50", num_classes=50, num_clips=2000, clips_per_fold=400)


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
    splits = {"train": [fold for fold in FOLDS if fold != test_fold], "test": [test_fold]}

    corpus = _find_corpus(Path(data_folder).absolute(), download, download_sha256)
    recordings, classes = _read_meta(corpus)
    for split, folds in splits.items():
        if not any(recording.fold in folds for recording in recordings):
            raise ValueError(f"{corpus}/meta/esc50.csv lists no clip of folds {folds} ({split})")
    manifest_folder = Path(manifest_folder).absolute()
    folder = manifest_folder / f"fold{test_fold}"
    published = ESC10 if len(classes) <= ESC10.num_classes else ESC50
    fingerprint = {
        "sample_rate": sample_rate,
        "max_rejected": max_rejected,
        "hold_out_every": HOLD_OUT_EVERY,
        "corpus": str(corpus),
        "meta": file_digest(corpus / "meta" / "esc50.csv"),
        "num_files": len(recordings),
        "audio": _audio_digest(recordings),
    }
    if prepared(folder, fingerprint) and _audio_is_there(folder, splits):
        logger.info("%s is prepared already", folder)
        return published.name

    audio_folder = manifest_folder / f"audio_{sample_rate}"
    found, rejected = scan_audio(
        (recording.path for recording in recordings),
        inspect=partial(resample_clip, folder=audio_folder, sample_rate=sample_rate),
    )
    write_rejected(folder / "rejected.csv", rejected)
    check_rejected(rejected, len(recordings), max_rejected, folder / "rejected.csv")
    if all(clip.is_silent for clip in found.values()):
        raise ValueError(
            f"all {len(found)} clips in {corpus / 'audio'} are silent from end to end: there is "
            "nothing to learn; copy or convert the corpus anew"
        )
    manifests = {}
    for split, folds in splits.items():
        manifests[split] = [
            _clip(recording, found[recording.path])
            for recording in recordings
            if recording.fold in folds and recording.path in found
        ]
    train = manifests["train"]
    manifests["pretrain"] = [clip for i, clip in enumerate(train) if i % HOLD_OUT_EVERY]
    manifests["held_out"] = train[::HOLD_OUT_EVERY]
    for split, clips in manifests.items():
        write_manifest(folder / f"{split}.csv", clips)
    write_text(folder / "classes.txt", "".join(f"{name}\n" for name in classes))
    _report(corpus, published, recordings, classes, manifests, found, rejected)
    files = (*(f"{split}.csv" for split in manifests), "classes.txt", "rejected.csv")
    mark_prepared(folder, fingerprint, files)
    return published.name


def _find_corpus(data_folder: Path, download: bool, sha256: str | None) -> Path:
    """The folder that holds ``meta/esc50.csv`` and ``audio``, downloaded if need be."""
    inner = data_folder / ARCHIVE_FOLDER
    for folder in (data_folder, inner):
        if (folder / "meta" / "esc50.csv").is_file() and (folder / "audio").is_dir():
            return folder
    if not download:
        what = "is not ESC-50" if data_folder.exists() else "does not exist"
        raise FileNotFoundError(
            f"data_folder {data_folder} {what}: expected meta/esc50.csv and audio/ in it or in its "
            f"{ARCHIVE_FOLDER}/; --download True fetches them there, or unpack {URL}"
        )
    _download(inner, sha256)
    return inner


def _download(folder: Path, sha256: str | None) -> None:
    """Makes ``folder`` hold the corpus, or leaves nothing: the next attempt begins anew."""
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} holds another thing than ESC-50: move it to download anew")
    archive = download_file(URL, folder.with_name(f"{ARCHIVE_FOLDER}.zip"), sha256)
    unchecked = folder.with_name(f"{ARCHIVE_FOLDER}.unchecked")
    shutil.rmtree(unchecked, ignore_errors=True)  # of an attempt that was killed
    try:
        _check_download(extract(archive, unchecked, top=ARCHIVE_FOLDER))
        os.replace(unchecked, folder)
    except (ValueError, FileNotFoundError) as error:
        archive.unlink()
        raise ValueError(
            f"what {URL} sent is not ESC-50 and was deleted, try again: {error}"
        ) from None
    finally:
        shutil.rmtree(unchecked, ignore_errors=True)
    archive.unlink()


def _check_download(corpus: Path) -> None:
    """Compares a corpus with what was published."""
    if not (corpus / "meta" / "esc50.csv").is_file() or not (corpus / "audio").is_dir():
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
    converted = {Path(name).stem: audio[name] for name in sorted(audio) if _is_audio(name)}
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
    columns = ("filename", "fold", "target", "category")
    try:
        with open(meta, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
                raise ValueError(f"the column(s) {', '.join(missing)} are missing")
            for row in reader:
                yield f"{meta}, line {reader.line_num}", row
    except (ValueError, csv.Error) as error:
        raise ValueError(
            f"{meta} is not ESC-50's list of clips: {error}; take it from {URL}"
        ) from None


def _is_audio(name: str) -> bool:
    return Path(name).suffix[1:].upper() in soundfile.available_formats()


def _audio_digest(recordings: Sequence[Recording]) -> str:
    """Changes whenever one of the files does, without reading them."""
    digest = hashlib.sha256()
    for recording in recordings:
        status = os.stat(recording.path)
        digest.update(f"{recording.path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _audio_is_there(folder: Path, splits: dict[str, list[int]]) -> bool:
    """Whether nobody deleted the resampled files to which the manifests point."""
    return all(
        os.path.exists(clip.path)
        for split in splits
        for clip in read_manifest(folder / f"{split}.csv")
    )


def _clip(recording: Recording, resampled: ResampledClip) -> Clip:
    return Clip(
        id=Path(recording.path).stem,
        path=resampled.path,
        start=0.0,
        duration=resampled.info.duration,
        sample_rate=resampled.info.sample_rate,
        labels=(recording.category,),
        extra={"fold": str(recording.fold)},
    )


def _report(
    corpus: Path,
    published: Corpus,
    recordings: Sequence[Recording],
    classes: Sequence[str],
    manifests: dict[str, list[Clip]],
    found: dict[str, ResampledClip],
    rejected: dict[str, str],
) -> None:
    """Logs what was found beside what was published."""
    per_fold = Counter(recording.fold for recording in recordings)
    logger.info(
        "%s: %d of %s's %d clips (%d missing), %d of %d classes, clips per fold %s of %d",
        corpus,
        len(recordings),
        published.name,
        published.num_clips,
        max(published.num_clips - len(recordings), 0),
        len(classes),
        published.num_classes,
        "/".join(str(per_fold[fold]) for fold in FOLDS),
        published.clips_per_fold,
    )
    for split, clips in manifests.items():
        counts = Counter(clip.labels[0] for clip in clips)
        per_class = ", ".join(f"{label} {counts[label]}" for label in classes)
        logger.info("%s: %d clips (%s)", split, len(clips), per_class)
    silent = [path for path, clip in found.items() if clip.is_silent]
    other = [path for path, clip in found.items() if abs(clip.info.duration - CLIP_SECONDS) > 0.01]
    for paths, what in (
        (silent, "kept though silent throughout"),
        (other, f"kept though not {CLIP_SECONDS:g} s long"),
        (list(rejected), "left out as unusable, see rejected.csv"),
    ):
        if paths:
            first = ", ".join(Path(path).name for path in paths[:3])
            logger.warning("%d of %d clips %s: %s", len(paths), len(recordings), what, first)
