"""`ssast recipes`: where the recipes are, copies of them, and a new one to begin with."""

import argparse
import os
import shutil
from pathlib import Path

from ssast_recipes.runs.new_recipe import write_recipe
from ssast_recipes.system.recipes import recipe_folder
from ssast_recipes.system.words import shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.commands.main`."""
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--copy-to", type=Path, metavar="FOLDER", help="copy them to a new folder, to change them"
    )
    choice.add_argument(
        "--new",
        type=Path,
        metavar="NAME",
        help="write a recipe for a new data set, in a new folder of this name",
    )


def run(arguments: argparse.Namespace) -> None:
    """Prints each recipe's title and folder, copies all of them, or writes a new one."""
    if arguments.new is not None:
        for path in write_recipe(arguments.new.absolute()):
            print(os.path.relpath(path))
        return
    recipes, target = recipe_folder(), arguments.copy_to
    if target is not None:
        if target.exists():
            raise FileExistsError(f"{target} is there already; name a new folder")
        part = target.with_name(f"{target.name}.part")
        shutil.rmtree(part, ignore_errors=True)  # of an attempt that was killed
        shutil.copytree(recipes, part, ignore=shutil.ignore_patterns("results", "__pycache__"))
        os.replace(part, target)
        recipes = target
    for train in sorted(recipes.glob("*/train.py")):
        print(f"{_title(train.parent)}\n    {train.parent}")


def _title(folder: Path) -> str:
    """The first line of a recipe's README or, of one's own without any, its folder's name."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return folder.name
    return shown(text.partition("\n")[0].lstrip("# ").strip()) or folder.name
