"""Fabricated data sets in all layouts: to see that every row runs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from ssast_recipes.data.synthetic import (
    FAMILIES,
    make_audioset,
    make_esc50,
    make_iemocap,
    make_librispeech,
    make_sound,
    make_speechcommands,
    make_voxceleb,
)

_AUDIOSET = {"balanced_train": 8, "unbalanced_train": 10, "eval": 6}
_SPEAKERS = {"train-clean-100": 1, "train-clean-360": 1, "train-other-500": 1, "dev-clean": 1}


def _speechcommands(folder: Path) -> None:
    for version in ("v1", "v2"):
        make_speechcommands(folder, version, duration=0.4)


def _sounds(folder: Path, places: tuple[str, ...]) -> None:
    """Files in folders, as benchmarks/small_tables.py makes them of links."""
    random = np.random.default_rng(0)
    for place in places:
        family = list(FAMILIES)[place.endswith("b")]
        (folder / place).mkdir(parents=True, exist_ok=True)
        for number in range(4):
            path = folder / place / f"{number}.wav"
            soundfile.write(path, make_sound(family, 0.7, 16000, random), 16000)


_labelled = partial(
    _sounds,
    places=tuple(f"{split}/{name}" for split in ("train", "valid", "test") for name in "ab"),
)
_unlabelled = partial(_sounds, places=(".", "b"))


# By the folder that a table looks for.
MAKERS: dict[str, Callable[[Path], object]] = {
    "AudioSet": lambda folder: make_audioset(folder, _AUDIOSET, duration=0.7),
    "ESC-50": lambda folder: make_esc50(folder, duration=0.7, sample_rate=16000),
    "ESC-10": lambda folder: make_esc50(folder, duration=0.7, sample_rate=16000),
    "IEMOCAP": lambda folder: make_iemocap(folder, durations=(0.4, 0.8)),
    "LibriSpeech": lambda folder: make_librispeech(folder, _SPEAKERS, durations=(0.5, 1.5)),
    "SpeechCommands": _speechcommands,
    **dict.fromkeys(
        ("digits_few", "digits_all", "speakers", "sounds_few", "sounds_all"), _labelled
    ),
    **dict.fromkeys(("digits_unlabelled", "speakers_unlabelled", "sounds_unlabelled"), _unlabelled),
    "VoxCeleb1": lambda folder: make_voxceleb(folder, durations=(0.5, 1.0)),
}


def make_corpora(folder: Path) -> None:
    """Fabricates a small corpus in every data set's layout, unless it is there."""
    for name, make in MAKERS.items():
        if not (folder / name).is_dir():
            make(folder / name)
