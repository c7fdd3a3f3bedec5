import csv
import json
import logging
import os
import time
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ssast_recipes.data.headers import AudioCopy, audio_info
from ssast_recipes.data.manifest import Clip, read_manifest
from ssast_recipes.data.preparation import manifests as preparation
from ssast_recipes.data.preparation.counts import Published
from ssast_recipes.data.preparation.manifests import Entry, prepare_manifests

PUBLISHED = Published("Sounds", {"train": 5})


def write_sound(path, seconds=1.0, rate=8000):
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, np.full(round(seconds * rate), 0.1), rate)
    return str(path)


@pytest.fixture
def entries(tmp_path) -> dict[str, list[Entry]]:
    """Three training clips, not in order, and one to test on."""
    paths = {name: write_sound(tmp_path / "data" / f"{name}.wav") for name in "abcd"}
    return {
        "train": [Entry(name, paths[name], ("dog",)) for name in "cab"],
        "test": [Entry("d", paths["d"], ("rain", "dog"))],
    }


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "manifests" / "new"


def prepare(folder, entries, classes=("dog", "rain"), **options):
    return prepare_manifests(folder, entries, PUBLISHED, classes, **options)


def ids(folder, split):
    return [clip.id for clip in read_manifest(folder / f"{split}.csv")]


def rejected(folder):
    with open(folder / "rejected.csv", newline="", encoding="utf-8") as file:
        return {row["path"]: row["reason"] for row in csv.DictReader(file)}


def test_each_split_becomes_a_manifest_in_the_order_of_ids(entries, folder):
    assert prepare(folder, entries)
    assert ids(folder, "train") == ["a", "b", "c"]
    path = entries["test"][0].path
    assert read_manifest(folder / "test.csv") == [Clip("d", path, 0.0, 1.0, 8000, ("rain", "dog"))]
    assert (folder / "classes.txt").read_text() == "dog\nrain\n"
    assert rejected(folder) == {}
    files = ["classes.txt", "prepared.json", "rejected.csv", "test.csv", "train.csv"]
    assert sorted(path.name for path in folder.iterdir()) == files


def test_data_without_labels_has_no_classes(tmp_path, folder):
    entries = {"train": [Entry("a", write_sound(tmp_path / "a.wav"))]}
    assert prepare(folder, entries, classes=())
    assert read_manifest(folder / "train.csv")[0].labels == ()
    assert not (folder / "classes.txt").exists()
    assert not prepare(folder, entries, classes=())


@pytest.mark.parametrize(
    ("start", "duration", "expected"),
    [(0.0, None, 1.0), (0.25, None, 0.75), (0.25, 0.5, 0.5), (0.25, 5.0, 0.75)],
)
def test_a_clip_is_a_stretch_of_its_file(tmp_path, folder, start, duration, expected):
    entry = Entry("a", write_sound(tmp_path / "a.wav"), (), start, duration, {"speaker": "7"})
    prepare(folder, {"train": [entry]})
    (clip,) = read_manifest(folder / "train.csv")
    assert (clip.start, clip.duration, clip.extra) == (start, expected, {"speaker": "7"})


def test_a_file_of_many_clips_is_looked_at_once(tmp_path, folder, monkeypatch):
    seen = []
    scan = preparation.scan_audio
    monkeypatch.setattr(
        preparation, "scan_audio", lambda paths, *args: seen.extend(paths) or scan(paths, *args)
    )
    path = write_sound(tmp_path / "a.wav")
    clips = [Entry(f"a{start}", path, ("dog",), start / 4, 0.25) for start in range(4)]
    prepare(folder, {"train": clips, "test": clips[:1]})
    assert seen == [path]
    assert [clip.start for clip in read_manifest(folder / "train.csv")] == [0, 0.25, 0.5, 0.75]
    assert ids(folder, "test") == ["a0"]


def test_clips_behind_the_end_of_their_file_are_left_out(entries, folder):
    train = entries["train"]
    train.append(train[0]._replace(id="late", start=1.0))
    prepare(folder, entries, max_rejected=0.5)
    assert ids(folder, "train") == ["a", "b", "c"]
    path = train[0].path
    assert rejected(folder) == {path: f"{path} ends before clip late begins at 1 s"}


