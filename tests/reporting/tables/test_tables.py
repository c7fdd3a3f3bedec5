import json
import re
import shutil

import pytest

from ssast_recipes.commands.main import main
from ssast_recipes.reporting.tables.cells import fill_cells
from ssast_recipes.reporting.tables.layout import format_table
from ssast_recipes.reporting.tables.ledger import Record, read_ledger
from ssast_recipes.reporting.tables.rows import read_table, table_names
from ssast_recipes.reporting.tables.scales import read_scale, scale_table
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
    "mae_ast": (30.6 + 31.0, 90.0 + 88.8, 97.9 + 98.0, 63.3 + 64.3),
}


@pytest.mark.parametrize("name", SUMS)
def test_published_numbers_are_the_papers(name):
    table = read_table(name)
    rows = [row for row in table.rows if row.published]
    sums = [sum(row.published[column] for row in rows) for column in table.columns]
    assert sums == pytest.approx(SUMS[name])


@pytest.mark.parametrize("name", table_names())
def test_every_row_finds_its_own_runs_and_no_other_rows(name):
    table = read_table(name)
    for row in table.rows:
        if (row.pretraining is None and row.released is not None) or row.baseline:
            continue
        for task in table.tasks:
            fold = 1 if table.tasks[task].folds else None
            contents = [
                record(table, row, task, 0.5, fold=fold, choice=number)
                for number in range(len(table.choices))
            ]
            found = fill_cells(table, [Record(REPOSITORY, content) for content in contents])
            assert list(found) == [(row.name, task)]
            assert found[row.name, task].departures == ()
            assert len(found[row.name, task].records) == 1


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
        ({"num_clips": {"train": 800, "test": 400}}, "800 training clips, not 1,600"),
        ({"num_clips": {"train": 1600, "test": 320}}, "320 test clips, not 400"),
        ({"run_options": {"debug": True}}, "run option debug True"),
        ({"tuning": {"precision": "bf16"}}, "precision bf16, not fp32"),
        (
            {"tuning": {"test_manifests": ["train.csv"]}},
            "test_manifests train.csv, not test.csv",
        ),
        ({"pretraining": {"valid_interval": 10}}, "pretraining valid_interval 10, not 4000"),
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
    row = ROWS["AudioSet-2M, supervised"]
    for content in contents:
        content["pretrained_from"]["name"] = f"{row.released}/model.safetensors"
    assert cell_of(contents, row=row).departures == (row.released_differs,)


def test_labels_other_than_the_published_are_told():
    content = record(TABLE2, JOINT, "AS", 0.3)
    assert cell_of([content], task="AS").departures == ()
    content["settings"]["train_manifests"] = ["balanced_train.csv"]  # what the recipe trains on
    said = "train_manifests balanced_train.csv, not balanced_train_enhanced.csv"
    assert cell_of([content], task="AS").departures == (said,)


def test_pretraining_that_heard_the_test_fold_is_told():
    row = ROWS["joint, 78 % masked"]
    contents = [record(ESC10, row, "ESC10", 0.5, fold=fold) for fold in range(1, 6)]
    assert cell_of(contents, ESC10, row, "ESC10").departures == ()
    for content in contents:
        content["pretrained_from"]["test_fold"] = content["fold"] % 5 + 1
    said = "pretrained on audio of the test fold"
    assert cell_of(contents, ESC10, row, "ESC10").departures == (said,)


SPEECH = read_table("speech")
SCRATCH = next(row for row in SPEECH.rows if row.name == "frames, from scratch")
RIDGE = next(row for row in SPEECH.rows if row.baseline == "log_mel_ridge")


def tried(values, row=SCRATCH, seed=1, **changes):
    """A run for each choice of options, by validation's score and test's value."""
    return [
        record(
            SPEECH,
            row,
            "digits-10",
            value,
            choice=number,
            seed=seed,
            history=[{"valid_score": 0.9}, {"valid_score": valid}],
            **changes,
        )
        for number, (valid, value) in enumerate(values)
    ]


def test_of_the_choices_that_is_shown_which_validates_best_for_each_seed():
    runs = [*tried([(0.5, 0.4), (0.6, 0.3)]), *tried([(0.7, 0.2), (0.6, 0.8)], seed=2)]
    cell = cell_of(runs, SPEECH, SCRATCH, "digits-10")
    assert cell.values == (30.0, 20.0)  # not the best on test, nor the best validation on the way
    assert cell.note == ""


def test_choices_that_were_not_tried_are_told():
    cell = cell_of(tried([(0.5, 0.4)]), SPEECH, SCRATCH, "digits-10")
    assert cell.remarks == ("not yet with all 2 choices of options",)


