"""What came out of a fine-tuning, beside what it has to beat."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from ssast_recipes.system.words import format_table

CHANCE = "chance: the classes as common as in training"
RIDGE = "ridge regression on log-mel bands, 12 time steps"
_NAMES = {"chance": CHANCE, "log_mel_ridge": RIDGE}


def kept_value(results: Mapping[str, Any]) -> float:
    """The metric of the weights that a run left to be used: the best by validation, or the last.

    Example
    -------
    >>> kept_value({"value": {"last": 0.5, "best": 0.75}})
    0.75
    """
    values = results["value"]
    return values.get("best", values["last"])


def tell_outcome(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Sets chance, baseline and classifiers side by side, and warns of those that lose.

    Arguments
    ---------
    runs : mapping
        By what is told of them, `results.json` of one run or, of each seed or fold, one. With
        `baselines`; without, as runs of earlier versions are, there is nothing to compare.

    Returns
    -------
    str
        A table, in percent, mean and sample deviation where there are several, and a line for each
        classifier that is not better than the baseline.

    Example
    -------
    >>> results = {"metric": "accuracy", "num_clips": {"test": 8}, "value": {"last": 0.5}}
    >>> results["baselines"] = {"chance": 0.25, "log_mel_ridge": 0.75}
    >>> print(tell_outcome({"this classifier": [results]}))
    accuracy in %, 8 test files
    ------------------------------------------------  ----
    chance: the classes as common as in training      25.0
    ridge regression on log-mel bands, 12 time steps  75.0
    this classifier                                   50.0
    ------------------------------------------------  ----
    Warning: this classifier is not better than ridge regression on log-mel bands; begin pretrained,
    or label more
    """
    rows = measured_rows(runs)
    first = next(iter(runs.values()))[0]
    tested = sorted({one["num_clips"]["test"] for of_name in runs.values() for one in of_name})
    counts = " to ".join(f"{count:,}" for count in dict.fromkeys((tested[0], tested[-1])))
    heading = f"{first['metric']} in %, {counts} test files"
    lines = [[_NAMES.get(name, name), _percent(values)] for name, values in rows.items()]
    told = [heading, format_table([], lines, numbers=True)]
    for name, results in runs.items():
        can_win = "log_mel_ridge" in rows and mean(rows["log_mel_ridge"]) < 1
        if can_win and mean(rows[name]) <= mean(rows["log_mel_ridge"]):
            is_pretrained = results[0].get("pretrained_from")
            advice = "pretrain longer, on more audio" if is_pretrained else "begin pretrained"
            told.append(
                f"Warning: {name} is not better than ridge regression on log-mel bands; {advice}, "
                "or label more"
            )
    return "\n".join(told)


def measured_rows(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[float]]:
    """Lists what was measured, of each seed: `chance`, `log_mel_ridge` and the runs.

    Arguments
    ---------
    runs : mapping
        As for `tell_outcome`.

    Returns
    -------
    dict of str to list of float
        The baselines once for each seed.
    """
    measured = next(iter(runs.values()))
    rows = {
        name: [results["baselines"][name] for results in measured]
        for name in _NAMES
        if all(name in results.get("baselines", {}) for results in measured)
    }
    return rows | {name: [kept_value(one) for one in results] for name, results in runs.items()}


def _percent(values: Sequence[float]) -> str:
    told = f"{100 * mean(values):.1f}"
    return f"{told} ± {100 * stdev(values):.1f}" if len(values) > 1 else told