def test_unusable_files_are_left_out_and_listed(entries, folder, caplog):
    bad, absent = (Path(entry.path) for entry in entries["train"][:2])
    bad.write_text("")
    absent.unlink()
    assert prepare(folder, entries, max_rejected=0.5)
    assert ids(folder, "train") == ["b"]
    assert list(rejected(folder)) == [str(absent), str(bad)]  # a, then c
    assert "is an empty file" in rejected(folder)[str(bad)]
    assert "is not there" in rejected(folder)[str(absent)]
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno > logging.INFO]
    assert warning == (
        f"2 of 4 files left out as unusable, see {folder}/rejected.csv: a.wav, c.wav"
    )


def test_too_many_unusable_files_leave_what_was_prepared_before(entries, folder):
    prepare(folder, entries)
    before = (folder / "train.csv").read_text()
    Path(entries["train"][0].path).write_text("")
    with pytest.raises(ValueError, match="1 of 4 audio files cannot be used, .*0.01.*c.wav is an"):
        prepare(folder, entries)
    assert (folder / "train.csv").read_text() == before


def test_a_split_is_not_to_be_empty(entries, folder):
    with pytest.raises(ValueError, match="Sounds: there is no clip for the split valid"):
        prepare(folder, {**entries, "valid": []})
    with pytest.raises(ValueError, match="Sounds: there is no clip for any split"):
        prepare(folder, {})
    assert not folder.exists()
    Path(entries["test"][0].path).write_text("")
    with pytest.raises(ValueError, match="none of the 1 clips of Sounds's split test can be used"):
        prepare(folder, entries, max_rejected=1.0)
    assert not (folder / "prepared.json").exists()


def test_labels_have_to_be_classes(entries, folder):
    with pytest.raises(ValueError, match="labels rain, dog of clip d are not all among the 1 clas"):
        prepare(folder, entries, classes=["dog"])
    with pytest.raises(ValueError, match="a class is named twice among the 3"):
        prepare(folder, entries, classes=["dog", "rain", "dog"])
    assert not folder.exists()


def test_nothing_is_done_twice(entries, folder, monkeypatch):
    prepare(folder, entries, options={"seed": 1})
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    monkeypatch.setattr(preparation, "scan_audio", None)
    entries["train"].reverse()  # as another file system might list them
    assert not prepare(folder, entries, options={"seed": 1})
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def change(entries, **values):
    entries["train"][0] = entries["train"][0]._replace(**values)


@pytest.mark.parametrize(
    "edit",
    [
        lambda entries, given: given.update(options={"seed": 2}),
        lambda entries, given: given.update(max_rejected=0.02),
        lambda entries, given: given.update(classes=["rain", "dog"]),
        lambda entries, given: change(entries, labels=("rain",)),
        lambda entries, given: change(entries, start=0.5),
        lambda entries, given: change(entries, duration=0.5),
        lambda entries, given: change(entries, id="z"),
        lambda entries, given: entries["test"].append(entries["train"].pop()),
        lambda entries, given: os.utime(entries["test"][0].path, (1, 1)),
        lambda entries, given: write_sound(Path(entries["test"][0].path), 0.5),
    ],
)
def test_whatever_changes_the_outcome_asks_for_preparing_anew(entries, folder, edit):
    prepare(folder, entries, options={"seed": 1})
    given = {"options": {"seed": 1}}
    edit(entries, given)
    assert prepare(folder, entries, **given)
    assert not prepare(folder, entries, **given)


def test_of_very_many_files_some_are_asked_whether_they_changed(monkeypatch, entries, folder):
    monkeypatch.setattr(preparation, "MOST_STATS", 2)
    prepare(folder, entries)
    stats = []
    stat = os.stat
    with monkeypatch.context() as context:
        watched = lambda path, **more: stats.append(path) or stat(path, **more)  # noqa: E731
        context.setattr(preparation.os, "stat", watched)
        assert not prepare(folder, entries)
    stats = [path for path in stats if str(path).endswith(".wav")]
    assert [Path(path).stem for path in stats] == ["a", "c"]


