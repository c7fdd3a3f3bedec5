"""Where the recipes are, in the repository or in an installed package."""

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
    package = Path(__file__).resolve().parents[1]
    installed, repository = package / "recipes", package.parent / "recipes"
    folder = (installed if installed.is_dir() else repository) / name
    if not folder.is_dir():
        names = ", ".join(sorted(path.parent.name for path in folder.parent.glob("*/train.py")))
        raise FileNotFoundError(f"there is no recipe {name!r}; there are {names}")
    return folder
