"""Weights files: both formats, and what is refused without being executed or allocated."""

import collections
import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from ssast_recipes.weights.formats.tensors import read_tensors

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(128)}


def save_legacy(weights, path) -> None:
    torch.save(weights, path, _use_new_zipfile_serialization=False)


WRITERS = {
    ".pth": torch.save,
    ".legacy.pth": save_legacy,
    ".safetensors": safetensors.torch.save_file,
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_tensors_come_back(suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    WRITERS[suffix](WEIGHTS, path)
    found = read_tensors(path)
    assert found.keys() == WEIGHTS.keys()
    for name, value in WEIGHTS.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value), name


def test_the_weights_of_deit_lie_under_one_name(tmp_path):
    torch.save({"model": collections.OrderedDict(WEIGHTS)}, tmp_path / "deit.pth")
    assert read_tensors(tmp_path / "deit.pth").keys() == WEIGHTS.keys()


def refusal(path) -> str:
    with pytest.raises(ValueError) as raised:
        read_tensors(path)
    line = str(raised.value)
    assert line.startswith(f"{path}: ") and "\n" not in line
    return line


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("damage", ["empty", "text", "half", "last byte missing"])
def test_damaged_files_are_refused(suffix, damage, tmp_path):
    path = tmp_path / f"weights{suffix}"
    WRITERS[suffix](WEIGHTS, path)
    content = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "text": b"<html>404 Not Found</html>",
            "half": content[: len(content) // 2],
            "last byte missing": content[:-1],
        }[damage]
    )
    assert "not readable as weights" in refusal(path)


class Called:
    """Unpickled, it calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("suffix", [".pth", ".legacy.pth", ".pickle"])
def test_code_in_a_file_is_not_run(suffix, tmp_path):
    trace, path = tmp_path / "trace", tmp_path / f"bad{suffix}"
    content = WEIGHTS | {"c": Called(os.mkdir, str(trace))}
    if suffix == ".pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        WRITERS[suffix](content, path)
    assert "not readable as weights" in refusal(path)
    assert not trace.exists()
    if suffix == ".pickle":  # it would have worked
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert trace.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_what_may_be_called_cannot_ask_for_all_memory(tmp_path):
    path = tmp_path / "bad.pth"
    path.write_bytes(pickle.dumps({"a": Called(bytearray, 2**60)}, protocol=2))
    assert "MemoryError" in refusal(path)


@pytest.mark.parametrize("save", [torch.save, save_legacy], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "claim",
    [
        torch.zeros(1).expand(2**20, 2**20),  # one value, told to be 4 TB
        torch.zeros(2**20, device="meta"),
        torch.zeros(2, device="meta"),  # of no size that tells
        torch.eye(2).to_sparse(),
    ],
    ids=["expanded", "meta", "small meta", "sparse"],
)
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_tensors_larger_than_their_file_are_refused(claim, save, tmp_path):
    save({"a": torch.zeros(1), "b": claim}, tmp_path / "bad.pth")
    assert "'b' claims to be larger than what the file holds" in refusal(tmp_path / "bad.pth")


def test_many_names_of_one_tensor_are_refused(tmp_path):
    shared = torch.zeros(2**16)
    torch.save({f"a{index}": shared for index in range(3)}, tmp_path / "bad.pth")
    assert "'a1' claims to be larger" in refusal(tmp_path / "bad.pth")


def test_a_storage_larger_than_its_record_is_refused(tmp_path):
    torch.save({"a": torch.zeros(300)}, tmp_path / "good.pth")
    with (
        zipfile.ZipFile(tmp_path / "good.pth") as good,
        zipfile.ZipFile(tmp_path / "bad.pth", "w") as bad,
    ):
        for member in good.infolist():
            content = good.read(member)
            if member.filename.endswith("data.pkl"):
                count = b"M" + struct.pack("<H", 300)
                assert content.count(count) == 2  # of the storage and of the tensor
                content = content.replace(count, b"J" + struct.pack("<i", 2**30))
            bad.writestr(member.filename, content)
    assert "not readable as weights" in refusal(tmp_path / "bad.pth")


def zipped(source, path, compression=zipfile.ZIP_STORED, copies=0) -> bytes:
    """Writes the members of a file anew, and tells of each once more so many times."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", compression) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
        new.filelist += new.filelist * copies
    return path.read_bytes()


