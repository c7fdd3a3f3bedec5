import itertools
import pickle
import random
import tracemalloc
from dataclasses import replace

import pyarrow
import pytest
import torch

from ssast_recipes.data.manifest import COLUMNS, Clip, read_manifest, write_manifest
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
    pyarrow_before = pyarrow.total_allocated_bytes()
    tracemalloc.start()
    table = ClipTable.read([tmp_path / "train.csv"])
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size += pyarrow.total_allocated_bytes() - pyarrow_before  # of which Python knows nothing
    assert len(table) == 20_000
    assert 80 < size / 20_000 < 150
    assert table.nbytes <= size


@pytest.mark.parametrize("by_columns", [True, False])
def test_manifests_are_read_as_clip_by_clip(tmp_path, monkeypatch, by_columns):
    """To the last bit of the seconds, from several files, of other columns and orders."""
    awkward = [
        replace(clip, id=clip.id + tail, labels=(f"a, {tail}b",), duration=random.random() * 1e3)
        for clip, tail in zip(clips(60), itertools.cycle([",", '"', "\n", "\r", "\u2028", "\x85"]))
    ]
    extra = [replace(clip, extra={"fold": "1", "said": "b\nc"}) for clip in awkward[30:]]
    write_manifest(tmp_path / "a.csv", awkward[:30])
    write_manifest(tmp_path / "b.csv", extra)
    if not by_columns:
        monkeypatch.setattr("ssast_recipes.data.table._is_doubtful", lambda table: True)
    else:
        monkeypatch.setattr("ssast_recipes.data.table.iterate_manifests", None)
    table = ClipTable.read([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert list(table) == awkward and list(table.ids) == [clip.id for clip in awkward]
    assert table.all_labels == [clip.labels for clip in awkward]
    assert {type(value) for clip in table for value in (clip.start, clip.duration)} == {float}
    again = pickle.loads(pickle.dumps(table))
    assert list(again) == awkward


@pytest.mark.parametrize(
    "row",
    [
        *("a,/a,0,1,8000,dog", ",/b,0,1,8000,", "b,b,0,1,8000,"),
        *("b,/b,-1,1,8000,", "b,/b,0,0,8000,", "b,/b,0,nan,8000,", "b,/b,0,inf,8000,"),
        *("b,/b,nan,1,8000,", "b,/b,0,1,0,", "b,/b,0,1,8000.5,", "b,/b,0,1,,", "b,/b,0,one,1,"),
        *("b,/b,0,1,0x10,", "b,/b,0,1,2147483648,", f"b,/b,0,1,{10**30},", "b,/b,0,1,8e3,"),
        *("b,/b,0,1,8000,;", "b,/b,0,1,8000,dog;", "b,/b,0,1,8000, dog", "b,/b,0,1,8000,dog;\x85"),
        *("b,/b,0,1,8000,$dog", "b,/b,0,1,8000", "b,/b,0,1,8000,,", "b,/\0,0,1,8000,"),
    ],
)
def test_what_is_wrong_is_told_by_its_line(tmp_path, row):
    path = tmp_path / "m.csv"
    path.write_text(f"{','.join(COLUMNS)}\na,/a,0,1,8000,dog\n{row}\n", encoding="utf-8")
    with pytest.raises(ValueError) as expected:
        read_manifest(path)
    with pytest.raises(ValueError) as found:
        ClipTable.read([path])
    assert str(found.value) == str(expected.value) and "line 3" in str(found.value)


def test_an_extra_column_is_checked_as_well(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text(f"{','.join(COLUMNS)},said\na,/a,0,1,8000,,$x\n")
    with pytest.raises(ValueError, match="line 2: clip a: .* holds a"):
        ClipTable.read([path])


def test_what_is_unusual_and_right_is_read(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text(f"{','.join(COLUMNS)}\na,/cash $ 5, 0,1_0,8_000,dog\n")
    assert list(ClipTable.read([path])) == [Clip("a", "/cash $ 5", 0.0, 10.0, 8000, ("dog",))]


def test_shards_are_numbered_and_files_are_not():
    assert ClipTable(clips()).shards is None
    paths = ["/b.tar:512:9", "/x/a.wav", "/a.tar:512:9", "/b.tar:1024:9"]
    table = ClipTable(Clip(path, path, 0.0, 1.0, 16000) for path in paths)
    assert torch.equal(table.shards, torch.tensor([0, -1, 1, 0]))
    assert [clip.path for clip in table] == paths
