"""`ssast embed`: the files' embeddings in a table."""

import numpy
import pytest
import soundfile
import torch

from ssast_recipes import AudioEncoder
from ssast_recipes.commands import main as cli
from ssast_recipes.inference.reading import read_audio
from tests.weights.formats.test_folder import save


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save("m", "encoder")
    for name, length in (("a.wav", 4000), ("b.flac", 20000)):
        soundfile.write(name, (0.1 * torch.randn(length)).numpy(), 16000)
    return ["a.wav", "b.flac"]


def run(*arguments: str) -> int:
    return cli.main(["embed", "m", *arguments, "--device", "cpu"])


def test_a_row_a_file(files, capsys):
    assert run(*files, "--output", "out/e.npz") == 0
    assert capsys.readouterr().out == "out/e.npz: 2 embeddings of 16 values, of 2 files\n"
    encoder = AudioEncoder.from_pretrained("m", "cpu")
    with numpy.load("out/e.npz") as table:
        assert sorted(table) == ["embedding", "path"]
        assert table["path"].tolist() == files
        for row, path in zip(table["embedding"], files, strict=True):
            torch.testing.assert_close(torch.from_numpy(row), encoder.encode_file(path))


def test_a_row_a_patch_column(files):
    assert run(*files, "--output", "e.npz", "--frames") == 0
    encoder = AudioEncoder.from_pretrained("m", "cpu")
    first, second = (encoder.encode_frames(*read_audio(path)) for path in files)
    with numpy.load("e.npz") as table:
        assert table["path"].tolist() == ["a.wav"] * len(first.times) + ["b.flac"] * len(
            second.times
        )
        numpy.testing.assert_allclose(table["time"], torch.cat([first.times, second.times]))
        expected = torch.cat([first.embeddings, second.embeddings])
        torch.testing.assert_close(torch.from_numpy(table["embedding"]), expected)


def test_parquet_holds_the_same(files):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert run(*files, "--output", "e.npz") == 0
    assert run(*files, "--output", "e.parquet") == 0
    table = parquet.read_table("e.parquet").to_pydict()
    with numpy.load("e.npz") as arrays:
        assert table["path"] == files
        numpy.testing.assert_allclose(table["embedding"], arrays["embedding"])


def test_what_is_refused_before_anything_is_computed(files, capsys):
    assert run(*files, "--output", "e.csv") == 1
    assert "give a name that ends in .npz or .parquet" in capsys.readouterr().err


def test_bad_files_are_left_out_and_listed(files, tmp_path, capsys):
    (tmp_path / "bad.wav").write_text("no audio")
    assert run("a.wav", "bad.wav", "b.flac", "none.wav", "--output", "e.npz") == 1
    output = capsys.readouterr()
    assert output.out == "e.npz: 2 embeddings of 16 values, of 2 files\n"
    assert "ssast: error: 2 of 4 files failed:\n  bad.wav is not readable" in output.err
    assert "none.wav is not there" in output.err.splitlines()[-1]
    with numpy.load("e.npz") as table:
        assert table["path"].tolist() == files
    assert run("bad.wav", "--output", "none.npz") == 1
    assert not (tmp_path / "none.npz").exists()
