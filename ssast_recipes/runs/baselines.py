"""What a classifier is compared with: chance and ridge regression, measured on the run's clips."""

import hashlib
import json
import logging
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from speechbrain.utils.distributed import if_main_process
from torch import Tensor

from ssast_recipes.data.batches import as_float
from ssast_recipes.data.dataset import ClipDataset
from ssast_recipes.evaluation.features import log_mel_frames, plain_filterbank
from ssast_recipes.evaluation.probes import LEAST_VALID
from ssast_recipes.model.filterbank import LogMelFilterbank
from ssast_recipes.objectives.baselines import chance_scores, log_mel_features
from ssast_recipes.objectives.probing import linear_scores
from ssast_recipes.objectives.ranking import multi_hot
from ssast_recipes.system.files import write_text
from ssast_recipes.system.reading import read_json

logger = logging.getLogger(__name__)

MOST_CLIPS = 5000  # of training, drawn: more change little
_FILE = "baselines.json"


def add_baselines(hparams: dict[str, Any], datasets: dict[str, ClipDataset]) -> None:
    """Measures the baselines of a classifier, tells them, and notes them in the run's record.

    The main process alone does so. What was measured is kept in `baselines.json` of the output
    folder, for when the run is resumed.

    Arguments
    ---------
    hparams : dict
        `metric`, `metric_name`, `classes`, `front_end`, `output_folder`; `record`, which gets
        `baselines`: see `measure_baselines`. Without classes, nothing is done.
    datasets : dict of str to ClipDataset
        As from `make_datasets`.
    """
    if "classes" in hparams and if_main_process():
        path = Path(hparams["output_folder"]) / _FILE
        key = _digest(datasets, hparams["max_duration"])
        kept = read_json(path, "delete it to measure them again") if path.exists() else {}
        if kept.get("measured_on") != key:
            numbers = (hparams["sample_rate"], len(hparams["classes"]), hparams["seed"])
            values = measure_baselines(datasets, hparams["metric"], *numbers)
            kept = {"measured_on": key, "values": values}
            write_text(path, json.dumps(kept, indent=2) + "\n")
        values = hparams["record"]["baselines"] = kept["values"]
        logger.info(
            "%s to beat: chance %.4g, ridge regression on log-mel bands %.4g",
            *(hparams["metric_name"], values["chance"], values["log_mel_ridge"]),
        )


def _digest(datasets: dict[str, ClipDataset], max_duration: float) -> str:
    """Tells what baselines are measured on."""
    digest = hashlib.sha256(str(max_duration).encode())
    for clips in datasets.values():
        digest.update(clips.digest.encode())
    return digest.hexdigest()


def measure_baselines(
    datasets: dict[str, ClipDataset],
    metric: Callable[[Tensor, Tensor], Tensor],
    sample_rate: int,
    num_classes: int,
    seed: int = 0,
) -> dict[str, float]:
    """Measures what can be had without hearing, and without a neural network.

    Arguments
    ---------
    datasets : dict of str to ClipDataset
        "train", of which at most `MOST_CLIPS` are taken, "valid" and "test". Validation chooses the
        penalty; of fewer than `LEAST_VALID` clips, or if they are the test's, training does,
        leaving one clip out.
    metric : callable
        (scores [clips, classes], targets) to a scalar.
    sample_rate : int
        Of the waveforms, in Hz.
    num_classes : int
        Number of classes.
    seed : int
        What training clips are drawn from, if there are too many.

    Returns
    -------
    dict[str, float]
        The metric on the test clips, of `chance` (see `chance_scores`) and of `log_mel_ridge`:
        `linear_scores` of the clips' `log_mel_features`, of 64 mel bins up to what most training
        files have: empty bands would be noise, standardised.
    """
    train, valid, test = (datasets[split] for split in ("train", "valid", "test"))
    indices = range(len(train))
    if len(train) > MOST_CLIPS:
        indices = sorted(random.Random(seed).sample(indices, MOST_CLIPS))
    rates = (train.table[index].sample_rate for index in indices)
    filterbank = plain_filterbank(rates, sample_rate)
    known, targets = _read(train, indices, filterbank)
    asked, truth = _read(test, range(len(test)), filterbank)
    judges = None
    if len(valid) >= LEAST_VALID and valid.digest != test.digest:
        clips, labels = _read(valid, range(len(valid)), filterbank)
        judges = clips, multi_hot(labels, num_classes)
    known_targets = multi_hot(targets, num_classes)
    scores = {
        "chance": chance_scores(known_targets, len(asked)),
        "log_mel_ridge": linear_scores(known, known_targets, asked, judges),
    }
    return {name: round(float(metric(one, truth)), 6) for name, one in scores.items()}


def _read(
    clips: ClipDataset, indices: Sequence[int], filterbank: LogMelFilterbank
) -> tuple[Tensor, Tensor]:
    """Features of clips, [clips, values], and their targets."""
    features, targets = [], []
    for index in indices:
        clip = clips[index]
        frames = log_mel_frames(as_float(clip["waveform"]), filterbank)
        features.append(log_mel_features(frames))
        targets.append(clip["target"])
    return torch.stack(features), torch.stack(targets)
