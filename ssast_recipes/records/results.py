"""What an evaluated run leaves behind: `results.json`, `predictions.csv`, `per_class.csv`."""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ssast_recipes import __version__
from ssast_recipes.model.builders import size_name
from ssast_recipes.objectives.ranking import multi_hot
from ssast_recipes.records.configuration import configuration_sha256
from ssast_recipes.system.files import write_text
from ssast_recipes.system.tables import write_csv

_PREDICTION_COLUMNS = ("selection", "id", "label", "predicted")


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
        The metric by selection: of the "last", the "averaged" and the "best" weights.
    details : mapping
        Whatever else is worth keeping. What is not finite, as the d' of an AUC of 1, becomes null.
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
        **_without_folders(hparams.record),
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
    write_text(path, json.dumps(_finite(record), indent=2, allow_nan=False) + "\n")
    return path


def _without_folders(record: Mapping[str, Any]) -> dict[str, Any]:
    """Manifests by their names: where they lie tells apart machines, not runs."""
    manifests = record.get("train_manifests")
    if manifests is None:
        return dict(record)
    return {**record, "train_manifests": [Path(manifest).name for manifest in manifests]}


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_predictions(
    path: Path, classes: Sequence[str], selections: Mapping[str, Mapping[str, Any]]
) -> None:
    """Writes every clip's labels and scores, from which the metric can be computed again.

    Several labels are separated by `;`, as in a manifest. `predicted` is the class of the highest
    score.

    Arguments
    ---------
    path : Path
        Where to write the CSV file.
    classes : sequence of str
        Class names, in the order of the scores.
    selections : mapping
        By selection ("last", "best", …): `ids`, `targets` ([clips] or [clips, classes]) and
        `logits` [clips, classes].
    """

    def rows() -> Iterator[list[str]]:
        for selection, outputs in selections.items():
            logits = outputs["logits"]
            targets = multi_hot(outputs["targets"], len(classes))
            predicted = logits.argmax(dim=1).tolist()
            for clip, clip_id in enumerate(outputs["ids"]):
                labels = ";".join(classes[i] for i in targets[clip].nonzero().flatten().tolist())
                scores = [f"{logit:.9g}" for logit in logits[clip].tolist()]
                yield [selection, clip_id, labels, classes[predicted[clip]], *scores]

    write_csv(path, [*_PREDICTION_COLUMNS, *classes], rows())


def read_predictions(path: Path, selection: str) -> tuple[Tensor, Tensor]:
    """Reads what `write_predictions` wrote.

    Arguments
    ---------
    path : Path
        The CSV file.
    selection : str
        "last", "averaged" or "best".

    Returns
    -------
    tuple[Tensor, Tensor]
        Logits [clips, classes] and targets: class indices [clips] if every clip has one label,
        else which classes each has, [clips, classes], float32.

    Raises
    ------
    ValueError
        If the file is not what `write_predictions` writes.
    """
    first = len(_PREDICTION_COLUMNS)
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        head = next(reader, [])
        if tuple(head[:first]) != tuple(_PREDICTION_COLUMNS):
            raise ValueError(f"{path}: its head is not {','.join(_PREDICTION_COLUMNS)},…")
        classes = head[first:]
        numbers = {name: index for index, name in enumerate(classes)}
        scores, labels = [], []
        for row in reader:
            if row[:1] != [selection]:
                continue
            try:
                scores.append([float(score) for _, score in zip(classes, row[first:], strict=True)])
                labels.append([numbers[name] for name in row[2].split(";") if name])
            except (ValueError, LookupError):
                line = reader.line_num
                raise ValueError(f"{path}, line {line}: a score or a label is wrong") from None
    logits = torch.tensor(scores).reshape(len(scores), len(classes))
    targets = torch.zeros(len(scores), len(classes))
    for clip, present in enumerate(labels):
        targets[clip, present] = 1.0
    is_single = bool((targets.sum(dim=1) == 1).all())
    return logits, targets.argmax(dim=1) if is_single else targets


def write_per_class(
    path: Path,
    classes: Sequence[str],
    counts: Tensor,
    selections: Mapping[str, Mapping[str, Tensor]],
) -> None:
    """Writes how well every class is told.

    Arguments
    ---------
    path : Path
        Where to write the CSV file.
    classes : sequence of str
        Class names.
    counts : Tensor
        Clips of every class, [classes].
    selections : mapping
        By selection, then by name of the metric: its values, [classes]; what is not a number is
        left empty.
    """
    rows, columns = [], []
    for selection, metrics in selections.items():
        columns = list(metrics)
        for index, name in enumerate(classes):
            values = [float(metric[index]) for metric in metrics.values()]
            told = ["" if math.isnan(value) else f"{value:.6g}" for value in values]
            rows.append([selection, name, int(counts[index]), *told])
    write_csv(path, ["selection", "class", "clips", *columns], rows)


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
        count = torch.get_num_threads()
        return f"CPU, {count} thread{'s' if count > 1 else ''}"
    return device
