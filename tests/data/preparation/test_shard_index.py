import csv
import io
import json
import os
import tarfile
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch

from ssast_recipes.commands.main import main
from ssast_recipes.data import shards
from ssast_recipes.data.manifest import read_manifest
from ssast_recipes.data.pipelines import WaveformReader
from ssast_recipes.data.preparation.packing import Packing, pack
from ssast_recipes.data.preparation.shard_index import index_shards

from .test_packing import corpus  # noqa: F401  (a fixture)


def audio(level, kind="FLAC", samples=1600):
    file = io.BytesIO()
    soundfile.write(file, np.full(samples, level), 16000, format=kind)
    return file.getvalue()


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_clips_of_webdatasets_shards_are_found_as_they_are(tmp_path):
    members = {
        "dogs/one.flac": audio(0.25),
        "dogs/one.json": json.dumps({"labels": ["dog", "rain"], "other": 1}).encode(),
        "two.left.wav": audio(0.5, "WAV"),
        "two.cls": b"cat\n",
        "notes.txt": b"not audio",
        "three.ogg": audio(0.0, "OGG", 800),
        "three.json": b'{"id": "third", "label": "hum"}',
        "four.json": b"[not json",
        "four.wav": audio(0.75, "WAV"),
    }
    shard = write_tar(tmp_path / "s-0.tar", members)
    before = shard.read_bytes()
    assert index_shards([shard], tmp_path / "train.csv") == (4, 0)
    clips = {clip.id: clip for clip in read_manifest(tmp_path / "train.csv")}
    assert {key: clip.labels for key, clip in clips.items()} == {
        "s-0/dogs/one": ("dog", "rain"),
        "s-0/two": ("cat",),
        "third": ("hum",),
        "s-0/four": (),
    }
    assert [clips[key].duration for key in clips] == [0.1, 0.1, 0.05, 0.1]
    for key, level in {"s-0/dogs/one": 0.25, "s-0/two": 0.5, "s-0/four": 0.75}.items():
        samples = WaveformReader()(clips[key].path, 0.0, 0.1, 0, key)
        assert torch.equal(samples, torch.full((1600,), round(level * 2**15)).to(torch.int16))
    assert shard.read_bytes() == before


def test_bad_members_and_cut_shards_cost_what_is_bad_of_them(tmp_path):
    good = {f"{number}.wav": audio(0.1, "WAV") for number in range(4)}
    cut = write_tar(tmp_path / "cut.tar", good)
    whole = write_tar(tmp_path / "whole.tar", {**good, "bad.wav": b"no audio"})
    cut.write_bytes(cut.read_bytes()[: 2 * (512 + 3584) + 700])
    with pytest.raises(ValueError, match=r"of \d audio files cannot be used"):
        index_shards([cut, whole], tmp_path / "train.csv")
    assert not (tmp_path / "train.csv").exists()
    found = index_shards([cut, whole], tmp_path / "train.csv", num_workers=2, max_rejected=0.5)
    clips = [clip.id for clip in read_manifest(tmp_path / "train.csv")]
    assert clips == ["cut/0", "cut/1", *(f"whole/{number}" for number in range(4))]
    listed = (tmp_path / "train_rejected.csv").read_text()
    assert found == (6, len(listed.splitlines()) - 1)
    assert "whole/bad," in listed and "cut" in listed


def rejected(folder):
    with open(folder / "train_rejected.csv", newline="", encoding="utf-8") as file:
        return {row["ID"]: row["reason"] for row in csv.DictReader(file)}


def test_of_audio_with_one_name_up_to_the_first_dot_the_first_is_used_and_the_others_told(tmp_path):
    takes = {}
    for take in (1, 2, 3):
        takes[f"speaker1.take{take}.wav"] = audio(take / 4, "WAV")
        takes[f"speaker1.take{take}.json"] = json.dumps({"label": f"word{take}"}).encode()
    shard = write_tar(tmp_path / "s.tar", takes)
    with pytest.raises(
        ValueError, match="2 of 3 audio files cannot be used.*speaker1.take2.wav is"
    ):
        index_shards([shard], tmp_path / "train.csv")
    assert index_shards([shard], tmp_path / "train.csv", max_rejected=0.7) == (1, 2)
    (clip,) = read_manifest(tmp_path / "train.csv")
    samples = WaveformReader()(clip.path, 0.0, 0.1, 0, clip.id)
    assert clip.id == "s/speaker1" and samples[0] == 2**13 and clip.labels == ("word1",)
    assert list(rejected(tmp_path)) == ["s/speaker1.take2.wav", "s/speaker1.take3.wav"]
    assert "after speaker1.take1.wav: " in rejected(tmp_path)["s/speaker1.take3.wav"]


