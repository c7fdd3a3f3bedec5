"""Patches or frames: both are tried for a moment, and labelled audio judges."""

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssast_recipes.records.hparams_text import write_hparams
from ssast_recipes.records.run import read_metrics
from ssast_recipes.runs.own.request import own_command
from ssast_recipes.system.children import end, start
from ssast_recipes.system.errors import RunError

MOST_SECONDS = 60.0  # of a trial
MOST_SHARE = 0.1  # of all that there is, for a trial
LEAST_SECONDS = 30.0  # in less, a trial says nothing


def trial_seconds(budget: float | None) -> float:
    """How long each trial may take, all included; 0 if there is too little time for any.

    Example
    -------
    >>> trial_seconds(1800), trial_seconds(400), trial_seconds(120), trial_seconds(None)
    (60.0, 40.0, 0.0, 60.0)
    """
    if budget is None:  # steps are given instead
        return MOST_SECONDS
    seconds = min(MOST_SECONDS, MOST_SHARE * budget)
    return seconds if seconds >= LEAST_SECONDS else 0.0


def try_out(
    source: Path, folder: Path, values: Mapping[str, Any], device: str | None, seconds: float
) -> float | None:
    """Pretrains as values say, in a folder that is removed again, and probes what was learnt.

    Arguments
    ---------
    source : Path
        The recipe's YAML file.
    folder : Path
        In which to make one.
    values : mapping
        For it; among them `probe_data`, and `num_steps` for the time that there is.
    device : str, optional
        As of the command.
    seconds : float
        After twice as many the trial is ended.

    Returns
    -------
    float or None
        Accuracy or mAP of a ridge regression on the embeddings; None if it was ended.

    Raises
    ------
    RunError
        If the training fails, or measures nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="trial_", dir=folder) as name:
        hparams_file = Path(name) / "pretrain.yaml"
        write_hparams(source, hparams_file, {**values, "output_folder": name})
        with open(Path(name) / "said.txt", "wb") as said:
            process = start(
                own_command(hparams_file, device), stdout=said, stderr=subprocess.STDOUT
            )
            try:
                process.wait(2 * seconds)
            except subprocess.TimeoutExpired:
                return None
            finally:
                end([process])
            status = process.returncode
        if status:
            last = (Path(name) / "said.txt").read_text(errors="replace").strip().splitlines()[-1:]
            raise RunError(f"a trial ended with status {status}: {' '.join(last)}")
        return last_probe(read_metrics(Path(name) / "metrics.jsonl"))


def last_probe(records: Sequence[Mapping[str, Any]]) -> float:
    """The last score of a ridge regression that a log holds.

    Raises
    ------
    RunError
        If there is none.

    Example
    -------
    >>> probes = [{"stage": "probe", "step": n, "linear_accuracy": n / 10} for n in (0, 5)]
    >>> last_probe([*probes, {"stage": "test", "step": 5}])
    0.5
    """
    scores = [
        value
        for record in records
        if record["stage"] == "probe"
        for key, value in record.items()
        if key.startswith("linear_")
    ]
    if not scores:
        raise RunError("a trial measured nothing on the labelled audio")
    return scores[-1]