def test_an_archive_is_stored_as_torch_does(tmp_path):
    good, bad = tmp_path / "good.pth", tmp_path / "bad.pth"
    torch.save({"a": torch.zeros(3), "b" * 2**20: torch.zeros(3)}, good)
    zipped(good, bad)
    assert len(read_tensors(bad)) == 2
    zipped(good, bad, zipfile.ZIP_DEFLATED)
    assert bad.stat().st_size < 2**14 and len(torch.load(bad)) == 2  # which took a megabyte
    assert "a ZIP archive that is compressed, or claims to hold more" in refusal(bad)
    zipped(good, bad, copies=1)
    assert len(torch.load(bad)) == 2
    assert "a ZIP archive that is compressed, or claims to hold more" in refusal(bad)
    torch.save({"a": torch.zeros(3)}, good)  # what is saved is less than the names take
    zipped(good, bad, zipfile.ZIP_DEFLATED)
    assert "a ZIP archive that is compressed, or claims to hold more" in refusal(bad)


@pytest.mark.parametrize("with_record", [False, True])
def test_an_archive_has_one_directory(with_record, tmp_path):
    good, bad = tmp_path / "good.pth", tmp_path / "bad.pth"
    torch.save({"a": torch.zeros(3)}, good)
    packed, plain = (
        zipped(good, bad, compression) for compression in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED)
    )
    # Both tell where their directory lies, and how long it is, ten bytes before their end.
    size, start = struct.unpack("<2L", packed[-10:-2])
    decoy = plain[-22 - size : -22]
    count = packed[-14:-10]
    content = packed[:-22] + decoy  # Python looks at the latter, torch at the former

    def end(first: int) -> bytes:
        return b"PK\5\6" + bytes(4) + count + struct.pack("<2LH", size, first, 0)

    if with_record:

        def record(first: int) -> bytes:
            numbers = (44, 45, 45, 0, 0, *struct.unpack("<2H", count), size, first)
            return b"PK\6\6" + struct.pack("<Q2H2L4Q", *numbers)

        locator = b"PK\6\7" + struct.pack("<LQL", 0, start + size, 1)
        content = packed[:-22] + record(start) + decoy
        first = len(content) - size
        content += record(first) + locator + end(first)
    else:
        content += end(start)
    bad.write_bytes(content)
    with zipfile.ZipFile(bad) as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
    assert torch.load(bad).keys() == {"a"}
    assert "a ZIP archive that is compressed" in refusal(bad)


def test_an_archive_with_a_comment_is_refused(tmp_path):
    torch.save({"a": torch.zeros(3)}, tmp_path / "bad.pth")
    with zipfile.ZipFile(tmp_path / "bad.pth", "a") as archive:  # which looks like an end
        archive.comment = bytes(16) + struct.pack("<L", archive.start_dir) + bytes(2)
    assert "a ZIP archive that is compressed" in refusal(tmp_path / "bad.pth")


@pytest.mark.parametrize(
    "content, message",
    [
        (torch.zeros(3), "holds a Tensor, not weights by name"),
        ({1: torch.zeros(3)}, "holds a dict, not weights by name"),
        ({"a": torch.zeros(3), "step": 3}, "'step' is of type int, no tensor"),
    ],
)
def test_something_else_is_refused(content, message, tmp_path):
    torch.save(content, tmp_path / "other.pth")
    assert message in refusal(tmp_path / "other.pth")


def test_a_missing_file_is_told(tmp_path):
    for name in ("a.pth", "a.safetensors"):
        with pytest.raises(FileNotFoundError, match=name):
            read_tensors(Path(tmp_path / name))
