"""Any other table of records: by a field in rows, by another in columns."""

import statistics
from collections.abc import Sequence
from typing import Any

from ssast_recipes.reporting.tables.ledger import Record

TRAITS = ("objective", "masked", "patches", "pretrained")


def group(records: Sequence[Record], rows: str, columns: str) -> tuple[list[str], list[list[str]]]:
    """Averages the values of runs that have two fields in common.

    Arguments
    ---------
    records : sequence of Record
        The runs; those without classes' predictions (pretraining) are passed over.
    rows, columns : str
        Fields: of `results.json`, as `dataset` or `settings.lr`; or one of `TRAITS`.

    Returns
    -------
    tuple
        The head and the lines: mean ± standard deviation and number of runs, in %, of the last
        weights.

    Raises
    ------
    ValueError
        If no run has a field.

    Example
    -------
    >>> from pathlib import Path
    >>> runs = [{"dataset": "A", "seed": 1, "value": {"last": value}} for value in (0.5, 0.7)]
    >>> group([Record(Path("r"), {**run, "metric": "accuracy"}) for run in runs], "dataset", "seed")
    (['dataset', 'seed 1'], [['A', '60.0 ± 14.1 (2)']])
    """
    tuned = [record for record in records if record.content.get("metric") in ("accuracy", "mAP")]
    for name in (rows, columns):
        if all(record.get(name) is None for record in tuned):
            known = sorted({key for record in tuned for key in record.content})
            raise ValueError(
                f"no run has a field {name!r}; there are {', '.join([*TRAITS, *known])}, and what "
                "they hold, as settings.lr"
            )
    import pandas

    frame = pandas.DataFrame(
        [
            (_key(run.get(rows)), _key(run.get(columns)), 100 * run.content["value"]["last"])
            for run in tuned
        ],
        columns=["row", "column", "value"],
    )
    table = frame.pivot_table("value", "row", "column", aggfunc=_show, fill_value="")
    lines = [[row, *cells] for row, cells in zip(table.index, table.values.tolist(), strict=True)]
    return [rows, *(f"{columns} {column}" for column in table.columns)], lines


def _key(value: Any) -> str:
    return "none" if value is None else str(value)


def _show(values: Sequence[float]) -> str:
    # Rounded once: pandas' mean and deviation may be off in the last bit, and so across a 5.
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread} ({len(values)})"
