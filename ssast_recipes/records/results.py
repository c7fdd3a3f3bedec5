"""What an evaluated run leaves behind: `results.json` and `per_class.csv`."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ssast_recipes import __version__
from ssast_recipes.model.builders import size_name
from ssast_recipes.records.configuration import configuration_sha256
from ssast_recipes.system.files import write_text
from ssast_recipes.system.tables import read_csv, write_csv

_CLASS_COLUMNS = ("selection", "class", "clips")


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
    write_csv(path, [*_CLASS_COLUMNS, *columns], rows)


def read_per_class(path: Path, selection: str | None) -> tuple[list[str], list[dict[str, str]]]:
    """Reads what `write_per_class` wrote: the names of its metrics, and a selection's rows.

    Arguments
    ---------
    path : Path
        The CSV file.
    selection : str, optional
        Of which weights; if there are none of these, the file's last.

    Returns
    -------
    tuple
        Names of the metrics; the rows, each a dict of cells by column.

    Raises
    ------
    ValueError
        If the file is not what `write_per_class` writes.
    """
    table = read_csv(path)
    names = list(table.columns)
    if names[: len(_CLASS_COLUMNS)] != list(_CLASS_COLUMNS) or names == list(_CLASS_COLUMNS):
        raise ValueError(f"its columns are {', '.join(names)}")
    if table.empty:
        raise ValueError("it has no rows")
    there = table["selection"]
    chosen = selection if selection in set(there) else there.iloc[-1]
    return names[len(_CLASS_COLUMNS) :], table[there == chosen].to_dict("records")


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
