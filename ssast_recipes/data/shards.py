"""Audio in shards: tar files of a gigabyte, whose members are read by their place in them.

A shard follows WebDataset's naming: `KEY.flac` or `KEY.wav`, and beside it `KEY.json`. In a
manifest a member's path is `/folder/train-000003.tar:OFFSET:SIZE`, where in the tar file its bytes
begin and how many there are. So a manifest is the index, clips are found without reading what
stands before them, and whatever reads manifests reads shards.
"""

import io
import os
import re
from functools import lru_cache
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile

from ssast_recipes.data.codecs import CodecFile, has_codecs
from ssast_recipes.data.mp3 import first_frame, with_tag
from ssast_recipes.data.recognition import CODECS, START, is_foreign, is_foreign_start, way_out

_MOST_SAMPLES_A_BYTE = 2**16  # FLAC's largest block of silence; a whole one takes several bytes
_BLOCK = 1 << 22  # samples that are read at once: four minutes at 16 kHz
_COUNTED = 1 << 18  # of which nothing is kept
_LOCATION = re.compile(r"(.+\.tar):(\d+):(\d+)")


class UnreadableAudioError(ValueError):
    """A clip's audio is missing, damaged or not a number: it can be left out, and others used."""


class Member(NamedTuple):
    """Where an audio file lies in a shard."""

    shard: str  # path of the tar file
    offset: int  # of its first byte
    size: int  # in bytes

    @property
    def location(self) -> str:
        """The path that a manifest gives."""
        return f"{self.shard}:{self.offset}:{self.size}"


def split_location(path: str | os.PathLike) -> Member | None:
    """Takes the path of a manifest apart.

    Returns
    -------
    Member or None
        Where it is in which shard; None for a file of its own.

    Example
    -------
    >>> split_location("/data/train-000003.tar:512:32044")
    Member(shard='/data/train-000003.tar', offset=512, size=32044)
    >>> split_location("/data/dog.wav")
    """
    found = _LOCATION.fullmatch(os.fspath(path))
    return Member(found[1], int(found[2]), int(found[3])) if found else None


class _Sequential(soundfile.SoundFile):
    """A file that is read from its start on: its length is not known, and seeking needs that."""

    def seekable(self) -> bool:
        return False


def open_audio(path: str | os.PathLike, until: float = 0.0) -> soundfile.SoundFile | CodecFile:
    """Opens the audio of a manifest's path, a file or a member of a shard, for reading.

    Arguments
    ---------
    path : str or path
        The path.
    until : float
        Up to where it is to be read, in seconds. An MP3 file without a tag is thought to be as long
        as its first frame suggests; where that is less, it is opened so that all can be read.

    Returns
    -------
    soundfile.SoundFile, or the like of it
        A context manager.

    Raises
    ------
    UnreadableAudioError
        If it is not there or no audio.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.tar"
    >>> wav = io.BytesIO()
    >>> soundfile.write(wav, [0.0, 0.5], 16000, format="WAV")
    >>> _ = path.write_bytes(b"before" + wav.getvalue() + b"behind")
    >>> with open_audio(Member(str(path), 6, len(wav.getvalue())).location) as audio:
    ...     audio.read()
    array([0. , 0.5])
    """
    try:
        return _open(path, until)
    except (soundfile.LibsndfileError, OSError, TypeError) as error:
        raise UnreadableAudioError(
            f"{path}: not readable as audio: {why_unreadable(path, error)}; prepare again"
        ) from error


def why_unreadable(path: str | os.PathLike, error: BaseException) -> str:
    """Says why a file could not be opened, and of another format what can be done.

    Arguments
    ---------
    path : str or path
        As of `open_audio`.
    error : exception
        The cause of its error.
    """
    if isinstance(error, TypeError):
        return "it has no header"
    if isinstance(error, soundfile.LibsndfileError) and not has_codecs() and _is_foreign(path):
        if split_location(path) is not None:
            return f"its format is not read here; convert it before it is packed, or {CODECS}"
        return f"its format is not read here; {way_out(path)}"
    return getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)


