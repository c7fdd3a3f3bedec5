import tracemalloc

import pytest
import torch

from ssast_recipes.data.manifest import Clip, iterate_manifests, write_manifest
from ssast_recipes.data.table import ClipTable, Strings


def clips(count=50):
    return [
        Clip(
            id=f"clip-ä{number}",
            path=f"/corpus/folder {number % 3}/{number:020d}.flac",
            start=number / 7,
            duration=1 + number / 3,
            sample_rate=(16000, 44100)[number % 2],
            labels=("dog", "rain")[: number % 3],
        )
        for number in range(count)
    ]


def test_clips_come_back_as_they_went_in():
    assert list(ClipTable(clips())) == clips()
    table = ClipTable(iter(clips()))
    assert (len(table), table[-1], list(table.ids)) == (50, clips()[-1], [c.id for c in clips()])
    assert [table.labels(index) for index in range(50)] == [clip.labels for clip in clips()]
    with pytest.raises(IndexError):
        table[50]


def test_strings_of_any_length_and_letters():
    values = ["", "a", "ß" * 300, "", "日本", "b"]
    strings = Strings(values)
    assert list(strings) == values and strings[-2] == "日本"
    for index in (6, -7):
        with pytest.raises(IndexError, match=f"no string {index} among 6"):
            strings[index]


def test_a_clip_takes_little_memory(tmp_path):
    """Of two million, 240 MB; as a dict each, 1.9 GB."""
    write_manifest(tmp_path / "train.csv", clips(20_000))
    tracemalloc.start()
    table = ClipTable(iterate_manifests([tmp_path / "train.csv"]))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(table) == 20_000
    assert size / 20_000 < 150


def test_shards_are_numbered_and_files_are_not():
    assert ClipTable(clips()).shards is None
    paths = ["/b.tar:512:9", "/x/a.wav", "/a.tar:512:9", "/b.tar:1024:9"]
    table = ClipTable(Clip(path, path, 0.0, 1.0, 16000) for path in paths)
    assert torch.equal(table.shards, torch.tensor([0, -1, 1, 0]))
    assert [clip.path for clip in table] == paths
