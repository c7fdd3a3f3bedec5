"""Pretrained encoders of a cross-validation: there at the start, and not replaced later."""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import yaml

from ssast_recipes.records.run import Run
from ssast_recipes.system.files import file_digest, write_text
from ssast_recipes.weights.finding import find_weights


class FoldRun(NamedTuple):
    """A fold to train and test, its seed (None: the YAML file's) and its folder."""

    fold: int
    seed: int | None
    folder: Path

    def __str__(self) -> str:
        return f"fold {self.fold}" + ("" if self.seed is None else f", seed {self.seed}")

    @property
    def is_finished(self) -> bool:
        """Whether it has its results."""
        return Run(self.folder).is_finished

    @property
    def is_begun(self) -> bool:
        """Whether it has results or a checkpoint."""
        return self.is_finished or Run(self.folder).has_begun

    def fill_in(self, argument: str) -> str:
        """Puts fold and seed into an argument for train.py."""
        return argument.replace("{fold}", str(self.fold)).replace("{seed}", str(self.seed))


def find_encoders(source: str | None, fold_runs: Iterable[FoldRun]) -> dict[FoldRun, Path]:
    """Finds the weights file that every fold is to begin with.

    Arguments
    ---------
    source : str or None
        `pretrained_encoder`, as the command line or the YAML file gives it.
    fold_runs : iterable of FoldRun
        The folds; of those that are finished, the file may be gone.

    Returns
    -------
    dict[FoldRun, Path]
        The files; none if the encoder starts from scratch, or the YAML file computes the path.

    Raises
    ------
    FileNotFoundError
        If a fold's file is not there.
    """
    if not source or source.startswith("!") or yaml.safe_load(source) is None:
        return {}
    found = {}
    for fold_run in fold_runs:
        try:
            found[fold_run] = find_weights(Path(fold_run.fill_in(source)))
        except FileNotFoundError as error:
            if not fold_run.is_finished:
                raise FileNotFoundError(f"pretrained_encoder of {fold_run}: {error}") from None
    return found


def keep_encoders(output: Path, encoders: Mapping[FoldRun, Path]) -> None:
    """Writes checksums of the folds' encoders to `encoders.json`.

    Arguments
    ---------
    output : Path
        The cross-validation's folder.
    encoders : mapping
        What `find_encoders` returned.

    Raises
    ------
    ValueError
        If a fold was begun with another file than is there now.
    """
    if not encoders:
        return
    path = output / "encoders.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    now = {str(fold_run): _digest(weights) for fold_run, weights in encoders.items()}
    for fold_run, weights in encoders.items():
        name = str(fold_run)
        if fold_run.is_begun and before.get(name, now[name]) != now[name]:
            raise ValueError(
                f"{fold_run} was run with another encoder: {weights} was replaced since; choose "
                "another --output, or put the old one back"
            )
    write_text(path, json.dumps({**before, **now}, indent=2) + "\n")


def _digest(path: Path) -> str:
    state = path.stat()
    return _digest_of(path, state.st_mtime_ns, state.st_size)


@lru_cache
def _digest_of(path: Path, modified: int, size: int) -> str:
    return file_digest(path)
