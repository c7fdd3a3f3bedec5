"""Prepares ESC-50: checks the corpus, resamples it once, and writes a fold's manifests.

The corpus (Piczak, "ESC: Dataset for Environmental Sound Classification", 2015) is 2000 clips of
5 s in 50 classes and 5 folds; its subset ESC-10 has the same layout. Train on four folds, test on
the fifth, report the mean of five.
"""

import csv
import hashlib
import io
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import soundfile
import torch
import torchaudio

from ssast_recipes.data.download import download as download_file
from ssast_recipes.data.download import extract
from ssast_recipes.data.manifest import Clip, read_manifest, write_manifest
from ssast_recipes.data.preparation import mark_prepared, prepared
from ssast_recipes.data.scanning import (
    AudioInfo,
    audio_info,
    check_rejected,
    scan_audio,
    write_rejected,
)
from ssast_recipes.files import beside, file_digest, write_text

logger = logging.getLogger(__name__)

URL = "https://github.com/karoldvl/ESC-50/archive/master.zip"
ARCHIVE_FOLDER = "ESC-50-master"
FOLDS = (1, 2, 3, 4, 5)
CLIP_SECONDS = 5.0
HOLD_OUT_EVERY = 10  # training clips: enough to watch pretraining by
PUBLISHED = {10: ("ESC-10", 400, 80), 50: ("ESC-50", 2000, 400)}  # classes: name, clips, a fold's


class Recording(NamedTuple):
    """A row of ``meta/esc50.csv``."""

    path: str
    fold: int
    category: str


class CheckedClip(NamedTuple):
    """An audio file that was decoded and found good."""

    path: str  # of the resampled copy, if there is one
    info: AudioInfo
    is_silent: bool


