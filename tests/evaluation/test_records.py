"""Records: what is written is read, what is damaged is told; averages, and paired differences."""

import numpy as np
import pytest
import torch
from pyarrow import parquet

from ssast_recipes.data.manifest import Clip
from ssast_recipes.evaluation.comparing import compare
from ssast_recipes.evaluation.records import (
    Record,
    Row,
    read_evaluation,
    read_record,
    record_path,
    write_evaluation,
    write_record,
)
from ssast_recipes.evaluation.table import common_mean, format_results
from ssast_recipes.evaluation.tasks import make_task

ROW = Row("mine", "a/b", "knn", "fold 1", "accuracy", 0.5, 8, 0, 4, 80)


def make_record(encoder="a/b", task="mine", values=(0.5, 0.75), **options):
    rows = [
        ROW._replace(encoder=encoder, task=task, fold=f"fold {number}", value=value)
        for number, value in enumerate(values, start=1)
    ]
    return Record(task, encoder, "id", rows=rows, **options)


def test_a_record_is_read_as_it_was_written(tmp_path):
    record = make_record()
    record.scores["knn", "fold 1"] = np.eye(3, dtype=np.float32)
    record.places["fold 1"] = np.array([4, 5, 6])
    write_record(tmp_path, record)
    found = read_record(record_path(tmp_path, "mine", "a/b"))
    assert found.rows == record.rows and found.identity == "id"
    np.testing.assert_array_equal(found.scores["knn", "fold 1"], np.eye(3))
    assert found.places["fold 1"].tolist() == [4, 5, 6]


def test_names_that_look_alike_have_files_of_their_own(tmp_path):
    paths = {record_path(tmp_path, "mine", name) for name in ("a/b", "a b", "a_b", "a:b")}
    assert len(paths) == 4


@pytest.mark.parametrize(
    "spoil",
    [
        lambda json_file, scores: json_file.write_text("{"),
        lambda json_file, scores: json_file.write_text('{"rows": [{"a": 1}]}'),
        lambda json_file, scores: json_file.write_text(
            json_file.read_text().replace("0.75", '"x"')
        ),
        lambda json_file, scores: scores.write_bytes(scores.read_bytes()[:40]),
        lambda json_file, scores: scores.unlink(),
    ],
)
def test_a_damaged_record_is_told(tmp_path, spoil):
    record = make_record()
    record.scores["knn", "fold 1"] = np.eye(3, dtype=np.float32)
    write_record(tmp_path, record)
    path = record_path(tmp_path, "mine", "a/b")
    spoil(path, path.with_suffix(".npz"))
    with pytest.raises(ValueError, match=r"a_b-\w+.json is damaged .*delete it"):
        read_record(path)


def test_all_rows_are_in_parquet_and_are_read_again(tmp_path):
    record, other = make_record(), make_record("mfcc")
    record.rows.append(ROW._replace(shots=5, draw=2, value=0.25))
    told = {"name": "mine", "metric": "accuracy", "told": "mine: accuracy"}
    write_evaluation(tmp_path, [record, other], {"tasks": [told], "baselines": ["mfcc"]})
    table = parquet.read_table(tmp_path / "evaluation.parquet").to_pylist()
    assert table == [row._asdict() for row in [*record.rows, *other.rows]]
    found, head = read_evaluation(tmp_path)
    assert [one.rows for one in found] == [record.rows, other.rows]
    assert [one.is_baseline for one in found] == [False, True] and head["tasks"] == [told]


def test_the_mean_is_of_tasks_that_all_encoders_have():
    clips = [Clip(str(n), f"/{n}", 0.0, 1.0, 8000, ("ab"[n % 2],)) for n in range(4)]
    fold = {"train": clips, "test": clips}
    tasks = [make_task(name, {"fold 1": fold, "fold 2": fold}, "ab") for name in "xyz"]
    chance = [
        Record(
            task, "chance", "", True, [ROW._replace(task=task, encoder="chance", probe="chance")]
        )
        for task in "xyz"
    ]
    values = {"x": (0.2, 0.4), "y": (0.6, 0.8), "z": (1.0, 1.0)}
    full = [make_record("one", task, values[task]) for task in "xyz"]
    partial = [make_record("two", task, (0.5, 0.5)) for task in "xy"]
    found = common_mean([*chance, *full, *partial], tasks, "knn")
    assert found["one"] == pytest.approx((0.3 + 0.7) / 2) and found["two"] == 0.5
    told = format_results([*chance, *full, *partial], tasks, ["knn"])
    row = next(line for line in told.splitlines() if line.startswith("two"))
    assert row.split()[-2:] == ["–", "50.0"]
    assert common_mean([*chance, *full, *partial[:1]], tasks, "knn") is None


def compared(first, second, metric="accuracy"):
    """Two encoders on 200 clips of two classes: which are right."""
    clips = [Clip(f"{n:03}", f"/{n:03}", 0.0, 1.0, 8000, ("ab"[n % 2],)) for n in range(200)]
    task = make_task("mine", {"": {"train": clips, "test": clips}}, "ab", (metric,))
    labels = task.targets
    records = []
    for name, right in (("one", first), ("two", second)):
        record = Record("mine", name, "")
        scores = torch.where(right.unsqueeze(1), labels, 1 - labels)
        record.scores["knn", ""] = scores.numpy()
        record.places[""] = np.arange(200)
        records.append(record)
    return compare(task, "knn", *records)


def test_the_interval_is_that_of_paired_clips():
    right = torch.arange(200) % 10 > 2  # 70 %
    better = right | (torch.arange(200) % 10 == 0)  # 80 %: right where the other is, and more
    found = compared(better, right)
    assert found.difference == pytest.approx(0.1) and found.is_clear
    # Of 200 draws, a share of 0.1: its deviation is sqrt(0.1 * 0.9 / 200) = 0.0212.
    assert found.low == pytest.approx(0.1 - 1.96 * 0.0212, abs=0.01)
    assert found.high == pytest.approx(0.1 + 1.96 * 0.0212, abs=0.01)
    same = compared(right, right)
    assert (same.difference, same.low, same.high) == (0, 0, 0) and not same.is_clear


def test_metrics_that_rank_are_resampled_whole():
    right = torch.arange(200) % 10 > 2
    found = compared(right | True, right, "mAP")
    assert found.low < found.difference < found.high + 0.05 and found.is_clear


def test_clips_that_one_lacks_are_left_out_of_both():
    clips = [Clip(f"{n:03}", f"/{n:03}", 0.0, 1.0, 8000, ("ab"[n % 2],)) for n in range(4)]
    task = make_task("mine", {"": {"train": clips, "test": clips}}, "ab")
    one, two = Record("mine", "one", ""), Record("mine", "two", "")
    one.scores["knn", ""] = task.targets[[0, 1, 2]].numpy()
    one.places[""] = np.array([0, 1, 2])
    two.scores["knn", ""] = task.targets[[1, 2, 3]].numpy()
    two.places[""] = np.array([1, 2, 3])
    found = compare(task, "knn", one, two)
    assert (found.num_clips, found.difference) == (2, 0)
