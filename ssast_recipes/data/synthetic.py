"""Small fabricated corpora in the exact layout of public ones, to run recipes without them."""

import csv
import os
from pathlib import Path

import numpy as np
import soundfile

SOUNDS = ("tone", "noise", "sweep", "clicks")


def make_esc50(
    folder: str | os.PathLike,
    clips_per_class_and_fold: int = 1,
    num_classes: int = 4,
    num_folds: int = 5,
    duration: float = 5.0,
    sample_rate: int = 44100,
    seed: int = 0,
    extension: str = "wav",
) -> Path:
    """Fabricates a corpus laid out as ESC-50: ``audio/`` and ``meta/esc50.csv``.

    A class is a kind of sound (tone, band of noise, sweep, clicks) within a band of frequencies of
    its own; frequency, level, onset and background noise are drawn for every clip, so classes are
    learned and not looked up. A clip depends on the seed, its fold, class and number, and not on
    how many others there are.

    Arguments
    ---------
    folder : str or path
        Where ``audio`` and ``meta`` are made.
    clips_per_class_and_fold : int
        ESC-50 has 8.
    num_classes : int
        At most 50.
    num_folds : int
        At most 5.
    duration : float
        Length of every clip in seconds.
    sample_rate : int
        In Hz.
    seed : int
        The same seed fabricates the same samples.
    extension : str
        ``wav``, ``flac``, ``ogg`` or what else soundfile writes.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ValueError
        If ESC-50 cannot be laid out like that.

    Example
    -------
    >>> folder = make_esc50(getfixture("tmp_path"), num_classes=2, duration=0.1)
    >>> sorted(path.name for path in (folder / "audio").iterdir())[:3]
    ['1-100000-A-0.wav', '1-100001-A-1.wav', '2-100050-A-0.wav']
    """
    if not (1 <= num_classes <= 50 and 1 <= num_folds <= 5 and 1 <= clips_per_class_and_fold <= 26):
        raise ValueError(
            "ESC-50's layout has room for 1 to 50 classes, 1 to 5 folds and 1 to 26 clips, not "
            f"{num_classes}, {num_folds} and {clips_per_class_and_fold}"
        )
    folder = Path(folder)
    for name in ("audio", "meta"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    num_bands = -(-num_classes // len(SOUNDS))
    edges = np.geomspace(200, 0.4 * min(sample_rate, 16000), num_bands + 1)
    rows = []
    for fold in range(1, num_folds + 1):
        for target in range(num_classes):
            band, kind = divmod(target, len(SOUNDS))
            source = 100000 + 50 * (fold - 1) + target
            for number, take in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:clips_per_class_and_fold]):
                random = np.random.default_rng([seed, fold, target, number])
                waveform = _clip(
                    SOUNDS[kind], edges[band], edges[band + 1], duration, sample_rate, random
                )
                name = f"{fold}-{source}-{take}-{target}.{extension}"
                soundfile.write(folder / "audio" / name, waveform, sample_rate)
                category = f"{SOUNDS[kind]}_{band}"
                rows.append((name, fold, target, category, target < 10, source, take))
    with open(folder / "meta" / "esc50.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("filename", "fold", "target", "category", "esc10", "src_file", "take"))
        writer.writerows(rows)
    return folder


def _clip(
    sound: str,
    low: float,
    high: float,
    duration: float,
    sample_rate: int,
    random: np.random.Generator,
) -> np.ndarray:
    """One clip [samples]: background noise, and the sound between ``low`` and ``high`` Hz."""
    num_samples = round(duration * sample_rate)
    onset = round(num_samples * random.uniform(0, 0.3))
    seconds = np.arange(num_samples - onset) / sample_rate
    frequency = random.uniform(low, high)
    if sound == "tone":
        event = np.sin(2 * np.pi * frequency * seconds)
        event *= 1 + 0.5 * np.sin(2 * np.pi * random.uniform(2, 8) * seconds)
    elif sound == "noise":
        spectrum = np.fft.rfft(random.standard_normal(len(seconds)))
        frequencies = np.fft.rfftfreq(len(seconds), 1 / sample_rate)
        spectrum[(frequencies < low) | (frequencies > high)] = 0
        event = np.fft.irfft(spectrum, len(seconds))
    elif sound == "sweep":
        # Saw-tooth frequency, `rate` times a second from low to high: its integral is the phase.
        rate = random.uniform(1, 3)
        instantaneous = low * (high / low) ** (seconds * rate % 1)
        event = np.sin(2 * np.pi * np.cumsum(instantaneous) / sample_rate)
    else:
        since = seconds % (1 / random.uniform(4, 12))
        event = np.sin(2 * np.pi * frequency * since) * np.exp(-since / 0.005)
    level = 10 ** random.uniform(-1.3, -0.3)
    waveform = random.standard_normal(num_samples) * level * 10 ** random.uniform(-3, -2)
    waveform[onset:] += event * level / np.abs(event).max()
    return np.clip(waveform, -1, 1).astype(np.float32)
