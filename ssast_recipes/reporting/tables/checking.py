"""Checking records: values computed again from predictions, checksums from weights."""

import math
from pathlib import Path

from ssast_recipes.objectives.metrics import accuracy, mean_average_precision
from ssast_recipes.records.predictions import find_predictions, read_predictions
from ssast_recipes.records.run import HPARAMS, Run
from ssast_recipes.reporting.tables.ledger import Record
from ssast_recipes.system.files import file_digest
from ssast_recipes.weights.finding import find_weights, source_name
from ssast_recipes.weights.formats.folder import load_model

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
        What was checked and is right, and what is wrong, in words. Of a run that predicts classes,
        predictions that are not there are wrong; weights that are not there are passed over.
    """
    right, wrong = [], []
    checks = [_check_encoder, _check_model]
    if not record.is_pretraining:
        checks.insert(0, _check_values)
    for check in checks:
        try:
            check(record, right, wrong)
        except (ValueError, OSError) as error:
            wrong.append(f"{record.path}: {error}")
    return right, wrong


def _check_values(record: Record, right: list[str], wrong: list[str]) -> None:
    name, predictions = record.content.get("metric"), find_predictions(record.folder)
    if name not in METRICS:
        wrong.append(f"{record.path}: the metric is {name!r}, not one of {', '.join(METRICS)}")
        return
    if not predictions.is_file():
        wrong.append(
            f"{record.path}: there is no {predictions.name} beside it; evaluate the run again"
        )
        return
    wanted = record.num_clips.get("test")
    for selection, told in record.content["value"].items():
        logits, targets = read_predictions(predictions, selection)
        if len(logits) != (wanted or len(logits)) or not len(logits):
            wrong.append(
                f"{record.path}: {predictions.name} has {len(logits)} {selection!r} predictions, "
                f"of {wanted} test clips"
            )
            continue
        found = float(METRICS[name](logits, targets))
        alike = math.isnan(found) if told is None else math.isclose(found, told, abs_tol=_TOLERANCE)
        if alike:
            right.append(f"{selection} {name}")
        else:
            wrong.append(
                f"{record.path}: value.{selection} is {told}, but {predictions.name} gives "
                f"{found:.6f}; evaluate the run again"
            )


def _check_encoder(record: Record, right: list[str], wrong: list[str]) -> None:
    """The weights that the run began with, if its folder is whole and they are still there."""
    source, file = record.pretraining, record.folder / HPARAMS
    if source is None or not file.is_file():
        return
    try:
        path = Run(record.folder).value("pretrained_encoder")
    except ValueError:
        raise ValueError(f"{file.name} beside it is damaged") from None
    if path is None or not Path(path).exists():
        return
    try:
        weights = find_weights(Path(path))
    except FileNotFoundError:  # the folder is there, its weights are gone
        return
    if source_name(weights) != source.get("name"):  # of a run, its checkpoints may be gone
        return
    digest = file_digest(weights)
    if digest == source.get("sha256"):
        right.append("checksum of the pretrained weights")
    else:
        wrong.append(
            f"{record.path}: it began with weights of SHA-256 {source.get('sha256')}, but "
            f"{weights} has {digest}; they were replaced since"
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
