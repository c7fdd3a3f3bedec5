"""Where pretrained weights come from: the file that a path means, and the run that made it."""

from pathlib import Path
from typing import Any

from ssast_recipes.records.run import Run

# What a fine-tuned run records of its pretraining.
RUN_KEYS = (
    *("experiment", "dataset", "seed", "steps", "num_clips", "size", "geometry", "settings"),
    *("run_options", "num_processes"),
)
# Of a model folder, ours or Hugging Face's: those that are safe by their format first.
_MODEL_FILES = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
_TRAINER = "checkpoint-"  # and the step: a folder in that of Hugging Face's Trainer
# By these names alone nobody knows which: their folders tell them apart.
_COMMON_NAMES = ("model.ckpt", *_MODEL_FILES)


def find_weights(source: Path) -> Path:
    """Finds the weights file that a user's path means.

    Arguments
    ---------
    source : Path
        A run's output folder, a checkpoint folder, a model folder (ours or Hugging Face's), the
        folder of Hugging Face's Trainer, or a file.

    Returns
    -------
    Path
        The file: of a run, the checkpoint with the highest `valid_score`, or else the newest; if
        its checkpoints are gone, that of its folder `model`. Of a Trainer's, what it saved at the
        end, or else the newest checkpoint. Of weights in several files, their index.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ValueError
        If what tells of a run's checkpoint is damaged.
    """
    if source.is_file():
        return source
    if (source / "model.ckpt").is_file():
        return source / "model.ckpt"
    best = Run(source).best_checkpoint()
    if best is not None:
        return best / "model.ckpt"
    for folder in (source, source / "model", *_trainer_checkpoints(source)):
        for path in (folder / name for name in _MODEL_FILES):
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


def _trainer_checkpoints(source: Path) -> list[Path]:
    """The checkpoints of Hugging Face's Trainer, the newest first."""
    steps = {path: path.name.removeprefix(_TRAINER) for path in source.glob(f"{_TRAINER}*")}
    numbered = [path for path, step in steps.items() if step.isdecimal()]
    return sorted(numbered, key=lambda path: int(steps[path]), reverse=True)


def source_name(path: Path) -> str:
    """Names a weights file, with its folder where all such files have one name.

    Example
    -------
    >>> source_name(Path("/models/SSAST-Tiny-Patch-400.pth"))
    'SSAST-Tiny-Patch-400.pth'
    >>> source_name(Path("/runs/save/CKPT+1/model.ckpt"))
    'CKPT+1/model.ckpt'
    """
    name = path.name
    return name if name not in _COMMON_NAMES else f"{path.absolute().parent.name}/{name}"


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
    run = Run.of_weights(weights)
    try:
        return None if run is None else int(run.value("test_fold"))
    except (OSError, TypeError, ValueError):
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
    run = Run.of_weights(weights)
    try:
        results = {} if run is None else run.results
    except (OSError, ValueError):
        return {}
    return {key: results[key] for key in RUN_KEYS if key in results}
