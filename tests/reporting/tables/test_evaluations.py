"""`ssast tables --evaluations`: what was recorded, printed again."""

import pytest

from ssast_recipes.commands.main import main
from ssast_recipes.evaluation.records import CHANCE, Record, Row, write_evaluation
from tests.conftest import REPOSITORY

ROW = Row("mine", "mfcc", "linear", "", "accuracy", 0.5, 8, 0, 4, 80)


@pytest.fixture
def recorded(tmp_path):
    chance = ROW._replace(encoder=CHANCE, probe=CHANCE, value=0.1)
    rows = [ROW, *(ROW._replace(shots=5, draw=d, value=0.2 + d / 10) for d in range(3))]
    ours = [ROW._replace(encoder="m", value=0.25), ROW._replace(encoder="m", layer=1, value=0.75)]
    records = [
        Record("mine", CHANCE, "", True, [chance]),
        Record("mine", "m", "", rows=ours),
        Record("mine", "mfcc", "", True, rows),
    ]
    told = {"name": "mine", "metric": "accuracy", "told": "mine: accuracy, 2 classes"}
    lost = {"task": "mine", "probe": "linear", "first": "m", "second": "mfcc", "num_clips": 4}
    lost |= {"difference": -0.25, "low": -0.5, "high": 0.0}
    head = {"tasks": [told], "baselines": [CHANCE, "mfcc"], "probes": ["linear"]}
    head["note"] = "On a machine."
    write_evaluation(tmp_path / "records" / "Mine", records, head | {"differences": [lost]})
    return tmp_path / "records"


def run(*words):
    return main(["tables", "--evaluations", *map(str, words)])


def test_a_page_of_markdown_has_what_loses_too(recorded, capsys):
    assert run(recorded, "--format", "markdown") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "# What encoders know" and "## Mine" in lines
    assert "`mine`: accuracy, 2 classes." in lines and "On a machine." in lines
    table = lines[lines.index("| encoder | mine linear |") :]
    assert table[2:5] == ["| chance | 10.0 |", "| mfcc | 50.0 |", "| m | 25.0 |"]
    assert "| mfcc | 30.0 ± 10.0 |" in lines and "mine, linear, by clips a class:" in lines
    assert "| m | 75.0 |" in lines[lines.index("mine, linear, by layer:") :]
    assert "| mine | linear | m - mfcc | -25.0 | -50.0 to +0.0 | 4 |" in lines


def test_what_is_no_evaluation_is_told(recorded, tmp_path, capsys):
    assert run(tmp_path / "other") == 1
    assert "there is no evaluation.parquet in it" in capsys.readouterr().err
    assert run(recorded, "table2") == 1
    assert "goes without tables and other folders" in capsys.readouterr().err
    path = recorded / "Mine" / "evaluation.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    assert run(recorded) == 1
    assert "evaluation.parquet is damaged" in capsys.readouterr().err


def test_the_page_of_the_documents_is_made_of_the_ledger(capsys):
    assert run(REPOSITORY / "ledger" / "evaluation", "--format", "markdown") == 0
    page = (REPOSITORY / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out == page
