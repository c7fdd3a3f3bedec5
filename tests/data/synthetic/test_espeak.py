"""A corpus of words spoken by espeak-ng, in Speech Commands' layout."""

import re
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import soundfile

from ssast_recipes.data.synthetic import espeak
from tests.conftest import REPOSITORY

CORPUS = "speech_commands_v0.02"
needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed"
)


@needs_espeak
def test_spoken_words_make_a_corpus_of_version_2(tmp_path):
    words = ["stop", "marvin"]
    options = {"words": words, "clips_per_word": 20, "noise_duration": 1.0, "progress": False}
    one, same = (espeak.make_espeak_corpus(tmp_path / name, **options) / CORPUS for name in "ab")
    other = espeak.make_espeak_corpus(tmp_path / "c", **options, seed=1) / CORPUS
    clips = {str(path.relative_to(one)) for word in words for path in (one / word).iterdir()}
    valid, test = (
        (one / f"{name}_list.txt").read_text().splitlines() for name in ("validation", "testing")
    )
    train = clips - {*valid, *test}
    voices = {}
    for split, names, share in (("train", train, 16), ("valid", valid, 2), ("test", test, 2)):
        assert Counter(name.split("/")[0] for name in names) == dict.fromkeys(words, share)
        voices[split] = {name.split("/")[1][:8] for name in names}
    assert not voices["train"] & (voices["valid"] | voices["test"])
    assert not voices["valid"] & voices["test"]
    variants = [name for names in espeak.VOICES.values() for name in names]
    assert len(set(variants)) == len(variants)
    for name in clips:
        assert re.fullmatch(r"(stop|marvin)/[0-9a-f]{8}_nohash_\d+\.wav", name)
        info = soundfile.info(one / name)
        assert (info.frames, info.samplerate, info.subtype) == (16000, 16000, "PCM_16")
        assert (one / name).read_bytes() == (same / name).read_bytes()
    sounds = [{path.read_bytes() for path in folder.rglob("*_nohash_*")} for folder in (one, other)]
    assert len(sounds[0]) == 40 and not sounds[0] & sounds[1]
    assert len(list((one / "_background_noise_").glob("*.wav"))) == 6
    assert "Not Speech Commands" in (one / "README.md").read_text()


@needs_espeak
def test_a_spoken_word_is_whole_within_its_second():
    for number, word in enumerate(espeak.WORDS):
        split = [*espeak.VOICES][number % 3]
        drawn = espeak._draw(word, split, [number])
        assert drawn.voice.split("+")[1] in espeak.VOICES[split]
        slow = drawn._replace(speed=60, noise=-120.0)  # longer than a second, if nothing is done
        for utterance in (drawn._replace(noise=-120.0), slow):
            clip = espeak.record(utterance)
            assert clip.shape == (16000,) and clip.dtype == np.float32
            assert np.abs(clip).max() == pytest.approx(10 ** (utterance.level / 20), rel=1e-4)
            loud = np.flatnonzero(np.abs(clip) > 0.01 * np.abs(clip).max())
            assert 0.15 < (loud[-1] - loud[0]) / 16000 < 0.96
            # Neither end is cut: it has faded by then.
            edges = np.abs(clip[[*range(loud[0]), *range(loud[-1] + 1, 16000)]])
            assert len(edges) and edges.max() <= 0.01 * np.abs(clip).max()
            assert np.abs(clip[[0, -1]]).max() < 0.03 * np.abs(clip).max()


@needs_espeak
def test_noise_is_as_loud_as_it_is_drawn():
    drawn = espeak._draw("yes", "test", [1])._replace(offset=0.0)
    word = espeak._speak(drawn, drawn.speed)
    for decibels in (-40.0, -20.0):
        clip = espeak.record(drawn._replace(noise=decibels))
        behind = clip[len(word) :].std() / clip[: len(word)].std()
        assert 20 * np.log10(behind) == pytest.approx(decibels, abs=2)


@needs_espeak
def test_what_espeak_cannot_say_is_an_error():
    drawn = espeak._draw("yes", "test", [1])
    with pytest.raises(ValueError, match="cannot say 'yes' as xx: .*does not exist"):
        espeak.record(drawn._replace(voice="xx"))
    with pytest.raises(ValueError, match="needs more than a second for 'antidisestab"):
        espeak.record(drawn._replace(word="antidisestablishmentarianism everywhere forever"))


def test_without_espeak_the_command_ends_with_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    command = [
        sys.executable,
        str(REPOSITORY / "recipes/SpeechCommands/make_espeak_corpus.py"),
        str(tmp_path / "corpus"),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].endswith(
        "error: espeak-ng is not installed; apt-get install espeak-ng, or your system's like"
    )
    assert not (tmp_path / "corpus").exists()


@needs_espeak
def test_a_spoken_corpus_is_not_written_over(tmp_path):
    (tmp_path / CORPUS / "yes").mkdir(parents=True)
    with pytest.raises(FileExistsError, match=f"{CORPUS} is not empty"):
        espeak.make_espeak_corpus(tmp_path, ["yes"], 10)
    for options in ({"clips_per_word": 9}, {"words": ["yes", "yes"]}):
        with pytest.raises(ValueError, match="10 clips or more of different words"):
            espeak.make_espeak_corpus(tmp_path / "new", **options)
