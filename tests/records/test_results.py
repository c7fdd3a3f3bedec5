import csv
import json
import math
from pathlib import Path
from types import SimpleNamespace

import pandas
import pytest
import torch
from hyperpyyaml import resolve_references

from ssast_recipes import __version__
from ssast_recipes.model.encoder import AudioSpectrogramTransformer
from ssast_recipes.objectives.metrics import accuracy
from ssast_recipes.records.configuration import configuration_sha256
from ssast_recipes.records.predictions import (
    MOST_IN_TEXT,
    find_predictions,
    iterate_predictions,
    load_predictions,
    read_predictions,
    write_predictions,
)
from ssast_recipes.records.results import (
    device_kind,
    read_per_class,
    write_per_class,
    write_results,
    write_text,
)

HPARAMS = Path(__file__).parents[2] / "recipes" / "ESC50" / "hparams"


def configuration(path, date="2026-01-02", recipe="pretrain_patch", **overrides):
    """Writes what SpeechBrain keeps of a run as `hyperparams.yaml`, and hashes it."""
    overrides = {"data_folder": "/data/esc", **overrides}
    with open(HPARAMS / f"{recipe}.yaml") as file:
        resolved = resolve_references(file, overrides)
    path.write_text(f"# Generated {date} from:\n# {path}\n# yamllint disable\n{resolved.read()}")
    return configuration_sha256(path)


@pytest.mark.parametrize("recipe", ["pretrain_patch", "finetune_frame"])
@pytest.mark.parametrize(
    "change",
    [
        {"date": "2031-12-24"},
        {"data_folder": "/elsewhere/ESC-50"},
        {"output_folder": "/scratch/run7"},
        {"manifest_folder": "/scratch/manifests"},
        {"output_folder": "/scratch", "manifest_folder": "/scratch/manifests"},  # one in the other
        {"num_workers": 7},
        {"download": True},
    ],
)
def test_the_configuration_is_the_same_wherever_and_whenever_it_runs(tmp_path, recipe, change):
    plain = configuration(tmp_path / "a.yaml", recipe=recipe)
    assert configuration(tmp_path / "b.yaml", recipe=recipe, **change) == plain


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 2e-4},
        {"seed": 2},
        {"batch_size": 12},
        {"num_steps": 20001},
        {"patch_size": [16, 8]},
        {"masker": {"num_masked_patches": 100}},
        {"train_manifests": ["<manifest_folder>/other.csv"]},
        {"contrastive_head": None},
        {"test_fold": 2},
    ],
)
def test_the_configuration_is_another_if_something_else_is_computed(tmp_path, change):
    plain = configuration(tmp_path / "a.yaml")
    assert configuration(tmp_path / "b.yaml", **change) != plain


def test_where_the_pretrained_weights_lie_is_no_part_of_the_configuration(tmp_path):
    hashes = {
        configuration(tmp_path / "a.yaml", recipe="finetune_patch", pretrained_encoder=path)
        for path in ("/a/pretrained", "/b/weights.pt")
    }
    assert len(hashes) == 1
    from_scratch = configuration(tmp_path / "b.yaml", recipe="finetune_patch")
    assert from_scratch not in hashes


def test_the_order_of_the_keys_does_not_matter(tmp_path):
    texts = ["lr: 1\nopts: {a: 1, b: 2}\n", "opts:\n  b: 2 # two\n  a: 1\nlr: 1\n"]
    for name, text in zip("ab", texts, strict=True):
        (tmp_path / name).write_text(text)
    assert configuration_sha256(tmp_path / "a") == configuration_sha256(tmp_path / "b")
    (tmp_path / "b").write_text("lr: 1\nopts: {a: 2, b: 1}\n")
    assert configuration_sha256(tmp_path / "a") != configuration_sha256(tmp_path / "b")


def test_a_folder_is_only_recognised_whole(tmp_path):
    for name, folder in (("a", "/data"), ("b", "/elsewhere")):
        (tmp_path / name).write_text(f"data_folder: {folder}\nother: {folder}2/x\n")
    assert configuration_sha256(tmp_path / "a") != configuration_sha256(tmp_path / "b")


# ---- results.json


def hparams(folder, **record):
    (folder / "hyperparams.yaml").write_text("lr: 0.1\n")
    return SimpleNamespace(
        output_folder=str(folder),
        seed=3,
        encoder=AudioSpectrogramTransformer(
            16, 1, 2, target_length=64, patch_size=(128, 2), patch_stride=(128, 1)
        ),
        record={"dataset": "ESC-50", "fold": 2, **record},
    )


