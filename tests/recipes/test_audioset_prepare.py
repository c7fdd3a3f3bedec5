"""AudioSet's preparation: its lists against the audio files that are there."""

import importlib.util
import itertools
import json
import logging
import os
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ssast_recipes.data.manifest import read_manifest
from ssast_recipes.data.preparation import manifests as preparation
from ssast_recipes.data.synthetic import make_audioset
from tests.recipes.conftest import RECIPES

SPEC = importlib.util.spec_from_file_location(
    "audioset_prepare", RECIPES / "AudioSet" / "audioset_prepare.py"
)
audioset_prepare = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(audioset_prepare)
prepare_audioset = audioset_prepare.prepare_audioset

CLIPS = {"balanced_train": 6, "unbalanced_train": 5, "eval": 4}
NAMES = ["Tone, fabricated", "Noise, fabricated", "Sweep, fabricated", "Clicks, fabricated"]
NAMES += ["Group 0", "Group 1"]


@pytest.fixture
def corpus(tmp_path) -> Path:
    return make_audioset(tmp_path / "corpus", CLIPS, duration=0.1)


def listed(corpus, split):
    """Start and mids of every video of a list, read by another way than preparation's."""
    text = (corpus / f"{split}_segments.csv").read_text()
    rows = re.findall(r'^([\w-]{11}), (\d+)\.000, [\d.]+, "(.*)"$', text, re.MULTILINE)
    return {video: (int(start), mids.split(",")) for video, start, mids in rows}


def edit_list(corpus, split, edit):
    path = corpus / f"{split}_segments.csv"
    path.write_text("\n".join(edit(path.read_text().splitlines())) + "\n")


def manifest(folder, split="balanced_train"):
    return read_manifest(folder / f"{split}.csv")


def audio_of(corpus, split):
    return sorted((corpus / f"{split}_segments").iterdir())


# ---- the fabricated corpus