@pytest.mark.parametrize("interrupted", ["write_manifest", "write_classes", "mark_prepared"])
def test_an_interrupted_preparation_counts_for_nothing(entries, folder, monkeypatch, interrupted):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(preparation, interrupted, stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(folder, entries)
    assert not list(folder.glob("*.part"))
    assert prepare(folder, entries)
    assert ids(folder, "train") == ["a", "b", "c"]


# ---- copies


@pytest.fixture
def copy(tmp_path):
    """Copies a file to `copies`; which of them are silent stands in `copy.silent`."""

    def make(path):
        target = tmp_path / "copies" / Path(path).name
        write_sound(target, 0.5, 16000)
        return AudioCopy(str(target), audio_info(target), Path(path).stem in make.silent)

    make.silent = ""
    return make


def test_manifests_point_to_copies_where_they_are_made(entries, folder, copy, tmp_path):
    prepare(folder, entries, copy=copy)
    expected = Clip("d", str(tmp_path / "copies" / "d.wav"), 0.0, 0.5, 16000, ("rain", "dog"))
    assert read_manifest(folder / "test.csv") == [expected]
    assert not prepare(folder, entries, copy=copy)
    (tmp_path / "copies" / "b.wav").unlink()
    assert prepare(folder, entries, copy=copy)
    assert (tmp_path / "copies" / "b.wav").exists()


def test_silence_is_told_and_nothing_but_silence_refused(entries, folder, copy, caplog):
    copy.silent = "bd"
    prepare(folder, entries, copy=copy)
    assert "2 of 4 files kept though silent throughout: b.wav, d.wav" in caplog.text
    assert ids(folder, "train") == ["a", "b", "c"]
    copy.silent = "abcd"
    with pytest.raises(ValueError, match="all 4 clips in .*/data are silent from end to end"):
        prepare(folder, entries, copy=copy, max_rejected=0.1)


def test_what_was_found_is_logged_beside_what_was_published(entries, folder, caplog):
    with caplog.at_level(logging.INFO):
        prepare(folder, entries)
    (report,) = [record.getMessage() for record in caplog.records]
    lines = [line.split() for line in report.splitlines()]
    assert lines[0] == ["Sounds,", "prepared", "in", f"{folder}:"]
    assert lines[2] == ["train", "3", "5", "2", "0.00", "1.00", "s", "1.00", "s"]
    assert lines[3] == ["test", "1", "0.00", "1.00", "s", "1.00", "s"]
    assert lines[-2:] == [["dog", "3", "1"], ["rain", "0", "1"]]


def test_the_note_of_a_big_corpus_stays_small(entries, folder):
    prepare(folder, entries)
    mark = json.loads((folder / "prepared.json").read_text())
    assert set(mark["fingerprint"]) == {"options", "max_rejected", "entries", "files", "rejected"}
    digests = ("entries", "files", "rejected")
    assert {len(mark["fingerprint"][name]) for name in digests} == {64}


def test_a_file_that_was_rejected_and_replaced_asks_for_preparing_anew(
    entries, folder, monkeypatch
):
    monkeypatch.setattr(preparation, "MOST_STATS", 1)  # and so no other file is asked
    bad = Path(entries["train"][0].path)  # clip c
    good = bad.read_bytes()
    bad.write_bytes(b"")
    assert prepare(folder, entries, max_rejected=0.5)
    assert ids(folder, "train") == ["a", "b"] and list(rejected(folder)) == [str(bad)]
    assert not prepare(folder, entries, max_rejected=0.5)
    bad.write_bytes(good)
    assert prepare(folder, entries, max_rejected=0.5)
    assert ids(folder, "train") == ["a", "b", "c"]
    assert not prepare(folder, entries, max_rejected=0.5)


def test_two_preparations_in_one_folder_take_turns(tmp_path, entries, folder, monkeypatch):
    """With other options, too: else the manifests of one might stand beside the mark of another."""
    inside, most = [], []
    scan = preparation.scan_audio

    def slow(*args, **kwargs):
        inside.append(1)
        time.sleep(0.2)
        most.append(len(inside))
        inside.pop()
        return scan(*args, **kwargs)

    monkeypatch.setattr(preparation, "scan_audio", slow)
    with ThreadPool(3) as pool:
        rates = [8000, 16000, 16000]
        made = pool.map(lambda rate: prepare(folder, entries, options={"rate": rate}), rates)
    assert most == [1, 1] or most == [1, 1, 1]
    assert made[0] and any(made[1:])
    assert sorted(path.name for path in folder.parent.iterdir()) == ["new"]


def test_what_is_prepared_may_be_for_reading_alone(entries, folder, monkeypatch):
    prepare(folder, entries)
    monkeypatch.setattr(preparation, "one_at_a_time", None)  # it would write a lock
    assert not prepare(folder, entries)