def test_a_baseline_is_taken_from_the_runs_that_measured_it():
    measured = {"chance": 0.1, "log_mel_ridge": 0.62}
    runs = tried([(0.5, 0.4), (0.6, 0.3)], baselines=measured)
    assert cell_of(runs, SPEECH, RIDGE, "digits-10").values == (62.0,)
    assert cell_of(tried([(0.5, 0.4)]), SPEECH, RIDGE, "digits-10") is None
    others = tried([(0.5, 0.4)], baselines=measured, num_clips={"train": 100, "test": 40})
    assert cell_of(others, SPEECH, RIDGE, "digits-10") is None  # on other clips


def test_pretraining_on_another_tasks_audio_is_not_the_rows():
    row = next(row for row in SPEECH.rows if row.name == "frames, SSAST, joint")
    (run, *_) = tried([(0.5, 0.4)], row)
    assert cell_of([run], SPEECH, row, "digits-10").values == (40.0,)
    run["pretrained_from"]["run"]["dataset"] = "speakers_unlabelled"
    assert cell_of([run], SPEECH, row, "digits-10") is None


def test_seeds_are_averaged_within_their_folds():
    contents = folds(values=(0.5, 0.6))
    contents += [{**contents[0], "seed": seed, "value": {"last": 0.9}} for seed in (2, 3)]
    cell = cell_of(contents)
    assert cell.values == pytest.approx((100 * (0.5 + 0.9 + 0.9) / 3, 60))
    assert cell.count == "2 × 1 to 3" and cell.remarks == ("folds 1, 2 of 5",)
    contents += [{**contents[1], "seed": seed} for seed in (2, 3)]
    assert cell_of(contents).count == "2 × 3"


def test_a_run_that_diverged_is_told():
    contents = folds()
    contents[1]["value"] = {"last": None}
    cell = cell_of(contents)
    assert len(cell.values) == 4
    assert cell.remarks[1:] == ("1 without a number: training diverged",)
    for content in contents:
        content["value"] = {"last": None}
    cells = fill_cells(TABLE2, [Record(REPOSITORY, content) for content in contents])
    text = format_table(TABLE2, cells, "text")
    assert " diverged [1] " in text and "[1] 5 without a number: training diverged" in text
    row = '--rows "400 masked patches, joint, both corpora" --tasks AS,KS2,KS1,SID,ER'
    assert f"    ssast reproduce table2 {row}" in text.splitlines()  # not what has been run


def test_folds_that_depart_by_other_numbers_are_one_cell():
    contents = folds()
    for fold, content in enumerate(contents):
        content["num_clips"] = {"train": 1000 + fold, "test": 300}
    cell = cell_of(contents)
    assert cell.mean == pytest.approx(84) and cell.count == "5"
    assert cell.departures == (
        "1,000 to 1,004 training clips, not 1,600",
        "300 test clips, not 400",
    )


@pytest.mark.parametrize(
    ("batch", "accumulation", "processes", "said"),
    [
        (24, 2, 1, ()),
        (24, 1, 2, ()),
        (24, 1, 1, ("batch_size 24, not 48",)),
        (48, 1, 2, ()),
    ],
)
def test_how_a_step_is_cut_into_batches_is_no_departure(batch, accumulation, processes, said):
    sizes = {"batch_size": batch, "grad_accumulation_factor": accumulation}
    cell = cell_of(folds(tuning=sizes, num_processes=processes))
    assert [text for text in cell.departures if text.startswith("batch_size")] == list(said)
    assert not cell_of(folds(run_options={"compile": True})).departures


