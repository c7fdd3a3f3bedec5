"""`ssast crossval`: trains and tests every fold of a recipe, and averages."""

import argparse
import re
from pathlib import Path

from ssast_recipes.runs.crossval import cross_validate
from ssast_recipes.runs.crossval_table import format_table


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
    folds = _read_numbers(arguments.folds, "--folds")
    seeds = None if arguments.seeds is None else _read_numbers(arguments.seeds, "--seeds")
    summary, file = cross_validate(train, hparams_file, folds, seeds, passed_on, arguments.output)
    print(f"\n{format_table(summary)}\n\nwritten to {file}")


def _read_numbers(text: str, option: str) -> list[int]:
    """Reads numbers and ranges of numbers, separated by commas, in their order.

    Example
    -------
    >>> _read_numbers("1-3,5", "--folds")
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
