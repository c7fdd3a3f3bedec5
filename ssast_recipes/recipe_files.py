"""`ssast recipes`: where the recipes are, in the repository or in an installed package."""

import argparse
import os
import shutil
from pathlib import Path


def recipe_folder(name: str = "") -> Path:
    """Finds a recipe's folder.

    Arguments
    ---------
    name : str
        As "ESC50"; by default the folder of all recipes.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    FileNotFoundError
        If there is no such recipe.

    Example
    -------
    >>> (recipe_folder("ESC50") / "train.py").is_file()
    True
    """
    package = Path(__file__).resolve().parent
    installed, repository = package / "recipes", package.parent / "recipes"
    folder = (installed if installed.is_dir() else repository) / name
    if not folder.is_dir():
        names = ", ".join(sorted(path.parent.name for path in folder.parent.glob("*/train.py")))
        raise FileNotFoundError(f"there is no recipe {name!r}; there are {names}")
    return folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.cli`."""
    parser.add_argument(
        "--copy-to", type=Path, metavar="FOLDER", help="copy them to a new folder, to change them"
    )


def run(arguments: argparse.Namespace) -> None:
    """Prints each recipe's title and folder, or copies all of them."""
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
        title = (train.parent / "README.md").read_text(encoding="utf-8").partition("\n")[0]
        print(f"{title.lstrip('# ')}\n    {train.parent}")
