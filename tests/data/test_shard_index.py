import io
import json
import tarfile

import numpy as np
import pytest
import soundfile
import torch

from ssast_recipes.cli import main
from ssast_recipes.data.manifest import read_manifest
from ssast_recipes.data.packing import Packing, pack
from ssast_recipes.data.pipelines import WaveformReader
from ssast_recipes.data.shard_index import index_shards

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