def test_a_member_that_was_put_in_again_takes_the_place_of_the_first(tmp_path):
    shard = write_tar(tmp_path / "s.tar", {"a.wav": audio(0.25, "WAV")})
    with tarfile.open(shard, "a") as tar:
        info = tarfile.TarInfo("a.wav")
        info.size = len(audio(0.5, "WAV"))
        tar.addfile(info, io.BytesIO(audio(0.5, "WAV")))
    assert index_shards([shard], tmp_path / "train.csv") == (1, 0)
    (clip,) = read_manifest(tmp_path / "train.csv")
    assert WaveformReader()(clip.path, 0.0, 0.1, 0, clip.id)[0] == 2**14


def test_null_means_that_there_is_nothing(tmp_path):
    about = {
        "a": {"id": None, "labels": None},
        "b": {"id": None, "labels": None, "label": "dog"},
        "c": {"id": "", "label": None},
        "d": {"id": 0, "labels": ["rain", None]},
    }
    members = {f"{key}.wav": audio(0.25, "WAV") for key in about}
    members |= {f"{key}.json": json.dumps(known).encode() for key, known in about.items()}
    shard = write_tar(tmp_path / "s.tar", members)
    assert index_shards([shard], tmp_path / "train.csv") == (4, 0)
    found = {clip.id: clip.labels for clip in read_manifest(tmp_path / "train.csv")}
    assert found == {"s/a": (), "s/b": ("dog",), "s/c": (), "0": ("rain",)}


