import os

import numpy as np
import pytest
import soundfile

from ssast_recipes.data.preparation.listing import audio_files
from ssast_recipes.data.recognition import is_audio_name


def test_audio_files_are_listed_in_an_order_of_their_own_and_none_is_looked_at(
    tmp_path, monkeypatch
):
    for name in ("b/2.wav", "b/10.FLAC", "a/x/1.ogg", "c.wav", "b/list.txt", "b/._2.wav", "wav"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "0.wav").touch()
    (tmp_path / "data" / "a" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "b" / "dangling.wav").symlink_to("nowhere")  # scanning says what is wrong
    monkeypatch.chdir(tmp_path)
    names = ["a/linked/0.wav", "a/x/1.ogg", "b/10.FLAC", "b/2.wav", "b/dangling.wav", "c.wav"]
    expected = [str(tmp_path / "data" / name) for name in names]
    assert audio_files("data", look_inside=False) == expected
    walk = os.walk
    reverse = lambda *args, **options: reversed(list(walk(*args, **options)))  # noqa: E731
    monkeypatch.setattr(os, "walk", reverse)  # as another file system might
    stat = os.stat
    looked_at = []

    def noting(path, **options):
        looked_at.append(path)
        return stat(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", noting)
        found = audio_files("data", look_inside=False)
    assert found == expected
    folders = ["", "/a", "/a/linked", "/a/x", "/b"]
    assert sorted(looked_at) == [f"{tmp_path}/data{name}" for name in folders]


def test_a_folder_to_which_links_lead_back_is_listed_once(tmp_path):
    """And under its own name, whatever names the links have."""
    names = [f"loop/{number:02}.wav" for number in range(20)] + ["loop/z/deep.wav"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "loop" / "self").symlink_to("../loop")
    (tmp_path / "a_link_to_loop").symlink_to("loop")
    (tmp_path / "loop" / "a_link_to_z").symlink_to("z")
    assert audio_files(tmp_path) == [str(tmp_path / name) for name in names]
    assert audio_files(tmp_path / "a_link_to_loop") == [
        str(tmp_path / "a_link_to_loop" / name.removeprefix("loop/")) for name in names
    ]


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        audio_files(tmp_path / "absent")


def test_the_extension_tells_audio():
    names = ["a.wav", "a.b.FLAC", "mp3", "a.txt", "._a.wav", "a.wav.part", "a", "a.raw"]
    assert [name for name in names if is_audio_name(name)] == ["a.wav", "a.b.FLAC"]


def test_what_soundfile_opens_is_audio_whatever_its_name(tmp_path):
    """And what is audio but cannot be opened is listed, unless it was converted already."""
    tone = 0.3 * np.sin(np.arange(8000) / 7)
    kinds = {"aif": "AIFF", "oga": "OGG", "snd": "AU", "sph": "NIST", "REC": "CAF", "dat": "MP3"}
    for extension, kind in kinds.items():
        soundfile.write(tmp_path / f"a.{extension}", tone, 16000, format=kind)
    soundfile.write(tmp_path / "a.opus", tone, 16000, format="OGG", subtype="OPUS")
    soundfile.write(tmp_path / "no extension", tone, 16000, format="FLAC")
    others = {
        "voice.m4a": b"\0\0\0\x20ftypM4A ",
        "voice": b"\x1aE\xdf\xa3 of a browser",
        "converted.wma": b"0&\xb2u\x8ef\xcf\x11",
        "converted.flac": b"",
        "notes.txt": b"RIFFs of a guitar",
        "list.csv": "path,label\na.wav,Vögel\n".encode(),
        "noise.raw": bytes(range(256)) * 8,
        "film.avi": b"RIFF\0\0\0\0AVI LIST",
        "phone.heic": b"\0\0\0\x20ftypheic",
        "empty": b"",
        ".hidden": b"fLaC",
    }
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe")  # reading it would never end
    found = [os.path.basename(path) for path in audio_files(tmp_path)]
    known = [*(f"a.{extension}" for extension in kinds), "a.opus", "no extension"]
    assert found == sorted([*known, "voice.m4a", "voice", "converted.flac"])
    by_name = [os.path.basename(path) for path in audio_files(tmp_path, look_inside=False)]
    assert by_name == ["a.aif", "a.oga", "a.opus", "a.snd", "a.sph", "converted.flac"]


def test_hidden_folders_are_left_out(tmp_path):
    for name in ("a", ".ipynb_checkpoints", "a/.hidden", "__MACOSX", "a/__MACOSX/b"):
        (tmp_path / ".data" / name).mkdir(parents=True)
        (tmp_path / ".data" / name / "a.wav").touch()
    assert audio_files(tmp_path / ".data") == [str(tmp_path / ".data" / "a" / "a.wav")]


def test_what_lies_beside_audio_in_great_numbers_is_not_opened(tmp_path, monkeypatch):
    for name in ("a.txt", "a.JSON", "a.npy"):
        (tmp_path / name).write_bytes(b"fLaC")  # as audio begins

    def refuse(path, *_):
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr("builtins.open", refuse)
    assert audio_files(tmp_path) == []