def prepare_esc50(
    data_folder: str | os.PathLike,
    manifest_folder: str | os.PathLike,
    test_fold: int,
    train_folds: Sequence[int] | None = None,
    download: bool = False,
    sample_rate: int = 16000,
    resample: bool = True,
    num_workers: int | None = None,
    max_rejected: float = 0.01,
) -> None:
    """Writes ``train.csv``, ``test.csv`` and ``classes.txt`` to ``<manifest_folder>/fold<k>``.

    For pretraining, which is to see nothing of the test fold, ``held_out.csv`` is every tenth clip
    of ``train.csv``, and ``pretrain.csv`` the others. Beside them lie ``rejected.csv`` (files that
    cannot be used, and why) and ``prepared.json``. A second call with the same data and options
    finds it and does nothing. The data folder is only read.

    Arguments
    ---------
    data_folder : str or path
        Holds ``audio/`` and ``meta/esc50.csv``, or ``ESC-50-master`` which does.
    manifest_folder : str or path
        Where manifests and resampled audio are written.
    test_fold : int
        The fold to test on, 1 to 5.
    train_folds : sequence of int, optional
        All but the test fold if left out.
    download : bool
        Whether to download the corpus to ``data_folder`` if it is not there.
    sample_rate : int
        The sample rate of the resampled copies in Hz.
    resample : bool
        Whether to resample every clip once, to 16-bit mono WAV files in
        ``<manifest_folder>/audio_<sample_rate>`` which all folds share. Otherwise the manifests
        point at the original files.
    num_workers : int, optional
        Threads; one per core if left out.
    max_rejected : float
        The share of unusable files up to which preparation goes on without them.

    Raises
    ------
    ValueError
        If a fold does not exist, the meta file is wrong, too many files are unusable or all are
        silent.
    FileNotFoundError
        If the corpus, or a file that it lists, is not there.

    Example
    -------
    >>> from ssast_recipes.data.synthetic import make_esc50
    >>> folder = getfixture("tmp_path")
    >>> corpus = make_esc50(folder / "corpus", duration=0.1)
    >>> prepare_esc50(corpus, folder / "manifests", test_fold=1)
    >>> [len(read_manifest(folder / f"manifests/fold1/{split}.csv")) for split in ("train", "test")]
    [16, 4]
    """
    if train_folds is None:
        train_folds = [fold for fold in FOLDS if fold != test_fold]
    for name, folds in {"test_fold": [test_fold], "train_folds": train_folds}.items():
        for fold in folds:
            if fold not in FOLDS:
                raise ValueError(f"{name}: ESC-50 has no fold {fold!r}; choose from 1 to 5")
    if test_fold in train_folds or not train_folds:
        raise ValueError(f"training on folds {list(train_folds)} cannot be tested on {test_fold}")
    splits = {"train": sorted(set(train_folds)), "test": [test_fold]}

    corpus = _find_corpus(Path(data_folder).absolute(), download)
    recordings, classes = _read_meta(corpus)
    for split, folds in splits.items():
        if not any(recording.fold in folds for recording in recordings):
            raise ValueError(f"{corpus}/meta/esc50.csv lists no clip of folds {folds} ({split})")
    manifest_folder = Path(manifest_folder).absolute()
    folder = manifest_folder / f"fold{test_fold}"
    audio_folder = manifest_folder / f"audio_{sample_rate}" if resample else None
    fingerprint = {
        "train_folds": splits["train"],
        "resample": sample_rate if resample else None,
        "max_rejected": max_rejected,
        "hold_out_every": HOLD_OUT_EVERY,
        "corpus": str(corpus),
        "meta": file_digest(corpus / "meta" / "esc50.csv"),
        "num_files": len(recordings),
        "audio": _audio_digest(recordings),
    }
    if prepared(folder, fingerprint) and _audio_is_there(folder, splits):
        logger.info("%s is prepared already", folder)
        return

    inspect = partial(check_clip, audio_folder=audio_folder, sample_rate=sample_rate)
    found, rejected = scan_audio(
        (recording.path for recording in recordings), num_workers, inspect=inspect
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
    _report(corpus, recordings, classes, manifests, found, rejected)
    files = (*(f"{split}.csv" for split in manifests), "classes.txt", "rejected.csv")
    mark_prepared(folder, fingerprint, files)


def check_clip(path: str, audio_folder: Path | None, sample_rate: int) -> CheckedClip:
    """Decodes a clip and, if asked to, writes it at another sample rate.

    Arguments
    ---------
    path : str
        The audio file.
    audio_folder : Path, optional
        Where to write ``<name>.wav``, 16-bit and with channels averaged. One that was written from
        the same file before, which its modification time tells, is used again.
    sample_rate : int
        Of what is written, in Hz.

    Returns
    -------
    CheckedClip

    Raises
    ------
    ValueError
        If the file is no audio, empty, cut off or holds samples that are not finite.
    """
    info = audio_info(path)
    if audio_folder is None:
        return CheckedClip(path, info, _is_silent(_decode(path, info)))
    target = audio_folder / f"{Path(path).stem}.wav"
    modified = os.stat(path).st_mtime_ns
    num_samples = -(-info.num_samples * sample_rate // info.sample_rate)
    if not _is_current(target, modified, num_samples):
        waveform = _decode(path, info).mean(1)
        waveform = torchaudio.functional.resample(waveform, info.sample_rate, sample_rate)
        samples = (waveform * 2**15).round().clamp(-(2**15), 2**15 - 1).to(torch.int16)
        # Through memory: libsndfile does not tell why a file could not be written.
        file = io.BytesIO()
        soundfile.write(file, samples.numpy(), sample_rate, format="WAV", subtype="PCM_16")
        with beside(target) as part:
            part.write_bytes(file.getbuffer())
            os.utime(part, ns=(modified, modified))
    info = audio_info(target)
    return CheckedClip(str(target), info, _is_silent(_decode(target, info)))


def _is_current(target: Path, modified: int, num_samples: int) -> bool:
    try:
        is_whole = audio_info(target).num_samples == num_samples
    except (FileNotFoundError, ValueError):
        return False
    return is_whole and os.stat(target).st_mtime_ns == modified


def _decode(path: str | os.PathLike, info: AudioInfo) -> torch.Tensor:
    """All samples of a file [samples, channels]."""
    try:
        samples, _ = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path} cannot be decoded: {error.error_string}") from None
    if len(samples) < info.num_samples:
        raise ValueError(f"{path} is cut off: {len(samples)} of {info.num_samples} samples")
    waveforms = torch.from_numpy(samples)
    if not waveforms.isfinite().all():
        raise ValueError(f"{path} holds samples that are not finite numbers")
    return waveforms


def _is_silent(waveforms: torch.Tensor) -> bool:
    return waveforms.abs().max().item() < 2**-15  # the smallest 16-bit step


def _find_corpus(data_folder: Path, download: bool) -> Path:
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
    archive = download_file(URL, data_folder / f"{ARCHIVE_FOLDER}.zip")
    extract(archive, inner, top=ARCHIVE_FOLDER)
    archive.unlink()
    return _find_corpus(data_folder, download=False)


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


def _clip(recording: Recording, checked: CheckedClip) -> Clip:
    return Clip(
        id=Path(recording.path).stem,
        path=checked.path,
        start=0.0,
        duration=checked.info.duration,
        sample_rate=checked.info.sample_rate,
        labels=(recording.category,),
        extra={"fold": str(recording.fold)},
    )


def _report(
    corpus: Path,
    recordings: Sequence[Recording],
    classes: Sequence[str],
    manifests: dict[str, list[Clip]],
    found: dict[str, CheckedClip],
    rejected: dict[str, str],
) -> None:
    """Logs what was found beside what was published."""
    num_classes = min((size for size in PUBLISHED if size >= len(classes)), default=50)
    name, num_clips, clips_per_fold = PUBLISHED[num_classes]
    per_fold = Counter(recording.fold for recording in recordings)
    logger.info(
        "%s: %d of %s's %d clips (%d missing), %d of %d classes, clips per fold %s of %d",
        corpus,
        len(recordings),
        name,
        num_clips,
        max(num_clips - len(recordings), 0),
        len(classes),
        num_classes,
        "/".join(str(per_fold[fold]) for fold in FOLDS),
        clips_per_fold,
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