def test_clips_of_shards_with_the_same_name_are_told_apart(tmp_path):
    shards = []
    for name in ("en/part/0", "de/part/0", "de/part/1"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shards.append(write_tar(tmp_path / f"{name}.tar", {"x.wav": audio(0.25, "WAV")}))
    broken = [tmp_path / language / "9.tar" for language in ("de", "en")]
    for shard in broken:
        shard.write_bytes(b"no tar file at all" * 100)
    # One named twice is read once.
    given = [*shards, shards[0], *broken]
    assert index_shards(given, tmp_path / "train.csv", max_rejected=0.5) == (3, 2)
    found = {clip.id: clip.path for clip in read_manifest(tmp_path / "train.csv")}
    assert list(found) == ["en/part/0/x", "de/part/0/x", "1/x"]
    for path, shard in zip(found.values(), shards, strict=True):
        assert path.startswith(f"{shard}:")
    assert list(rejected(tmp_path)) == ["de/9.tar", "en/9.tar"]


def test_a_member_whose_name_is_not_utf8_is_rejected_and_told(tmp_path):
    names = [os.fsdecode("Töne.wav".encode("latin-1")), "good.wav"]
    with tarfile.open(tmp_path / "s.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(audio(0.25, "WAV"))
            tar.addfile(info, io.BytesIO(audio(0.25, "WAV")))
    assert index_shards([tmp_path / "s.tar"], tmp_path / "train.csv", max_rejected=0.5) == (1, 1)
    assert "the ID 's/T\\udcf6ne' is not named in UTF-8" in rejected(tmp_path)["s/T\\udcf6ne"]


@pytest.mark.parametrize("content", [b"", b"no tar file at all" * 100])
def test_what_is_no_tar_file_is_told(tmp_path, content):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(ValueError, match="a.tar"):
        index_shards([tmp_path / "a.tar"], tmp_path / "train.csv")
    with pytest.raises(FileNotFoundError, match="b.tar is not there"):
        index_shards([tmp_path / "b.tar"], tmp_path / "train.csv")


def test_what_was_packed_here_is_found_again(corpus, tmp_path, capsys):  # noqa: F811
    packed = pack(corpus, tmp_path / "shards", Packing(shard_bytes=10_000))
    listed = [(c.id, c.path, c.duration, c.labels) for c in read_manifest(packed)]
    assert main(["index", str(tmp_path / "shards"), str(tmp_path / "found.csv")]) == 0
    assert "10 clips in " in capsys.readouterr().out
    found = read_manifest(tmp_path / "found.csv")
    assert [(c.id, c.path, c.duration, c.labels) for c in found] == listed
    (tmp_path / "empty").mkdir()
    assert main(["index", str(tmp_path / "empty"), str(tmp_path / "none.csv")]) == 1
    assert "no .tar file in" in capsys.readouterr().err


def claim(name, size):
    """A member of 40 bytes that claims to be sparse and of any size, as GNU tar writes them."""
    info = tarfile.TarInfo(name)
    about = {"major": "1", "minor": "0", "name": name, "realsize": str(size)}
    info.pax_headers = {f"GNU.sparse.{key}": value for key, value in about.items()}
    content = b"1\n0\n40\n".ljust(tarfile.BLOCKSIZE, b"\0") + b"{" * 40
    info.size = len(content)
    return info, io.BytesIO(content)


def test_claims_of_size_take_no_memory(tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name in ("a.json", "b.cls", "c.wav"):
            tar.addfile(*claim(name, 2**33))
        wav = audio(0.25, "WAV")
        for name in ("a.wav", "b.wav"):
            info = tarfile.TarInfo(name)
            info.size = len(wav)
            tar.addfile(info, io.BytesIO(wav))
    tracemalloc.start()
    found = index_shards([tmp_path / "s.tar"], tmp_path / "train.csv", max_rejected=0.9)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    assert found == (2, 3)
    assert "s.tar: a.json is sparse" in rejected(tmp_path)["s/a.json"]


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"labels": 1e999}', "\udcff"], ids=["deep", "inf", "bytes"]
)
def test_what_is_said_of_a_clip_may_be_nonsense(tmp_path, text):
    about = text.encode(errors="surrogateescape")
    shard = write_tar(tmp_path / "s.tar", {"a.wav": audio(0.25, "WAV"), "a.json": about})
    assert index_shards([shard], tmp_path / "train.csv") == (1, 0)


def test_audio_is_told_by_what_it_is_and_what_is_not_read_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "has_codecs", lambda: False)
    opus = io.BytesIO()
    soundfile.write(opus, np.full(16000, 0.1), 16000, format="OGG", subtype="OPUS")
    members = {
        "a.opus": opus.getvalue(),
        "b.aif": audio(0.25, "AIFF"),
        "c.bin": audio(0.25, "CAF"),
        "d.mp3": audio(0.25, "MP3", 16000),
        "e.m4a": b"\0\0\0\x20ftypM4A ",
        "f.pt": b"\x1aE\xdf\xa3 of a browser",
        "g.jpg": b"\xff\xd8\xff\xe0\0\x10JFIF",
        "h.txt": b"words",
    }
    shard = write_tar(tmp_path / "s.tar", members)
    assert index_shards([shard], tmp_path / "train.csv", max_rejected=0.5) == (4, 2)
    found = {clip.id: clip.duration for clip in read_manifest(tmp_path / "train.csv")}
    assert list(found) == ["s/a", "s/b", "s/c", "s/d"]
    assert found["s/a"] == 1.0 and found["s/c"] == 0.1
    assert (
        "its format is not read here; convert it before it is packed" in rejected(tmp_path)["s/e"]
    )
    assert "s/f" in rejected(tmp_path)


@pytest.mark.parametrize("order", [("a.mp4", "a.wav"), ("a.wav", "a.mp4")])
def test_a_video_beside_its_sound_takes_nothing_from_it(tmp_path, order):
    content = {"a.mp4": b"\0\0\0\x20ftypisom" + bytes(40), "a.wav": audio(0.5, "WAV")}
    shard = write_tar(tmp_path / "0.tar", {name: content[name] for name in order})
    assert index_shards([shard], tmp_path / "train.csv") == (1, 0)
    (clip,) = read_manifest(tmp_path / "train.csv")
    assert WaveformReader()(clip.path, 0.0, 0.1, 0, clip.id)[0] == 2**14
