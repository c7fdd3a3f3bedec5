"""Samples of 16 bits, what is lost by them, and the format for what they cannot hold."""

import io
from typing import NamedTuple

import soundfile
import torch
from torch import Tensor

SMALLEST_STEP = 2**-15  # of 16-bit samples
# Of a clip's energy, that rounding and cutting off may lose: 20 dB below the clip. Of noise as loud
# as three steps, rounding loses as much.
_MOST_LOST = 0.01


class Encoded(NamedTuple):
    """A clip as it is stored."""

    content: bytes  # of the file
    extension: str  # its name's
    is_float: bool  # whether 16 bits could not hold it
    num_clipped: int  # samples that were beyond full scale and were cut off at it


def to_sixteen_bits(waveform: Tensor) -> Tensor:
    """Rounds numbers from -1 to 1 to samples of 16 bits; louder ones are clipped.

    Example
    -------
    >>> to_sixteen_bits(torch.tensor([-1.0, 0.5, 1.0]))
    tensor([-32768,  16384,  32767], dtype=torch.int16)
    """
    return (waveform / SMALLEST_STEP).round().clamp(-(2**15), 2**15 - 1).to(torch.int16)


def encode(waveform: Tensor, sample_rate: int, audio_format: str) -> Encoded:
    """Encodes a clip in 16 bits or, where these lose more than a hundredth of it, as 32-bit WAV.

    That is the case of float files in units of 16-bit samples, which would become square waves, and
    of what is so quiet that it would become silence.

    Arguments
    ---------
    waveform : Tensor
        Samples [samples], float32 from -1 to 1, or int16.
    sample_rate : int
        In Hz.
    audio_format : str
        "flac" or "wav".

    Returns
    -------
    Encoded

    Example
    -------
    >>> encode(torch.tensor([0.5, -0.25]), 16000, "flac").extension
    'flac'
    >>> encode(torch.tensor([16384.0, -8192.0]), 16000, "flac").extension
    'wav'
    """
    samples, num_clipped, subtype = waveform, 0, "PCM_16"
    if waveform.dtype != torch.int16:
        samples = to_sixteen_bits(waveform)
        lost = waveform.double() - samples.double() * SMALLEST_STEP
        if lost.square().sum() > _MOST_LOST * waveform.double().square().sum():
            samples, audio_format, subtype = waveform, "wav", "FLOAT"
        else:
            # Not 1 itself, which is one step beyond the greatest sample.
            num_clipped = int((lost.abs() > 1.5 * SMALLEST_STEP).sum())
    # Through memory: libsndfile does not tell why a file could not be written.
    file = io.BytesIO()
    kind = audio_format.upper()
    soundfile.write(file, samples.numpy(), sample_rate, format=kind, subtype=subtype)
    return Encoded(file.getvalue(), audio_format, subtype == "FLOAT", num_clipped)
