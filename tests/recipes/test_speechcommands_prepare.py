"""Speech Commands' preparation: both versions, their lists and SUPERB's keyword spotting."""

import csv
import hashlib
import importlib
import logging
import re
import shutil
import tarfile
import threading
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ssast_recipes.data.manifest import read_manifest
from ssast_recipes.data.preparation import manifests as preparation
from ssast_recipes.data.preparation.manifests import Entry
from ssast_recipes.data.synthetic import make_speechcommands
from ssast_recipes.data.synthetic.speechcommands import NOISES, SPEAKERS
from tests.recipes.conftest import RECIPES

RECIPE = RECIPES / "SpeechCommands"
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(RECIPE))
    speechcommands_prepare = importlib.import_module("speechcommands_prepare")
    keyword_spotting = importlib.import_module("keyword_spotting")
prepare_speechcommands = speechcommands_prepare.prepare_speechcommands
speaker_split = keyword_spotting.speaker_split

V1, V1_TEST, V2 = "speech_commands_v0.01", "speech_commands_test_set_v0.01", "speech_commands_v0.02"
WORDS = ("yes", "no", "bed", "tree")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Both versions: 4 words, each with 4 clips for training, 2 for validation, 2 for testing."""
    folder = tmp_path_factory.mktemp("made")
    for version in ("v1", "v2"):
        make_speechcommands(folder, version, WORDS, duration=0.3)
    return folder


@pytest.fixture
def data(made, tmp_path) -> Path:
    """A copy to change."""
    return shutil.copytree(made, tmp_path / "data")


def manifests(folder):
    paths = [path for path in folder.glob("*.csv") if path.stem != "rejected"]
    return {path.stem: read_manifest(path) for path in paths}


def labels(clips):
    return Counter(clip.labels for clip in clips)


def append(path, line):
    path.write_text(path.read_text() + line + "\n")


def log_line(caplog, begin):
    """The words of the line of the log that begins so, joined by single blanks."""
    lines = [line for line in caplog.text.splitlines() if line.split()[:1] == [begin]]
    assert len(lines) == 1
    return " ".join(lines[0].split())


# ---- the fabricated corpora


@pytest.mark.parametrize(("version", "name"), [("v1", V1), ("v2", V2)])
def test_a_fabricated_corpus_is_laid_out_as_speech_commands(made, version, name):
    corpus = made / name
    folders = {path.name for path in corpus.iterdir() if path.is_dir()}
    assert folders == {*WORDS, "_background_noise_"}
    noises = sorted(path.stem for path in (corpus / "_background_noise_").glob("*.wav"))
    assert noises == NOISES
    split_of = {}
    for split, file in (("valid", "validation_list.txt"), ("test", "testing_list.txt")):
        lines = (corpus / file).read_text().splitlines()
        assert lines == sorted(lines) and len(lines) == 2 * len(WORDS)
        split_of.update(dict.fromkeys(lines, split))
    for word in WORDS:
        names = sorted(path.name for path in (corpus / word).iterdir())
        assert len(names) == 8
        for file in names:
            assert re.fullmatch(r"[0-9a-f]{8}_nohash_0\.wav", file)
            assert file[:8] in SPEAKERS[split_of.get(f"{word}/{file}", "train")]
            info = soundfile.info(corpus / word / file)
            assert (info.frames, info.samplerate, info.subtype) == (4800, 16000, "PCM_16")


def test_the_fabricated_test_set_has_a_folder_a_class(made):
    test_set = made / V1_TEST
    files = {path.name: sorted(path.iterdir()) for path in test_set.iterdir()}
    assert {name: len(paths) for name, paths in files.items()} == {
        "yes": 2,
        "no": 2,
        "_unknown_": 2,
        "_silence_": 2,
    }
    recordings = [path.read_bytes() for path in made.rglob("*.wav") if V2 not in path.parts]
    assert len(set(recordings)) == len(recordings)  # nothing of the corpus is tested on


def test_a_fabricated_corpus_depends_on_the_seed_alone(tmp_path):
    options = {"words": ["go", "cat"], "duration": 0.05, "noise_duration": 0.1}
    one, same = (make_speechcommands(tmp_path / name, "v1", **options) for name in "ab")
    other = make_speechcommands(tmp_path / "c", "v1", **options, seed=1)
    paths = [path.relative_to(one) for path in one.rglob("*.wav")]
    for path in paths:
        assert (one / path).read_bytes() == (same / path).read_bytes()
        assert (one / path).read_bytes() != (other / path).read_bytes()
    assert len(paths) == 2 * 8 + 6 + 3 * 2


@pytest.mark.parametrize("make", [make_speechcommands, partial(prepare_speechcommands, "m")])
def test_a_version_that_does_not_exist_is_refused(tmp_path, make):
    with pytest.raises(ValueError, match="v1 and v2, not 'v3'"):
        make(tmp_path, version="v3")


# ---- version 2


def test_version_2_is_split_by_its_lists(made, tmp_path):
    name = prepare_speechcommands(made, tmp_path, "v2")
    assert name == "4 words in the layout of Speech Commands V2"
    clips = manifests(tmp_path)
    assert {split: len(found) for split, found in clips.items()} == {
        "train": 16,
        "valid": 8,
        "test": 8,
    }
    assert (tmp_path / "classes.txt").read_text().splitlines() == sorted(WORDS)
    for split, found in clips.items():
        assert labels(found) == {(word,): len(found) // 4 for word in WORDS}
        for clip in found:
            folder, word, file = clip.id.split("/")
            assert (folder, (word,)) == (V2, clip.labels)
            assert clip.path == str(made / V2 / word / f"{file}.wav")
            assert file[:8] in SPEAKERS[split]
            assert (clip.start, clip.duration, clip.sample_rate) == (0.0, 0.3, 16000)


def test_version_2_goes_by_its_lists_not_by_speakers(data, tmp_path):
    corpus = data / V2
    moved = f"yes/{SPEAKERS['train'][0]}_nohash_0.wav"
    append(corpus / "validation_list.txt", moved)
    prepare_speechcommands(data, tmp_path / "m", "v2")
    clips = manifests(tmp_path / "m")
    where = [split for split in clips for clip in clips[split] if clip.path.endswith(moved)]
    assert where == ["valid"]


def test_the_corpus_itself_may_be_the_data_folder(data, tmp_path):
    renamed = (data / V2).rename(data / "words")
    for download in (False, True):
        name = prepare_speechcommands(renamed, tmp_path / "m", "v2", download=download)
        assert name == "4 words in the layout of Speech Commands V2"
    assert len(manifests(tmp_path / "m")["train"]) == 16


def test_all_35_words_are_compared_with_what_was_published(tmp_path, caplog):
    words = speechcommands_prepare.V2_WORDS
    assert len(set(words)) == 35 and len(set(speechcommands_prepare.V1_WORDS)) == 30
    make_speechcommands(tmp_path, "v2", words, (1, 1, 1), duration=0.05)
    with caplog.at_level(logging.INFO):
        name = prepare_speechcommands(tmp_path, tmp_path / "m", "v2")
    assert name == "Speech Commands V2, 35 words"
    assert log_line(caplog, "train").startswith("train 35 84,843 84,808 ")
    assert log_line(caplog, "valid").startswith("valid 35 9,981 9,946 ")
    assert log_line(caplog, "test").startswith("test 35 11,005 10,970 ")
    assert "\n35 of 35 classes\n" in caplog.text
    assert log_line(caplog, "zero") == "zero 1 1 1"


def test_a_part_of_the_words_is_not_compared_with_all(made, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        prepare_speechcommands(made, tmp_path, "v2")
    assert log_line(caplog, "train") == "train 16 0.00 0.30 s 0.30 s"
    assert "\n4 of 35 classes\n" in caplog.text


# ---- version 1


def test_version_1_has_ten_words_unknown_ones_and_silence(made, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        name = prepare_speechcommands(made, tmp_path, "v1")
    assert name == "Speech Commands V1, 12 classes"
    classes = (tmp_path / "classes.txt").read_text().splitlines()
    assert classes == "yes no up down left right on off stop go _unknown_ _silence_".split()
    clips = manifests(tmp_path)
    # 12 of the 32 clips are for testing, which has an archive of its own, and in no split.
    assert labels(clips["train"]) == {("yes",): 4, ("no",): 4, ("_unknown_",): 8, ("_silence_",): 6}
    assert labels(clips["test"]) == {("yes",): 2, ("no",): 2, ("_unknown_",): 2, ("_silence_",): 2}
    for split in ("train", "valid_fixed", "valid_drawn"):
        spoken = [Path(clip.path) for clip in clips[split] if clip.labels != ("_silence_",)]
        assert {path.name[:8] for path in spoken} <= set(SPEAKERS[split.split("_")[0]])
        unknown = {
            path.parent.name for path in spoken if path.parent.name not in keyword_spotting.KEYWORDS
        }
        assert unknown == {"bed", "tree"}
    assert all(clip.path.startswith(str(made / V1_TEST)) for clip in clips["test"])
    assert log_line(caplog, "train").startswith("train 22 51,094 51,072 ")
    assert log_line(caplog, "valid_drawn").startswith("valid_drawn 14 6,804 6,790 ")
    assert log_line(caplog, "test").startswith("test 8 3,081 3,073 ")
    assert log_line(caplog, "up") == "up 0 0 0 0"


def test_training_takes_files_of_noise_whole(made, tmp_path):
    prepare_speechcommands(made, tmp_path, "v1")
    silence = [c for c in manifests(tmp_path)["train"] if c.labels == ("_silence_",)]
    assert sorted(Path(clip.path).stem for clip in silence) == NOISES
    assert {(clip.start, clip.duration) for clip in silence} == {(0.0, 2.5)}


def test_fixed_validation_has_every_clip_once_and_every_whole_second_of_noise(made, tmp_path):
    prepare_speechcommands(made, tmp_path, "v1")
    clips = manifests(tmp_path)["valid_fixed"]
    silence = [clip for clip in clips if clip.labels == ("_silence_",)]
    seconds = {(Path(clip.path).stem, clip.start, clip.duration) for clip in silence}
    assert seconds == {(name, start, 1.0) for name in NOISES for start in (0.0, 1.0)}
    spoken = [clip.path for clip in clips if clip.labels != ("_silence_",)]
    assert len(spoken) == len(set(spoken)) == 8
    assert len(clips) == 8 + 12


def test_drawn_validation_shows_all_classes_alike(tmp_path):
    noise = tmp_path / "noise.wav"
    soundfile.write(noise, np.zeros(3 * 16000), 16000)
    entries = [Entry(f"u{i}", f"/u{i}.wav", ("_unknown_",)) for i in range(2700)]
    entries += [Entry(f"y{i}", f"/y{i}.wav", ("yes",)) for i in range(299)]
    entries += [Entry("noise", str(noise), ("_silence_",))]
    drawn = keyword_spotting.draw_balanced(entries, seed=3)
    assert keyword_spotting.draw_balanced(entries[::-1], seed=3) == drawn
    assert len(drawn) == len({entry.id for entry in drawn}) == 3000
    counts = Counter(entry.labels[0] for entry in drawn)
    # Binomial, 3000 draws of 1/3: 1000 with a deviation of 26.
    assert all(abs(counts[name] - 1000) < 110 for name in ("_unknown_", "yes", "_silence_"))
    starts = np.array([entry.start for entry in drawn if entry.labels == ("_silence_",)])
    assert starts.min() >= 0 and starts.max() <= 2 and 0.9 < starts.mean() < 1.1
    assert {e.duration for e in drawn if e.labels == ("_silence_",)} == {1.0}
    assert {(e.start, e.duration) for e in drawn if e.labels != ("_silence_",)} == {(0.0, None)}
    paths = {entry.id: entry.path for entry in entries}
    assert all(entry.path == paths[entry.id.split("/")[0]] for entry in drawn)
    assert keyword_spotting.draw_balanced(entries, seed=3) == drawn
    assert keyword_spotting.draw_balanced(entries, seed=4) != drawn


def test_speakers_are_split_as_in_the_real_lists():
    """The names stand in the testing list of Speech Commands, and the shares are about 80:10:10."""
    tests = "0c40e715 0ea0e2f4 42beb5eb 44260689 44715c1c 022cd682 096456f9".split()
    assert {speaker_split(f"{speaker}_nohash_3.flac") for speaker in tests} == {"test"}
    shares = Counter(speaker_split(f"{number:08x}_nohash_0.wav") for number in range(20000))
    assert abs(shares["valid"] - 2000) < 200 and abs(shares["test"] - 2000) < 200


def test_lists_that_are_not_by_speakers_are_an_error_in_version_1(data, tmp_path):
    append(data / V1 / "validation_list.txt", f"yes/{SPEAKERS['train'][0]}_nohash_0.wav")
    message = r"yes/004ae714_nohash_0.wav is in the split train by its speaker, but in valid"
    with pytest.raises(ValueError, match=message):
        prepare_speechcommands(data, tmp_path / "m", "v1")
    assert not (tmp_path / "m").exists()


def test_a_class_may_be_missing_from_validation(tmp_path):
    make_speechcommands(tmp_path, "v1", ["yes", "no"], (2, 0, 1), duration=0.1)
    prepare_speechcommands(tmp_path, tmp_path / "m", "v1")
    clips = manifests(tmp_path / "m")
    assert (
        set(labels(clips["valid_fixed"])) == set(labels(clips["valid_drawn"])) == {("_silence_",)}
    )


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        (V1_TEST, f"{V1_TEST} is missing, the test set of version 1; .*{V1_TEST}.tar.gz"),
        (
            f"{V1}/_background_noise_",
            "_background_noise_ holds no audio, which is the class _silence_",
        ),
        (V1, f"does not hold Speech Commands v1: expected {V1}/ with .*{V1}.tar.gz"),
    ],
)
def test_what_is_missing_of_version_1_is_named(data, tmp_path, folder, message):
    shutil.rmtree(data / folder)
    with pytest.raises(FileNotFoundError, match=message):
        prepare_speechcommands(data, tmp_path / "m", "v1")


# ---- audio


def test_other_formats_rates_channels_and_lengths_will_do(data, tmp_path):
    first, second, third, fourth = sorted((data / V2 / "yes").iterdir())[:4]
    soundfile.write(first, np.full((22050, 2), 0.1), 44100)
    soundfile.write(second, np.full(160, 0.1), 16000)  # shorter than a frame
    soundfile.write(third, np.full(4000, 0.1), 8000, subtype="PCM_U8")
    third.rename(third.with_suffix(".WAV"))
    soundfile.write(fourth.with_suffix(".flac"), np.full(8000, 0.1), 16000)
    fourth.unlink()
    prepare_speechcommands(data, tmp_path / "m", "v2")
    clips = manifests(tmp_path / "m")
    assert {split: len(found) for split, found in clips.items()} == {
        "train": 16,
        "valid": 8,
        "test": 8,
    }
    by_stem = {
        Path(clip.path).stem: clip
        for found in clips.values()
        for clip in found
        if clip.labels == ("yes",)
    }
    durations = [by_stem[path.stem].duration for path in (first, second, third, fourth)]
    assert durations == [0.5, 0.01, 0.5, 0.5]
    rates = [by_stem[path.stem].sample_rate for path in (first, second, third, fourth)]
    assert rates == [44100, 16000, 8000, 16000]


def test_a_folder_with_letters_of_any_language_will_do(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "Sprachdaten für Wörter")
    prepare_speechcommands(folder, tmp_path / "m", "v2")
    assert all(Path(c.path).is_file() for c in manifests(tmp_path / "m")["train"])


def test_files_that_are_missing_or_bad_are_counted_and_listed(data, tmp_path):
    missing = data / V2 / (data / V2 / "testing_list.txt").read_text().splitlines()[0]
    missing.unlink()
    cut = next((data / V2 / "yes").iterdir())
    cut.write_bytes(cut.read_bytes()[:1000])
    with pytest.raises(ValueError, match="2 of 32 audio files cannot be used"):
        prepare_speechcommands(data, tmp_path / "m", "v2")
    prepare_speechcommands(data, tmp_path / "m", "v2", max_rejected=0.1)
    with open(tmp_path / "m" / "rejected.csv", newline="") as file:
        reasons = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert set(reasons) == {str(missing), str(cut)}
    assert "is not there" in reasons[str(missing)] and "cut off" in reasons[str(cut)]
    assert sum(map(len, manifests(tmp_path / "m").values())) == 30


def test_the_data_folder_is_never_written_and_nothing_is_done_twice(data, tmp_path, monkeypatch):
    folders = [data, *(path for path in data.rglob("*") if path.is_dir())]
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    for folder in folders:
        folder.chmod(0o555)
    try:
        for version in ("v1", "v2"):
            prepare_speechcommands(data, tmp_path / version, version, download=True)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before
    monkeypatch.setattr(preparation, "scan_audio", None)  # no audio file is looked through
    for version in ("v1", "v2"):
        written = (tmp_path / version / "prepared.json").stat().st_mtime_ns
        prepare_speechcommands(data, tmp_path / version, version)
        assert (tmp_path / version / "prepared.json").stat().st_mtime_ns == written


# ---- what cannot be Speech Commands


def a_word_of_another_version(corpus):
    shutil.copytree(corpus / "yes", corpus / "forward" if V1 in corpus.parts else corpus / "maybe")


def a_file_twice(corpus):
    first = next((corpus / "yes").iterdir())
    soundfile.write(first.with_suffix(".flac"), np.zeros(100), 16000)


def a_file_in_both_lists(corpus):
    tests = (corpus / "testing_list.txt").read_text()
    (corpus / "testing_list.txt").write_text(
        tests + (corpus / "validation_list.txt").read_text().splitlines()[0]
    )


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            a_word_of_another_version,
            r"lies in none of the folders that .* has, such as yes/; move it",
        ),
        (
            lambda corpus: shutil.copy(next((corpus / "yes").iterdir()), corpus),
            "lies in none of the",
        ),
        (a_file_twice, r"_nohash_0.flac and .*_nohash_0.wav are the same clip; remove one"),
        (
            a_file_in_both_lists,
            r"testing_list.txt, line 9: 'bed/.*' is in validation_list.txt, too",
        ),
        (
            lambda corpus: append(corpus / "testing_list.txt", "maybe/1_nohash_0.wav"),
            "testing_list.txt, line 9: 'maybe/1_nohash_0.wav' is not <word>/<file> with a word",
        ),
        (
            lambda corpus: append(corpus / "validation_list.txt", "yes_nohash_0.wav"),
            "validation_list.txt, line 9: 'yes_nohash_0.wav' is not <word>/<file>",
        ),
    ],
)
def test_what_is_not_as_published_is_an_error(data, tmp_path, version, spoil, message):
    spoil(data / {"v1": V1, "v2": V2}[version])
    with pytest.raises(ValueError, match=message) as error:
        prepare_speechcommands(data, tmp_path / "m", version)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "m").exists()


def test_a_folder_that_is_not_the_corpus_says_what_is_expected(tmp_path):
    message = f"does not hold Speech Commands v2: expected {V2}/ with .*{V2}.tar.gz"
    with pytest.raises(FileNotFoundError, match=message):
        prepare_speechcommands(tmp_path, tmp_path / "m", "v2")


# ---- downloads


@pytest.fixture
def served(made, tmp_path, monkeypatch):
    """The fabricated corpora as archives on a server; yields what it was asked for."""
    folder, requests = tmp_path / "served", []
    folder.mkdir()
    for name in (V1, V1_TEST, V2):
        with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as file:
            file.add(made / name, arcname=".")  # the members are ./yes/…, as in the real ones

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            requests.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        archives = {
            version: [
                archive._replace(
                    url=f"http://127.0.0.1:{server.server_port}/{archive.folder}.tar.gz",
                    size=0,
                    sha256=hashlib.sha256(
                        (folder / f"{archive.folder}.tar.gz").read_bytes()
                    ).hexdigest(),
                )
                for archive in listed
            ]
            for version, listed in speechcommands_prepare.ARCHIVES.items()
        }
        monkeypatch.setattr(speechcommands_prepare, "ARCHIVES", archives)
        yield requests
        server.shutdown()
        thread.join()


def test_the_archives_are_those_of_the_publisher():
    for version, archives in speechcommands_prepare.ARCHIVES.items():
        for archive in archives:
            url = f"http://download.tensorflow.org/data/{archive.folder}.tar.gz"
            assert archive.url == url and archive.top == ""
            assert re.fullmatch("[0-9a-f]{64}", archive.sha256)
            assert archive.size > 7e7
            assert version[1] in archive.folder


def test_corpora_are_downloaded_once(tmp_path, served):
    data = tmp_path / "new"
    for _ in range(2):
        prepare_speechcommands(data, tmp_path / "v1", "v1", download=True)
    assert served == [f"/{V1}.tar.gz", f"/{V1_TEST}.tar.gz"]
    shutil.rmtree(data / V1_TEST)
    prepare_speechcommands(data / V1, tmp_path / "v1", "v1", download=True)
    prepare_speechcommands(data, tmp_path / "v2", "v2", download=True)
    assert served[2:] == [f"/{V1_TEST}.tar.gz", f"/{V2}.tar.gz"]
    assert sorted(path.name for path in data.iterdir()) == [V1_TEST, V1, V2]
    assert len(manifests(tmp_path / "v2")["train"]) == 16
    assert len(manifests(tmp_path / "v1")["test"]) == 8


def test_an_archive_with_another_checksum_is_refused(tmp_path, served, monkeypatch):
    [archive] = speechcommands_prepare.ARCHIVES["v2"]
    archives = {"v2": [archive._replace(sha256="0" * 64)]}
    monkeypatch.setattr(speechcommands_prepare, "ARCHIVES", archives)
    with pytest.raises(ValueError, match="sha256"):
        prepare_speechcommands(tmp_path / "new", tmp_path / "m", "v2", download=True)
    assert not (tmp_path / "new" / V2).exists()
