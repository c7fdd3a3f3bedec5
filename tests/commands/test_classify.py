"""`ssast classify`: text, CSV and JSON, of short and long files."""

import csv
import io
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import soundfile
import torch

from ssast_recipes import AudioClassifier
from ssast_recipes.commands import main as cli
from ssast_recipes.weights.formats.folder import load_model, save_model
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


def test_a_name_is_no_formula_of_a_spreadsheet(files, capsys):
    Path("short.wav").rename("=1+1.wav")
    run("=1+1.wav", "--csv", "--top-k", "1")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[1].startswith("'=1+1.wav,")


def test_json_holds_everything(files, capsys):
    assert run(*files, "--json", "--threshold", "0") == 0
    short, long = json.loads(capsys.readouterr().out)
    assert (short["file"], short["start"], short["end"]) == ("short.wav", 0, 0.25)
    assert sorted(one["label"] for one in short["labels"]) == sorted(LABELS)
    assert short["windows"] == [] and long["windows"][1]["start"] == 0.1
    assert run(*files, "--json", "--threshold", "1") == 0
    assert json.loads(capsys.readouterr().out)[0]["labels"] == []


def test_what_is_longer_than_what_is_heard_is_told(files, capsys):
    model, config = load_model("m")
    save_model("m", model, config.front_end, config.labels, heard_seconds=0.3)
    for given in ([], ["--csv"], ["--json"]):
        assert run(*files, *given) == 0
        assert capsys.readouterr().err == (
            "ssast: long.flac: longer than 0.30 s, of which the start is heard, as in the model's "
            "evaluation; --whole mean hears all\n"
        )
    assert run("long.flac", "long.flac") == 0
    output = capsys.readouterr()
    assert output.err.startswith("ssast: long.flac and 1 more: longer than 0.30 s")
    assert output.out.startswith("long.flac  0.0 to 0.3 s\n")
    for given in (["--whole", "start"], ["--whole", "mean"], ["--windows"]):
        assert run("long.flac", *given) == 0
        output = capsys.readouterr()
        assert output.err == ""
        assert ("0.0 to 1.2 s" in output.out) == ("start" not in given)
    assert run("long.flac", "--windows", "--whole", "start") == 1
    assert "--windows are of a whole file, --whole start" in capsys.readouterr().err


@pytest.mark.parametrize("threshold", ["2", "-0.1", "nan"])
def test_a_threshold_is_a_probability(files, capsys, threshold):
    assert run(*files, "--threshold", threshold) == 1
    output = capsys.readouterr()
    line = f"ssast: error: --threshold is a probability, from 0 to 1, not {threshold}\n"
    assert (output.out, output.err) == ("", line)


def test_bad_files_are_named_and_the_rest_goes_on(files, tmp_path, capsys):
    (tmp_path / "bad.wav").write_text("no audio")
    soundfile.write("nan.wav", numpy.full(4000, numpy.nan), 16000, "FLOAT")
    given = ["short.wav", "bad.wav", "none.wav", "nan.wav", "long.flac"]
    assert run(*given, "--csv", "--top-k", "1") == 1
    output = capsys.readouterr()
    assert [row["file"] for row in csv.DictReader(io.StringIO(output.out))] == files
    *_, head, bad, none, nan = output.err.splitlines()
    assert head == "ssast: error: 3 of 5 files failed:"
    assert bad.startswith("  bad.wav is not readable audio")
    assert none.startswith("  none.wav is not there")
    assert nan == "  nan.wav holds samples that are not finite numbers"
    assert output.err.count("bad.wav is not readable audio") == 2  # at once, and in the list
    assert run("bad.wav", "--json") == 1
    assert json.loads(capsys.readouterr().out) == []


def test_a_folder_is_taken_as_its_files(files, tmp_path, capsys):
    (tmp_path / "f" / "deep").mkdir(parents=True)
    (tmp_path / "f" / "notes.txt").write_text("no audio")
    for name in ("f/b.wav", "f/deep/a.flac"):
        soundfile.write(name, numpy.zeros(4000), 16000)
    assert run("f", "short.wav", "--csv", "--top-k", "1") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["file"] for row in rows] == ["f/b.wav", "f/deep/a.flac", "short.wav"]
    (tmp_path / "empty").mkdir()
    assert run("empty") == 1
    assert "empty: there is no audio file in this folder" in capsys.readouterr().err


