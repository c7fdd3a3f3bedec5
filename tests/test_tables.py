import json
import re
import shutil

import pytest

from ssast_recipes.cli import main
from ssast_recipes.tables.cells import fill_cells
from ssast_recipes.tables.layout import format_table
from ssast_recipes.tables.ledger import Record, read_ledger
from ssast_recipes.tables.rows import read_table, table_names
from tests.conftest import REPOSITORY
from tests.tables import record, write_record

TABLE2, ESC10 = read_table("table2"), read_table("esc10")
ROWS = {row.name: row for table in (TABLE2, ESC10) for row in table.rows}
JOINT = ROWS["400 masked patches, joint, both corpora"]


def cell_of(contents, table=TABLE2, row=JOINT, task="ESC"):
    records = [Record(REPOSITORY / f"{number}", content) for number, content in enumerate(contents)]
    return fill_cells(table, records).get((row.name, task))


def folds(row=JOINT, values=(0.8, 0.82, 0.84, 0.86, 0.88), **changes):
    return [
        record(TABLE2, row, "ESC", value, fold=fold, **changes)
        for fold, value in enumerate(values, start=1)
    ]


# Sums over the paper's rows, column by column: a wrong digit anywhere would show. Its Table 2 has
# the default row three times, ours once.
SUMS = {
    "table1": (139.5, 392.9, 483.0, 466.5, 237.3, 276.5),
    "table2": (305.0 - 62.0, 931.9 - 177.6, 1074.1 - 196.0, 1042.4 - 192.0, 620.0 - 128.6, 508.2),
    "table3": (149.1, 441.0, 580.8, 564.4, 370.3, 338.6),
    "sizes": (59.9 + 58.1 + 53.3, 79.5 + 78.2 + 75.7),
}


@pytest.mark.parametrize("name", SUMS)
def test_published_numbers_are_the_papers(name):
    table = read_table(name)
    sums = [sum(row.published[column] for row in table.rows) for column in table.columns]
    assert sums == pytest.approx(SUMS[name])


@pytest.mark.parametrize("name", table_names())
def test_every_row_finds_its_own_runs_and_no_other_rows(name):
    table = read_table(name)
    for row in table.rows:
        if row.pretraining is None and row.released is not None:
            continue
        for task in table.tasks:
            found = fill_cells(table, [Record(REPOSITORY, record(table, row, task, 0.5, fold=1))])
            assert list(found) == [(row.name, task)]
            said = [text for text in found[row.name, task].departures if "fold" not in text]
            assert said == []


def test_folds_are_averaged():
    cell = cell_of(folds())
    assert cell.mean == pytest.approx(84) and cell.std == pytest.approx(3.1623, abs=1e-4)
    assert len(cell.values) == 5 and cell.departures == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tuning": {"number_of_epochs": 5}}, "number_of_epochs 5, not 50"),
        ({"pretraining": {"num_steps": 1000}}, "pretraining num_steps 1000, not 800000"),
        ({"pretraining": {"two_passes": False}}, "pretraining two_passes False, not True"),
        (
            {
                "tuning": {
                    "lr": 0.01,
                    "opt_class": "Adam(lr=0.01, betas=[0.95, 0.999], weight_decay=5e-07)",
                }
            },
            "lr 0.01, not 0.0001",
        ),
        (
            {"tuning": {"schedule": "EpochDecay(decay=0.5, first_epoch=6)"}},
            "schedule EpochDecay(decay=0.5, first_epoch=6), not EpochDecay(decay=0.85, "
            "first_epoch=6)",
        ),
        ({"num_clips": {"train": 800}}, "800 training clips, not 1,600"),
        ({"tuning": {"clips_per_class": 5}}, "clips_per_class 5, not none"),
        (
            {"tuning": {"train_manifests": ["other.csv"]}},
            "train_manifests other.csv, not train.csv",
        ),
    ],
)
def test_departures_from_the_protocol_are_told(changes, said):
    cell = cell_of(folds(**changes))
    assert cell.departures == (said,) and cell.mean == pytest.approx(84)


def test_the_authors_weights_are_told():
    contents = folds()
    for content in contents:
        content["pretrained_from"] = {"name": "SSAST-Base-Patch-400.pth", "sha256": "0"}
    assert cell_of(contents).departures == ("the authors' weights",)
    for content in contents:
        content["pretrained_from"]["name"] = "SSAST-Base-Patch-250.pth"
    assert cell_of(contents) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": "ESC-10"},
        {"experiment": "ESC50/finetune_frame"},
        {"tuning": {"size": "tiny"}},
        {"pretraining": {"reconstruction_head": None, "num_masked_patches": 250}},
        {"pretraining": {"num_masked_patches": 300}},
        {"pretraining": {"train_manifests": ["train.csv"]}},
        {"pretrained_from": None},
        {"pretrained_from": {"name": "mine.pth", "sha256": "0"}},
    ],
)
def test_other_encoders_and_tasks_are_not_the_rows(changes):
    assert cell_of(folds(**changes)) is None


