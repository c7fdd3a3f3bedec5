import os

import pytest

from ssast_recipes.data.preparation.listing import audio_files, is_audio_name


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
    assert audio_files("data") == expected
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
        found = audio_files("data")
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