def test_seeds_are_compared_one_by_one(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "title: Mine\nsource: nowhere\ntasks: [KS2]\nseeds: [1, 2, 3]\nrows:\n"
        "  - {name: a, pretraining: null, tuning: {lr: 0.5}}\n"
        "  - {name: b, pretraining: null}\n"
        "comparisons: [{claim: a is better, higher: a, lower: b}]\n"
    )
    table = read_table(tmp_path / "mine.yaml")
    contents = [
        record(table, row, "KS2", value + seed / 100, seed=seed)
        for row, value in zip(table.rows, (0.9, 0.5), strict=True)
        for seed in (1, 2, 3)
    ]
    cells = fill_cells(table, [Record(REPOSITORY, content) for content in contents])
    text = format_table(table, cells, "text")
    assert (
        "* a is better: so it is here, 92.0 against 52.0; seed by seed +40.0 ± 0.0, higher in 3 of "
        "3." in text
    )


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
    assert cell.departures == ()  # runs left out are no departure of those that are shown
    assert cell.remarks == (
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
    assert "sizes,Base,audio,59.9,55.0000,,6," in text
    assert "sizes,Base,speech,79.5,,,0,,not run" in text
    assert "55.0 (6 runs)" in format_table(table, cells, "text")


def test_a_scale_has_tables_of_its_own():
    small = scale_table(TABLE2, read_scale("small"))
    content = record(small, small.rows[0], "SID", 0.3)
    assert content["settings"]["size"] == "tiny" and cell_of([content], task="SID") is None
    cells = fill_cells(small, [Record(REPOSITORY, content)])
    assert cells[JOINT.name, "SID"].departures == ()
    text = format_table(small, cells, "text")
    assert "data (scale: small)" in text.splitlines()[0]
    assert "$ ssast tables table2 --format text --scale small" in text
    assert '    ssast reproduce table2 --scale small --rows "250 masked patches"' in text


MINE = """
title: Mine
source: nowhere
tasks: [ESC, KS1]
seeds: [1, 2]
rows:
  - name: a slower one
    pretraining: null
    tuning: {size: tiny}
    tasks: {KS1: {lr: 0.5}}
"""


def test_a_table_of_ones_own(tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text(MINE)
    table = read_table(tmp_path / "mine.yaml")
    (row,) = table.rows
    assert row.tuning_of(table.tasks["ESC"]) == {"size": "tiny"}
    assert row.tuning_of(table.tasks["KS1"]) == {"size": "tiny", "lr": 0.5}
    for seed in (1, 2):
        write_record(tmp_path / "runs" / f"{seed}", record(table, row, "KS1", 0.5, seed=seed))
    status, text, _ = run(capsys, tmp_path / "mine.yaml", tmp_path / "runs")
    assert status == 0 and "50.0 ± 0.0 (2)" in text
    command = f'    ssast reproduce {tmp_path}/mine.yaml --rows "a slower one" --tasks ESC'
    assert command in text.splitlines()
    shutil.rmtree(tmp_path / "runs" / "2")  # one of two seeds
    _, text, _ = run(capsys, tmp_path / "mine.yaml", tmp_path / "runs")
    assert command.partition(" --tasks")[0] in text.splitlines()


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
    path = ledger / "joint" / "1" / "results.json"
    content = json.loads(path.read_text())
    content["value"]["last"] = 0.0
    path.write_text(json.dumps(content))
    _, text, _ = run(capsys, "esc10", ledger)
    assert (
        "41.9): undecided, 58.0 against 60.0; fold by fold −2.0 ± 26.8, higher in 4 of 5." in text
    )


def test_runs_left_out_do_not_hinder_a_comparison(ledger, capsys):
    content = record(ESC10, ROWS["from scratch"], "ESC10", 0.1, fold=1, tuning={"lr": 0.5})
    write_record(ledger / "other", content)
    _, text, _ = run(capsys, "esc10", ledger)
    assert "[1] 1 run that depart more left out" in text
    assert "41.9): so it is here, 70.0 against 60.0" in text


def test_other_folds_are_not_compared(ledger, capsys):
    (ledger / "from scratch" / "2" / "results.json").unlink()
    _, text, _ = run(capsys, "esc10", ledger)
    assert "* pretraining helps (ESC-50 88.8 against 41.9): not run alike here." in text
    assert "(85.6 against 74.2): not run here." in text


def test_runs_of_different_protocols_are_not_compared(ledger, capsys):
    for path in ledger.glob("joint/*/results.json"):
        content = json.loads(path.read_text())
        content["settings"]["number_of_epochs"] = 20
        path.write_text(json.dumps(content))
    _, text, _ = run(capsys, "esc10", ledger)
    assert "* pretraining helps (ESC-50 88.8 against 41.9): not run alike here." in text


def test_a_deleted_record_is_not_run(ledger, capsys):
    paths = sorted(ledger.glob("from scratch/*/results.json"))
    for path in (paths[2], paths[4]):
        path.unlink()
    _, text, _ = run(capsys, "esc10", ledger)
    assert re.search(r"^from scratch +56\.7 ± 7\.6 \(3\) \[1\]$", text, re.MULTILINE)
    assert "[1] folds 1, 2, 4 of 5" in text.splitlines()
    assert '    ssast reproduce esc10 --rows "from scratch" --folds 3,5' in text.splitlines()
    for path in paths:
        path.unlink(missing_ok=True)
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


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def cut(path):
    path.write_text(path.read_text().splitlines()[0] + "\n")


def spoil(path):
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], lines[3].replace(",dog,", ",cat,"), *lines[4:]]))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("predictions.csv", cut, "has 0 'last' predictions, of 80 test clips"),
        ("predictions.csv", lambda path: path.unlink(), "there is no predictions.csv beside it"),
        ("predictions.csv", lambda path: path.write_text(""), "its head is not selection,id,label"),
        ("predictions.csv", spoil, "predictions.csv, line 4: a score or a label is wrong"),
        (
            "results.json",
            lambda path: edit(path, lambda content: content.update(metric="Accuracy")),
            "the metric is 'Accuracy', not one of accuracy, mAP",
        ),
        (
            "results.json",
            lambda path: edit(path, lambda content: content["value"].update(last=None)),
            "value.last is None, but predictions.csv gives 0.600000",
        ),
        (
            "results.json",
            lambda path: edit(path, lambda content: content["num_clips"].update(test=81)),
            "has 80 'last' predictions, of 81 test clips",
        ),
    ],
)
def test_check_needs_its_evidence(ledger, capsys, name, change, said):
    change(ledger / "from scratch" / "3" / name)
    status, text, _ = run(capsys, ledger, "--check")
    lines = [line for line in text.splitlines() if line.startswith("wrong: ")]
    assert status == 1 and said in lines[0]
    assert "10 records; right: " in text  # the others are checked all the same