def test_results_hold_what_a_table_needs(tmp_path):
    path = write_results(
        hparams(tmp_path), "accuracy", {"last": 0.5, "best": 0.75}, {"seconds": 12.5}, "cpu"
    )
    assert path == tmp_path / "results.json"
    assert json.loads(path.read_text()) == {
        "dataset": "ESC-50",
        "fold": 2,
        "metric": "accuracy",
        "value": {"last": 0.5, "best": 0.75},
        "seed": 3,
        "size": None,  # not in the table
        "geometry": {
            "embed_dim": 16,
            "depth": 1,
            "num_heads": 2,
            "patch_size": [128, 2],
            "grid_size": [1, 63],
            "patch_stride": [128, 1],
            "target_length": 64,
        },
        "configuration_sha256": configuration_sha256(tmp_path / "hyperparams.yaml"),
        "package_version": __version__,
        "device": device_kind("cpu"),
        "seconds": 12.5,
    }


def test_files_replace_each_other_and_leave_nothing_beside(tmp_path):
    for value in (0.25, 0.5):
        write_results(hparams(tmp_path), "accuracy", {"last": value}, {}, "cpu")
    assert json.loads((tmp_path / "results.json").read_text())["value"] == {"last": 0.5}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hyperparams.yaml", "results.json"]


def test_a_text_that_cannot_be_written_leaves_the_old_one(tmp_path):
    write_text(tmp_path / "a.json", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.json", "new \ud800")
    assert (tmp_path / "a.json").read_text() == "old"


def test_devices_are_named_by_their_kind():
    assert device_kind("meta") == "meta"


@pytest.mark.parametrize(("count", "name"), [(1, "CPU, 1 thread"), (2, "CPU, 2 threads")])
def test_a_processor_is_named_by_its_threads(monkeypatch, count, name):
    monkeypatch.setattr(torch, "get_num_threads", lambda: count)
    assert device_kind("cpu") == name


# ---- predictions.csv


def selections(clips=6, classes=3):
    targets = torch.arange(clips) % classes
    ids = [f"clip,{number}" for number in range(clips)]
    return {
        name: {"ids": ids, "targets": targets, "logits": torch.randn(clips, classes) * scale}
        for name, scale in (("last", 1e-7), ("best", 3e4))
    }


def test_predictions_are_read_back_to_the_bit(tmp_path):
    written, path = selections(), tmp_path / "predictions.csv"
    write_predictions(path, ["dog", 'the "sea"', "a, b"], written)
    for name, outputs in written.items():
        logits, targets = read_predictions(path, name)
        assert torch.equal(logits, outputs["logits"])
        assert torch.equal(targets, outputs["targets"])
        assert accuracy(logits, targets) == accuracy(outputs["logits"], outputs["targets"])


def test_predictions_are_a_table_for_others_to_read(tmp_path):
    written, path = selections(), tmp_path / "predictions.csv"
    write_predictions(path, ["dog", "rain", "sea"], written)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["selection", "id", "label", "predicted", "dog", "rain", "sea"]
    assert [row["selection"] for row in rows] == ["last"] * 6 + ["best"] * 6
    assert [row["label"] for row in rows] == ["dog", "rain", "sea"] * 4
    assert rows[7]["id"] == "clip,1"
    assert float(rows[7]["sea"]) == pytest.approx(written["best"]["logits"][1, 2].item(), rel=1e-8)
    assert [file.name for file in tmp_path.iterdir()] == ["predictions.csv"]
    predicted = written["last"]["logits"].argmax(dim=1).tolist()
    assert [row["predicted"] for row in rows[:6]] == [["dog", "rain", "sea"][i] for i in predicted]


def test_several_labels_or_none_are_read_back(tmp_path):
    targets = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0]]).float()
    written = {"last": {"ids": list("abc"), "targets": targets, "logits": torch.randn(3, 3)}}
    path = tmp_path / "predictions.csv"
    write_predictions(path, ["dog", "a, b", "sea"], written)
    assert [row.split(",")[2] for row in path.read_text().splitlines()[1:3]] == ["dog;sea", ""]
    logits, found = read_predictions(path, "last")
    assert torch.equal(found, targets) and torch.equal(logits, written["last"]["logits"])


def test_one_label_a_clip_is_read_back_as_a_class_index(tmp_path):
    written = {"last": {"ids": list("ab"), "targets": torch.eye(2), "logits": torch.randn(2, 2)}}
    write_predictions(tmp_path / "predictions.csv", ["dog", "sea"], written)
    assert read_predictions(tmp_path / "predictions.csv", "last")[1].tolist() == [0, 1]


def many(clips=40, classes=MOST_IN_TEXT + 1, labels=1):
    """Predictions of many classes, whose names are as awkward as the columns' and each other's."""
    names = ["id", "label", "a, b", 'the "sea"', "line\nbreak", " blank ", "\u2028", "\x85", "c\rr"]
    names += [f"class {number}" for number in range(classes - len(names))]
    targets = torch.zeros(clips, classes)
    for _ in range(labels):
        targets[torch.arange(clips), torch.randint(classes, (clips,))] = 1.0
    ids = [f"clip,{number}\r\n" for number in range(clips)]
    chosen = {"last": 1e-7, "best": 3e4}
    return names, {
        name: {"ids": ids, "targets": targets, "logits": torch.randn(clips, classes) * scale}
        for name, scale in chosen.items()
    }


