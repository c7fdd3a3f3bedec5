"""Looking through audio files: headers, many at a time, the bad sorted out."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from multiprocessing.pool import ThreadPool
from typing import Any, NamedTuple

import soundfile
from tqdm import tqdm

from ssast_recipes.data.manifest import printable, why_unfit
from ssast_recipes.files import write_csv


class AudioInfo(NamedTuple):
    """What the header of an audio file says."""

    num_samples: int  # of each channel
    sample_rate: int
    num_channels: int

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sample_rate


class AudioCopy(NamedTuple):
    """A good copy that was made of an audio file, to be read instead of it."""

    path: str
    info: AudioInfo  # of the copy
    is_silent: bool  # from end to end


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


def clip_info(path: str | os.PathLike) -> AudioInfo:
    """Reads the header of an audio file that a manifest is to list, as `audio_info` does.

    Raises
    ------
    FileNotFoundError, ValueError
        As `audio_info`; and if a manifest cannot hold the file's name.

    Example
    -------
    >>> clip_info("/sounds/cash $5.wav")
    Traceback (most recent call last):
        ...
    ValueError: '/sounds/cash $5.wav' holds a '$name', rename it
    """
    if reason := why_unfit(os.fspath(path)):
        raise ValueError(reason)
    return audio_info(path)


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
    inspect: Callable[[str], Any] = clip_info,
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
        What is done to each path. A ``ValueError`` rejects the file, and so does the
        ``FileNotFoundError`` of one that is not there; any other exception ends the scan.

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
        except ValueError as error:
            return None, str(error)
        except FileNotFoundError as error:
            if os.path.exists(path):  # then it is another file that is missing, not this one
                raise
            return None, str(error)

    paths = sorted({os.fspath(path) for path in paths})
    found, rejected = {}, {}
    pool = ThreadPool(num_workers)
    try:
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
    finally:
        pool.terminate()
        pool.join()  # so that nothing is written any more when an error or Ctrl-C gets out of here
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
    rows = ((printable(name), printable(reason)) for name, reason in rejected.items())
    write_csv(path, ("path", "reason"), rows)


def check_rejected(
    rejected: Mapping[str, str],
    total: int,
    max_rejected: float = 0.01,
    listed_in: str | os.PathLike = "rejected.csv",
) -> None:
    """Refuses to go on when too many files are bad for it to be chance.

    Arguments
    ---------
    rejected : mapping of str to str
        From ``scan_audio``.
    total : int
        Number of files that were inspected.
    max_rejected : float
        The share of them that may be bad.
    listed_in : str or path
        The file of `write_rejected`.

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
            f"{max_rejected:g} (max_rejected); replace them, all are listed in {listed_in}, the "
            f"first: {first}"
        )
