"""Strings of recorded digits in LibriSpeech's layout: whose, of which takes, and what they say."""

import importlib.util
from itertools import pairwise

import numpy as np
import pytest
import soundfile

from tests.recipes.conftest import RECIPES

SPEC = importlib.util.spec_from_file_location(
    "make_digit_strings", RECIPES / "Librispeech" / "make_digit_strings.py"
)
strings = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(strings)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Seven takes of each digit by three speakers; a recording's level tells which it is."""
    source = tmp_path_factory.mktemp("FSDD")
    (source / "recordings").mkdir()
    for number, speaker in enumerate(("george", "lucas", "theo")):
        for digit in range(10):
            for take in range(7):
                level = (1 + digit + 10 * take + 100 * number) / 400
                path = source / "recordings" / f"{digit}_{speaker}_{take}.wav"
                soundfile.write(path, np.full(800, level), 8000)
    folder = source / "made"
    strings.make_digit_strings(source, folder, (8, 4, 4), seed=1)
    return folder


def test_strings_say_what_is_heard_and_keep_speakers_and_takes_apart(corpus):
    heard = {}
    for path in sorted(corpus.rglob("*.trans.txt")):
        for line in path.read_text().splitlines():
            name, _, text = line.partition(" ")
            samples, rate = soundfile.read(path.with_name(f"{name}.flac"))
            assert rate == 8000
            # Loud stretches are digits, the rest gaps: at each begin, the level tells which.
            loud = [*(np.convolve(samples, np.ones(80) / 80, "same") > 0.0015), False]
            begins = [i for i, (a, b) in enumerate(pairwise(loud)) if b and not a]
            codes = [round(float(np.median(samples[i + 200 : i + 600])) * 400) - 1 for i in begins]
            assert [strings.WORDS[code % 10] for code in codes] == text.split()
            assert 3 <= len(codes) <= 6
            heard.setdefault(path.parts[-4], []).extend(codes)
    speakers = {subset: {code // 100 for code in codes} for subset, codes in heard.items()}
    assert speakers == {"train-clean-100": {0, 1}, "dev-clean": {0, 1}, "test-clean": {2}}
    takes = {subset: {code % 100 // 10 for code in codes} for subset, codes in heard.items()}
    assert takes["train-clean-100"] <= {5, 6} and takes["dev-clean"] <= {0, 1, 2, 3, 4}


def test_what_is_not_there_or_in_the_way_is_told(corpus, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no recordings/<digit>_<speaker>"):
        strings.make_digit_strings(tmp_path, tmp_path / "made")
    with pytest.raises(FileExistsError, match="is there; give another folder"):
        strings.make_digit_strings(corpus.parent, corpus)
