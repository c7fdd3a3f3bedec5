"""Training and testing every fold of a recipe.

Every fold is a process of its own. What is finished stays: the same command goes on from there.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssast_recipes.records.run import RESULTS, Run
from ssast_recipes.runs.crossval_encoders import FoldRun
from ssast_recipes.system.errors import RunError
from ssast_recipes.system.interruption import Interrupted

_SECONDS_TO_END = 30  # of an interrupted fold


def train_fold(
    train: Path, hparams_file: Path, fold_run: FoldRun, passed_on: Sequence[str]
) -> None:
    """Runs a fold to its end; raises RunError if it fails."""
    fold, seed, folder = fold_run
    command = [sys.executable, str(train), str(hparams_file)]
    command += ["--test_fold", str(fold), "--output_folder", str(folder)]
    if seed is not None:
        command += ["--seed", str(seed)]
    command += map(fold_run.fill_in, passed_on)
    process = subprocess.Popen(command)
    try:
        status = process.wait()
    except Interrupted as interruption:
        # The fold ends by itself and says what it saved; it must not go on alone.
        process.send_signal(interruption.number)
        try:
            process.wait(timeout=_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
        line = f"{fold_run} interrupted; the same command goes on there"
        raise Interrupted(interruption.number, line) from None
    log = folder / "log.txt"
    see = f"see {log}" if log.exists() else "there is no log.txt, see the output above"
    if status:
        how = f"exit status {status}" if status > 0 else f"signal {-status}"
        raise RunError(f"{fold_run} failed ({how}): {see}")
    if not (folder / "results.json").exists():
        raise RunError(f"{fold_run} ended without results.json: {see}")


def read_record(fold_run: FoldRun) -> dict[str, Any]:
    """Reads what a finished fold has left; raises ValueError where that is none of crossval's."""
    run = Run(fold_run.folder)
    record = run.results
    if "last" not in record["value"] or record["value"].keys() != record.get("epochs", {}).keys():
        path = run.path / RESULTS
        raise ValueError(f"{path} is not of a fine-tuning: it has no last epoch's value")
    test = run.value("test_manifests")
    validated_on_test = test is not None and run.value("valid_manifests") == test
    return {**record, "fold": fold_run.fold, "validated_on_test": validated_on_test}
