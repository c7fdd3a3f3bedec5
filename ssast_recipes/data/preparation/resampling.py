"""Decoding, checking and resampling audio files once, before training reads them many times."""

import os
from pathlib import Path

import soundfile
import torch
from torch import Tensor

from ssast_recipes.data.headers import AudioCopy, AudioInfo, audio_info
from ssast_recipes.data.preparation.sixteen_bits import SMALLEST_STEP, encode
from ssast_recipes.data.rates import resample
from ssast_recipes.data.shards import UnreadableAudioError, open_audio, read_samples
from ssast_recipes.system.files import beside

_FULL_SCALE = 1 - SMALLEST_STEP  # the greatest sample of 16 bits


def resample_clip(path: str | os.PathLike, folder: Path, sample_rate: int) -> AudioCopy:
    """Decodes an audio file and writes it as 16-bit mono WAV at another sample rate.

    What 16 bits cannot hold becomes WAV of 32 bits: see `encode`.

    The copy gets the file's modification time. One that has it already, and its length, was made of
    this very file and is used again.

    Arguments
    ---------
    path : str or path
        The audio file, in any format that soundfile reads.
    folder : Path
        Where to write ``<name>.wav``: files of one folder are to differ in more than the extension.
    sample_rate : int
        Of the copy, in Hz.

    Returns
    -------
    AudioCopy

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no audio, empty, cut off or holds samples that are not finite.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> soundfile.write(folder / "a.flac", [[0.5, 0.0]] * 8000, 8000)
    >>> clip = resample_clip(folder / "a.flac", folder / "audio", 16000)
    >>> Path(clip.path).name, clip.info, clip.is_silent
    ('a.wav', AudioInfo(num_samples=16000, sample_rate=16000, num_channels=1), False)
    """
    info = audio_info(path)
    target = folder / f"{Path(path).stem}.wav"
    modified = os.stat(path).st_mtime_ns
    num_samples = -(-info.num_samples * sample_rate // info.sample_rate)
    if not _is_current(target, modified, num_samples):
        waveform = _decode(path, info).mean(1)
        waveform = resample(waveform, info.sample_rate, sample_rate, torch.float32)
        with beside(target) as part:
            part.write_bytes(encode(waveform, sample_rate, "wav").content)
            os.utime(part, ns=(modified, modified))
    info = audio_info(target)
    levels = _decode(target, info).abs()
    is_silent = levels.max().item() < SMALLEST_STEP
    return AudioCopy(str(target), info, is_silent, int((levels >= _FULL_SCALE).sum()))


def _is_current(target: Path, modified: int, num_samples: int) -> bool:
    try:
        is_whole = audio_info(target).num_samples == num_samples
    except (FileNotFoundError, ValueError):
        return False
    return is_whole and os.stat(target).st_mtime_ns == modified


def _decode(path: str | os.PathLike, info: AudioInfo) -> Tensor:
    """All samples of a file [samples, channels]."""
    try:
        with open_audio(path, until=info.duration) as audio:
            samples = read_samples(audio, info.num_samples, "float32")
    except (soundfile.LibsndfileError, UnreadableAudioError, OSError) as error:
        reason = getattr(error, "error_string", error)
        raise ValueError(f"{path} cannot be decoded: {reason}") from None
    if len(samples) < info.num_samples:
        raise ValueError(f"{path} is cut off: {len(samples)} of {info.num_samples} samples")
    waveforms = torch.from_numpy(samples)
    if not waveforms.isfinite().all():
        raise ValueError(f"{path} holds samples that are not finite numbers")
    return waveforms
