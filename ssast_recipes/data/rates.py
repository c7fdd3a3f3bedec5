"""Sample rates: which ones audio has, and resampling from one to another."""

import math
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # at run time where it is needed: headers are read without
    import torch
    from torch import Tensor

LOWEST_RATE, HIGHEST_RATE = 100, 10_000_000  # Hz; earthquakes and ultrasound are within
_LARGEST_KERNEL = 10_000_000  # bytes
# Of torchaudio's default kernel: zero crossings, and where it cuts, as a share of half the rate.
_WIDTH, _ROLLOFF = 6, 0.99


def check_rate(sample_rate: int) -> None:
    """Refuses a rate that no audio has, as damaged headers claim.

    Raises
    ------
    ValueError

    Example
    -------
    >>> check_rate(44100)
    >>> check_rate(1)
    Traceback (most recent call last):
    ValueError: 1 Hz is no sample rate of audio, which is 100 to 10,000,000 Hz
    """
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise ValueError(
            f"{sample_rate} Hz is no sample rate of audio, which is {LOWEST_RATE} to "
            f"{HIGHEST_RATE:,} Hz"
        )


def resample(
    waveform: "Tensor", from_rate: int, to_rate: int, kernel_dtype: "torch.dtype | None" = None
) -> "Tensor":
    """Resamples a waveform: training, packing and use all do it here.

    Rates whose ratio is of small numbers, as 44,100 : 16,000 = 441 : 160, take torchaudio's kernel.
    That has a filter for each place between samples, 16,000 of 11,141 weights from 11,127 Hz; where
    it would be larger than 10 MB, soxr resamples instead, in high quality.

    Arguments
    ---------
    waveform : Tensor
        Samples [samples], float32.
    from_rate, to_rate : int
        In Hz.
    kernel_dtype : torch.dtype, optional
        In which torchaudio's kernel is computed before it is rounded to 32 bits. As ever, training
        leaves it out, for 64 bits; ESC-50's copies and use take 32. Results differ by 1e-5.

    Returns
    -------
    Tensor
        [samples × to_rate / from_rate, rounded up].

    Raises
    ------
    ValueError
        If a rate is no audio's.

    Example
    -------
    >>> import torch
    >>> resample(torch.zeros(11127), 11127, 16000).shape
    torch.Size([16000])
    """
    if from_rate == to_rate:
        return waveform
    for rate in (from_rate, to_rate):
        check_rate(rate)
    if kernel_bytes(from_rate, to_rate) < _LARGEST_KERNEL:
        return _kernel(from_rate, to_rate, kernel_dtype)(waveform)
    import soxr  # here, since most never need it
    import torch

    samples = soxr.resample(waveform.numpy(), from_rate, to_rate)
    length = -(-len(waveform) * to_rate // from_rate)  # which soxr rounds to the nearest
    resampled = torch.zeros(length)
    resampled[: len(samples)] = torch.from_numpy(samples[:length])
    return resampled


def kernel_bytes(from_rate: int, to_rate: int) -> int:
    """Counts the bytes of torchaudio's kernel for two rates.

    Example
    -------
    >>> kernel_bytes(44100, 16000), kernel_bytes(11127, 16000)
    (304000, 713024000)
    """
    common = math.gcd(from_rate, to_rate)
    old, new = from_rate // common, to_rate // common
    width = math.ceil(_WIDTH * old / (min(old, new) * _ROLLOFF))
    return 4 * new * (2 * width + old)


@lru_cache(maxsize=16)
def _kernel(from_rate: int, to_rate: int, dtype: "torch.dtype | None") -> "torch.nn.Module":
    from torchaudio.transforms import Resample

    return Resample(from_rate, to_rate, dtype=dtype)