def test_pretrained_weights_that_are_gone_are_passed_over(ledger, tmp_path, capsys):
    weights = tmp_path / "pretrained"
    checkpoint = weights / "save" / "CKPT+1"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.ckpt").write_bytes(b"weights")
    (checkpoint / "CKPT.yaml").write_text("unixtime: 1.0")
    folder = ledger / "joint" / "1"
    (folder / "hyperparams.yaml").write_text(f"pretrained_encoder: {weights}")
    status, text, _ = run(capsys, ledger, "--check")
    assert status == 1 and "they were replaced since" in text  # of another checksum
    shutil.rmtree(weights / "save")
    assert run(capsys, ledger, "--check")[0] == 0


def test_nothing_to_check_is_an_error(tmp_path, capsys):
    assert run(capsys, tmp_path, "--check")[::2] == (
        1,
        "ssast: error: there is no results.json to check; name folders of runs\n",
    )


def test_pretraining_is_counted_apart(ledger, capsys):
    content = {"value": {"last": 0.1}, "settings": {"contrastive_head": "Head"}}
    write_record(ledger / "pretraining", {**content, "metric": "masked_patch_accuracy"})
    status, text, _ = run(capsys, ledger, "--check")
    assert status == 0 and "11 records, 1 of them of pretraining, which" in text


def test_any_other_grouping(ledger, capsys):
    _, text, _ = run(capsys, ledger, "--rows", "objective", "--columns", "dataset")
    head, rule, *lines = text.splitlines()
    assert set(rule) == {"-", " "}
    assert [line.split() for line in (head, *lines)] == [
        ["objective", "dataset", "ESC-10"],
        ["from", "scratch", "60.0", "±", "7.9", "(5)"],
        ["joint", "70.0", "±", "7.9", "(5)"],
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
    assert run(capsys, "esc10", ledger, run_folder)[1] == run(capsys, "esc10", ledger)[1]


def test_no_record_is_copied_over_another(ledger, tmp_path, capsys):
    target = tmp_path / "kept"
    words = [ledger / "from scratch", ledger / "joint", "--copy-to", target]
    status, _, error = run(capsys, *words)
    assert status == 1 and "would both be kept in" in error and not target.exists()


def test_wrong_records_are_one_line(tmp_path, capsys):
    assert "nowhere is not there" in run(capsys, tmp_path / "nowhere")[2]
    (tmp_path / "results.json").write_text("{")
    assert "results.json is not JSON" in run(capsys, tmp_path)[2]
    (tmp_path / "results.json").write_text("{}")
    assert "it has no value" in run(capsys, tmp_path)[2]
    (tmp_path / "results.json").write_text('{"value": {"last": "0.5"}}')
    assert "value.last is '0.5', not a number" in run(capsys, tmp_path)[2]
    (tmp_path / "results.json").write_text('{"value": {"last": 0.5}, "settings": 1}')
    assert "settings is 1, not a mapping" in run(capsys, tmp_path)[2]


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
    evaluations = [path for path in files if "evaluation" in path.parts]
    assert {path.name for path in evaluations} == {"evaluation.json", "evaluation.parquet"}
    names = {path.name for path in files if path not in evaluations}
    assert names <= {"results.json", "predictions.csv", "metrics.jsonl"}
    for path in files:
        data = path.read_bytes()
        assert not any(word in data for word in (b'"/', b"/tmp/", b"/home/")), path


def test_the_table_of_the_documents_is_one(tmp_path):
    text = (REPOSITORY / "docs" / "tables.md").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])
    table = read_table(tmp_path / "mine.yaml")
    assert table.seeds == (1, 2, 3) and len(table.rows) == 2
    assert table.rows[0].tuning_of(table.tasks["KS2"]) == {"lr": "1e-4"}


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
        (("patches: frame", "tasks: {XY: {}}"), "the table has no task XY"),
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
    with pytest.raises(ValueError, match="no table 'table9'; there are esc10, mae_ast, sizes"):
        read_table("table9")
