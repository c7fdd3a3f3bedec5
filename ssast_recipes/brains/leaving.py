"""What an evaluated run leaves beside its checkpoints: results, and a model to use."""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from speechbrain.utils.distributed import if_main_process
from torch import nn

from ssast_recipes import __version__
from ssast_recipes.brains.evaluation import Selection
from ssast_recipes.model.front_end import SpectrogramFrontEnd
from ssast_recipes.records.results import write_results
from ssast_recipes.weights.formats.config import read_config
from ssast_recipes.weights.formats.description import describe_front_end
from ssast_recipes.weights.formats.folder import save_model

logger = logging.getLogger(__name__)

_RECORD = ("dataset", "protocol", "fold", "pretrained_from", "tokenizer")


def leave_results(
    hparams: SimpleNamespace,
    metric_name: str,
    found: Sequence[Selection],
    details: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    device: str,
) -> None:
    """Writes `results.json`, on the main process.

    Arguments
    ---------
    hparams : SimpleNamespace
        As `write_results` takes them.
    metric_name : str
        Of the metric that the run is judged by.
    found : sequence of Selection
        What was measured, the last weights first.
    details : mapping
        More for `results.json`.
    records : sequence of mapping
        The log's.
    device : str
        The device that the run used.
    """
    if not if_main_process():
        return
    values = {one.name: one.value for one in found}
    valid = [record for record in records if record["stage"] == "valid"]
    details = {
        "metrics": {one.name: one.metrics for one in found},
        "epochs": {one.name: one.epochs for one in found},
        "steps": {one.name: one.step for one in found},
        **details,
        # A kill between log line and checkpoint leaves the line of a step twice.
        "history": list({record["step"]: record for record in valid}.values()),
    }
    path = write_results(hparams, metric_name, values, details, device)
    told = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    logger.info("%s of the weights: %s; written to %s", metric_name, told, path)


def kept_thresholds(output_folder: str | Path) -> list[float] | None:
    """The thresholds of the model that a run left before; None if it has none.

    Example
    -------
    >>> kept_thresholds(getfixture("tmp_path")) is None
    True
    """
    try:
        thresholds = read_config(Path(output_folder) / "model").thresholds
    except (OSError, ValueError):
        return None
    return None if thresholds is None else list(thresholds)


def _heard_seconds(hparams: SimpleNamespace, front_end: SpectrogramFrontEnd) -> float | None:
    """How much of a clip, from its start, a classifier was tested on; None if nothing tells."""
    known = vars(hparams)
    reader = known.get("test_read_waveform", known.get("read_waveform"))
    if not known.get("classes") or getattr(reader, "crop", None) != "start":
        return None
    if reader.max_duration is not None:
        return reader.max_duration
    filterbank = front_end.filterbank  # which makes no more frames than target_length
    shifts = (front_end.target_length - 1) * filterbank.samples_per_shift
    return (shifts + filterbank.samples_per_frame) / filterbank.sample_rate


def leave_model(
    hparams: SimpleNamespace,
    model: nn.Module,
    front_end: SpectrogramFrontEnd,
    metric_name: str,
    found: Sequence[Selection],
    thresholds: Sequence[float] | None = None,
) -> None:
    """Writes a run's model folder, `model`, into its output folder, on the main process.

    A model with parts of one's own, which a model folder cannot hold, is told in a warning: the
    run's checkpoints have it all the same.

    Arguments
    ---------
    hparams : SimpleNamespace
        The run's hyperparameters: `output_folder`, `seed`, `record`; `sample_rate`, if not 16000;
        of a classifier, `classes`, `label_kind`, if not "single", and `read_waveform` or
        `test_read_waveform`, which tells how much of a clip was heard; of a recogniser,
        `tokenizer`.
    model : nn.Module
        With the weights to keep.
    front_end : SpectrogramFrontEnd
        What makes its spectrograms.
    metric_name : str
        Of the metric that the run is judged by.
    found : sequence of Selection
        What was measured: for the provenance, which weights these are and how good. The model has
        the last of them, but never the averaged, which are no checkpoint's: then the first.
    thresholds : sequence of float, optional
        Of each class, the score from which on it counts as heard.
    """
    if not if_main_process():
        return
    chosen = found[0] if found[-1].name == "averaged" else found[-1]
    folder = Path(hparams.output_folder) / "model"
    known = {key: hparams.record[key] for key in _RECORD if hparams.record.get(key) is not None}
    value = chosen.value if math.isfinite(chosen.value) else None
    told = {"weights": chosen.name, "step": chosen.step, "metric": metric_name, "value": value}
    if getattr(hparams, "targets", "raw") != "raw":  # what the heads' predictions are of
        told["targets"] = hparams.targets
    provenance = {**known, "seed": hparams.seed, **told, "package_version": __version__}
    try:
        save_model(
            folder,
            model,
            describe_front_end(front_end, getattr(hparams, "sample_rate", 16000)),
            labels=getattr(hparams, "classes", ()),
            label_kind=getattr(hparams, "label_kind", "single"),
            provenance=provenance,
            thresholds=thresholds,
            heard_seconds=_heard_seconds(hparams, front_end),
            tokenizer=getattr(hparams, "tokenizer", None),
        )
    except (ValueError, AttributeError) as error:
        logger.warning("Warning: no model folder is left beside the checkpoints: %s", error)
    else:
        # The best of a single validation, after the last step, were chosen by nothing.
        name = found[0].name if chosen.step == found[0].step else chosen.name
        logger.info("The model to use, with its %s weights: %s", name, folder)