def test_missing_folds_repeated_and_other_runs_are_told():
    some = folds()[:2]
    other = folds(tuning={"lr": 0.5})
    cell = cell_of([*some, some[0], *other])
    assert cell.mean == pytest.approx(81)
    assert cell.departures == (
        "folds 1, 2 of 5",
        "5 runs that depart more left out",
        "1 of the same fold and seed left out",
    )


def test_a_table_shows_numbers_marks_and_what_is_missing():
    records = [Record(REPOSITORY, one) for one in folds(tuning={"number_of_epochs": 5})]
    text = format_table(TABLE2, fill_cells(TABLE2, records), "text")
    lines = text.splitlines()
    ours = next(line for line in lines if line.strip().startswith("ours"))
    assert "84.0 ± 3.2 (5) [1]" in ours and ours.count("not run") == 5
    assert "−4.8" in lines[lines.index(ours) + 1]
    assert "[1] number_of_epochs 5, not 50" in lines
    row = '--rows "400 masked patches, joint, both corpora" --tasks AS,KS2,KS1,SID,ER'
    assert f"    ssast reproduce table2 {row}" in lines


def test_formats_agree():
    cells = fill_cells(TABLE2, [Record(REPOSITORY, one) for one in folds()])
    rows = format_table(TABLE2, cells, "csv").splitlines()
    assert rows[0] == "table,row,column,published,mean,std,runs,difference,notes"
    assert '"400 masked patches, joint, both corpora",ESC,88.8,84.0000,3.1623,5,-4.8000,' in rows[2]
    markdown = format_table(TABLE2, cells, "markdown")
    assert "|  | ours | not run | 84.0 ± 3.2 (5) | not run |" in markdown
    with pytest.raises(ValueError, match="text, markdown, csv, not 'latex'"):
        format_table(TABLE2, cells, "latex")


def test_means_over_tasks_need_all_of_them():
    table = read_table("sizes")
    row = table.rows[0]
    contents = [
        record(table, row, "AS", 0.3),
        *[record(table, row, "ESC", 0.8, fold=fold) for fold in range(1, 6)],
    ]
    cells = fill_cells(table, [Record(REPOSITORY, content) for content in contents])
    text = format_table(table, cells, "csv")
    assert (
        "sizes,Base,audio,59.9,55.0000," in text and "sizes,Base,speech,79.5,,,0,,not run" in text
    )


# ---- the command


@pytest.fixture
def ledger(tmp_path):
    for fold, value in enumerate((0.5, 0.55, 0.6, 0.65, 0.7), start=1):
        for name in ("from scratch", "joint, 78 % masked"):
            gain = 0.1 if name != "from scratch" else 0
            content = record(ESC10, ROWS[name], "ESC10", round(value + gain, 2), fold=fold)
            write_record(tmp_path / "ledger" / name.split(",")[0] / f"{fold}", content, True)
    return tmp_path / "ledger"


def run(capsys, *words):
    status = main(["tables", *map(str, words)])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_what_the_paper_finds_is_compared_fold_by_fold(ledger, capsys):
    status, text, _ = run(capsys, "esc10", ledger)
    assert status == 0 and re.search(r"^from scratch +60\.0 ± 7\.9 \(5\)$", text, re.MULTILINE)
    assert (
        "* pretraining helps (ESC-50 88.8 against 41.9): so it is here, 70.0 against 60.0; fold by "
        "fold +10.0 ± 0.0, higher in 5 of 5." in text
    )
    assert "(85.6 against 74.2): not run here." in text


def test_runs_of_different_protocols_are_not_compared(ledger, capsys):
    for path in ledger.glob("joint/*/results.json"):
        content = json.loads(path.read_text())
        content["settings"]["number_of_epochs"] = 20
        path.write_text(json.dumps(content))
    _, text, _ = run(capsys, "esc10", ledger)
    assert "* pretraining helps (ESC-50 88.8 against 41.9): not run alike here." in text


def test_a_deleted_record_is_not_run(ledger, capsys):
    shutil.rmtree(ledger / "from scratch")
    _, text, _ = run(capsys, "esc10", ledger)
    line = next(line for line in text.splitlines() if line.startswith("from scratch"))
    assert line.split()[-2:] == ["not", "run"]
    assert '    ssast reproduce esc10 --rows "from scratch"' in text.splitlines()


