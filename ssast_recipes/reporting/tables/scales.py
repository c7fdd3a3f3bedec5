"""Scales: the rows of a table with smaller models, fewer steps, fabricated data."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ssast_recipes.reporting.tables.experiments import expected_settings
from ssast_recipes.reporting.tables.rows import Pretraining, Row, Table, read_yaml, tables_folder

SMOKE = "smoke"


@dataclass(frozen=True)
class Scale:
    """How large runs are.

    Arguments
    ---------
    name : str
        "full", as published, or one of `common.yaml`.
    pretraining, tuning : mapping
        Options in place of a row's.
    tasks : mapping
        By key: options of a task's fine-tuning.
    folds : tuple of int, optional
        In place of a task's.
    """

    name: str = "full"
    pretraining: Mapping[str, Any] = field(default_factory=dict)
    tuning: Mapping[str, Any] = field(default_factory=dict)
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    folds: tuple[int, ...] | None = None


def read_scale(name: str) -> Scale:
    """Reads a scale.

    Raises
    ------
    ValueError
        If there is none of that name.

    Example
    -------
    >>> read_scale("small").tuning
    {'size': 'tiny'}
    """
    scales = read_yaml(tables_folder() / "common.yaml")["scales"]
    if name == "full":
        return Scale()
    if name not in scales:
        raise ValueError(f"there is no scale {name!r}; there are full, {', '.join(scales)}")
    given = dict(scales[name])
    folds = given.pop("folds", None)
    return Scale(name, folds=None if folds is None else tuple(folds), **given)


def scale_table(table: Table, scale: Scale) -> Table:
    """Gives the rows of a table the options of a scale.

    Arguments
    ---------
    table : Table
        The table; one with `one_scale` changes at the smoke scale alone, and what it `keeps` only
        there.
    scale : Scale
        The scale.

    Returns
    -------
    Table

    Example
    -------
    >>> from ssast_recipes.reporting.tables.rows import read_table
    >>> row = scale_table(read_table("table2"), read_scale("small")).rows[1]
    >>> row.pretraining.options["size"], row.pretraining.options["num_steps"]
    ('tiny', 20000)
    """
    is_smoke = scale.name == SMOKE
    if scale.name == "full" or (table.one_scale and not is_smoke):
        return table
    kept = () if is_smoke else table.keeps
    rows = tuple(_scale_row(row, table, scale, kept) for row in table.rows)
    tasks = {
        key: replace(task, folds=scale.folds) if task.folds and scale.folds else task
        for key, task in table.tasks.items()
    }
    return replace(table, rows=rows, tasks=tasks, scale=scale.name)


def _scale_row(row: Row, table: Table, scale: Scale, kept: tuple[str, ...]) -> Row:
    tasks = {
        key: {
            **row.tasks.get(key, {}),
            **_without(kept, scale.tuning),
            **_without(kept, scale.tasks.get(key, {})),
        }
        for key in table.tasks
    }
    pretraining = row.pretraining
    if pretraining is not None:
        options = _scale_pretraining(pretraining, _without(kept, scale.pretraining))
        pretraining = replace(pretraining, options=options)
    return replace(row, tasks=tasks, pretraining=pretraining)


def _without(kept: tuple[str, ...], options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key not in kept}


def _scale_pretraining(pretraining: Pretraining, scaled: Mapping[str, Any]) -> dict[str, Any]:
    """A pretraining's options with others in their place, the masked share as it was.

    So is the share of the warm-up, if it would not end otherwise.
    """
    options = {**pretraining.options, **scaled}
    before = expected_settings(pretraining.experiment, pretraining.options)
    if "warmup_steps" not in scaled and "num_steps" in scaled:
        if before["warmup_steps"] >= scaled["num_steps"]:
            share = before["warmup_steps"] / before["num_steps"]
            options["warmup_steps"] = round(share * scaled["num_steps"])
    if "target_length" in scaled:
        share = before["num_masked_patches"] / before["target_length"]
        options["num_masked_patches"] = round(share * scaled["target_length"])
    return options
