"""VoxCeleb1's preparation: its split list against the audio that is there."""

import csv
import importlib.util
import logging
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ssast_recipes.data.manifest import read_manifest
from ssast_recipes.data.preparation import manifests as preparation
from ssast_recipes.data.synthetic import make_voxceleb
from tests.recipes.conftest import RECIPES

SPEC = importlib.util.spec_from_file_location(
    "voxceleb_prepare", RECIPES / "VoxCeleb" / "voxceleb_prepare.py"
)
voxceleb_prepare = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(voxceleb_prepare)
prepare_voxceleb = voxceleb_prepare.prepare_voxceleb

SPLITS = {"1": "train", "2": "valid", "3": "test"}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Four speakers with a clip for testing, one for validation and two for training each."""
    return make_voxceleb(tmp_path_factory.mktemp("made"), durations=(0.3, 0.5))


@pytest.fixture
def corpus(made, tmp_path) -> Path:
    """A copy to change."""
    return shutil.copytree(made, tmp_path / "corpus")


def listed(corpus):
    """Split and name of every line of the list."""
    lines = (corpus / "iden_split.txt").read_text().splitlines()
    return [(line.split()[0], line.split()[1].removesuffix(".wav")) for line in lines]


def edit_list(corpus, edit):
    path = corpus / "iden_split.txt"
    path.write_text("\n".join(edit(path.read_text().splitlines())) + "\n")


def manifests(folder):
    return {split: read_manifest(folder / f"{split}.csv") for split in SPLITS.values()}


def speaker_folder(corpus, speaker):
    (folder,) = corpus.glob(f"*/wav/{speaker}")
    return folder


# ---- the fabricated corpus


@pytest.mark.parametrize("joined", [False, True])
def test_a_fabricated_corpus_is_laid_out_as_voxceleb1(tmp_path, joined):
    corpus = make_voxceleb(
        tmp_path, 3, 5, utterances_per_video=2, durations=(0.1, 0.2), joined=joined
    )
    lines = (corpus / "iden_split.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[123] id1000[123]/[\w-]{11}/0000[12]\.wav", line) for line in lines)
    assert len(set(lines)) == 3 * 5 * 2
    splits = Counter((line[0], line[2:9]) for line in lines)
    for speaker in ("id10001", "id10002", "id10003"):
        assert [splits[split, speaker] for split in "123"] == [6, 2, 2]
    videos = {(line[0], line.split("/")[1]) for line in lines}
    assert len({video for _, video in videos}) == len(videos) == 3 * 5  # none in two splits
    roots = [corpus / root for root in (["wav"] if joined else ["dev/wav", "test/wav"])]
    found = {str(path.relative_to(root)) for root in roots for path in root.rglob("*.wav")}
    assert found == {line[2:] for line in lines}
    if not joined:
        assert [path.name for path in (corpus / "test" / "wav").iterdir()] == ["id10003"]
    longest = corpus.rglob("00002.wav")
    assert {soundfile.info(path).duration for path in longest} == {0.2}


def test_a_fabricated_corpus_depends_on_the_seed_alone(tmp_path):
    options = {"num_speakers": 2, "videos_per_speaker": 3, "durations": (0.1, 0.1)}
    one, same, other = (
        make_voxceleb(tmp_path / name, seed=seed, **options)
        for name, seed in (("one", 0), ("same", 0), ("other", 1))
    )
    for path in one.rglob("*.*"):
        assert path.read_bytes() == (same / path.relative_to(one)).read_bytes()
    assert not {line for _, line in listed(one)} & {line for _, line in listed(other)}


def test_a_corpus_that_voxceleb1_has_no_room_for_is_refused(tmp_path):
    for options in ({"num_speakers": 1252}, {"videos_per_speaker": 2}, {"utterances_per_video": 0}):
        with pytest.raises(ValueError, match="1 to 1251 speakers, 3 videos"):
            make_voxceleb(tmp_path / "corpus", **options)
    assert not (tmp_path / "corpus").exists()


# ---- splits and labels


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"joined": True},
        {"list_name": "veri_test_class.txt"},
        {"num_speakers": 15},  # more than there are families of sounds
    ],
)
def test_every_utterance_is_in_the_split_of_the_list_with_its_speaker(tmp_path, layout):
    corpus = make_voxceleb(tmp_path / "corpus", **{"durations": (0.1, 0.2), **layout})
    assert prepare_voxceleb(corpus, tmp_path / "m") == "VoxCeleb1"
    names = layout.get("list_name", "iden_split.txt")
    expected = {split: {} for split in SPLITS.values()}
    for line in (corpus / names).read_text().splitlines():
        split, name = line.split()
        expected[SPLITS[split]][name.removesuffix(".wav")] = name[:7]
    found = manifests(tmp_path / "m")
    for split, clips in found.items():
        assert {clip.id: clip.labels for clip in clips} == {
            name: (speaker,) for name, speaker in expected[split].items()
        }
        for clip in clips:
            assert clip.path.endswith(f"wav/{clip.id}.wav") and clip.sample_rate == 16000
            assert clip.duration == soundfile.info(clip.path).duration
    num_speakers = layout.get("num_speakers", 4)
    speakers = (tmp_path / "m" / "classes.txt").read_text().splitlines()
    assert [int(speaker[2:]) - 10001 for speaker in speakers] == list(range(num_speakers))


def test_the_list_may_lie_elsewhere(corpus, tmp_path):
    moved = (corpus / "iden_split.txt").rename(tmp_path / "mine.txt")
    (corpus / "veri_test_class.txt").write_text("1 id10001/a/00001.wav\n")
    prepare_voxceleb(corpus, tmp_path / "m", split_list=moved)
    assert [len(clips) for clips in manifests(tmp_path / "m").values()] == [8, 4, 4]


def test_nothing_depends_on_the_order_of_the_list(corpus, tmp_path):
    prepare_voxceleb(corpus, tmp_path / "m")
    edit_list(corpus, lambda lines: [*reversed(lines), ""])
    prepare_voxceleb(corpus, tmp_path / "other")
    for name in ("train.csv", "valid.csv", "test.csv", "classes.txt"):
        assert (tmp_path / "m" / name).read_text() == (tmp_path / "other" / name).read_text()


def test_other_names_and_formats_of_files_are_found(tmp_path):
    corpus = make_voxceleb(tmp_path / "Zürich – 声", durations=(0.2, 0.2))
    upper, flac, stereo, byte = sorted(corpus.rglob("*.wav"))[:4]
    samples, rate = soundfile.read(upper)
    upper.rename(upper.with_suffix(".WAV"))
    soundfile.write(flac.with_suffix(".flac"), samples, rate)
    flac.unlink()
    soundfile.write(stereo, np.stack([samples, samples], axis=1), 44100)
    soundfile.write(byte, samples, rate, subtype="PCM_U8")
    byte.with_name("._00001.wav").write_bytes(b"macOS")  # belongs to another file
    (corpus / "wav.txt").write_text("notes")
    prepare_voxceleb(corpus, tmp_path / "m")
    clips = {clip.path: clip for split in manifests(tmp_path / "m").values() for clip in split}
    assert len(clips) == 16
    assert clips[str(upper.with_suffix(".WAV"))].id == "/".join(upper.with_suffix("").parts[-3:])
    assert clips[str(flac.with_suffix(".flac"))].duration == 0.2
    assert clips[str(stereo)].sample_rate == 44100
    assert str(byte) in clips


def test_audio_that_is_not_listed_is_left_alone(corpus, tmp_path):
    edit_list(corpus, lambda lines: [line for line in lines if "id10002" not in line])
    prepare_voxceleb(corpus, tmp_path / "m")
    assert [len(clips) for clips in manifests(tmp_path / "m").values()] == [6, 3, 3]
    speakers = (tmp_path / "m" / "classes.txt").read_text().split()
    assert speakers == ["id10001", "id10003", "id10004"]


# ---- what is missing


def test_a_listed_utterance_without_audio_is_rejected_by_name(corpus, tmp_path):
    path = speaker_folder(corpus, "id10004")
    lost = sorted(path.rglob("*.wav"))[0]
    name = "/".join(lost.with_suffix("").parts[-3:])
    lost.unlink()
    with pytest.raises(ValueError, match=f"1 of 16 audio files cannot be used.*{name}"):
        prepare_voxceleb(corpus, tmp_path / "m")
    prepare_voxceleb(corpus, tmp_path / "m", max_rejected=0.1)
    with open(tmp_path / "m" / "rejected.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["path"] == str(corpus / "wav" / f"{name}.wav")
    assert "is not there" in row["reason"]
    ids = {clip.id for clips in manifests(tmp_path / "m").values() for clip in clips}
    assert ids == {other for _, other in listed(corpus)} - {name}


def test_without_a_speakers_audio_the_others_keep_their_numbers(corpus, tmp_path, caplog):
    speaker_folder(corpus, "id10002").rename(tmp_path / "id10002")
    with caplog.at_level(logging.INFO):
        prepare_voxceleb(corpus, tmp_path / "m", max_rejected=0.25)
    classes = (tmp_path / "m" / "classes.txt").read_text().split()
    assert classes == ["id10001", "id10002", "id10003", "id10004"]
    speakers = Counter(clip.labels for clip in manifests(tmp_path / "m")["train"])
    assert speakers == {("id10001",): 2, ("id10003",): 2, ("id10004",): 2}
    table = [" ".join(line.split()) for line in caplog.text.splitlines()]
    assert "id10002 0 0 0" in table and "id10003 2 1 1" in table


def test_counts_are_logged_beside_the_published_ones(corpus, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        prepare_voxceleb(corpus, tmp_path / "m")
    table = "\n".join(" ".join(line.split()) for line in caplog.text.splitlines())
    for line in ("train 8 138,361 138,353", "valid 4 6,904 6,900", "test 4 8,251 8,247"):
        assert f"\n{line} " in table
    assert "\n4 of 1251 classes\n" in table


def test_an_utterance_in_two_places_is_an_error(corpus, tmp_path):
    path = sorted(corpus.rglob("*.wav"))[0]
    path.with_suffix(".flac").write_bytes(b"")
    with pytest.raises(ValueError, match=r"is there twice, as .*\.flac and .*\.wav; take one away"):
        prepare_voxceleb(corpus, tmp_path / "m")


# ---- a bad list


def test_repeated_lines_count_once_and_are_told(corpus, tmp_path, caplog):
    edit_list(corpus, lambda lines: [*lines, *lines[:3]])
    prepare_voxceleb(corpus, tmp_path / "m")
    assert [len(clips) for clips in manifests(tmp_path / "m").values()] == [8, 4, 4]
    assert "iden_split.txt lists 3 utterances again, which count once" in caplog.text


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda lines: [*lines, lines[0].replace("3 ", "1 ", 1)],
            r"iden_split.txt, line 17: id10001/.*/00001.wav is for train here, for test above",
        ),
        (lambda lines: ["4 id10001/a/00001.wav", *lines], "line 1: expected .*, not '4 id10001"),
        (lambda lines: ["1 10001/a/00001.wav", *lines], "line 1: expected <1|2|3> idXXXXX/<video>"),
        (lambda lines: ["1 id10001/00001.wav", *lines], "line 1: expected"),
        (lambda lines: ["id10001/a/00001.wav", *lines], "line 1: expected"),
        (
            lambda lines: [line for line in lines if line[0] != "2"],
            "VoxCeleb1: there is no clip for the split valid",
        ),
    ],
)
def test_errors_of_the_list_name_file_and_line(corpus, tmp_path, edit, message):
    edit_list(corpus, edit)
    with pytest.raises(ValueError, match=message):
        prepare_voxceleb(corpus, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_missing_list_says_where_it_is_to_be_had(corpus, tmp_path):
    (corpus / "iden_split.txt").unlink()
    message = "corpus/iden_split.txt or .*corpus/veri_test_class.txt is missing: .*https://.*txt"
    with pytest.raises(FileNotFoundError, match=message):
        prepare_voxceleb(corpus, tmp_path / "m")
    with pytest.raises(FileNotFoundError, match=r"^/nowhere/list.txt is missing.*--split_list"):
        prepare_voxceleb(corpus, tmp_path / "m", split_list="/nowhere/list.txt")


def test_a_folder_that_is_not_voxceleb1_says_what_is_expected(corpus, tmp_path):
    split_list = corpus / "iden_split.txt"
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty is not VoxCeleb1: expected .*idXXXXX"):
        prepare_voxceleb(tmp_path / "empty", tmp_path / "m", split_list)
    with pytest.raises(FileNotFoundError, match="gone does not exist"):
        prepare_voxceleb(tmp_path / "gone", tmp_path / "m", split_list)


# ---- again


def test_nothing_is_done_twice_and_the_data_folder_is_never_written(corpus, tmp_path, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    folders = [corpus, *(path for path in corpus.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        prepare_voxceleb(corpus, tmp_path / "m")
        monkeypatch.setattr(preparation, "scan_audio", None)  # no audio file is opened
        prepare_voxceleb(str(corpus), str(tmp_path / "m"))
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before
