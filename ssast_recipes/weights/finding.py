"""Where pretrained weights come from: the file that a path means, and the run that made it."""

import json
import math
from pathlib import Path
from typing import Any

import yaml

# What a fine-tuned run records of its pretraining.
RUN_KEYS = (
    *("experiment", "dataset", "seed", "steps", "num_clips", "size", "geometry", "settings"),
    *("run_options", "num_processes"),
)
# Of a model folder, ours or Hugging Face's: the one that is safe by its format first.
_MODEL_FILES = ("model.safetensors", "pytorch_model.bin")


def find_weights(source: Path) -> Path:
    """Finds the weights file that a user's path means.

    Arguments
    ---------
    source : Path
        A run's output folder, a checkpoint folder, a model folder (ours or Hugging Face's), or a
        file.

    Returns
    -------
    Path
        The file: of a run, the checkpoint with the highest `valid_score`, or else the newest; if
        its checkpoints are gone, that of its folder `model`.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    """
    if source.is_file():
        return source
    if (source / "model.ckpt").is_file():
        return source / "model.ckpt"
    found = [path.parent for path in source.glob("save/CKPT*/model.ckpt")]
    if not found:
        for path in (
            folder / name for folder in (source, source / "model") for name in _MODEL_FILES
        ):
            if path.is_file():
                return path
        if not source.exists():
            raise FileNotFoundError(
                f"{source} does not exist; give a pretraining run's output folder, a model folder "
                "or a file"
            )
        raise FileNotFoundError(
            f"{source}: neither a weights file, nor a checkpoint folder (with model.ckpt), nor a "
            "run's output folder (with save/CKPT*), nor a model folder (with model.safetensors)"
        )
    return max(found, key=_rank) / "model.ckpt"


def _rank(checkpoint: Path) -> tuple[float, float]:
    path = checkpoint / "CKPT.yaml"
    try:
        meta = yaml.safe_load(path.read_bytes())
        score = meta.get("valid_score", -math.inf)
        return (-math.inf if math.isnan(score) else score), meta["unixtime"]
    except (OSError, AttributeError, KeyError, TypeError, yaml.YAMLError):
        raise ValueError(
            f"{path} is missing or damaged; name the checkpoint folder to take instead"
        ) from None


def find_test_fold(weights: Path) -> int | None:
    """Tells which fold a run left out when it made a weights file.

    Arguments
    ---------
    weights : Path
        A `model.ckpt` in a checkpoint folder of a run's output folder, or the weights of its folder
        `model`.

    Returns
    -------
    int | None
        The run's `test_fold`; None if it has none, or the file is of no run's folder.

    Example
    -------
    >>> run = getfixture("tmp_path")
    >>> _ = (run / "hyperparams.yaml").write_text("test_fold: 2")
    >>> find_test_fold(run / "save" / "CKPT+1" / "model.ckpt")
    2
    """
    folder = _run_folder(weights)
    if folder is None:
        return None
    try:
        root = yaml.compose((folder / "hyperparams.yaml").read_bytes())
        values = {key.value: value.value for key, value in root.value}
        return int(values["test_fold"])
    except (OSError, AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError):
        return None


def find_run(weights: Path) -> dict[str, Any]:
    """Tells of the run that made a weights file what a table of results wants to know.

    Arguments
    ---------
    weights : Path
        As for `find_test_fold`.

    Returns
    -------
    dict
        Of the run's `results.json`, what `RUN_KEYS` names, as far as it is there: nothing of a
        file that is of no evaluated run.

    Example
    -------
    >>> run = getfixture("tmp_path")
    >>> _ = (run / "results.json").write_text('{"dataset": "ESC-50", "value": {"last": 0.5}}')
    >>> find_run(run / "save" / "CKPT+1" / "model.ckpt")
    {'dataset': 'ESC-50'}
    """
    folder = _run_folder(weights)
    try:
        results = json.loads((folder / "results.json").read_bytes()) if folder else {}
        return {key: results[key] for key in RUN_KEYS if key in results}
    except (OSError, TypeError, ValueError):
        return {}


def _run_folder(weights: Path) -> Path | None:
    """The output folder of the run that made a weights file."""
    folders = weights.absolute().parents
    if len(folders) > 2 and folders[1].name == "save":
        return folders[2]
    return folders[1] if folders[0].name == "model" else None
