"""Hums of a few pitches, as labelled files: what any feature tells apart."""

from pathlib import Path

import numpy as np
import soundfile

PITCHES = {"high": 1500, "low": 300, "middle": 700}
RATE = 8000


def make_hums(folder: Path, count: int = 6, noise: float = 0.02, seconds: float = 0.25) -> Path:
    """Class folders of `count` files each; returns the folder."""
    random = np.random.default_rng(0)
    for name, pitch in PITCHES.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            times = np.arange(int(RATE * seconds)) / RATE
            sound = 0.1 * np.sin(2 * np.pi * pitch * times + number)
            sound += noise * random.standard_normal(len(times))
            soundfile.write(folder / name / f"{number}.wav", sound, RATE)
    return folder


def write_labels(folder: Path, rows: list[str], header: str = "path,label,split") -> Path:
    """A table beside the files."""
    table = folder / "labels.csv"
    table.write_text("\n".join([header, *rows]) + "\n")
    return table