@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize(
    ("classes", "kind"),
    [(MOST_IN_TEXT, "predictions.csv"), (MOST_IN_TEXT + 1, "predictions.parquet")],
)
def test_of_many_classes_logits_are_no_text(tmp_path, classes, kind, labels):
    names, written = many(classes=classes, labels=labels)
    (tmp_path / "predictions.parquet").write_text("of the run before")
    path = write_predictions(tmp_path / "predictions.csv", names, written)
    assert [file.name for file in tmp_path.iterdir()] == [kind] == [path.name]
    assert find_predictions(tmp_path) == path
    for selection, outputs in written.items():
        found = load_predictions(path, selection)
        assert (found.selection, found.classes, found.ids) == (selection, names, outputs["ids"])
        assert found.logits.dtype == torch.float32
        assert torch.equal(found.logits, outputs["logits"])
        targets = outputs["targets"] if labels > 1 else outputs["targets"].argmax(dim=1)
        assert torch.equal(found.targets, targets)
    assert load_predictions(path).selection == "best"
    assert load_predictions(path, "averaged").selection == "best"
    assert len(read_predictions(path, "averaged")[0]) == 0


def test_pandas_reads_the_parquet_file_as_the_table_that_text_would_be(tmp_path):
    classes, (_, written) = [f"class {number}" for number in range(60)], many(classes=60)
    path = write_predictions(tmp_path / "predictions.csv", classes, written)
    table = pandas.read_parquet(path)
    assert list(table.columns) == ["selection", "id", "label", "predicted", *classes]
    best = table[table["selection"] == "best"]
    assert (best[classes].to_numpy() == written["best"]["logits"].numpy()).all()
    assert (best[classes].idxmax(axis=1) == best["predicted"]).all()


def test_text_of_many_classes_from_before_is_read(tmp_path, monkeypatch):
    names, written = many(classes=527, labels=3)
    monkeypatch.setattr("ssast_recipes.records.predictions.MOST_IN_TEXT", 527)
    path = write_predictions(tmp_path / "predictions.csv", names, written)
    assert path.name == "predictions.csv"
    monkeypatch.undo()
    for selection, outputs in written.items():
        logits, targets = read_predictions(path, selection)
        assert torch.equal(logits, outputs["logits"]) and torch.equal(targets, outputs["targets"])


def test_predictions_come_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("ssast_recipes.records.predictions._CLIPS_AT_ONCE", 7)
    names, written = many()
    path = write_predictions(tmp_path / "predictions.csv", names, written)
    classes, parts = iterate_predictions(path)
    parts = list(parts)
    assert classes == names and max(len(ids) for _, ids, _, _ in parts) == 7
    ids = [clip_id for _, some, _, _ in parts for clip_id in some]
    assert ids == written["last"]["ids"] + written["best"]["ids"]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"\xff" * 1000])
def test_a_damaged_parquet_file_is_told(tmp_path, content):
    (tmp_path / "predictions.parquet").write_bytes(content)
    with pytest.raises(ValueError, match="predictions.parquet is not Parquet.*evaluate the run ag"):
        read_predictions(tmp_path / "predictions.parquet", "last")


def test_a_parquet_file_damaged_within_is_told(tmp_path):
    names, written = many(clips=500)
    path = write_predictions(tmp_path / "predictions.csv", names, written)
    content = bytearray(path.read_bytes())
    content[100:20_000] = bytes(19_900)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="predictions.parquet: .*evaluate the run again"):
        read_predictions(path, "last")


# ---- per_class.csv


def test_classes_are_a_table_by_selection(tmp_path):
    columns = {"recall": torch.tensor([0.25, float("nan")]), "AUC": torch.tensor([1.0, 0.5])}
    counts = torch.tensor([4, 0])
    path = tmp_path / "per_class.csv"
    write_per_class(path, ["dog", "a, b"], counts, {"last": columns, "best": columns})
    assert path.read_text().splitlines() == [
        "selection,class,clips,recall,AUC",
        "last,dog,4,0.25,1",
        'last,"a, b",0,,0.5',
        "best,dog,4,0.25,1",
        'best,"a, b",0,,0.5',
    ]
    metrics, rows = read_per_class(path, "best")
    assert metrics == ["recall", "AUC"] and [row["class"] for row in rows] == ["dog", "a, b"]
    assert rows[1] == {
        "selection": "best",
        "class": "a, b",
        "clips": "0",
        "recall": "",
        "AUC": "0.5",
    }
    assert read_per_class(path, None) == read_per_class(path, "averaged") == (metrics, rows)


def test_what_is_not_finite_becomes_null(tmp_path):
    found = {"metrics": {"last": {"d_prime": math.inf, "AUC": 1.0}}, "history": [{"a": math.nan}]}
    path = write_results(hparams(tmp_path), "AUC", {"last": 1.0}, found, "cpu")
    record = json.loads(path.read_text())
    assert record["metrics"] == {"last": {"d_prime": None, "AUC": 1.0}}
    assert record["history"] == [{"a": None}]
