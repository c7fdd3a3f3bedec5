"""Manifests: the one list of clips that every preparation writes and every experiment reads.

A manifest is a CSV file with the columns ``ID,path,start,duration,sample_rate,labels`` and, behind
them, whatever else a data set knows of its clips (``fold``, ``speaker``). It loads with
``speechbrain.dataio.dataset.DynamicItemDataset.from_csv``.
"""

import csv
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, NamedTuple

import soundfile
from tqdm import tqdm

COLUMNS = ("ID", "path", "start", "duration", "sample_rate", "labels")
MARK = "prepared.json"


@dataclass(frozen=True)
class Clip:
    """One row of a manifest: a stretch of an audio file and its labels.

    Arguments
    ---------
    id : str
        Unique within its manifest.
    path : str
        Absolute path of the audio file.
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
        if not os.path.isabs(self.path):
            raise ValueError(f"clip {self.id}: the path {self.path!r} is not absolute")
        if not (self.start >= 0 and 0 < self.duration < math.inf and self.sample_rate > 0):
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
        for text in (self.path, *self.labels, *self.extra.values()):
            # SpeechBrain would take it for a variable and ask for its replacement.
            if re.search(r"\$[\w.]", text):
                raise ValueError(f"clip {self.id}: {text!r} holds a '$name', rename it")


@contextmanager
def beside(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a path to write to, which takes the place of ``path`` when all went well.

    Nothing half-written is ever seen under the name itself, and several processes may write it.

    Arguments
    ---------
    path : str or path
        The file to be written; missing folders are made.

    Returns
    -------
    context manager giving a path in the same folder

    Example
    -------
    >>> target = getfixture("tmp_path") / "classes.txt"
    >>> with beside(target) as part:
    ...     _ = part.write_text("dog")
    ...     target.exists()
    False
    >>> target.read_text()
    'dog'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _write_csv(path: str | os.PathLike, header: Iterable[str], rows: Iterable[Iterable]) -> None:
    with beside(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


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
    clips = list(clips)
    extra = tuple(clips[0].extra) if clips else ()
    if set(extra) & set(COLUMNS):
        raise ValueError(f"{path}: the extra columns {extra} repeat one of {COLUMNS}")
    seen = set()
    for clip in clips:
        if clip.id in seen:
            raise ValueError(f"{path}: two clips have the ID {clip.id}, the second is {clip.path}")
        if set(clip.extra) != set(extra):
            raise ValueError(
                f"{path}: clip {clip.id} has the extra columns {tuple(clip.extra)}, "
                f"the first clip has {extra}"
            )
        seen.add(clip.id)
    rows = (
        (clip.id, clip.path, clip.start, clip.duration, clip.sample_rate, ";".join(clip.labels))
        + tuple(clip.extra[name] for name in extra)
        for clip in clips
    )
    _write_csv(path, COLUMNS + extra, rows)


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
    clips, seen = [], set()
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"{path}: the column(s) {', '.join(missing)} are missing")
        for row in reader:
            try:
                if None in row or None in row.values():
                    raise ValueError(f"expected {len(reader.fieldnames)} values")
                if row["ID"] in seen:
                    raise ValueError(f"the ID {row['ID']} was there before")
                clip = Clip(
                    id=row["ID"],
                    path=row["path"],
                    start=float(row["start"]),
                    duration=float(row["duration"]),
                    sample_rate=int(row["sample_rate"]),
                    labels=tuple(row["labels"].split(";")) if row["labels"] else (),
                    extra={name: row[name] for name in row if name not in COLUMNS},
                )
            except ValueError as error:
                raise ValueError(f"{path}, line {reader.line_num}: {error}") from None
            seen.add(clip.id)
            clips.append(clip)
    return clips


class AudioInfo(NamedTuple):
    """What the header of an audio file says."""

    num_samples: int  # of each channel
    sample_rate: int
    num_channels: int

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sample_rate


def audio_info(path: str | os.PathLike) -> AudioInfo:
    """Reads length, sample rate and channels of an audio file from its header alone.

    Arguments
    ---------
    path : str or path
        Any format that soundfile reads.

    Returns
    -------
    AudioInfo

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no audio, empty, or shorter than its header says.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, [[0.0, 0.0]] * 8000, 16000)
    >>> audio_info(path), audio_info(path).duration
    (AudioInfo(num_samples=8000, sample_rate=16000, num_channels=2), 0.5)
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path} is not there, or not a file")
    if os.path.getsize(path) == 0:
        raise ValueError(f"{path} is an empty file")
    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path} is not readable audio: {error.error_string}") from None
    if info.frames <= 0:
        raise ValueError(f"{path} holds no samples")
    # libsndfile quietly takes a cut WAV or AIFF for a short one, but notes both lengths in its log.
    # Sizes next to 2^31 and above are what programs write that stream and do not know the length.
    cut = re.search(r"(?:data|SSND) : (\d+) \(should be (\d+)\)", info.extra_info)
    if cut and int(cut[2]) < int(cut[1]) < 0x7FFF0000:
        raise ValueError(f"{path} is cut off: {cut[2]} of {cut[1]} bytes are there")
    if info.format == "OGG" and not _ends_with_last_page(path):
        raise ValueError(f"{path} is cut off: the last page of the Ogg stream is missing")
    return AudioInfo(info.frames, info.samplerate, info.channels)


def _ends_with_last_page(path: str | os.PathLike) -> bool:
    """Whether an Ogg file is whole: libsndfile takes a cut one for a short one."""
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - 2**16))  # more than any page
        tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    # RFC 3533: byte 5 has the flags, 4 being the end of the stream; byte 26 counts the sizes that
    # follow, of the pieces of which the rest consists.
    sizes = page[27 : 27 + page[26]] if len(page) > 26 else b""
    return bool(sizes) and bool(page[5] & 4) and len(page) >= 27 + len(sizes) + sum(sizes)


