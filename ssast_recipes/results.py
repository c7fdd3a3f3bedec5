"""What an evaluated run leaves behind: `results.json` and `predictions.csv`."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ssast_recipes import __version__
from ssast_recipes.builders import size_name
from ssast_recipes.configuration import configuration_sha256
from ssast_recipes.files import write_csv, write_text


def write_results(
    hparams: SimpleNamespace,
    metric: str,
    values: Mapping[str, float],
    details: Mapping[str, Any],
    device: str,
) -> Path:
    """Writes `results.json` into a run's output folder.

    Arguments
    ---------
    hparams : SimpleNamespace
        The run's hyperparameters: `output_folder`, `seed`, `encoder` and `record`, a dict of what
        names the experiment (dataset, protocol, fold, pretrained_from, num_clips, …).
    metric : str
        Name of the metric.
    values : mapping of str to float
        The metric by selection: of the "last" and the "best" checkpoint.
    details : mapping
        Whatever else is worth keeping.
    device : str
        The device that the run used.

    Returns
    -------
    Path
        The file.
    """
    folder = Path(hparams.output_folder)
    encoder = hparams.encoder
    record = {
        **hparams.record,
        "metric": metric,
        "value": dict(values),
        "seed": hparams.seed,
        "size": size_name(encoder.geometry()),
        "geometry": {
            **encoder.geometry(),
            "patch_stride": list(encoder.patch_stride),
            "target_length": encoder.target_length,
        },
        "configuration_sha256": configuration_sha256(
            folder / "hyperparams.yaml", hparams.record.get("run_options", {})
        ),
        "package_version": __version__,
        "device": device_kind(device),
        **details,
    }
    path = folder / "results.json"
    write_text(path, json.dumps(record, indent=2, allow_nan=False) + "\n")
    return path


def write_predictions(
    path: Path, classes: Sequence[str], selections: Mapping[str, Mapping[str, Any]]
) -> None:
    """Writes every clip's label and scores, from which the metric can be computed again.

    Arguments
    ---------
    path : Path
        Where to write the CSV file.
    classes : sequence of str
        Class names, in the order of the scores.
    selections : mapping
        By selection ("last", "best"): `ids`, `targets` [clips] and `logits` [clips, classes].
    """
    rows = []
    for selection, outputs in selections.items():
        columns = outputs["ids"], outputs["targets"].tolist(), outputs["logits"].tolist()
        for clip_id, target, logits in zip(*columns, strict=True):
            scores = [f"{logit:.9g}" for logit in logits]
            rows.append([selection, clip_id, classes[target], *scores])
    write_csv(path, ["selection", "id", "label", *classes], rows)


def read_predictions(path: Path, selection: str) -> tuple[Tensor, Tensor]:
    """Reads what `write_predictions` wrote.

    Arguments
    ---------
    path : Path
        The CSV file.
    selection : str
        "last" or "best".

    Returns
    -------
    tuple[Tensor, Tensor]
        Logits [clips, classes] and class indices [clips].
    """
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        classes = next(reader)[3:]
        rows = [row for row in reader if row[0] == selection]
    logits = torch.tensor([[float(score) for score in row[3:]] for row in rows])
    return logits, torch.tensor([classes.index(row[2]) for row in rows])


def device_kind(device: str) -> str:
    """Names a device by its kind: a GPU's name, or the number of CPU threads.

    Example
    -------
    >>> device_kind("cpu").startswith("CPU")
    True
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    if torch.device(device).type == "cpu":
        return f"CPU, {torch.get_num_threads()} threads"
    return device
