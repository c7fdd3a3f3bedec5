"""Makes a corpus of digit strings in LibriSpeech's layout, of the Free Spoken Digit Dataset.

python make_digit_strings.py /data/FSDD /data/digits
python train.py hparams/asr_ctc_frame.yaml --data_folder /data/digits --num_tokens 17
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

WORDS = "ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE".split()
TEST_SPEAKERS = ("nicolas", "theo")  # of which training hears nothing
HELD_OUT = 5  # takes of each digit and speaker that are validated on: the data set's own test takes
RATE = 8000


def make_digit_strings(
    source: Path, folder: Path, strings: Sequence[int] = (600, 80, 240), seed: int = 0
) -> None:
    """Joins recorded digits to strings of three to six, with gaps.

    Each string is of one speaker. `train-clean-100` and `dev-clean` have the same speakers and no
    recording in common; those of `test-clean` are others.

    Arguments
    ---------
    source : Path
        The data set: `recordings/<digit>_<speaker>_<take>.wav`, at 8 kHz.
    folder : Path
        Where `LibriSpeech` is made.
    strings : sequence of int
        How many for training, development and testing, shared out over the speakers.
    seed : int
        Of what is drawn: speakers' digits, takes and gaps.

    Raises
    ------
    FileNotFoundError
        If there are no such recordings.
    FileExistsError
        If there is a corpus already.
    """
    recordings: dict[str, dict[int, list[Path]]] = {}
    for path in sorted(source.glob("recordings/[0-9]_*_*.wav")):
        digit, speaker, _ = path.stem.split("_")
        recordings.setdefault(speaker, {}).setdefault(int(digit), []).append(path)
    if not recordings:
        raise FileNotFoundError(f"{source}: there is no recordings/<digit>_<speaker>_<take>.wav")
    if (folder / "LibriSpeech").exists():
        raise FileExistsError(f"{folder / 'LibriSpeech'} is there; give another folder")
    trained = [name for name in recordings if name not in TEST_SPEAKERS]
    tested = [name for name in recordings if name in TEST_SPEAKERS]
    subsets = ("train-clean-100", trained), ("dev-clean", trained), ("test-clean", tested)
    for number, ((subset, speakers), count) in enumerate(zip(subsets, strings, strict=True)):
        for place, speaker in enumerate(speakers):
            name = f"{1000 * (number + 1) + place}-{number + 1}"  # speaker and chapter
            chapter = folder / "LibriSpeech" / subset / name.replace("-", "/")
            chapter.mkdir(parents=True)
            lines = []
            for index in range(count // len(speakers)):
                random = np.random.default_rng([seed, number, place, index])
                text, samples = _string(recordings[speaker], subset, random)
                soundfile.write(chapter / f"{name}-{index:04}.flac", samples, RATE)
                lines.append(f"{name}-{index:04} {text}\n")
            (chapter / f"{name}.trans.txt").write_text("".join(lines), encoding="utf-8")


def _string(
    recordings: dict[int, list[Path]], subset: str, random: np.random.Generator
) -> tuple[str, np.ndarray]:
    """A string's words and its samples."""
    words, parts = [], [np.zeros(random.integers(800, 2400))]
    for digit in random.integers(0, 10, random.integers(3, 7)):
        takes = sorted(recordings[int(digit)], key=lambda path: int(path.stem.split("_")[2]))
        chosen = {"train-clean-100": takes[HELD_OUT:], "dev-clean": takes[:HELD_OUT]}
        path = random.choice(chosen.get(subset, takes))
        samples, rate = soundfile.read(path)
        if rate != RATE or samples.ndim > 1:
            raise ValueError(f"{path} is not mono at {RATE} Hz; copy the data set anew")
        words.append(WORDS[digit])
        parts += [samples, np.zeros(random.integers(400, 3200))]
    samples = np.concatenate(parts)
    return " ".join(words), samples + 0.001 * random.standard_normal(len(samples))


def main() -> None:
    """Reads the command line; an error is one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="the Free Spoken Digit Dataset")
    parser.add_argument("folder", type=Path, help="where LibriSpeech is made")
    parser.add_argument(
        "--strings", type=int, nargs=3, default=(600, 80, 240), help="training, development, test"
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    arguments = parser.parse_args()
    try:
        make_digit_strings(**vars(arguments))
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
