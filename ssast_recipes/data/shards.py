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

_BLOCK = 1 << 22  # samples that are read at once: four minutes at 16 kHz
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


def open_audio(path: str | os.PathLike) -> soundfile.SoundFile:
    """Opens the audio of a manifest's path, a file or a member of a shard, for reading.

    Arguments
    ---------
    path : str or path
        The path.

    Returns
    -------
    soundfile.SoundFile
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
    member = split_location(path)
    try:
        return soundfile.SoundFile(path if member is None else _read(member))
    except (soundfile.LibsndfileError, OSError) as error:
        reason = getattr(error, "error_string", None) or getattr(error, "strerror", None) or error
        raise UnreadableAudioError(
            f"{path}: not readable as audio: {reason}; prepare again"
        ) from error


def _read(member: Member) -> BinaryIO:
    """The bytes of a member, whole: a clip's are few, and one read is the fastest."""
    shard = _shard(member.shard).fileno()
    # Before memory is taken for it: a manifest may claim any size.
    missing = member.offset + member.size - os.fstat(shard).st_size
    if missing > 0:
        raise OSError(f"the shard ends {missing} bytes before the clip does")
    return io.BytesIO(os.pread(shard, member.size, member.offset))


def read_samples(audio: soundfile.SoundFile, num_samples: int, dtype: str) -> np.ndarray:
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


@lru_cache(maxsize=64)
def _shard(path: str) -> io.FileIO:
    """An open shard; closed when 64 others were asked for since."""
    return io.FileIO(path)
