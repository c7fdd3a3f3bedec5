"""One's own labels, every fold of them tested once."""

from pathlib import Path

from ssast_recipes.records.run import Run
from ssast_recipes.runs.crossval import cross_validate
from ssast_recipes.runs.own.outcome import tell_outcome
from ssast_recipes.system.recipes import recipe_folder


def cross_validate_own(hparams_file: Path, num_folds: int, device: str | None) -> tuple[str, Path]:
    """Trains and tests the folds that are not finished, one after the other.

    Arguments
    ---------
    hparams_file : Path
        The planned YAML file, which has `num_folds`. The folds are in its folder.
    num_folds : int
        How many there are.
    device : str, optional
        As for `ssast finetune`.

    Returns
    -------
    tuple[str, Path]
        The table, as of `tell_outcome`: means and deviations over the folds; and `crossval.json`.

    Raises
    ------
    RunError
        If a fold fails.
    """
    folder, folds = hparams_file.parent, range(1, num_folds + 1)
    _, file = cross_validate(
        recipe_folder("OwnAudio") / "train.py",
        hparams_file,
        folds,
        None,
        ["--device", device] if device else [],
        folder,
    )
    runs = [Run(folder / f"fold{number}").results for number in folds]
    over = f"mean ± standard deviation over {num_folds} folds"
    return f"{tell_outcome({'this classifier': runs})}\n{over}", file


def folds_begun(hparams_file: Path) -> bool:
    """Whether a fold in the YAML file's folder has a checkpoint, or is finished."""
    runs = map(Run, hparams_file.parent.glob("fold*"))
    return any(run.has_begun or run.is_finished for run in runs)
