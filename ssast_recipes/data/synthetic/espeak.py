"""Spoken words in Speech Commands' layout, by the speech synthesiser espeak-ng."""

import hashlib
import io
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from torchaudio.functional import resample
from tqdm import tqdm

from ssast_recipes.data.synthetic.sounds import _background
from ssast_recipes.data.synthetic.speechcommands import KEYWORDS, write_background_noise

SAMPLE_RATE = 16000
WORDS = (*KEYWORDS, "forward", "marvin")
ACCENTS = (
    "en-us en-us-nyc en-gb en-gb-scotland en-gb-x-rp en-gb-x-gbclan en-gb-x-gbcwmd en-029"
).split()
#: Voices by split: no voice of training is heard in validation or testing.
VOICES = {
    "train": "m1 m2 m3 m5 m6 f1 f3 f4 croak whisper klatt klatt3".split(),
    "valid": "m4 f2 klatt2".split(),
    "test": "m7 f5 whisperf klatt4".split(),
}
LONGEST = 0.95  # seconds that a word may take of its second
FASTEST = 450  # words a minute; espeak-ng's own limit
QUIET = 0.003  # of the loudest sample: what is below, before and after the word, is cut off


class Utterance(NamedTuple):
    """How a word is spoken and recorded; all that the clip depends on."""

    word: str
    voice: str  # as espeak-ng's -v
    pitch: int  # 0 to 99
    speed: int  # words a minute
    level: float  # of the loudest sample, in dB of full scale
    noise: float  # its deviation relative to the word's, in dB
    offset: float  # share of the time around the word that is before it
    seed: int  # of the noise


def make_espeak_corpus(
    folder: str | os.PathLike,
    words: Sequence[str] = WORDS,
    clips_per_word: int = 400,
    seed: int = 0,
    noise_duration: float = 60.0,
    progress: bool = True,
) -> Path:
    """Makes a corpus of spoken words laid out as Speech Commands V2, for want of the real one.

    Eight accents of English in many voices say each word, at different pitches, speeds and levels,
    somewhere within a second of background noise. Of ten clips eight train, one validates and one
    tests; validation and testing have voices of their own, named in ``validation_list.txt`` and
    ``testing_list.txt`` as in Speech Commands. The lists are written last: without them there is no
    corpus. What the same seed makes is the same for the same version of espeak-ng.

    Arguments
    ---------
    folder : str or path
        Where ``speech_commands_v0.02`` is made.
    words : sequence of str
        What is said; the recipe knows Speech Commands' 35 words.
    clips_per_word : int
        At least 10, so that every split has some.
    seed : int
        What voices, pitches and so on are drawn from.
    noise_duration : float
        Length in seconds of each of the files in ``_background_noise_``.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    FileNotFoundError
        If espeak-ng is not installed.
    FileExistsError
        If there is a corpus already.
    ValueError
        If there are too few clips, a word is there twice, or espeak-ng cannot say it.

    Example
    -------
    >>> folder = make_espeak_corpus("espeak", words=["yes", "no"])  # doctest: +SKIP
    """
    if clips_per_word < 10 or len(set(words)) < len(words):
        raise ValueError(
            f"10 clips or more of different words are to be made, not {clips_per_word} of "
            f"{', '.join(words)}"
        )
    if shutil.which("espeak-ng") is None:
        raise FileNotFoundError(
            "espeak-ng is not installed; apt-get install espeak-ng, or your system's like"
        )
    corpus = Path(folder) / "speech_commands_v0.02"
    if corpus.exists() and any(corpus.iterdir()):
        raise FileExistsError(f"{corpus} is not empty; give another folder, or delete it")

    recordings: list[tuple[Path, Utterance]] = []
    listed: dict[str, list[str]] = {split: [] for split in VOICES}
    for word in words:
        (corpus / word).mkdir(parents=True)
        takes: Counter[str] = Counter()
        for number in range(clips_per_word):
            split = {8: "valid", 9: "test"}.get(number % 10, "train")
            utterance = _draw(word, split, [seed, *word.encode(), number])
            speaker = hashlib.sha1(utterance.voice.encode()).hexdigest()[:8]
            name = f"{word}/{speaker}_nohash_{takes[speaker]}.wav"
            takes[speaker] += 1
            recordings.append((corpus / name, utterance))
            listed[split].append(f"{name}\n")
    with ThreadPool() as pool:
        done = pool.imap_unordered(_record, recordings, chunksize=8)
        for _ in tqdm(
            done, total=len(recordings), desc="clips", disable=None if progress else True
        ):
            pass
    write_background_noise(corpus / "_background_noise_", noise_duration, SAMPLE_RATE, seed)
    (corpus / "README.md").write_text(
        "Words spoken by espeak-ng, in the layout of Speech Commands V2. Not Speech Commands.\n",
        encoding="utf-8",
    )
    for split, name in (("valid", "validation_list.txt"), ("test", "testing_list.txt")):
        (corpus / name).write_text("".join(sorted(listed[split])), encoding="utf-8")
    return Path(folder)


