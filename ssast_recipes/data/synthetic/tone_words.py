"""Words spelled in tones: what a recogniser can learn to read within seconds of training."""

import numpy as np

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ'"
WORDS = "ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE ZERO".split()
_LETTER, _GAP, _BLANK = 0.08, 0.02, 0.1  # seconds


def spell(text: str, sample_rate: int, random: np.random.Generator) -> np.ndarray:
    """Makes a recording of words in which every letter is a pair of tones.

    Arguments
    ---------
    text : str
        Words of the letters A to Z and apostrophes, with a blank between.
    sample_rate : int
        In Hz, of at least 8,000.
    random : np.random.Generator
        Of lengths, levels and noise.

    Returns
    -------
    np.ndarray
        Samples in [-1, 1], [samples] float64: about 0.1 s a letter.

    Raises
    ------
    ValueError
        If there is another letter.

    Example
    -------
    >>> samples = spell("ONE TWO", 16000, np.random.default_rng(0))
    >>> 0.6 < len(samples) / 16000 < 1.1
    True
    """
    unknown = sorted(set(text) - set(LETTERS) - {" "})
    if unknown or not text.strip():
        raise ValueError(f"tones spell words of A to Z and ', not {text!r}")
    speed = random.uniform(0.85, 1.15)
    parts = []
    for letter in f" {text} ":
        seconds = _BLANK if letter == " " else _LETTER
        times = np.arange(round(speed * seconds * sample_rate)) / sample_rate
        tones = np.zeros(len(times))
        if letter != " ":
            # Like a telephone's keys: one of a low and one of a high group, far apart in mel.
            row, column = divmod(LETTERS.index(letter), 6)
            for frequency in (250 * 1.35**row, 1150 * 1.25**column):
                tones += np.sin(2 * np.pi * (frequency * times + random.uniform()))
            tones *= np.sin(np.pi * np.linspace(0, 1, len(times))) ** 0.5 * random.uniform(0.2, 0.4)
        parts += [tones, np.zeros(round(speed * _GAP * sample_rate))]
    samples = np.concatenate(parts)
    return np.clip(samples + 0.005 * random.standard_normal(len(samples)), -1, 1)
