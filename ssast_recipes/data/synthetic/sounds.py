"""Families of sounds, made by signal processing: something to learn from without a data set.

Within a family pitch, tempo, depth, timing, level and background are random, so that a family is
known by how its sound changes in time and frequency, and by nothing simpler.
"""

from collections.abc import Callable

import numpy as np

# (seconds since the onset [samples], frequency in Hz, random numbers) -> samples, at any level
Family = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


def _oscillate(seconds: np.ndarray, frequency: np.ndarray | float) -> np.ndarray:
    """A sine whose frequency may change: its phase is the frequency's integral."""
    step = seconds[1] - seconds[0] if len(seconds) > 1 else 0.0
    return np.sin(2 * np.pi * np.cumsum(np.broadcast_to(frequency, seconds.shape)) * step)


def _cycle(seconds: np.ndarray, rate: float, random: np.random.Generator) -> np.ndarray:
    """Where in its period something is that comes `rate` times a second, in [0, 1)."""
    return (seconds * rate + random.uniform()) % 1


def _band(seconds: np.ndarray, low: float, high: float, random: np.random.Generator) -> np.ndarray:
    """Noise between two frequencies in Hz."""
    spectrum = np.fft.rfft(random.standard_normal(len(seconds)))
    step = seconds[1] - seconds[0] if len(seconds) > 1 else 1.0
    frequencies = np.fft.rfftfreq(len(seconds), step)
    spectrum[(frequencies < low) | (frequencies > high)] = 0
    return np.fft.irfft(spectrum, len(seconds))


def _strike(seconds: np.ndarray, onsets: np.ndarray, decay: float) -> np.ndarray:
    """An envelope that jumps to 1 at each onset and decays, `decay` seconds to 1/e."""
    onsets = np.sort(onsets)
    last = np.searchsorted(onsets, seconds, side="right") - 1
    since = seconds - onsets[np.maximum(last, 0)]
    return np.where(last >= 0, np.exp(-since / decay), 0.0)


def _tone(seconds, frequency, random):
    vibrato = np.sin(2 * np.pi * _cycle(seconds, random.uniform(3, 6), random))
    return _oscillate(seconds, frequency * (1 + random.uniform(0, 0.02) * vibrato))


def _noise(seconds, frequency, random):
    return _band(seconds, frequency, frequency * random.uniform(1.5, 3), random)


def _sweep(seconds, frequency, random):
    rise = _cycle(seconds, random.uniform(1.5, 4), random)
    return _oscillate(seconds, frequency * random.uniform(1.6, 3) ** rise)


def _clicks(seconds, frequency, random):
    since = _cycle(seconds, rate := random.uniform(4, 12), random) / rate
    return np.sin(2 * np.pi * frequency * since) * np.exp(-since / 0.005)


def _fall(seconds, frequency, random):
    fall = _cycle(seconds, random.uniform(1.5, 4), random)
    return _oscillate(seconds, frequency * random.uniform(1.6, 3) ** (1 - fall))


def _siren(seconds, frequency, random):
    swing = np.sin(2 * np.pi * _cycle(seconds, random.uniform(1.5, 4), random))
    return _oscillate(seconds, frequency * random.uniform(1.3, 1.8) ** swing)


def _beeps(seconds, frequency, random):
    cycle = _cycle(seconds, random.uniform(3, 8), random)
    return _oscillate(seconds, frequency) * (cycle < random.uniform(0.35, 0.65))


def _two_tones(seconds, frequency, random):
    cycle = _cycle(seconds, random.uniform(1.5, 4), random)
    return _oscillate(seconds, np.where(cycle < 0.5, frequency, frequency * random.uniform(1.3, 2)))


def _crackle(seconds, frequency, random):
    onsets = random.uniform(seconds[0], seconds[-1], random.integers(6, 20))
    return _oscillate(seconds, frequency) * _strike(seconds, onsets, 0.005)


def _gusts(seconds, frequency, random):
    noise = _band(seconds, frequency, frequency * random.uniform(1.5, 3), random)
    return noise * np.sin(np.pi * _cycle(seconds, random.uniform(1, 3), random)) ** 2


def _knocks(seconds, frequency, random):
    since = _cycle(seconds, rate := random.uniform(2, 5), random) / rate
    noise = _band(seconds, frequency, frequency * random.uniform(1.5, 3), random)
    return noise * np.exp(-since / random.uniform(0.03, 0.08))


def _plucks(seconds, frequency, random):
    sound = np.zeros_like(seconds)
    for onset in random.uniform(seconds[0], seconds[-1], random.integers(3, 7)):
        pitch = frequency * random.uniform(1, 2)
        envelope = _strike(seconds, np.array([onset]), random.uniform(0.08, 0.2))
        sound += envelope * (_oscillate(seconds, pitch) + 0.5 * _oscillate(seconds, 2 * pitch))
    return sound


def _hum(seconds, frequency, random):
    return sum(_oscillate(seconds, k * frequency / 4) / k for k in range(1, 9))


#: By name, how a family's sounds are made.
FAMILIES: dict[str, Family] = {
    "tone": _tone,
    "noise": _noise,
    "sweep": _sweep,
    "clicks": _clicks,
    "fall": _fall,
    "siren": _siren,
    "beeps": _beeps,
    "two_tones": _two_tones,
    "crackle": _crackle,
    "gusts": _gusts,
    "knocks": _knocks,
    "plucks": _plucks,
    "hum": _hum,
}


def make_sound(
    family: str,
    duration: float,
    sample_rate: int,
    random: np.random.Generator,
    frequencies: tuple[float, float] = (200.0, 3200.0),
    signal_to_noise: tuple[float, float] = (40.0, 60.0),
) -> np.ndarray:
    """Makes a clip: a sound of a family, from a random onset on, in background noise.

    Arguments
    ---------
    family : str
        A key of `FAMILIES`.
    duration : float
        Length of the clip in seconds.
    sample_rate : int
        In Hz.
    random : np.random.Generator
        What everything random is drawn from.
    frequencies : tuple of float
        Between which the sound's lowest frequency is drawn, in Hz, on a logarithmic scale.
    signal_to_noise : tuple of float
        Between which the ratio of the sound's peak to the noise's deviation is drawn, in dB.

    Returns
    -------
    np.ndarray
        Samples in [-1, 1], [samples], float32.

    Example
    -------
    >>> clip = make_sound("siren", 0.5, 16000, np.random.default_rng(1))
    >>> clip.shape, clip.dtype, bool(np.abs(clip).max() <= 1)
    ((8000,), dtype('float32'), True)
    """
    num_samples = round(duration * sample_rate)
    onset = round(num_samples * random.uniform(0, 0.3))
    seconds = np.arange(num_samples - onset) / sample_rate
    frequency = np.exp(random.uniform(*np.log(frequencies)))
    sound = FAMILIES[family](seconds, frequency, random)
    level = 10 ** random.uniform(-1.3, -0.3)
    clip = _background(num_samples, random) * level * 10 ** (random.uniform(*signal_to_noise) / -20)
    clip[onset:] += sound * level / max(np.abs(sound).max(), 1e-9)
    return np.clip(clip, -1, 1).astype(np.float32)


def _background(num_samples: int, random: np.random.Generator) -> np.ndarray:
    """Noise of deviation 1 whose spectrum falls by 0 to 6 dB an octave."""
    spectrum = np.fft.rfft(random.standard_normal(num_samples))
    spectrum[1:] *= np.arange(1, len(spectrum)) ** -random.uniform(0, 1.0)
    noise = np.fft.irfft(spectrum, num_samples)
    return noise / noise.std()
