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

import soundfile

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
    data = os.pread(_shard(member.shard).fileno(), member.size, member.offset)
    if len(data) < member.size:
        raise OSError(f"the shard ends {member.size - len(data)} bytes before the clip does")
    return io.BytesIO(data)


@lru_cache(maxsize=64)
def _shard(path: str) -> io.FileIO:
    """An open shard; closed when 64 others were asked for since."""
    return io.FileIO(path)
