import csv
import os
import random
import struct
import sys
import threading
import time

import numpy as np
import pytest
import soundfile

from ssast_recipes.data import shards
from ssast_recipes.data.headers import audio_info
from ssast_recipes.data.preparation.scanning import check_rejected, scan_audio, write_rejected


def write_noise(path, num_samples=4000, channels=1, **options):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (num_samples, channels))
    soundfile.write(path, noise, 16000, **options)
    return path


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


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


def test_of_formats_that_are_not_read_the_way_out_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "has_codecs", lambda: False)
    contents = {"my voice.m4a": b"whatever", "browser": b"\x1aE\xdf\xa3", "noise.raw": bytes(800)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    _, rejected = scan_audio([tmp_path / name for name in contents], progress=False)
    voice, reason = f"{tmp_path}/my voice", "is not readable audio: its format is not read here; "
    told = f"{voice}.m4a {reason}convert it, ffmpeg -i '{voice}.m4a' '{voice}.flac', or install "
    assert rejected[f"{voice}.m4a"].startswith(told)
    assert "ffmpeg -i" in rejected[str(tmp_path / "browser")]
    assert rejected[str(tmp_path / "noise.raw")].endswith("is not readable audio: it has no header")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.999])
def test_an_ogg_file_that_is_cut_off_is_refused(tmp_path, share):
    path = write_noise(tmp_path / "a.ogg", 300_000)
    assert audio_info(path).num_samples == 300_000
    with pytest.raises(ValueError, match="a.ogg (is cut off|holds no samples)"):
        audio_info(cut(path, share))


def test_an_ogg_file_that_is_cut_off_between_two_pages_is_refused(tmp_path):
    path = write_noise(tmp_path / "a.ogg", 300_000)
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"OggS")])
    with pytest.raises(ValueError, match="a.ogg is cut off: the last page"):
        audio_info(path)


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


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), FileNotFoundError(2, "No such folder")]
)
def test_a_scan_does_not_take_errors_of_its_own_for_bad_files(tmp_path, error):
    def fail(path):
        raise error

    with pytest.raises(OSError, match=error.strerror):
        scan_audio([write_noise(tmp_path / "a.wav")], 1, progress=False, inspect=fail)


def test_after_an_error_no_thread_of_a_scan_goes_on():
    running = threading.Event()
    ended = []

    def inspect(path):
        if path == "00":  # in another thread than the last, which is in another chunk
            running.wait(10)
            raise OSError("the disk is full")
        if path == "15":
            running.set()
            time.sleep(0.2)
            ended.append(path)

    with pytest.raises(OSError, match="the disk is full"):
        scan_audio([f"{n:02}" for n in range(16)], 2, progress=False, inspect=inspect)
    assert ended == ["15"]


def test_a_scan_shows_its_progress_in_a_terminal(tmp_path, capsys, monkeypatch):
    path = write_noise(tmp_path / "a.wav")
    scan_audio([path], 1)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
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


def test_a_file_whose_name_no_manifest_can_hold_is_rejected_and_told(tmp_path):
    latin = os.fsdecode("Töne.wav".encode("latin-1"))
    paths = [write_noise(tmp_path / name) for name in ("good.wav", "Töne, 5$ each.wav")]
    write_noise(tmp_path / "cash $5.wav")
    (tmp_path / latin).write_bytes(paths[0].read_bytes())
    found, rejected = scan_audio(
        [*paths, tmp_path / "cash $5.wav", tmp_path / latin], progress=False
    )
    assert sorted(found) == sorted(map(str, [*paths, tmp_path / "cash $5.wav"]))
    assert list(rejected.values()) == [
        f"'{tmp_path}/T\\udcf6ne.wav' is not named in UTF-8, rename it",
    ]
    write_rejected(tmp_path / "rejected.csv", rejected)
    listed = (tmp_path / "rejected.csv").read_text(encoding="utf-8").splitlines()
    assert listed[1].startswith(f"{tmp_path}/T\\udcf6ne.wav,")


def test_more_rejected_files_than_the_share_end_the_preparation():
    rejected = {f"/{n}.wav": f"/{n}.wav is empty" for n in range(5)}
    check_rejected(rejected, 500)
    check_rejected({}, 0)
    check_rejected(rejected, 5, max_rejected=1.0)
    with pytest.raises(ValueError, match="5 of 499 .*0.01.*rejected.csv.*/0.wav.*/2.wav") as error:
        check_rejected(rejected, 499)
    assert "/3.wav" not in str(error.value)
