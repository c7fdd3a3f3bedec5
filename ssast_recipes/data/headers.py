"""What the headers of audio files say."""

import os
import re
from typing import NamedTuple

import soundfile

from ssast_recipes.data.manifest import why_unfit
from ssast_recipes.data.recognition import is_foreign, way_out

_MOST_SAMPLES_A_BYTE = 2**16  # FLAC's largest block of silence; a whole one takes several bytes


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
        If it is no audio, empty, or shorter than its header says, as far as that can be told
        without decoding.

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
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: of RAW, without a header
        reason = getattr(error, "error_string", "it has no header")
        if is_foreign(path):
            raise ValueError(f"{path} is in a format not read here; {way_out(path)}") from None
        raise ValueError(f"{path} is not readable audio: {reason}") from None
    if info.frames <= 0:
        raise ValueError(f"{path} holds no samples")
    if info.frames > _MOST_SAMPLES_A_BYTE * os.path.getsize(path):
        raise ValueError(
            f"{path} is not readable audio: its header claims {info.frames} samples, more than any "
            "format holds in a file of its size"
        )
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