def _draw(word: str, split: str, seed: Sequence[int]) -> Utterance:
    random = np.random.default_rng(seed)
    return Utterance(
        word,
        voice=f"{random.choice(ACCENTS)}+{random.choice(VOICES[split])}",
        pitch=int(random.integers(20, 81)),
        speed=int(random.integers(120, 221)),
        level=random.uniform(-25, -3),
        noise=random.uniform(-45, -10),
        offset=random.uniform(),
        seed=int(random.integers(2**32)),
    )


def _record(recording: tuple[Path, Utterance]) -> None:
    path, utterance = recording
    soundfile.write(path, record(utterance), SAMPLE_RATE, subtype="PCM_16")


def record(utterance: Utterance) -> np.ndarray:
    """Makes a clip of a second: a whole word in noise.

    Arguments
    ---------
    utterance : Utterance
        What is said, and how.

    Returns
    -------
    np.ndarray
        Samples in [-1, 1], [16000], float32.

    Raises
    ------
    ValueError
        If espeak-ng cannot say it, or not within a second.
    """
    speed = utterance.speed
    while len(word := _speak(utterance, speed)) > LONGEST * SAMPLE_RATE:
        if speed == FASTEST:
            raise ValueError(f"espeak-ng needs more than a second for {utterance.word!r}")
        speed = min(FASTEST, round(1.2 * speed))
    noise = _background(SAMPLE_RATE, np.random.default_rng(utterance.seed))  # of deviation 1
    clip = noise * word.std() * 10 ** (utterance.noise / 20)
    start = round(utterance.offset * (SAMPLE_RATE - len(word)))
    clip[start : start + len(word)] += word
    clip *= 10 ** (utterance.level / 20) / np.abs(clip).max()
    return clip.astype(np.float32)


def _speak(utterance: Utterance, speed: int) -> np.ndarray:
    """The word without the silence around it, at 16 kHz."""
    voice, pitch = utterance.voice, utterance.pitch
    command = f"espeak-ng -v {voice} -p {pitch} -s {speed} --stdout".split()
    spoken = subprocess.run([*command, utterance.word], capture_output=True, check=False)
    if spoken.returncode != 0 or not spoken.stdout:
        reason = spoken.stderr.decode(errors="replace").strip() or "it says nothing"
        raise ValueError(f"espeak-ng cannot say {utterance.word!r} as {voice}: {reason}")
    samples, rate = soundfile.read(io.BytesIO(spoken.stdout), dtype="float32")
    loud = np.flatnonzero(np.abs(samples) > QUIET * np.abs(samples).max())
    if len(loud) == 0:
        raise ValueError(f"espeak-ng says nothing for {utterance.word!r} as {voice}")
    margin = rate // 100
    samples = samples[max(0, loud[0] - margin) : loud[-1] + margin]
    return resample(torch.from_numpy(samples), rate, SAMPLE_RATE).numpy()
