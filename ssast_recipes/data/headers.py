"""What the headers of audio files say."""

import math
import os
import re
from typing import NamedTuple

import soundfile

from ssast_recipes.data.manifest import why_undecodable
from ssast_recipes.data.mp3 import first_frame, missing_bytes
from ssast_recipes.data.rates import check_rate
from ssast_recipes.data.shards import (
    UnreadableAudioError,
    count_samples,
    is_believable,
    open_audio,
    open_bytes,
    split_location,
    why_unreadable,
)

# How much shorter than its manifest says a clip may be, in seconds, or as a share of it if that is
# more: compressed formats pad and round, and other tools' manifests round durations.
LEAST_MISSING = 0.1
MISSING_SHARE = 0.02


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
    num_clipped: int = 0  # samples at full scale, or beyond


def audio_info(path: str | os.PathLike) -> AudioInfo:
    """Reads length, sample rate and channels of an audio file from its header.

    A length that cannot be right is counted by decoding: where the header has none, as of FLAC
    written to a pipe, or guesses, as of MP3 without a tag.

    Arguments
    ---------
    path : str or path
        Any format that soundfile reads; or a member of a shard, as a manifest has it.

    Returns
    -------
    AudioInfo

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no audio, empty, or shorter than its header says, as far as that can be told
        without decoding.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, [[0.0, 0.0]] * 8000, 16000)
    >>> audio_info(path), audio_info(path).duration
    (AudioInfo(num_samples=8000, sample_rate=16000, num_channels=2), 0.5)
    """
    member = split_location(path)
    if member is None and not os.path.isfile(path):
        raise FileNotFoundError(f"{path} is not there, or not a file")
    size = os.path.getsize(path) if member is None else member.size
    if size == 0:
        raise ValueError(f"{path} is an empty file")
    try:
        with open_audio(path) as audio:
            num_samples, rate, num_channels = audio.frames, audio.samplerate, audio.channels
            audio_format, notes = audio.format, audio.extra_info
            if not is_believable(num_samples, size):
                num_samples = count_samples(audio)
        if audio_format == "MP3":
            num_samples = _check_mp3(path, num_samples, rate)
        elif audio_format == "OGG" and not _ends_with_last_page(path):
            raise ValueError(f"{path} is cut off: the last page of the Ogg stream is missing")
    except UnreadableAudioError as error:
        raise ValueError(
            f"{path} is not readable audio: {why_unreadable(path, error.__cause__)}"
        ) from None
    except (soundfile.LibsndfileError, OSError) as error:
        raise ValueError(f"{path} cannot be decoded: {why_unreadable(path, error)}") from None
    if num_samples <= 0:
        raise ValueError(f"{path} holds no samples")
    # libsndfile quietly takes a cut WAV or AIFF for a short one, but notes both lengths in its log.
    # Sizes next to 2^31 and above are what programs write that stream and do not know the length.
    cut = re.search(r"(?:data|SSND) : (\d+) \(should be (\d+)\)", notes)
    if cut and int(cut[2]) < int(cut[1]) < 0x7FFF0000:
        raise ValueError(f"{path} is cut off: {cut[2]} of {cut[1]} bytes are there")
    try:
        check_rate(rate)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; mend its header") from None
    return AudioInfo(num_samples, rate, num_channels)


def _check_mp3(path: str | os.PathLike, guessed: int, rate: int) -> int:
    """The length of an MP3 file: as guessed, if it has a tag or that is near; else as counted."""
    with open_bytes(path) as file:
        first = first_frame(file)
        if first is None:
            return guessed
        if missing := missing_bytes(file, first):
            raise ValueError(f"{path} is cut off: {missing} bytes are missing at its end")
    if first.tag:
        return guessed
    with open_audio(path, until=math.inf) as audio:
        counted = count_samples(audio)
    allowed = max(LEAST_MISSING * rate, MISSING_SHARE * counted)
    return guessed if abs(guessed - counted) <= allowed else counted


def clip_info(path: str | os.PathLike) -> AudioInfo:
    r"""Reads the header of an audio file that a manifest is to list, as `audio_info` does.

    Raises
    ------
    FileNotFoundError, ValueError
        As `audio_info`; and if a manifest cannot hold the file's name.

    Example
    -------
    >>> clip_info(os.fsdecode("/sounds/Töne.wav".encode("latin-1")))
    Traceback (most recent call last):
        ...
    ValueError: '/sounds/T\udcf6ne.wav' is not named in UTF-8, rename it
    """
    if reason := why_undecodable(os.fspath(path)):
        raise ValueError(reason)
    return audio_info(path)


def _ends_with_last_page(path: str | os.PathLike) -> bool:
    """Whether an Ogg file is whole: libsndfile takes a cut one for a short one."""
    with open_bytes(path) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 2**16))  # more than any page
        tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    # RFC 3533: byte 5 has the flags, 4 being the end of the stream; byte 26 counts the sizes that
    # follow, of the pieces of which the rest consists.
    sizes = page[27 : 27 + page[26]] if len(page) > 26 else b""
    return bool(sizes) and bool(page[5] & 4) and len(page) >= 27 + len(sizes) + sum(sizes)