def test_check_finds_a_value_edited_by_hand(ledger, capsys):
    status, text, _ = run(capsys, ledger, "--check")
    assert status == 0 and "10 records; right: 10 × averaged accuracy, 10 × best accuracy" in text
    path = ledger / "from scratch" / "3" / "results.json"
    content = json.loads(path.read_text())
    content["value"]["last"] = 0.65
    path.write_text(json.dumps(content))
    status, text, _ = run(capsys, ledger, "--check")
    assert status == 1 and text.count("wrong: ") == 1
    assert f"{path}: value.last is 0.65, but predictions.csv gives 0.600000" in text


def test_check_finds_predictions_that_are_gone(ledger, capsys):
    path = ledger / "from scratch" / "3" / "predictions.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    status, text, _ = run(capsys, ledger, "--check")
    assert status == 1 and "has no 'last' predictions" in text


def test_any_other_grouping(ledger, capsys):
    _, text, _ = run(capsys, ledger, "--rows", "objective", "--columns", "dataset")
    assert [line.split() for line in text.splitlines()] == [
        ["objective", "dataset", "ESC-10"],
        ["joint", "70.0", "±", "7.9", "(5)"],
        ["none", "60.0", "±", "7.9", "(5)"],
    ]
    _, text, _ = run(
        capsys, ledger, "--rows", "settings.lr", "--columns", "fold", "--format", "csv"
    )
    assert text.splitlines()[0] == "settings.lr,fold 1,fold 2,fold 3,fold 4,fold 5"
    status, _, error = run(capsys, ledger, "--rows", "colour", "--columns", "dataset")
    assert status == 1 and "no run has a field 'colour'; there are objective, masked" in error
    assert run(capsys, ledger, "--rows", "objective")[0] == 1


def test_records_are_copied_without_weights(ledger, tmp_path, capsys):
    run_folder = ledger / "from scratch" / "1"
    (run_folder / "save").mkdir()
    (run_folder / "save" / "model.ckpt").write_bytes(b"weights")
    target = tmp_path / "kept"
    assert run(capsys, ledger, "--copy-to", target)[0] == 0
    assert len(read_ledger([target])) == 10
    kept = {path.name for path in target.rglob("*") if path.is_file()}
    assert kept == {"results.json", "predictions.csv"}
    assert run(capsys, "esc10", target)[1] == run(capsys, "esc10", ledger)[1]


def test_wrong_records_are_one_line(tmp_path, capsys):
    assert "nowhere is not there" in run(capsys, tmp_path / "nowhere")[2]
    (tmp_path / "results.json").write_text("{")
    assert "results.json is not JSON" in run(capsys, tmp_path)[2]
    (tmp_path / "results.json").write_text("{}")
    assert "it has no value" in run(capsys, tmp_path)[2]


# ---- the committed ledger


def test_the_page_of_results_is_what_the_ledger_gives(monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    status, text, _ = run(capsys, "--format", "markdown")
    assert status == 0 and text == (REPOSITORY / "docs" / "results.md").read_text(encoding="utf-8")


def test_the_ledger_is_right_and_holds_neither_paths_nor_weights(monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    status, text, _ = run(capsys, "--check")
    assert status == 0, text
    files = [path for path in (REPOSITORY / "ledger").rglob("*") if path.is_file()]
    assert {path.name for path in files} <= {"results.json", "predictions.csv", "metrics.jsonl"}
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert '"/' not in text and "/tmp/" not in text and "/home/" not in text, path


# ---- wrong tables


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            ("pretraining: both patch", "pretraining: all of it"),
            "'all of it' is missing or unknown",
        ),
        (("tasks: [AS", "tasks: [XY, AS"), "'XY' is missing or unknown"),
        (("source:", "origin:"), "missing 1 required positional argument: 'source'"),
        (("patches: frame", "patches: frames"), "patches is patch or frame, not 'frames'"),
        (("patches: frame", "patch: frame"), "patch"),
    ],
)
def test_wrong_tables_are_told(tmp_path, change, line):
    text = (REPOSITORY / "benchmarks" / "tables" / "table3.yaml").read_text()
    assert change[0] in text
    (tmp_path / "mine.yaml").write_text(text.replace(*change))
    with pytest.raises(ValueError, match=line) as error:
        read_table(tmp_path / "mine.yaml")
    assert str(error.value).startswith(f"{tmp_path / 'mine.yaml'}: ")


def test_an_unknown_table_is_told():
    with pytest.raises(ValueError, match="no table 'table9'; there are esc10, sizes, table1"):
        read_table("table9")