def scan_audio(
    paths: Iterable[str | os.PathLike],
    num_workers: int | None = None,
    progress: bool = True,
    inspect: Callable[[str], Any] = audio_info,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Inspects many audio files in parallel threads and sorts the good from the bad.

    Arguments
    ---------
    paths : iterable of str or path
        The files; one named twice is inspected once.
    num_workers : int, optional
        Threads; one per core if left out.
    progress : bool
        Whether to show a bar.
    inspect : callable
        What is done to each path. ``ValueError`` or ``FileNotFoundError`` rejects the file, any
        other exception ends the scan.

    Returns
    -------
    found : dict
        Path to what ``inspect`` returned, ordered by path.
    rejected : dict of str to str
        Path to the reason, ordered by path.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> soundfile.write(folder / "a.wav", [0.0] * 8000, 16000)
    >>> found, rejected = scan_audio([folder / "b.wav", folder / "a.wav"], progress=False)
    >>> [info.duration for info in found.values()], len(rejected)
    ([0.5], 1)
    """

    def attempt(path: str) -> tuple[Any, str | None]:
        try:
            return inspect(path), None
        except (ValueError, FileNotFoundError) as error:
            return None, str(error)

    paths = sorted({os.fspath(path) for path in paths})
    found, rejected = {}, {}
    with ThreadPool(num_workers) as pool:
        results = tqdm(
            pool.imap(attempt, paths, chunksize=8),
            total=len(paths),
            desc="audio files",
            disable=not progress,
        )
        for path, (result, reason) in zip(paths, results, strict=True):
            if reason is None:
                found[path] = result
            else:
                rejected[path] = reason
    return found, rejected


def write_rejected(path: str | os.PathLike, rejected: Mapping[str, str]) -> None:
    """Writes the rejected files and why as a CSV file with the columns ``path,reason``.

    Arguments
    ---------
    path : str or path
        The CSV file, ``rejected.csv`` by custom.
    rejected : mapping of str to str
        From ``scan_audio``.

    Example
    -------
    >>> path = getfixture("tmp_path") / "rejected.csv"
    >>> write_rejected(path, {"/a.wav": "/a.wav is an empty file"})
    >>> path.read_text().splitlines()
    ['path,reason', '/a.wav,/a.wav is an empty file']
    """
    _write_csv(path, ("path", "reason"), rejected.items())


def check_rejected(rejected: Mapping[str, str], total: int, max_rejected: float = 0.01) -> None:
    """Refuses to go on when too many files are bad for it to be chance.

    Arguments
    ---------
    rejected : mapping of str to str
        From ``scan_audio``.
    total : int
        Number of files that were inspected.
    max_rejected : float
        The share of them that may be bad.

    Raises
    ------
    ValueError
        If more are.

    Example
    -------
    >>> check_rejected({"/a.wav": "/a.wav is an empty file"}, total=2000)
    >>> check_rejected({"/a.wav": "/a.wav is an empty file"}, total=10)
    Traceback (most recent call last):
        ...
    ValueError: 1 of 10 audio files cannot be used, ... /a.wav is an empty file
    """
    if len(rejected) > max_rejected * total:
        first = "; ".join(list(rejected.values())[:3])
        raise ValueError(
            f"{len(rejected)} of {total} audio files cannot be used, more than the share of "
            f"{max_rejected:g} (max_rejected); all are listed in rejected.csv, the first: {first}"
        )


def file_digest(path: str | os.PathLike) -> str:
    """SHA-256 of a file's content in hexadecimal digits.

    Example
    -------
    >>> path = getfixture("tmp_path") / "empty"
    >>> path.touch()
    >>> file_digest(path)[:8]
    'e3b0c442'
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mark_prepared(
    folder: str | os.PathLike, fingerprint: Mapping[str, Any], files: Iterable[str]
) -> None:
    """Notes that a preparation came to its end. To be called last.

    Arguments
    ---------
    folder : str or path
        Where the manifests are; the note is ``prepared.json`` beside them.
    fingerprint : mapping
        Options and what was found (number of files, checksum of a list): whatever asks for
        preparing anew when it changes. Plain values, as JSON has them.
    files : iterable of str
        Names of the files in ``folder`` that were written.
    """
    folder = Path(folder)
    mark = {
        "fingerprint": dict(fingerprint),
        "files": {name: file_digest(folder / name) for name in files},
    }
    with beside(folder / MARK) as part:
        part.write_text(json.dumps(mark, indent=2) + "\n", encoding="utf-8")


def prepared(folder: str | os.PathLike, fingerprint: Mapping[str, Any]) -> bool:
    """Whether ``folder`` holds, whole and unchanged, what a preparation wrote for ``fingerprint``.

    Arguments
    ---------
    folder : str or path
        As given to ``mark_prepared``.
    fingerprint : mapping
        As it would be given to ``mark_prepared`` now.

    Returns
    -------
    bool

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> write_manifest(folder / "train.csv", [Clip("a", "/a.wav", 0.0, 5.0, 44100)])
    >>> mark_prepared(folder, {"fold": 1}, ["train.csv"])
    >>> prepared(folder, {"fold": 1}), prepared(folder, {"fold": 2})
    (True, False)
    >>> (folder / "train.csv").unlink()
    >>> prepared(folder, {"fold": 1})
    False
    """
    folder = Path(folder)
    try:
        mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
        return mark["fingerprint"] == json.loads(json.dumps(fingerprint)) and all(
            file_digest(folder / name) == digest for name, digest in mark["files"].items()
        )
    except FileNotFoundError:
        return False
