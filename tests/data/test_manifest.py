import csv
import json
import random
import struct
import threading

import numpy as np
import pytest
import soundfile
from speechbrain.dataio.dataset import DynamicItemDataset

from ssast_recipes.data.manifest import (
    Clip,
    audio_info,
    beside,
    check_rejected,
    mark_prepared,
    prepared,
    read_manifest,
    scan_audio,
    write_manifest,
    write_rejected,
)

HEADER = "ID,path,start,duration,sample_rate,labels\n"


def clips() -> list[Clip]:
    return [
        Clip("a", "/data/a, really.wav", 0.0, 5.0, 44100, ("dog",), {"fold": "1"}),
        Clip('b "quoted"', "/data/ö.wav", 1.25, 1 / 3, 16000, ("dog", "rain, light"), {"fold": ""}),
        Clip("c", "/data/c.wav", 10.0, 0.1, 8000, (), {"fold": "3"}),
    ]


def write_noise(path, num_samples=4000, channels=1, **options):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (num_samples, channels))
    soundfile.write(path, noise, 16000, **options)
    return path


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def test_reading_gives_back_what_was_written(tmp_path):
    path = tmp_path / "new" / "folder" / "train.csv"
    write_manifest(path, clips())
    assert read_manifest(path) == clips()
    assert path.read_text(encoding="utf-8").startswith("ID,path,start,duration,sample_rate,labels,")
    assert [item.name for item in path.parent.iterdir()] == ["train.csv"]


def test_speechbrain_loads_a_manifest(tmp_path):
    write_manifest(tmp_path / "train.csv", clips())
    dataset = DynamicItemDataset.from_csv(tmp_path / "train.csv")
    dataset.set_output_keys(["id", "path", "duration", "labels", "fold"])
    assert dataset[1] == {
        "id": 'b "quoted"',
        "path": "/data/ö.wav",
        "duration": 1 / 3,
        "labels": "dog;rain, light",
        "fold": "",
    }
    assert len(dataset) == 3


def test_two_clips_of_one_id_are_refused_and_the_old_file_stays(tmp_path):
    path = tmp_path / "train.csv"
    write_manifest(path, clips())
    with pytest.raises(ValueError, match=r"train.csv: two clips have the ID a, .* /data/other.wav"):
        write_manifest(path, [*clips(), Clip("a", "/data/other.wav", 0.0, 1.0, 16000)])
    assert read_manifest(path) == clips()


def test_clips_must_agree_on_their_extra_columns(tmp_path):
    other = Clip("d", "/d.wav", 0.0, 1.0, 16000, (), {"speaker": "7"})
    with pytest.raises(ValueError, match="clip d has the extra columns .'speaker',., .*'fold'"):
        write_manifest(tmp_path / "train.csv", [*clips(), other])
    with pytest.raises(ValueError, match="repeat one of"):
        write_manifest(tmp_path / "a.csv", [Clip("a", "/a", 0.0, 1.0, 1, (), {"start": "1"})])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ("dog", "cat;cow")}, "clip a: the label 'cat;cow' .* ';'"),
        ({"labels": ("",)}, "the label '' is empty"),
        ({"labels": (" dog",)}, "the label ' dog'"),
        ({"path": "audio/a.wav"}, "'audio/a.wav' is not absolute"),
        ({"path": "/data/$a.wav"}, "holds a '.name'"),
        ({"id": ""}, "/a.wav has no ID"),
        ({"duration": 0.0}, "duration 0.0"),
        ({"duration": float("nan")}, "duration nan"),
        ({"duration": float("inf")}, "duration inf"),
        ({"start": -1.0}, "start -1.0"),
        ({"sample_rate": 0}, "sample rate 0"),
    ],
)
def test_clips_that_could_not_be_read_back_are_refused(changes, message):
    values = {"id": "a", "path": "/a.wav", "start": 0.0, "duration": 1.0, "sample_rate": 16000}
    with pytest.raises(ValueError, match=message):
        Clip(**(values | changes))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"m.csv: the column\(s\) ID, path, start, duration, sample_rate, labels are missing"),
        ("ID,path,start,duration\n", r"the column\(s\) sample_rate, labels are missing"),
        (HEADER + "a,/a,0,1,8000,\nb,/b,0,long,8000,\n", "m.csv, line 3: .*'long'"),
        (HEADER + "a,/a,0,1,8000,\na,/b,0,1,8000,\n", "line 3: the ID a was there before"),
        (HEADER + "a,/a,0,1\n", "line 2: expected 6 values"),
        (HEADER + "a,/a,0,1,8000,dog,cat\n", "line 2: expected 6 values"),
        (HEADER + "a,a.wav,0,1,8000,dog\n", "line 2: clip a: the path 'a.wav' is not absolute"),
        (HEADER + "a,/a,0,1,8000,dog;;cat\n", "line 2: clip a: the label ''"),
    ],
)
def test_errors_of_reading_name_file_and_line(tmp_path, content, message):
    (tmp_path / "m.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_manifest(tmp_path / "m.csv")


def test_what_fails_while_being_written_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("old")

    def broken_off():
        with beside(path) as part:
            part.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert [(item.name, item.read_text()) for item in tmp_path.iterdir()] == [("train.csv", "old")]


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "aiff"])
def test_headers_say_length_rate_and_channels(tmp_path, extension):
    info = audio_info(write_noise(tmp_path / f"a.{extension}", 4000, channels=2))
    assert info == (4000, 16000, 2)
    assert info.duration == 0.25


