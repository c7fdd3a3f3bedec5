import csv
import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hyperpyyaml import resolve_references

from ssast_recipes import __version__
from ssast_recipes.model.encoder import AudioSpectrogramTransformer
from ssast_recipes.objectives.metrics import accuracy
from ssast_recipes.records.configuration import configuration_sha256
from ssast_recipes.records.results import (
    device_kind,
    read_predictions,
    write_per_class,
    write_predictions,
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


def test_what_is_not_finite_becomes_null(tmp_path):
    found = {"metrics": {"last": {"d_prime": math.inf, "AUC": 1.0}}, "history": [{"a": math.nan}]}
    path = write_results(hparams(tmp_path), "AUC", {"last": 1.0}, found, "cpu")
    record = json.loads(path.read_text())
    assert record["metrics"] == {"last": {"d_prime": None, "AUC": 1.0}}
    assert record["history"] == [{"a": None}]
