"""`ssast crossval`: trains and tests every fold of a recipe, and averages."""

import argparse
from pathlib import Path
from typing import Any

from ssast_recipes.runs.crossval import read_record, train_fold
from ssast_recipes.runs.crossval_arguments import (
    keep_arguments,
    read_numbers,
    read_options,
    read_yaml,
    write_json,
)
from ssast_recipes.runs.crossval_encoders import FoldRun, find_encoders, keep_encoders
from ssast_recipes.runs.crossval_table import format_table, summarise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.commands.main`."""
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
                train_fold(train, hparams_file, fold_run, passed_on)
            records[-1].append(read_record(fold_run))

    summary = {**experiment, "arguments": passed_on, **summarise(records)}
    write_json(output / "crossval.json", summary)
    print(f"\n{format_table(summary)}\n\nwritten to {output / 'crossval.json'}")
