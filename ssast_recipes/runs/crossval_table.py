"""What `ssast crossval` prints: folds, their mean and their deviation."""

import textwrap
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from ssast_recipes.system import words

# What a run may be judged by, and the heading of its column.
_HEADINGS = {"last": "last epoch", "averaged": "averaged", "best": "best epoch"}


def summarise(records: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Averages the results of folds and seeds.

    Standard deviations are the sample's: over folds if there is one seed, else over the seeds'
    means over folds.

    Arguments
    ---------
    records : sequence of sequences of mappings
        By seed and by fold, what `results.json` holds and `validated_on_test`: whether the clips
        that choose the best epoch are the test clips.

    Returns
    -------
    dict[str, Any]
        `metric`; `over` ("folds" or "seeds"); `averages`; `runs`, the records without histories.
        Averages are of the "last" epoch and, as far as all records have them, of the "averaged"
        weights and each fold's "best"; with it of "best_by_average", for each seed the epoch (in
        `epochs`) at which the mean over folds is highest. Each has `mean` and `standard_deviation`
        (None of a single value), or says why it is `left_out`.

    Example
    -------
    >>> record = {"metric": "accuracy", "validated_on_test": True}
    >>> record |= {"history": [{"epoch": 1, "accuracy": 0.75}, {"epoch": 2, "accuracy": 0.5}]}
    >>> summarise([[{**record, "value": {"last": 0.5, "best": 0.75}}]])["averages"]["last"]
    {'mean': 0.5, 'standard_deviation': None}
    """
    runs = [record for folds in records for record in folds]
    averages: dict[str, Any] = {
        selection: _average([[record["value"][selection] for record in folds] for folds in records])
        for selection in _HEADINGS
        if all(selection in record["value"] for record in runs)
    }
    metric = runs[0]["metric"]
    if "best" in averages:
        averages["best_by_average"] = _best_by_average(records, metric)
    return {
        "metric": metric,
        "over": "seeds" if len(records) > 1 else "folds",
        "averages": averages,
        "runs": [{key: record[key] for key in record if key != "history"} for record in runs],
    }


def _best_by_average(records: Sequence[Sequence[Mapping[str, Any]]], metric: str) -> dict[str, Any]:
    if not all(record["validated_on_test"] for folds in records for record in folds):
        return {"left_out": "the validation clips are not the test clips"}
    histories = [record["history"] for folds in records for record in folds]
    # Trained by steps, several validations may fall into one epoch.
    by_steps = any(len({one["epoch"] for one in one_run}) < len(one_run) for one_run in histories)
    unit = "step" if by_steps else "epoch"
    scores = [
        [{one[unit]: one[metric] for one in record["history"]} for record in folds]
        for folds in records
    ]  # [seed][fold][epoch]
    if any(by_epoch.keys() != scores[0][0].keys() for folds in scores for by_epoch in folds):
        return {"left_out": "the folds' histories have different epochs"}
    epochs, values = [], []
    for folds in scores:
        by_epoch = {epoch: [fold[epoch] for fold in folds] for epoch in sorted(folds[0])}
        means = {epoch: mean(of_folds) for epoch, of_folds in by_epoch.items()}
        epochs.append(max(means, key=means.__getitem__))
        values.append(by_epoch[epochs[-1]])
    return {**_average(values), "epochs": epochs}


def _average(values: Sequence[Sequence[float]]) -> dict[str, float | None]:
    """Mean and standard deviation of values [seed][fold]."""
    samples = values[0] if len(values) == 1 else [mean(folds) for folds in values]
    return {
        "mean": mean(samples),
        "standard_deviation": stdev(samples) if len(samples) > 1 else None,
    }


def format_table(summary: Mapping[str, Any]) -> str:
    """Makes the table, in percent, of what `summarise` returned."""
    runs = summary["runs"]
    headings = {name: text for name, text in _HEADINGS.items() if name in summary["averages"]}
    rows = []
    for record in runs:
        row = [record["fold"], record["seed"]]
        for selection in headings:
            epochs = record["epochs"][selection]
            epoch = f"{epochs[0]}-{epochs[-1]}" if isinstance(epochs, list) else f"{epochs}"
            row.append(f"{100 * record['value'][selection]:.2f} ({epoch})")
        rows.append(row)
    table = words.format_table(["fold", "seed", *headings.values()], rows, numbers=True)
    lines = [f"{summary['metric']} in % (epoch)", "", table]

    num_folds = len({record["fold"] for record in runs})
    over = f"{num_folds} folds" if num_folds > 1 else "1 fold"
    if summary["over"] == "seeds":
        over = f"{len(runs) // num_folds} seeds, each the mean of {over}"
    # An epoch that was chosen by what it is judged by flatters: say so.
    on_test = all(record["validated_on_test"] for record in runs)
    star = " *" if on_test and "best" in headings else ""
    labels = {
        "last": "last epoch",
        "averaged": "averaged weights",
        "best": f"each fold's own best epoch{star}",
        "best_by_average": f"best epoch by the folds' average (as released){star}",
    }
    averages = [
        (label, _format(summary["averages"][name]))
        for name, label in labels.items()
        if name in summary["averages"]
    ]
    lines += ["", f"mean ± standard deviation over {over}"]
    lines.append(textwrap.indent(words.format_table([], averages, "plain"), "  "))
    if star:
        lines.append("* chosen on the test clips")
    return "\n".join(lines)


def _format(average: Mapping[str, Any]) -> str:
    if "left_out" in average:
        return f"left out: {average['left_out']}"
    text = f"{100 * average['mean']:.2f}"
    if average["standard_deviation"] is not None:
        text += f" ± {100 * average['standard_deviation']:.2f}"
    if "epochs" in average:
        text += f" ({', '.join(map(str, average['epochs']))})"
    return text