def test_a_fabricated_corpus_has_the_lists_of_audioset(tmp_path):
    corpus = make_audioset(tmp_path, {"eval": 8}, num_sounds=5, duration=0.1, missing=2)
    first, second, third, *rows = (corpus / "eval_segments.csv").read_text().splitlines()
    assert first.startswith("# Segments csv created ")
    videos = listed(corpus, "eval")
    labels = [mid for _, mids in videos.values() for mid in mids]
    assert second == (
        f"# num_ytids=8, num_segs=8, num_unique_labels={len(set(labels))}, "
        f"num_positive_labels={len(labels)}"
    )
    assert third == "# YTID, start_seconds, end_seconds, positive_labels"
    assert len(rows) == len(videos) == 8  # every row is of the form that `listed` reads
    assert [video[0] for video in videos][:3] == ["-", "_", "Y"]
    assert [path.stem for path in audio_of(corpus, "eval")] == sorted(list(videos)[:6])

    header, *classes = (corpus / "class_labels_indices.csv").read_text().splitlines()
    assert header == "index,mid,display_name"
    assert classes[0] == '0,/m/00000,"Tone, fabricated"' and len(classes) == 5 + 3
    nodes = {node["id"]: node for node in json.loads((corpus / "ontology.json").read_text())}
    assert nodes.keys() == {line.split(",")[1] for line in classes} | {"/m/root"}
    assert nodes["/m/root"]["child_ids"] == ["/m/00005", "/m/00006", "/m/00007"]
    assert nodes["/m/00006"]["child_ids"] == ["/m/00002", "/m/00003"]
    for _, mids in videos.values():
        sounds = {int(mid[3:]) for mid in mids if int(mid[3:]) < 5}
        groups = {int(mid[3:]) for mid in mids} - sounds
        assert 1 <= len(sounds) <= 2 and groups <= {5 + sound // 2 for sound in sounds}


def test_a_fabricated_corpus_depends_on_the_seed_alone(tmp_path):
    one = make_audioset(tmp_path / "one", {"eval": 2}, duration=0.1)
    more = make_audioset(tmp_path / "more", {"balanced_train": 1, "eval": 3}, duration=0.1)
    other = make_audioset(tmp_path / "other", {"eval": 2}, duration=0.1, seed=1)
    for path in audio_of(one, "eval"):
        assert path.read_bytes() == (more / "eval_segments" / path.name).read_bytes()
        assert not (other / "eval_segments" / path.name).exists()


def test_more_sounds_than_there_are_families_are_refused(tmp_path):
    with pytest.raises(ValueError, match="2 to 13 families of sounds, not 14"):
        make_audioset(tmp_path, num_sounds=14)


# ---- splits and labels


def test_manifests_hold_what_the_lists_say(corpus, tmp_path):
    splits = ["balanced_train", "unbalanced_train", "eval"]
    assert prepare_audioset(corpus, tmp_path / "m", splits) == "AudioSet"
    for split in splits:
        clips = manifest(tmp_path / "m", split)
        expected = {
            video: tuple(NAMES[int(mid[3:])] for mid in mids)
            for video, (_, mids) in listed(corpus, split).items()
        }
        assert {clip.id: clip.labels for clip in clips} == expected
        assert len(expected) == CLIPS[split]
        for clip in clips:
            assert clip.path == str(corpus / f"{split}_segments" / f"{clip.id}.wav")
            assert (clip.start, clip.duration, clip.sample_rate) == (0.0, 0.1, 16000)
    assert (tmp_path / "m" / "classes.txt").read_text().splitlines() == NAMES


def test_only_the_splits_that_are_asked_for_are_needed(corpus, tmp_path):
    (corpus / "unbalanced_train_segments.csv").unlink()
    prepare_audioset(corpus, tmp_path / "m")
    assert not (tmp_path / "m" / "unbalanced_train.csv").exists()
    with pytest.raises(ValueError, match=r"AudioSet has eval, .*, not \['test'\]"):
        prepare_audioset(corpus, tmp_path / "m", ["test"])
    with pytest.raises(ValueError, match="not none"):
        prepare_audioset(corpus, tmp_path / "m", [])


def test_lists_may_lie_elsewhere(corpus, tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    for path in corpus.glob("*.csv"):
        shutil.move(path, lists)
    with pytest.raises(FileNotFoundError, match=r"class_labels_indices.csv is not .* --list_fold"):
        prepare_audioset(corpus, tmp_path / "m")
    prepare_audioset(corpus, tmp_path / "m", list_folder=lists)
    assert len(manifest(tmp_path / "m")) == 6
    (lists / "eval_segments.csv").unlink()
    with pytest.raises(FileNotFoundError, match="eval_segments.csv is not there"):
        prepare_audioset(corpus, tmp_path / "m", list_folder=lists)


# ---- names of files


@pytest.mark.parametrize(
    "file_name",
    [
        "{video}.wav",
        "{split}/Y{video}.flac",
        "all/Y{video}_{start}.000.flac",
        "all/{video}_{start}.000_{start}.100.wav",
        "{start}/a/b/{video}_{start}.wav",
        "{video}_{start}000.ogg",
        "{video}_{start}000_{start}100.wav",
        "Geräusche/{video}.WAV",
    ],
)
def test_files_are_found_by_any_custom(tmp_path, file_name):
    corpus = make_audioset(tmp_path / "corpus", CLIPS, duration=0.1, file_name=file_name)
    prepare_audioset(corpus, tmp_path / "m")
    for split in ("balanced_train", "eval"):
        videos = listed(corpus, split)
        clips = manifest(tmp_path / "m", split)
        assert {clip.id for clip in clips} == videos.keys()
        for clip in clips:
            name = file_name.format(split=split, video=clip.id, start=videos[clip.id][0])
            assert clip.path == str(corpus / name)


def test_no_name_can_be_read_in_two_ways():
    """Whatever a name may consist of, it is one video's alone."""
    videos = ["".join(ends) for ends in itertools.product("Y_-0", "_0", ["0_3_0Y_"], "_0", "_Y3")]
    stems = Counter(
        f"{prefix}{video}{suffix}"
        for video in videos
        for prefix in ("", "Y")
        for suffix in ("", "_0", "_30", "_30.000", "_30_40", "_30.000_40.000")
    )
    assert set(stems.values()) == {1}
    for video in videos:
        for stem in (video, f"Y{video}", f"{video}_30.000", f"Y{video}_30_40"):
            assert audioset_prepare.FILE_STEM.fullmatch(stem)[1] == video
    for stem in ("abcdefghij", "Yabcdefghij_x", "abcdefghijk_", "abcdefghijk-30", "ZZabcdefghijk"):
        assert audioset_prepare.FILE_STEM.fullmatch(stem) is None


def test_another_segment_of_the_video_is_not_the_clip(corpus, tmp_path, caplog):
    videos = listed(corpus, "balanced_train")
    video, (start, _) = next(iter(videos.items()))
    path = corpus / "balanced_train_segments" / f"{video}.wav"
    path.rename(path.with_stem(f"{video}_{start + 10}.000"))
    with caplog.at_level(logging.INFO):
        prepare_audioset(corpus, tmp_path / "m")
    assert {clip.id for clip in manifest(tmp_path / "m")} == videos.keys() - {video}
    assert "0 audio files are further copies of a clip, 6 belong to no clip" in caplog.text


def test_of_several_files_the_first_is_taken(corpus, tmp_path, caplog):
    path = audio_of(corpus, "eval")[0]
    first = corpus / "a" / f"Y{path.name}"
    first.parent.mkdir()
    shutil.copy(path, first)
    with caplog.at_level(logging.INFO):
        prepare_audioset(corpus, tmp_path / "m")
    paths = {clip.id: clip.path for clip in manifest(tmp_path / "m", "eval")}
    assert paths[path.stem] == str(first)
    assert "1 audio files are further copies of a clip, 5 belong to no clip" in caplog.text


# ---- partial copies


def test_missing_clips_are_counted(tmp_path, caplog):
    corpus = make_audioset(tmp_path / "corpus", CLIPS, duration=0.1, missing=3)
    with caplog.at_level(logging.INFO):
        prepare_audioset(corpus, tmp_path / "m")
        prepare_audioset(corpus, tmp_path / "m")  # told each time: results depend on it
    assert len(manifest(tmp_path / "m")) == 3 and len(manifest(tmp_path / "m", "eval")) == 1
    for told in (
        "balanced_train: 3 of 6 listed clips have an audio file, 3 are missing",
        "eval: 1 of 4 listed clips have an audio file, 3 are missing",
    ):
        assert caplog.messages.count(told) == 2


def test_a_list_without_any_audio_file_is_an_error(corpus, tmp_path):
    shutil.rmtree(corpus / "eval_segments")
    message = r"any of the 4 clips of eval_segments.csv, but 11 others; .*<YTID>.wav"
    with pytest.raises(FileNotFoundError, match=message):
        prepare_audioset(corpus, tmp_path / "m")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        prepare_audioset(tmp_path / "nowhere", tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("same_start", [True, False])
def test_a_video_in_two_lists_is_tested_and_not_trained_on(corpus, tmp_path, caplog, same_start):
    *_, row = (corpus / "eval_segments.csv").read_text().splitlines()
    video, start, rest = row.split(", ", 2)
    start = start if same_start else "130.000"
    edit_list(corpus, "balanced_train", lambda lines: [*lines, f"{video}, {start}, {rest}"])
    edit_list(corpus, "unbalanced_train", lambda lines: [*lines, *lines[3:4], row])
    prepare_audioset(corpus, tmp_path / "m", list(CLIPS))
    ids = {split: [clip.id for clip in manifest(tmp_path / "m", split)] for split in CLIPS}
    assert video in ids["eval"]
    assert {split: len(found) for split, found in ids.items()} == CLIPS
    assert len(set().union(*ids.values())) == sum(CLIPS.values())
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert [re.sub(r".*/", "", warning)[:48] for warning in warnings] == [
        "balanced_train_segments.csv: 1 clips left out, o",
        "unbalanced_train_segments.csv: 2 clips left out,",
    ]


# ---- audio


def test_odd_audio_is_taken_as_it_is(corpus, tmp_path):
    paths = audio_of(corpus, "balanced_train")
    random = np.random.default_rng(0)
    soundfile.write(paths[0], random.uniform(-1, 1, (44100, 2)), 44100)
    soundfile.write(paths[1], random.uniform(-1, 1, 8000), 8000, subtype="PCM_U8")
    soundfile.write(paths[2], random.uniform(-1, 1, 10), 16000)
    prepare_audioset(corpus, tmp_path / "m")
    clips = {clip.id: clip for clip in manifest(tmp_path / "m")}
    found = [(clips[path.stem].sample_rate, clips[path.stem].duration) for path in paths[:3]]
    assert found == [(44100, 1.0), (8000, 1.0), (16000, 10 / 16000)]


def test_unusable_audio_is_left_out_up_to_a_share(corpus, tmp_path):
    path = audio_of(corpus, "balanced_train")[0]
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="1 of 10 audio files cannot be used"):
        prepare_audioset(corpus, tmp_path / "m")
    prepare_audioset(corpus, tmp_path / "m", max_rejected=0.1)
    assert len(manifest(tmp_path / "m")) == 5
    assert f"{path},{path} is an empty file" in (tmp_path / "m" / "rejected.csv").read_text()


def test_nothing_is_done_twice_and_the_data_folder_is_never_written(corpus, tmp_path, monkeypatch):
    folders = [Path(parent) for parent, _, _ in os.walk(corpus)]
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    for folder in folders:
        folder.chmod(0o555)
    try:
        prepare_audioset(corpus, tmp_path / "m")
        written = {path: path.stat().st_mtime_ns for path in (tmp_path / "m").iterdir()}
        with monkeypatch.context() as patch:
            patch.setattr(preparation, "scan_audio", None)  # no audio file is opened
            prepare_audioset(str(corpus), str(tmp_path / "m"))
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "m").iterdir()} == written
    audio_of(corpus, "eval")[0].unlink()
    prepare_audioset(corpus, tmp_path / "m")
    assert len(manifest(tmp_path / "m", "eval")) == 3


