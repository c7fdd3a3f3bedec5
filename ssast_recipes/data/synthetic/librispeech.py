"""LibriSpeech, fabricated."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import soundfile

from ssast_recipes.data.synthetic.sounds import FAMILIES, make_sound
from ssast_recipes.data.synthetic.tone_words import spell

SPEAKERS = MappingProxyType({"train-clean-100": 2, "train-other-500": 1, "dev-clean": 1})


def make_librispeech(
    folder: str | os.PathLike,
    speakers: Mapping[str, int] = SPEAKERS,
    durations: tuple[float, float] = (1.5, 16.0),
    chapters_per_speaker: int = 2,
    utterances_per_chapter: int = 2,
    sample_rate: int = 16000,
    seed: int = 0,
    words: Sequence[str] = (),
) -> Path:
    """Fabricates a corpus laid out as LibriSpeech.

    ``LibriSpeech/<subset>/<speaker>/<chapter>/`` holds ``<speaker>-<chapter>-<number>.flac``, the
    number with four digits from 0000, and ``<speaker>-<chapter>.trans.txt`` with a line for each,
    in capitals. ``LibriSpeech/SPEAKERS.TXT`` lists the speakers, none of which is in two subsets;
    of the other lists beside it there is none. A speaker is a family of sounds, as `make_sound`
    makes them.

    Arguments
    ---------
    folder : str or path
        Where ``LibriSpeech`` is made.
    speakers : mapping of str to int
        How many there are in each subset.
    durations : tuple of float
        Between which the lengths of utterances are drawn, in seconds.
    chapters_per_speaker, utterances_per_chapter : int
        At most 10,000 utterances.
    sample_rate : int
        In Hz.
    seed : int
        The same seed fabricates the same samples.
    words : sequence of str
        What utterances are made of, two to four of them, spelled in tones: see `spell`. Then a
        recogniser has something to learn, and what is said decides on the lengths.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ValueError
        If LibriSpeech cannot be laid out like that.

    Example
    -------
    >>> folder = make_librispeech(getfixture("tmp_path"), {"dev-clean": 1}, (0.1, 0.1), 1)
    >>> for path in sorted(folder.glob("LibriSpeech/*/*/*/*")):
    ...     print(path.relative_to(folder))
    LibriSpeech/dev-clean/19/198/19-198-0000.flac
    LibriSpeech/dev-clean/19/198/19-198-0001.flac
    LibriSpeech/dev-clean/19/198/19-198.trans.txt
    """
    if chapters_per_speaker < 1 or not 1 <= utterances_per_chapter <= 10_000:
        raise ValueError(
            "LibriSpeech's layout has room for 1 chapter or more, and 1 to 10,000 utterances in "
            f"each, not {chapters_per_speaker} and {utterances_per_chapter}"
        )
    folder = Path(folder)
    (folder / "LibriSpeech").mkdir(parents=True, exist_ok=True)
    families = list(FAMILIES)
    lines = [";ID  |SEX| SUBSET           |MINUTES| NAME"]
    for subset, count in speakers.items():
        for _ in range(count):
            # Numbers of two to five digits, which sort otherwise than the words they make.
            speaker = 19 + 84 * (len(lines) - 1)
            family = families[(len(lines) - 1) % len(families)]
            seconds = 0.0
            for chapter in range(chapters_per_speaker):
                name = f"{speaker}-{198 + 1019 * chapter + speaker - 19}"
                chapter_folder = folder / "LibriSpeech" / subset / name.replace("-", "/")
                chapter_folder.mkdir(parents=True)
                transcript = []
                for number in range(utterances_per_chapter):
                    random = np.random.default_rng([seed, speaker, chapter, number])
                    if words:
                        text = " ".join(random.choice(words, random.integers(2, 5)))
                        waveform = spell(text, sample_rate, random)
                    else:
                        text = f"THE SOUND OF A {family.upper()}"
                        duration = random.uniform(*durations)
                        waveform = make_sound(family, duration, sample_rate, random)
                    seconds += len(waveform) / sample_rate
                    utterance = f"{name}-{number:04}"
                    soundfile.write(chapter_folder / f"{utterance}.flac", waveform, sample_rate)
                    transcript.append(f"{utterance} {text}\n")
                path = chapter_folder / f"{name}.trans.txt"
                path.write_text("".join(transcript), encoding="utf-8")
            sex = "FM"[len(lines) % 2]
            lines.append(
                f"{speaker:<4} | {sex} | {subset:<16} | {seconds / 60:5.2f} | Fabricated {family}"
            )
    table = "".join(f"{line}\n" for line in lines)
    (folder / "LibriSpeech" / "SPEAKERS.TXT").write_text(table, encoding="utf-8")
    return folder
