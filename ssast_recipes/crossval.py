"""`ssast crossval`: trains and tests every fold of a recipe, and averages.

Every fold is a process of its own. What is finished stays: the same command goes on from there.
"""

import argparse
import json
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ssast_recipes.configuration import PLACE_KEYS
from ssast_recipes.crossval_table import format_table, summarise
from ssast_recipes.errors import RunError
from ssast_recipes.files import write_text

# Options that say where a fold computes, not what: they may change from fold to fold.


class FoldRun(NamedTuple):
    """A fold to train and test, its seed (None: the YAML file's) and its folder."""

    fold: int
    seed: int | None
    folder: Path

    def __str__(self) -> str:
        return f"fold {self.fold}" + ("" if self.seed is None else f", seed {self.seed}")


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

    experiment = {"recipe": f"{recipe}/{train.name}", "hparams_file": hparams_file.name}
    _keep_arguments(
        output,
        {
            **experiment,
            **({"--seeds": "given"} if with_seeds else {}),
            **{f"--{key}": value for key, value in _options(passed_on, with_seeds).items()},
            **{f"{key} in the YAML file": text for key, text in _read_yaml(hparams_file).items()},
        },
    )
    records: list[list[dict[str, Any]]] = []  # [seed][fold]
    for seed in seeds:
        records.append([])
        for fold in folds:
            folder = output / f"fold{fold}" / ("" if seed is None else f"seed{seed}")
            fold_run = FoldRun(fold, seed, folder)
            if (folder / "results.json").exists():
                print(f"{fold_run}: finished before, in {folder}", flush=True)
            else:
                print(f"{fold_run}: to {folder}", flush=True)
                _train(train, hparams_file, fold_run, passed_on)
            records[-1].append(_read_record(fold_run))

    summary = {**experiment, "arguments": passed_on, **summarise(records)}
    _write_json(output / "crossval.json", summary)
    print(f"\n{format_table(summary)}\n\nwritten to {output / 'crossval.json'}")


def read_numbers(text: str, option: str) -> list[int]:
    """Reads numbers and ranges of numbers, separated by commas.

    Arguments
    ---------
    text : str
        What was given.
    option : str
        The option to which it was given.

    Returns
    -------
    list[int]
        The numbers, in their order.

    Raises
    ------
    ValueError
        If it is something else, a range is empty or a number comes twice.

    Example
    -------
    >>> read_numbers("1-3,5", "--folds")
    [1, 2, 3, 5]
    """
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text, re.ASCII):
        raise ValueError(f"{option} is to be like 1-5, 1,3,5 or 2, not {text!r}")
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if int(last or first) < int(first):
            raise ValueError(f"{option} {text}: {part} is empty; the lower number comes first")
        numbers.extend(range(int(first), int(last or first) + 1))
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"{option} {text}: a number comes twice")
    return numbers


def _options(passed_on: Sequence[str], with_seeds: bool) -> dict[str, str]:
    """What is passed on by option, none of them crossval's to give."""
    options: dict[str, str] = {}
    for argument in passed_on:
        if argument.startswith("--"):
            key, _, value = argument[2:].partition("=")
            options[key] = value
        elif options:
            options[key] = f"{options[key]} {argument}".lstrip()
        else:
            raise ValueError(f"{argument!r} after the YAML file: expected --key value")
    own = {"test_fold": "--folds", "output_folder": "--output"}
    if with_seeds:
        own["seed"] = "--seeds"
    elif any("{seed}" in value for value in options.values()):
        raise ValueError("{seed} is filled in from --seeds, which is not given")
    for key in options.keys() & own.keys():
        raise ValueError(f"--{key} is given to every fold by crossval: use {own[key]}")
    return options


def _read_yaml(path: Path) -> dict[str, str]:
    """The text of every key of a YAML file, without comments and with its tags as they are."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from None
    if not isinstance(root, yaml.MappingNode):
        raise ValueError(f"{path} holds no keys and values")
    return {
        key.value: yaml.serialize(value).removesuffix("...\n").strip() for key, value in root.value
    }


def _keep_arguments(output: Path, given: Mapping[str, str]) -> None:
    """Writes `arguments.json`, unless folds were begun with others: then raises ValueError."""
    places = {name for key in PLACE_KEYS for name in (f"--{key}", f"{key} in the YAML file")}
    now = {key: value for key, value in given.items() if key not in places}
    path = output / "arguments.json"
    # What never got as far as a checkpoint may be forgotten: a mistyped value, say.
    if any(output.glob("fold*/**/results.json")) or any(output.glob("fold*/**/save/*")):
        if not path.exists():
            raise ValueError(f"{output} has folds but no {path.name}: choose another --output")
        before = json.loads(path.read_text(encoding="utf-8"))
        differences = [
            f"{key} was {_shorten(before.get(key))} and is {_shorten(now.get(key))}"
            for key in {**before, **now}
            if before.get(key) != now.get(key)
        ]
        if differences:
            more = f"; and {len(differences) - 4} more" if len(differences) > 4 else ""
            raise ValueError(
                f"{output} has folds run with other arguments: {'; '.join(differences[:4])}{more}: "
                "choose another --output"
            )
    _write_json(path, now)


def _shorten(value: str | None) -> str:
    return "not given" if value is None else textwrap.shorten(value, 60, placeholder=" …") or "''"


def _write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


def _train(train: Path, hparams_file: Path, fold_run: FoldRun, passed_on: Sequence[str]) -> None:
    """Runs a fold to its end; raises RunError if it fails."""
    fold, seed, folder = fold_run
    command = [sys.executable, str(train), str(hparams_file)]
    command += ["--test_fold", str(fold), "--output_folder", str(folder)]
    if seed is not None:
        command += ["--seed", str(seed)]
    command += [one.replace("{fold}", str(fold)).replace("{seed}", str(seed)) for one in passed_on]
    # Told to end, end the fold too (subprocess does, on an exception): it must not go on alone.
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        status = subprocess.run(command).returncode
    except KeyboardInterrupt:
        raise RunError(f"{fold_run} interrupted; the same command goes on there") from None
    finally:
        signal.signal(signal.SIGTERM, before)
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
    if not {"last", "best"} <= record["value"].keys() & record.get("epochs", {}).keys():
        raise ValueError(f"{path} is not of a fine-tuning: it has no last and best epoch's value")
    hparams = _read_yaml(fold_run.folder / "hyperparams.yaml")
    validated_on_test = hparams.get("valid_manifests", "") == hparams.get("test_manifests")
    return {**record, "fold": fold_run.fold, "validated_on_test": validated_on_test}
