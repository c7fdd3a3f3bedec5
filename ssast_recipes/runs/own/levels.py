"""What is odd about the levels of recordings: silence, clipping, offsets, phases, empty bands."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssast_recipes.data.manifest import Clip, printable
from ssast_recipes.data.pipelines import read_channels
from ssast_recipes.data.preparation.sixteen_bits import SMALLEST_STEP
from ssast_recipes.data.shards import UnreadableAudioError

_CLIPPED_SHARE = 0.001  # of the samples, at full scale
_OFFSET = 0.02  # of full scale
_CANCELLED = 0.1  # what is left of the level, as a share: 20 dB less
_EMPTY = 1e-6  # of the power: 60 dB less
_HEARD = 8000.0  # Hz, up to which most front ends hear
_LEAST_BAND = 0.7  # of it: filters of rates twice as high are not steep
_WINDOW = 1024  # samples of a spectrum
_NOTABLE = 0.02  # of the energy, above what is kept


class Levels(NamedTuple):
    """What is odd about a clip."""

    is_silent: bool
    is_loud: bool  # louder than full scale, by more than peaks: in other units
    is_clipped: bool
    has_offset: bool
    is_cancelled: bool  # channels out of phase: their mean is nearly silent
    band: float  # Hz, above which there is nothing
    is_limited: bool  # that is much less than what is heard and the rate could hold


_TOLD = {
    "is_silent": "are silent from end to end",
    "is_loud": "are far louder than full scale, as floats in units of 16-bit samples are: rescale",
    "is_clipped": "are clipped: at full scale in 0.1 % of their samples or more",
    "has_offset": "have an offset (DC) of more than 2 % of full scale",
    "is_cancelled": "have channels out of phase: their mean, which is heard, is nearly silent; "
    "keep one, ffmpeg -i x.wav -af 'pan=mono|c0=c0' y.wav",
    "is_limited": "hold nothing in the upper part of the band, as if recorded at a lower rate",
}


def measure_levels(samples: np.ndarray, sample_rate: int) -> Levels:
    """Measures a clip.

    Arguments
    ---------
    samples : numpy.ndarray
        [samples, channels], as they are in the file.
    sample_rate : int
        In Hz.

    Returns
    -------
    Levels

    Example
    -------
    >>> tone = 0.5 * np.sin(np.arange(16000) / 5)[:, None]
    >>> measure_levels(np.concatenate([tone, -tone], axis=1), 16000).is_cancelled
    True
    """
    mono = samples.mean(axis=1, dtype=np.float64)
    peak = float(np.abs(samples).max())
    level, left = _root_mean_square(samples), _root_mean_square(mono)
    is_silent = peak < SMALLEST_STEP
    is_loud = peak > 2
    at_full_scale = (np.abs(samples) >= 1 - 1.5 * SMALLEST_STEP).mean()
    band, heard = sample_rate / 2, min(sample_rate / 2, _HEARD)
    is_cancelled = not is_silent and left < _CANCELLED * level
    if not is_silent and not is_cancelled and len(mono) >= _WINDOW:
        band = _highest(mono, sample_rate)
    return Levels(
        is_silent,
        is_loud,
        bool(not is_loud and at_full_scale >= _CLIPPED_SHARE),
        bool(not is_loud and abs(mono.mean()) > _OFFSET),
        is_cancelled,
        band,
        band < _LEAST_BAND * heard,
    )


def _root_mean_square(samples: np.ndarray) -> float:
    return float(np.sqrt(np.square(samples, dtype=np.float64).mean()))


def _highest(mono: np.ndarray, sample_rate: int) -> float:
    """The frequency above which there is nothing but what rounding to 16 bits leaves."""
    power = _spectrum(mono)
    above = power[::-1].cumsum()[::-1]
    heard = above > _EMPTY * above[0] + 2 * SMALLEST_STEP**2 / 12
    return float(heard.sum() * sample_rate / _WINDOW)


def _spectrum(mono: np.ndarray) -> np.ndarray:
    """The power at each frequency; it adds up to the mean square."""
    frames = mono[: len(mono) // _WINDOW * _WINDOW].reshape(-1, _WINDOW)
    frames = (frames - frames.mean(axis=1, keepdims=True)) * np.hanning(_WINDOW)
    power = np.square(np.abs(np.fft.rfft(frames, axis=1))).mean(axis=0)
    return power * (2 / _WINDOW / np.square(np.hanning(_WINDOW)).sum())


def measure_energy(samples: np.ndarray, sample_rate: int, kept: float) -> tuple[float, float]:
    """Measures how much of a clip's energy lies above a frequency.

    Arguments
    ---------
    samples : numpy.ndarray
        [samples, channels], as they are in the file.
    sample_rate : int
        In Hz.
    kept : float
        The frequency, in Hz.

    Returns
    -------
    tuple[float, float]
        The energy above it, and all of it; both 0 of a clip shorter than a spectrum.

    Example
    -------
    >>> tone = np.sin(2 * np.pi * 30000 * np.arange(96000) / 96000)[:, None]
    >>> above, all_of_it = measure_energy(tone, 96000, kept=8000)
    >>> round(above / all_of_it, 3)
    1.0
    """
    mono = samples.mean(axis=1, dtype=np.float64)
    if len(mono) < _WINDOW:
        return 0.0, 0.0
    power = _spectrum(mono) * len(mono) / sample_rate
    first = int(kept * _WINDOW / sample_rate) + 1
    return float(power[first:].sum()), float(power.sum())


def survey_levels(sample: Sequence[Clip], kept: float | None = None) -> None:
    """Reads clips as they are in their files, and prints what is odd about their levels.

    Arguments
    ---------
    sample : sequence of Clip
        A draw from all audio.
    kept : float, optional
        The frequency in Hz up to which a front end hears: if notably much of the energy lies above
        it, that is printed.

    Raises
    ------
    ValueError
        If all are silent, or cancelled by their channels.
    """
    found: dict[Clip, Levels] = {}
    above = energy = 0.0
    for clip in sample:
        try:
            samples, rate = read_channels(clip.path, clip.start, clip.duration)
        except UnreadableAudioError:
            continue  # which is told where spectrograms are measured, and in training
        if np.isfinite(samples).all():
            found[clip] = measure_levels(samples, rate)
            if kept is not None:
                parts = measure_energy(samples, rate, kept)
                above, energy = above + parts[0], energy + parts[1]
    if kept is not None and above > _NOTABLE * energy:
        print(
            f"  {above / energy:.0%} of the energy lies above {kept / 1000:g} kHz, which is not "
            "heard; a higher --sample-rate or --high-frequency keeps more",
            flush=True,
        )
    for name, told in _TOLD.items():
        such = [clip for clip, levels in found.items() if getattr(levels, name)]
        if such:
            names = ", ".join(printable(Path(clip.path).name) for clip in such[:3])
            print(f"  {len(such)} of {len(found)} clips {told}; such as {names}", flush=True)
    unheard = [levels.is_silent or levels.is_cancelled for levels in found.values()]
    if unheard and all(unheard):
        raise ValueError(
            f"all of {len(unheard)} clips drawn from the audio are silent from end to end, or when "
            "their channels are averaged; there is nothing to learn"
        )
