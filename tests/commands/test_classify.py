"""`ssast classify`: text, CSV and JSON, of short and long files."""

import csv
import io
import json
import subprocess
import sys

import pytest
import soundfile
import torch

from ssast_recipes import AudioClassifier
from ssast_recipes.commands import main as cli
from tests.weights.formats.test_folder import LABELS, save


@pytest.fixture
def files(tmp_path, monkeypatch):
    """In the working folder: a model, m, a short file and one of several windows."""
    monkeypatch.chdir(tmp_path)
    save("m")
    for name, length in (("short.wav", 4000), ("long.flac", 20000)):
        soundfile.write(name, (0.1 * torch.randn(length)).numpy(), 16000)
    return ["short.wav", "long.flac"]


def run(*arguments: str) -> int:
    return cli.main(["classify", "m", *arguments, "--device", "cpu"])


def test_text_has_the_likeliest_first(files, capsys):
    assert run(*files, "--top-k", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    expected = AudioClassifier.from_pretrained("m", "cpu").classify_file("short.wav", top_k=2)
    assert lines[0] == "short.wav  0.0 to 0.2 s"
    told = [f"  {expected.scores[i]:.3f}  {expected.labels[i]}" for i in range(2)]
    assert lines[1:3] == told
    assert lines[3] == "long.flac  0.0 to 1.2 s" and len(lines) == 6


def test_csv_tells_windows_if_asked(files, capsys):
    assert run(*files, "--csv", "--windows", "--top-k", "1") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(rows[0]) == ["file", "start", "end", "label", "score"]
    assert [row["file"] for row in rows[:2]] == files
    whole = AudioClassifier.from_pretrained("m", "cpu").classify_file("long.flac", top_k=1)
    assert len(rows) == 2 + len(whole.windows)
    for row, window in zip(rows[2:], whole.windows, strict=True):
        assert float(row["start"]) == pytest.approx(window.start, abs=0.01)
        assert row["label"] == window.labels[0]
        assert float(row["score"]) == pytest.approx(window.scores[0], abs=1e-6)
    run(*files, "--csv", "--top-k", "1")
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_json_holds_everything(files, capsys):
    assert run(*files, "--json", "--threshold", "0") == 0
    short, long = json.loads(capsys.readouterr().out)
    assert (short["file"], short["start"], short["end"]) == ("short.wav", 0, 0.25)
    assert sorted(one["label"] for one in short["labels"]) == sorted(LABELS)
    assert short["windows"] == [] and long["windows"][1]["start"] == 0.1
    assert run(*files, "--json", "--threshold", "1") == 0
    assert json.loads(capsys.readouterr().out)[0]["labels"] == []


@pytest.mark.parametrize("threshold", ["2", "-0.1", "nan"])
def test_a_threshold_is_a_probability(files, capsys, threshold):
    assert run(*files, "--threshold", threshold) == 1
    output = capsys.readouterr()
    line = f"ssast: error: --threshold is a probability, from 0 to 1, not {threshold}\n"
    assert (output.out, output.err) == ("", line)


def test_a_file_that_is_no_audio_is_told_before_the_rest(files, tmp_path, capsys):
    (tmp_path / "bad.wav").write_text("no audio")
    assert run("short.wav", "bad.wav") == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("ssast: error: bad.wav is not readable audio")


@pytest.mark.parametrize("command", ["classify", "embed", "show"])
def test_help_needs_no_torch(command):
    program = (
        "import sys; from ssast_recipes.commands import main as cli\n"
        f"try: cli.main(['{command}', '--help'])\n"
        "except SystemExit as exit_: assert exit_.code == 0\n"
        "assert not {'torch', 'numpy', 'matplotlib', 'speechbrain'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
