"""ESC-50, fabricated."""

import csv
import os
from pathlib import Path

import numpy as np
import soundfile

from ssast_recipes.data.synthetic.sounds import FAMILIES, make_sound

TAKES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def make_esc50(
    folder: str | os.PathLike,
    clips_per_class_and_fold: int = 1,
    num_classes: int = 4,
    num_folds: int = 5,
    duration: float = 5.0,
    sample_rate: int = 44100,
    seed: int = 0,
    extension: str = "wav",
    signal_to_noise: tuple[float, float] = (40.0, 60.0),
) -> Path:
    """Fabricates a corpus laid out as ESC-50: ``audio/`` and ``meta/esc50.csv``.

    A class is a family of sounds, as `make_sound` makes them, within a band of frequencies of its
    own if there are more classes than families. A clip depends on the seed, its fold, class and
    number, and not on how many others of its class there are.

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
    signal_to_noise : tuple of float
        As for `make_sound`, in dB.

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
    if not (1 <= num_classes <= 50 and 1 <= num_folds <= 5 and clips_per_class_and_fold >= 1):
        raise ValueError(
            "ESC-50's layout has room for 1 to 50 classes, 1 to 5 folds and 1 clip or more, not "
            f"{num_classes}, {num_folds} and {clips_per_class_and_fold}"
        )
    folder = Path(folder)
    for name in ("audio", "meta"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    families = list(FAMILIES)[:num_classes]
    num_bands = -(-num_classes // len(families))
    edges = np.geomspace(200, 0.2 * min(sample_rate, 16000), num_bands + 1)
    rows = []
    for fold in range(1, num_folds + 1):
        for target in range(num_classes):
            band, kind = divmod(target, len(families))
            for number in range(clips_per_class_and_fold):
                random = np.random.default_rng([seed, fold, target, number])
                waveform = make_sound(
                    families[kind],
                    duration,
                    sample_rate,
                    random,
                    (edges[band], edges[band + 1]),
                    signal_to_noise,
                )
                # A recording, and which part of it: 26 parts have letters.
                recording, take = divmod(number, len(TAKES))
                source = 100000 + 50 * (fold - 1) + target + 1000 * recording
                name = f"{fold}-{source}-{TAKES[take]}-{target}.{extension}"
                soundfile.write(folder / "audio" / name, waveform, sample_rate)
                category = f"{families[kind]}_{band}"
                rows.append((name, fold, target, category, target < 10, source, TAKES[take]))
    with open(folder / "meta" / "esc50.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("filename", "fold", "target", "category", "esc10", "src_file", "take"))
        writer.writerows(rows)
    return folder
