"""What an evaluated run leaves behind: `results.json` and `predictions.csv`."""

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import yaml
from torch import Tensor

from ssast_recipes import __version__
from ssast_recipes.builders import size_name
from ssast_recipes.files import write_csv, write_text

# Where a run's data lie and where it runs is no part of what it computes.
_FOLDERS = ("data_folder", "manifest_folder", "output_folder", "pretrained_encoder")
_NOT_CONFIGURATION = ("device", "num_workers", "skip_prep", "download")


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
        "configuration_sha256": configuration_sha256(folder / "hyperparams.yaml"),
        "package_version": __version__,
        "device": device_kind(device),
        **details,
    }
    path = folder / "results.json"
    write_text(path, json.dumps(record, indent=2) + "\n")
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


def configuration_sha256(path: Path) -> str:
    """Hashes a resolved YAML file without its comments, paths and device.

    Arguments
    ---------
    path : Path
        The `hyperparams.yaml` that a run keeps.

    Returns
    -------
    str
        The same for runs that compute the same, wherever their data lie.

    Example
    -------
    >>> first, second = (getfixture("tmp_path") / name for name in ("a.yaml", "b.yaml"))
    >>> _ = first.write_text("# today\\noutput_folder: /a\\nlog: /a/log.txt\\nlr: 0.1")
    >>> _ = second.write_text("output_folder: /b\\nlog: /b/log.txt\\nlr: 0.1")
    >>> configuration_sha256(first) == configuration_sha256(second)
    True
    """
    root = yaml.compose(path.read_text(encoding="utf-8"))
    folders = {
        value.value: f"<{key.value}>"
        for key, value in root.value
        if key.value in _FOLDERS and value.tag.endswith(":str") and len(value.value) > 1
    }
    # The longest first: one folder may hold another.
    ordered = sorted(folders.items(), key=lambda item: -len(item[0]))
    return hashlib.sha256(json.dumps(_plain(root, ordered)).encode()).hexdigest()


def _plain(node: yaml.Node, folders: Sequence[tuple[str, str]]) -> Any:
    if isinstance(node, yaml.MappingNode):
        items = [
            [_plain(key, folders), _plain(value, folders)]
            for key, value in node.value
            if key.value not in _NOT_CONFIGURATION
        ]
        return [node.tag, sorted(items, key=json.dumps)]
    if isinstance(node, yaml.SequenceNode):
        return [node.tag, [_plain(item, folders) for item in node.value]]
    text = node.value
    for folder, name in folders:
        if text == folder or text.startswith(folder + "/"):
            text = name + text[len(folder) :]
    return [node.tag, text]
