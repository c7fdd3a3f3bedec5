"""`ssast evaluate`, from the command line to table and records."""

import json

import pytest
import torch
from pyarrow import parquet

from ssast_recipes.commands.main import main
from tests.evaluation.hums import make_hums
from tests.weights.formats.test_folder import save


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_hums(tmp_path / "hums", count=10)
    save(tmp_path / "m", "encoder")
    return tmp_path


def run(*words):
    return main(["evaluate", *words, "--output", "out", "--device", "cpu", "--workers", "1"])


def rows(**wanted):
    found = parquet.read_table("out/evaluation.parquet").to_pylist()
    return [row for row in found if all(row[key] == value for key, value in wanted.items())]


def test_a_table_with_chance_and_baselines_first(here, capsys):
    assert run("m", "log-mel", "--tasks", "hums=hums") == 0
    told = capsys.readouterr()
    lines = [line for line in told.out.splitlines() if line]
    assert lines[0] == (
        "hums: accuracy, 3 classes; 21 clips to train on, 3 for validation, 6 to test on; too "
        "few validation clips to choose by: training clips choose"
    )
    assert lines[2].split() == ["encoder", "hums", "knn", "hums", "linear"]
    assert lines[4].split() == ["chance", "33.3", "33.3"]
    assert lines[5].split() == ["log-mel", "100.0", "100.0"]
    assert lines[6].split()[0] == "m"
    assert any("m - log-mel" in line for line in lines)
    assert "[1/2] m on hums: 30 clips" in told.err and "[2/2] log-mel on hums" in told.err
    assert rows(encoder="m", probe="linear")[0]["width"] == 16


def test_what_is_there_is_not_computed_again(here, monkeypatch, capsys):
    words = ("m", "mfcc", "--tasks", "hums=hums")
    assert run(*words) == 0
    first = rows()
    table = capsys.readouterr().out

    def refuse(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr("ssast_recipes.evaluation.cache._compute", refuse)
    monkeypatch.setattr("ssast_recipes.evaluation.running._try", refuse)
    assert run(*words) == 0
    assert rows() == first and capsys.readouterr().out == table


def test_other_labels_and_other_weights_are_measured_anew(here):
    assert run("m", "--tasks", "hums=hums") == 0
    path = here / "out" / "records" / "hums" / "m.json"
    identities = {json.loads(path.read_text())["identity"]}
    torch.manual_seed(9)
    save(here / "m", "encoder")
    assert run("m", "--tasks", "hums=hums") == 0
    identities.add(json.loads(path.read_text())["identity"])
    (here / "hums" / "low" / "1.wav").rename(here / "hums" / "high" / "low1.wav")
    assert run("m", "--tasks", "hums=hums") == 0
    identities.add(json.loads(path.read_text())["identity"])
    assert len(identities) == 3 and len(rows(encoder="m")) == 2


def test_few_labels_are_drawn_ten_times_and_alike_for_all(here):
    assert run("mfcc", "log-mel", "--tasks", "hums=hums", "--few-shot", "2", "50") == 0
    drawn = rows(encoder="mfcc", probe="knn", shots=2)
    assert [row["draw"] for row in drawn] == list(range(10))
    assert {row["num_train"] for row in drawn} == {6} and not rows(shots=50)


def test_layers_are_probed_alone(here):
    assert run("m", "mfcc", "--tasks", "hums=hums", "--layers") == 0
    assert [row["layer"] for row in rows(encoder="m", probe="linear")] == [None, 1, 2]
    assert [row["layer"] for row in rows(encoder="mfcc", probe="linear")] == [None]


def test_all_probes_are_in_the_table_and_in_the_records(here, capsys, monkeypatch):
    monkeypatch.setattr("ssast_recipes.evaluation.attentive.STEPS", 10)
    assert run("m", "--tasks", "hums=hums", "--probes", "attentive", "logistic") == 0
    told = capsys.readouterr()
    assert "m on hums: 30 clips, moment by moment" in told.err
    assert "hums attentive" in told.out and len(rows(encoder="m")) == 2


def test_logistic_regression_asks_for_scikit_learn(here, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run("m", "--tasks", "hums=hums", "--probes", "logistic") == 1
    assert "pip install 'ssast-recipes[evaluate]'" in capsys.readouterr().err


def test_an_encoder_for_each_fold_embeds_its_own(here, capsys):
    for number in (1, 2):
        torch.manual_seed(number)
        save(here / f"fold{number}", "encoder")
    tasks = ("--tasks", "hums=hums", "--folds", "2")
    assert run("fold{fold}", "fold1", "fold2", *tasks, "--probes", "knn") == 0
    own = {row["fold"]: row["value"] for row in rows(encoder="fold{fold}")}
    for number in (1, 2):
        (row,) = rows(encoder=f"fold{number}", fold=f"fold {number}")
        assert own[f"fold {number}"] == row["value"]
    assert "fold{fold} on hums, fold 2: 30 clips" in capsys.readouterr().err
    assert run("fold{fold}", "--tasks", "hums=hums") == 1
    assert "is an encoder for each fold, and this task has none" in capsys.readouterr().err


def test_an_encoder_that_fails_is_told_and_the_others_go_on(here, capsys, monkeypatch):
    (here / "broken_encoder.py").write_text(
        "import torch\n"
        "class Encoder: sample_rate = 8000\n"
        "def load_model(path=''): return Encoder()\n"
        "def get_scene_embeddings(audio, model): return torch.full((len(audio), 4), torch.nan)\n"
    )
    monkeypatch.syspath_prepend(here)
    assert run("module:broken_encoder", "mfcc", "--tasks", "hums=hums") == 1
    told = capsys.readouterr()
    assert "error: module:broken_encoder on hums: module:broken_encoder: its embedding" in told.err
    assert "not finite numbers" in told.err and "Traceback" not in told.err
    assert "mfcc" in told.out and not rows(encoder="module:broken_encoder")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nothing", "--tasks", "a=hums"), "nothing does not exist"),
        (("mfcc", "--tasks", "a=nothing"), "nothing is not there"),
        (("mfcc", "--tasks", "a=hums", "a=hums"), "two have the same name"),
        (("mfcc", "--tasks", "a=hums", "--folds", "1"), "--folds is 2 at least, not 1"),
        (("mfcc", "--tasks", "a=hums", "--few-shot", "0"), "--few-shot takes numbers of clips"),
    ],
)
def test_what_is_not_there_is_told_at_once(here, capsys, words, told):
    assert run(*words) == 1
    error = capsys.readouterr().err
    assert told in error and "on a:" not in error