def test_headers_are_enough(tmp_path, monkeypatch):
    path = write_noise(tmp_path / "a.wav")
    monkeypatch.setattr(soundfile.SoundFile, "read", None)
    assert audio_info(path).num_samples == 4000


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.touch(), "a.wav is an empty file"),
        (lambda path: path.write_text("no audio " * 100), "a.wav is not readable audio: Format"),
        (lambda path: write_noise(path, 0), "a.wav holds no samples"),
        (lambda path: cut(write_noise(path), 0.5), "a.wav is cut off: 3978 of 8000 bytes"),
        (lambda path: cut(write_noise(path, format="AIFF"), 0.5), "a.wav is cut off"),
    ],
)
def test_unusable_files_are_named_with_the_reason(tmp_path, make, message):
    make(tmp_path / "a.wav")
    with pytest.raises(ValueError, match=message) as error:
        audio_info(tmp_path / "a.wav")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.999])
def test_an_ogg_file_that_is_cut_off_is_refused(tmp_path, share):
    path = write_noise(tmp_path / "a.ogg", 300_000)
    assert audio_info(path).num_samples == 300_000
    with pytest.raises(ValueError, match="a.ogg (is cut off|holds no samples)"):
        audio_info(cut(path, share))


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_a_streamed_wav_file_of_unknown_size_is_not_cut_off(tmp_path, size):
    path = write_noise(tmp_path / "a.wav")
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", size)
    path.write_bytes(content)
    assert audio_info(path).num_samples == 4000


def test_a_missing_file_and_a_folder_are_no_audio(tmp_path):
    for path in (tmp_path / "absent.wav", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"{path} is not there"):
            audio_info(path)


def test_a_scan_sorts_the_good_from_the_bad_in_an_order_of_its_own(tmp_path):
    paths = [str(write_noise(tmp_path / f"{n:02}.wav", 100 + n)) for n in range(40)]
    (tmp_path / "07.wav").write_text("")
    (tmp_path / "31.wav").unlink()
    shuffled = [*paths, paths[3]]
    random.Random(0).shuffle(shuffled)
    found, rejected = scan_audio(shuffled, num_workers=4, progress=False)
    assert list(found) == [path for n, path in enumerate(paths) if n not in (7, 31)]
    assert [info.num_samples for info in found.values()] == [
        100 + n for n in range(40) if n not in (7, 31)
    ]
    assert list(rejected) == [paths[7], paths[31]]
    assert [reason.split(" is ")[1][:5] for reason in rejected.values()] == ["an em", "not t"]


def test_a_scan_runs_in_parallel():
    # Passed only if both threads wait at the same time.
    barrier = threading.Barrier(2, timeout=10)
    found, _ = scan_audio(map(str, range(16)), 2, progress=False, inspect=lambda _: barrier.wait())
    assert len(found) == 16


def test_a_scan_does_not_take_errors_of_its_own_for_bad_files(tmp_path):
    def full_disk(path):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        scan_audio([tmp_path / "a.wav"], 1, progress=False, inspect=full_disk)


def test_a_scan_shows_its_progress(tmp_path, capsys):
    path = write_noise(tmp_path / "a.wav")
    scan_audio([path], 1, progress=False)
    assert capsys.readouterr().err == ""
    scan_audio([path], 1)
    assert "1/1" in capsys.readouterr().err


def test_rejected_files_are_listed_with_the_reason(tmp_path):
    rejected = {"/a, b.wav": 'no "audio"', "/c.wav": "empty"}
    write_rejected(tmp_path / "rejected.csv", rejected)
    with open(tmp_path / "rejected.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [["path", "reason"], ["/a, b.wav", 'no "audio"'], ["/c.wav", "empty"]]


def test_more_rejected_files_than_the_share_end_the_preparation():
    rejected = {f"/{n}.wav": f"/{n}.wav is empty" for n in range(5)}
    check_rejected(rejected, 500)
    check_rejected({}, 0)
    check_rejected(rejected, 5, max_rejected=1.0)
    with pytest.raises(ValueError, match="5 of 499 .*0.01.*rejected.csv.*/0.wav.*/2.wav") as error:
        check_rejected(rejected, 499)
    assert "/3.wav" not in str(error.value)


def test_prepared_means_same_options_and_whole_files(tmp_path):
    fingerprint = {"folds": (1, 2), "rate": 16000, "meta": "abc"}
    assert not prepared(tmp_path, fingerprint)
    write_manifest(tmp_path / "train.csv", clips())
    assert not prepared(tmp_path, fingerprint)
    mark_prepared(tmp_path, fingerprint, ["train.csv"])
    assert prepared(tmp_path, fingerprint)
    assert json.loads((tmp_path / "prepared.json").read_text())["fingerprint"]["rate"] == 16000
    for change in ({"folds": (1, 3)}, {"rate": None}, {"new": 1}):
        assert not prepared(tmp_path, fingerprint | change)
    assert prepared(tmp_path, fingerprint)


def test_an_interrupted_preparation_with_other_options_is_not_taken_for_the_first(tmp_path):
    write_manifest(tmp_path / "train.csv", clips())
    mark_prepared(tmp_path, {"fold": 1}, ["train.csv"])
    write_manifest(tmp_path / "train.csv", clips()[:2])  # for fold 2, then the power fails
    assert not prepared(tmp_path, {"fold": 1})
    assert not prepared(tmp_path, {"fold": 2})
    (tmp_path / "train.csv").unlink()
    assert not prepared(tmp_path, {"fold": 1})