# ---- wrong lists


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda lines: [*lines, 'abc, 0, 10, "/m/00000"'], "line 10: .*'abc' is no YouTube ID"),
        (lambda lines: [*lines, "abcdefghijk, 0, 10"], 'line 10: expected YTID, start, end, "mid'),
        (lambda lines: [*lines, 'abcdefghijk, x, 10, "/m/00000"'], "line 10: .*float: 'x'"),
        (lambda lines: [*lines, 'abcdefghijk, 0, 10, "/m/9"'], "the label '/m/9' is not in class"),
        (lambda lines: ["YTID, start, end, labels", *lines], "line 1: .*'YTID' is no YouTube ID"),
        (lambda lines: lines[:3], "any of the 0 clips of balanced_train_segments.csv"),
    ],
)
def test_errors_of_a_list_name_file_and_line(corpus, tmp_path, edit, message):
    edit_list(corpus, "balanced_train", edit)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        prepare_audioset(corpus, tmp_path / "m")
    assert "balanced_train_segments.csv" in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("index,mid,display_name", "mid,name", "first line is to be index,mid,display_name"),
        ("\n2,", "\n3,", "line 4: expected index 2,"),
        ("/m/00002", "/m/00001", "line 4: .* a mid that was not there before"),
        ('"Sweep, fabricated"', "Sweep, fabricated", "line 4: "),
        ("Group 1", "Group 0", "a class is named twice"),
    ],
)
def test_errors_of_the_class_list_name_the_line(corpus, tmp_path, old, new, message):
    path = corpus / "class_labels_indices.csv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        prepare_audioset(corpus, tmp_path / "m")
    assert not (tmp_path / "m").exists()
