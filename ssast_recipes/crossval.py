"""`ssast crossval`: trains and tests every fold of a recipe, and averages.

Every fold is a process of its own. What is finished stays: the same command goes on from there.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssast_recipes.crossval_arguments import (
    keep_arguments,
    read_numbers,
    read_options,
    read_yaml,
    write_json,
)
from ssast_recipes.crossval_encoders import FoldRun, find_encoders, keep_encoders
from ssast_recipes.crossval_table import format_table, summarise
from ssast_recipes.errors import RunError
from ssast_recipes.interruption import Interrupted

_SECONDS_TO_END = 30  # of an interrupted fold


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.cli`."""
    # Among the arguments for train.py may be ours: the second parser picks them out.
    options = argparse.ArgumentParser(prog=parser.prog)
    options.format_usage, options.format_help = parser.format_usage, parser.format_help
    for one in (parser, options):
        one.allow_abbrev = False  # or --seed would be taken for --seeds
        one.add_argument("--folds", default="1-5", help="as 1-5 (the default), 1,3,5 or 2")
        one.add_argument("--seeds", help="as 1,2,3: every fold by each; default: the YAML file's")
        one.add_argument(
            "--output", type=Path, help="default: results/RECIPE/crossval_NAME of the YAML file"
        )
    parser.add_argument("train", type=Path, metavar="train.py", help="a recipe's train.py")
    parser.add_argument(
        "hparams_file", type=Path, metavar="YAML", help="from here or from train.py's folder"
    )
    parser.add_argument(
        "passed_on",
        nargs=argparse.REMAINDER,
        metavar="--key value",
        help="passed on to train.py, {fold} and {seed} filled in",
    )
    parser.set_defaults(options=options)


def run(arguments: argparse.Namespace) -> None:
    """Runs the folds that are not finished, prints the table and writes `crossval.json`."""
    _, passed_on = arguments.options.parse_known_args(arguments.passed_on, arguments)
    train, hparams_file = arguments.train, arguments.hparams_file
    if not train.is_file():
        raise FileNotFoundError(f"{train}: no such file")
    if not hparams_file.is_file():
        hparams_file = train.parent / hparams_file
    if not hparams_file.is_file():
        raise FileNotFoundError(
            f"{arguments.hparams_file}: no such file, here or in {train.parent}"
        )
    recipe = train.resolve().parent.name
    output = arguments.output or Path("results", recipe, f"crossval_{hparams_file.stem}")
    folds = read_numbers(arguments.folds, "--folds")
    with_seeds = arguments.seeds is not None
    seeds = read_numbers(arguments.seeds, "--seeds") if with_seeds else [None]

    options, in_file = read_options(passed_on, with_seeds), read_yaml(hparams_file)
    if "PretrainingBrain" in in_file.get("brain_class", ""):
        raise ValueError(
            f"{hparams_file} pretrains: crossval averages the results of fine-tuning; pretrain "
            "each fold with train.py, then give crossval a fine-tuning file"
        )
    fold_runs = [
        [
            FoldRun(k, seed, output / f"fold{k}" / (f"seed{seed}" if with_seeds else ""))
            for k in folds
        ]
        for seed in seeds
    ]
    source = options.get("pretrained_encoder", in_file.get("pretrained_encoder"))
    encoders = find_encoders(source, [fold_run for runs in fold_runs for fold_run in runs])

    experiment = {"recipe": f"{recipe}/{train.name}", "hparams_file": hparams_file.name}
    keep_arguments(
        output,
        {
            **experiment,
            **({"--seeds": "given"} if with_seeds else {}),
            **{f"--{key}": value for key, value in options.items()},
            **{f"{key} in the YAML file": text for key, text in in_file.items()},
        },
    )
    keep_encoders(output, encoders)
    records: list[list[dict[str, Any]]] = []  # [seed][fold]
    for runs in fold_runs:
        records.append([])
        for fold_run in runs:
            if fold_run.is_finished:
                print(f"{fold_run}: finished before, in {fold_run.folder}", flush=True)
            else:
                print(f"{fold_run}: to {fold_run.folder}", flush=True)
                keep_encoders(output, encoders)  # hours may have passed
                _train(train, hparams_file, fold_run, passed_on)
            records[-1].append(_read_record(fold_run))

    summary = {**experiment, "arguments": passed_on, **summarise(records)}
    write_json(output / "crossval.json", summary)
    print(f"\n{format_table(summary)}\n\nwritten to {output / 'crossval.json'}")


def _train(train: Path, hparams_file: Path, fold_run: FoldRun, passed_on: Sequence[str]) -> None:
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


def _read_record(fold_run: FoldRun) -> dict[str, Any]:
    path = fold_run.folder / "results.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is damaged ({error}): delete it to run the fold again") from None
    if "last" not in record["value"] or record["value"].keys() != record.get("epochs", {}).keys():
        raise ValueError(f"{path} is not of a fine-tuning: it has no last epoch's value")
    hparams = read_yaml(fold_run.folder / "hyperparams.yaml")
    validated_on_test = hparams.get("valid_manifests", "") == hparams.get("test_manifests")
    return {**record, "fold": fold_run.fold, "validated_on_test": validated_on_test}