def test_windows_of_all_files_make_batches(files, capsys, monkeypatch):
    sizes = []
    scores = AudioClassifier._score
    monkeypatch.setattr(
        AudioClassifier,
        "_score",
        lambda self, *batch: sizes.append(len(batch[0])) or scores(self, *batch),
    )
    assert run(*["short.wav"] * 7, "--batch-size", "3", "--json") == 0
    assert sizes == [3, 3, 1]
    assert len({json.dumps(one) for one in json.loads(capsys.readouterr().out)}) == 1


# --- label tracks ---


@pytest.mark.parametrize("with_windows", [True, False])
def test_label_tracks_are_the_windows_above_the_threshold(files, capsys, with_windows):
    windows = ["--windows"] * with_windows
    assert run("long.flac", "--format", "audacity", "--threshold", "0.34", *windows) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    whole = AudioClassifier.from_pretrained("m", "cpu").classify_file("long.flac", None, 0.34)
    heard = whole.windows if with_windows else [whole]
    times = numpy.arange(0, 1.25, 0.01) + 0.005
    for label in LABELS:
        told = [(float(start), float(end)) for start, end, name in lines if name == label]
        expected = [(one.start, one.end) for one in heard if label in one.labels]
        for time in times:
            assert any(start <= time < end for start, end in told) == any(
                start <= time < end for start, end in expected
            )
        assert all(end < start for (_, end), (start, _) in itertools.pairwise(told))
    assert lines


def test_selection_tables_of_several_files(files, tmp_path, capsys):
    assert run(*files, "--format", "raven", "--threshold", "0") == 1
    assert "2 files make as many label tracks: give --output FOLDER" in capsys.readouterr().err
    assert run(*files, "--format", "raven", "--threshold", "0", "--output", "tracks") == 0
    with open("tracks/short.Table.1.selections.txt", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    found = AudioClassifier.from_pretrained("m", "cpu").classify_file("short.wav", None)
    scores = {row["Annotation"]: float(row["Score"]) for row in rows}
    assert scores == pytest.approx(dict(zip(found.labels, found.scores, strict=True)), abs=1e-6)
    assert {(row["Begin Time (s)"], row["End Time (s)"]) for row in rows} == {
        ("0.000000", "0.250000")
    }
    assert {(row["Low Freq (Hz)"], row["High Freq (Hz)"]) for row in rows} == {("20.0", "8000.0")}
    soundfile.write("short.flac", numpy.zeros(4000), 16000)
    given = ["short.wav", "short.flac", "--format", "audacity", "--output", "both"]
    assert run(*given) == 0
    names = sorted(path.name for path in (tmp_path / "both").iterdir())
    assert names == ["short.flac.txt", "short.txt"]


def test_no_track_is_written_over_labels_beside_the_audio(files, tmp_path, capsys):
    (tmp_path / "short.txt").write_text("0.0\t0.1\tby hand\n")
    assert run("short.wav", "--format", "audacity", "--output", ".") == 1
    assert "short.txt is there, beside it; give another --output" in capsys.readouterr().err
    assert (tmp_path / "short.txt").read_text() == "0.0\t0.1\tby hand\n"


def test_thresholds_of_the_model_folder_decide(files, capsys):
    assert run("short.wav", "--threshold", "chosen") == 1
    assert "the model folder has no thresholds; give a number" in capsys.readouterr().err
    found = AudioClassifier.from_pretrained("m", "cpu").classify_file("short.wav", None)
    scores = dict(zip(found.labels, found.scores, strict=True))
    heard = found.labels[1]
    model, config = load_model("m")
    chosen = [scores[one] - 1e-6 if one == heard else 1.0 for one in LABELS]
    save_model("m", model, config.front_end, config.labels, thresholds=chosen)
    assert run("short.wav", "--threshold", "chosen", "--csv") == 0
    assert [row.split(",")[3] for row in capsys.readouterr().out.splitlines()[1:]] == [heard]
    assert run("short.wav", "--format", "audacity") == 0
    assert capsys.readouterr().out == f"0.000000\t0.250000\t{heard}\n"


@pytest.mark.parametrize("command", ["classify", "embed", "show"])
def test_help_needs_no_torch(command):
    program = (
        "import sys; from ssast_recipes.commands import main as cli\n"
        f"try: cli.main(['{command}', '--help'])\n"
        "except SystemExit as exit_: assert exit_.code == 0\n"
        "assert not {'torch', 'numpy', 'matplotlib', 'speechbrain'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
