"""Records of runs that were never made, as their rows would have them."""

import json
from pathlib import Path
from typing import Any

import torch

from ssast_recipes.records.predictions import write_predictions
from ssast_recipes.reporting.tables.experiments import expected_settings
from ssast_recipes.reporting.tables.rows import Row, Table

CLASSES = ["dog", "rain"]


def record(table: Table, row: Row, task: str, value: float, **changes: Any) -> dict[str, Any]:
    """What `results.json` would hold; `tuning` and `pretraining` change settings.

    `choice` is the number of the table's choice of options.
    """
    tuning, pretraining = changes.pop("tuning", {}), changes.pop("pretraining", {})
    choice = table.choices[changes.pop("choice", 0)]
    one = table.tasks[task]
    experiment = one.experiments[row.patches]
    source = None
    if row.pretraining is not None:
        of = row.pretraining_for(one)
        run = {
            "experiment": of.experiment,
            "dataset": of.data,
            "settings": {**expected_settings(of.experiment, of.options), **pretraining},
            "num_clips": {"train": of.train_clips},
        }
        source = {"name": "CKPT+1/model.ckpt", "sha256": "0", "run": run}
        if row.pretraining.folds == "same":
            source["test_fold"] = changes.get("fold")
    settings = expected_settings(experiment, {**row.tuning_of(one, choice), **one.protocol})
    return {
        "experiment": experiment,
        "dataset": one.dataset,
        "settings": {**settings, **tuning},
        "pretrained_from": source,
        "num_clips": {
            "train": one.train_clips,
            "test": one.test_clips_of(changes.get("fold")),
        },
        "metric": one.metric,
        "value": {"last": value, "best": value, "averaged": value},
        "seed": 1,
        **changes,
    }


def write_record(folder: Path, content: dict[str, Any], predicts: bool = False) -> Path:
    """Writes it to a folder, with predictions from which its accuracy follows if that is asked."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(content))
    if predicts:
        count = content["num_clips"]["test"]
        right = round(count * content["value"]["last"])
        logits = torch.tensor([[1.0, 0.0]] * right + [[0.0, 1.0]] * (count - right))
        targets = torch.zeros(count, dtype=torch.int64)
        ids = [f"clip{number}" for number in range(count)]
        outputs = {"ids": ids, "targets": targets, "logits": logits}
        kept = dict.fromkeys(content["value"], outputs)
        write_predictions(folder / "predictions.csv", CLASSES, kept)
    return folder