def _open(path: str | os.PathLike, until: float) -> soundfile.SoundFile | CodecFile:
    member = split_location(path)
    file = os.fspath(path) if member is None else open_bytes(path)
    try:
        audio = soundfile.SoundFile(file)
    except soundfile.LibsndfileError:
        if not (has_codecs() and _is_foreign(path)):
            raise
        return CodecFile(file if member is None else open_bytes(path))
    size = os.path.getsize(path) if member is None else member.size
    if not is_believable(audio.frames, size):
        audio.close()
        return _Sequential(file if member is None else open_bytes(path))
    if audio.format == "MP3" and until * audio.samplerate > audio.frames + 1:
        with open_bytes(path) as content:
            first = first_frame(content)
            if first is not None and not first.tag:
                audio.close()
                return soundfile.SoundFile(with_tag(content, first))
    return audio


def _is_foreign(path: str | os.PathLike) -> bool:
    if split_location(path) is None:
        return is_foreign(path)
    with open_bytes(path) as content:
        return is_foreign_start(content.read(START))


def open_bytes(path: str | os.PathLike) -> BinaryIO:
    """Opens a file or a member of a shard as bytes.

    Raises
    ------
    OSError
        If it is not there.
    """
    member = split_location(path)
    return open(path, "rb") if member is None else _read(member)


def is_believable(num_samples: int, size: int) -> bool:
    """Whether a file of so many bytes may hold so many samples.

    FLAC written to a pipe says nothing of its length, which libsndfile takes for the greatest one.

    Example
    -------
    >>> is_believable(16000, 32044), is_believable(2**63 - 1, 32044)
    (True, False)
    """
    return num_samples <= _MOST_SAMPLES_A_BYTE * size


def _read(member: Member) -> BinaryIO:
    """The bytes of a member, whole: a clip's are few, and one read is the fastest."""
    shard = _shard(member.shard).fileno()
    # Before memory is taken for it: a manifest may claim any size.
    missing = member.offset + member.size - os.fstat(shard).st_size
    if missing > 0:
        raise OSError(f"the shard ends {missing} bytes before the clip does")
    return io.BytesIO(os.pread(shard, member.size, member.offset))


def read_samples(
    audio: soundfile.SoundFile | CodecFile, num_samples: int, dtype: str
) -> np.ndarray:
    """Reads samples from where an open file is, and no more memory than these take.

    A header may claim any length: soundfile would take the memory for it first.

    Arguments
    ---------
    audio : soundfile.SoundFile
        Open for reading.
    num_samples : int
        How many of each channel are wanted.
    dtype : str
        As soundfile's: "float32" or "int16".

    Returns
    -------
    numpy.ndarray
        [samples, channels]; fewer samples where the file ends.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, [0.0, 0.5], 16000)
    >>> with soundfile.SoundFile(path) as audio:
    ...     read_samples(audio, 10**12, "float32")
    array([[0. ],
           [0.5]], dtype=float32)
    """
    blocks = []
    while num_samples > 0 or not blocks:
        wanted = min(max(num_samples, 0), _BLOCK)
        blocks.append(audio.read(wanted, dtype=dtype, always_2d=True))
        num_samples -= wanted
        if len(blocks[-1]) < wanted:
            break
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def go_to(audio: soundfile.SoundFile | CodecFile, place: int) -> None:
    """Goes from the start of an open file to a sample; what cannot seek is read up to there.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, [0.0] * 640, 8000, subtype="GSM610")  # as telephone systems do
    >>> with soundfile.SoundFile(path) as audio:
    ...     go_to(audio, 320)
    ...     len(read_samples(audio, 1000, "float32"))
    320
    """
    if audio.seekable():
        audio.seek(place)
        return
    while place > 0:
        read = len(audio.read(min(place, _BLOCK), dtype="float32", always_2d=True))
        place = place - read if read else 0


def count_samples(audio: soundfile.SoundFile | CodecFile) -> int:
    """Counts the samples of an open file by decoding what is left of it.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, [0.0, 0.5], 16000)
    >>> with open_audio(path) as audio:
    ...     count_samples(audio)
    2
    """
    count, read = 0, _COUNTED
    while read == _COUNTED:
        read = len(audio.read(_COUNTED, dtype="float32", always_2d=True))
        count += read
    return count


@lru_cache(maxsize=64)
def _shard(path: str) -> io.FileIO:
    """An open shard; closed when 64 others were asked for since."""
    return io.FileIO(path)
