"""Checking records: values computed again from predictions, checksums from weights."""

import math
from pathlib import Path

import yaml

from ssast_recipes.files import file_digest
from ssast_recipes.metrics import accuracy, mean_average_precision
from ssast_recipes.model_folder import load_model
from ssast_recipes.pretrained import find_weights
from ssast_recipes.results import read_predictions
from ssast_recipes.tables.ledger import Record

METRICS = {"accuracy": accuracy, "mAP": mean_average_precision}
_TOLERANCE = 1e-6  # scores are written with nine digits


def check_record(record: Record) -> tuple[list[str], list[str]]:
    """Checks a run's record against what lies beside it.

    Arguments
    ---------
    record : Record
        The record.

    Returns
    -------
    tuple of two lists of str
        What was checked and is right, and what is wrong, in words.
    """
    right, wrong = [], []
    _check_values(record, right, wrong)
    _check_encoder(record, right, wrong)
    _check_model(record, right, wrong)
    return right, wrong


def _check_values(record: Record, right: list[str], wrong: list[str]) -> None:
    name, predictions = record.content.get("metric"), record.folder / "predictions.csv"
    if name not in METRICS or not predictions.is_file():
        return
    for selection, told in record.content["value"].items():
        logits, targets = read_predictions(predictions, selection)
        if not len(logits):
            wrong.append(f"{record.path}: {predictions.name} has no {selection!r} predictions")
            continue
        found = float(METRICS[name](logits, targets))
        if math.isclose(found, told, abs_tol=_TOLERANCE):
            right.append(f"{selection} {name}")
        else:
            wrong.append(
                f"{record.path}: value.{selection} is {told}, but {predictions.name} gives "
                f"{found:.6f}; evaluate the run again"
            )


def _check_encoder(record: Record, right: list[str], wrong: list[str]) -> None:
    """The weights that the run began with, if its folder is whole and they are still there."""
    source, file = record.pretraining, record.folder / "hyperparams.yaml"
    if source is None or not file.is_file():
        return
    root = yaml.compose(file.read_text(encoding="utf-8"))
    paths = [node.value for key, node in root.value if key.value == "pretrained_encoder"]
    if not paths or not Path(paths[0]).exists():
        return
    weights = find_weights(Path(paths[0]))
    digest = file_digest(weights)
    if digest == source["sha256"]:
        right.append("checksum of the pretrained weights")
    else:
        wrong.append(
            f"{record.path}: it began with weights of SHA-256 {source['sha256']}, but {weights} "
            f"has {digest}; they were replaced since"
        )


def _check_model(record: Record, right: list[str], wrong: list[str]) -> None:
    """The weights that the run left, against the checksum beside them."""
    folder = record.folder / "model"
    if not folder.is_dir():
        return
    try:
        load_model(folder)
    except (ValueError, FileNotFoundError) as error:
        wrong.append(f"{record.path}: {error}")
    else:
        right.append("checksum of its model")
