"""Speech Commands, fabricated."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from ssast_recipes.data.synthetic.sounds import FAMILIES, _background, make_sound

KEYWORDS = "yes no up down left right on off stop go".split()
#: Names of speakers as in Speech Commands, by the split that a hash of the name puts them into.
SPEAKERS = {
    "train": "004ae714 00f0204f 0a7c2a8d 0ac15fe9".split(),
    "valid": "026290a7 060cd039 099d52ad".split(),
    "test": "022cd682 096456f9 0c40e715 42beb5eb".split(),
}
NOISES = "doing_the_dishes dude_miaowing exercise_bike pink_noise running_tap white_noise".split()


def make_speechcommands(
    folder: str | os.PathLike,
    version: str = "v2",
    words: Sequence[str] = ("yes", "no", "bed", "tree"),
    clips_per_word: tuple[int, int, int] = (4, 2, 2),
    duration: float = 1.0,
    noise_duration: float = 2.5,
    sample_rate: int = 16000,
    seed: int = 0,
) -> Path:
    """Fabricates corpora laid out as the archives of Speech Commands.

    Version 2 is ``speech_commands_v0.02``: a folder a word with ``<speaker>_nohash_<number>.wav``,
    ``_background_noise_`` with six files, ``validation_list.txt`` and ``testing_list.txt``. Version
    1 is ``speech_commands_v0.01``, the same, and ``speech_commands_test_set_v0.01``: a folder a
    keyword, ``_unknown_`` and ``_silence_``. A word is a family of sounds, as `make_sound` makes
    them, within a band of frequencies of its own if there are more words than families.

    Arguments
    ---------
    folder : str or path
        Where the folders are made.
    version : str
        "v1" or "v2".
    words : sequence of str
        Of the 30 or 35.
    clips_per_word : tuple of int
        Of training, validation and test; the test set of version 1 has as many of every class.
    duration : float
        Length of every clip in seconds; up to 1 in Speech Commands.
    noise_duration : float
        Length of the files of noise in seconds; 60 to 95 in Speech Commands.
    sample_rate : int
        In Hz.
    seed : int
        The same seed fabricates the same samples.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ValueError
        If there is no such version.

    Example
    -------
    >>> folder = make_speechcommands(getfixture("tmp_path"), words=["yes"], duration=0.1)
    >>> print((folder / "speech_commands_v0.02" / "testing_list.txt").read_text().strip())
    yes/022cd682_nohash_0.wav
    yes/096456f9_nohash_0.wav
    """
    if version not in ("v1", "v2"):
        raise ValueError(f"Speech Commands has the versions v1 and v2, not {version!r}")
    folder = Path(folder)
    corpus = folder / f"speech_commands_v0.0{version[1]}"
    edges = np.geomspace(200, 0.2 * sample_rate, -(-len(words) // len(FAMILIES)) + 1)

    def speak(target: Path, word: int, take: int) -> None:
        band, kind = divmod(word, len(FAMILIES))
        random = np.random.default_rng([seed, word, take])
        sound = make_sound(
            [*FAMILIES][kind], duration, sample_rate, random, (edges[band], edges[band + 1])
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(target, sound, sample_rate)

    listed: dict[str, list[str]] = {split: [] for split in SPEAKERS}
    for number, word in enumerate(words):
        take = 0
        for count, (split, speakers) in zip(clips_per_word, SPEAKERS.items(), strict=True):
            for name in _names(speakers, count):
                speak(corpus / word / name, number, take)
                listed[split].append(f"{word}/{name}\n")
                take += 1
    for split, name in (("valid", "validation_list.txt"), ("test", "testing_list.txt")):
        (corpus / name).write_text("".join(sorted(listed[split])), encoding="utf-8")
    write_background_noise(corpus / "_background_noise_", noise_duration, sample_rate, seed)

    if version == "v1":
        unknown = [number for number, word in enumerate(words) if word not in KEYWORDS]
        spoken = {word: [number] for number, word in enumerate(words) if word in KEYWORDS}
        for name, numbers in {**spoken, "_unknown_": unknown, "_silence_": []}.items():
            for take, file in enumerate(_names(SPEAKERS["test"], clips_per_word[2])):
                target = folder / "speech_commands_test_set_v0.01" / name / file
                if numbers:  # the takes behind those of the corpus
                    speak(target, numbers[take % len(numbers)], sum(clips_per_word) + take)
                elif name == "_silence_":
                    _write_noise(target, duration, sample_rate, (seed, 2000 + take))
    return folder


def _names(speakers: Sequence[str], count: int) -> list[str]:
    """File names: every speaker's first clip, then every speaker's second, and so on."""
    return [
        f"{speakers[number % len(speakers)]}_nohash_{number // len(speakers)}.wav"
        for number in range(count)
    ]


def write_background_noise(
    folder: Path, duration: float = 60.0, sample_rate: int = 16000, seed: int = 0
) -> None:
    """Writes six files of noise, named as those of Speech Commands' ``_background_noise_``.

    Arguments
    ---------
    folder : Path
        Where to write; made if it is not there.
    duration : float
        Length of each in seconds.
    sample_rate : int
        In Hz.
    seed : int
        The same seed makes the same samples.
    """
    for number, name in enumerate(NOISES):
        _write_noise(folder / f"{name}.wav", duration, sample_rate, (seed, 1000 + number))
    (folder / "README.md").write_text("Noise by signal processing.\n", encoding="utf-8")


def _write_noise(path: Path, duration: float, sample_rate: int, seed: Sequence[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = _background(round(duration * sample_rate), np.random.default_rng(seed))
    soundfile.write(path, 0.1 * noise / np.abs(noise).max(), sample_rate)
