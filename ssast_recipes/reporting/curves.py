"""The page's curves: every number that the run logged, over steps."""

from typing import Any

from markupsafe import Markup

from ssast_recipes.reporting.charts import colour, line_chart
from ssast_recipes.reporting.folder import RunFolder, is_number
from ssast_recipes.reporting.rendering import render

# What is known of the keys of metrics.jsonl: a title, and the unit. In the order of the page.
_KNOWN = {
    "loss": ("Loss", ""),
    "contrastive_loss": ("Contrastive loss", "InfoNCE / nats"),
    "reconstruction_loss": ("Reconstruction loss", "squared error"),
    "accuracy": ("Accuracy", "share of clips"),
    "masked_patch_accuracy": ("Masked-patch accuracy", "share of masked patches"),
    "WER": ("Word error rate", "wrong words / words"),
    "CER": ("Character error rate", "wrong characters / characters"),
    "mAP": ("mAP", "mean average precision"),
    "spread": ("Spread of embeddings", "distance from mean / length"),
    "rank": ("Rank of embeddings", "effective rank"),
}
_LAST = {
    "constant_patches": ("Constant patches", "share of masked patches"),
    "learning_rate": ("Learning rate", "learning rate"),
    "clips_per_second": ("Throughput", "clips / s"),
    "gradient_norm": ("Norm of gradients", "length, before clipping"),
    "peak_memory_gib": ("Peak memory of the GPU", "GiB"),
}
_PROBE, _PROBES = "probe_", "Probes"
# `valid_score` is the metric or the loss again; a test has no curve.
_LEFT_OUT = frozenset({"step", "epoch", "valid_score"})
_STAGES = ("train", "valid")


def curves_section(run: RunFolder) -> Markup | None:
    """Draws a chart for every number in the log, training and validation in one.

    Arguments
    ---------
    run : RunFolder
        The run.

    Returns
    -------
    Markup or None
        The charts; None if nothing was logged.
    """
    charts = [_chart(run, *choice) for choice in _choose(run)]
    return render("curves.html.jinja", charts=charts) if charts else None


def _choose(run: RunFolder) -> list[tuple[str, str, list[str]]]:
    """Titles, units and keys of the charts; what probes measure shares one."""
    found = {
        key: None  # in their order, once
        for record in run.records
        if record["stage"] != "test"
        for key, value in record.items()
        if is_number(value) and key not in _LEFT_OUT
    }
    probes = [key for key in found if key.startswith(_PROBE)]
    others = [key for key in found if key not in {*_KNOWN, *_LAST, *probes}]
    charts = [(*_KNOWN[key], [key]) for key in _KNOWN if key in found]
    if probes:
        charts.append((_PROBES, "share of clips", probes))
    charts += [(_title(key), "", [key]) for key in others]
    return charts + [(*_LAST[key], [key]) for key in _LAST if key in found]


def _title(key: str) -> str:
    """A key of the log as a heading.

    Example
    -------
    >>> _title("gradient_norm")
    'Gradient norm'
    """
    words = key.replace("_", " ")
    return words[:1].upper() + words[1:]


def _chart(run: RunFolder, title: str, unit: str, keys: list[str]) -> dict[str, Any]:
    logged = {record["stage"] for record in run.records} - {"test"}
    stages = [*_STAGES, *sorted(logged - set(_STAGES))]
    lines = {}
    for key in keys:
        for stage in stages:
            name = key.removeprefix(_PROBE) if key.startswith(_PROBE) else stage
            lines.setdefault(name, []).extend(run.series(stage, key))
    # A stage without the number keeps its colour, so that a stage has one on the whole page.
    keys = [(name, colour(number)) for number, (name, points) in enumerate(lines.items()) if points]
    drawn = line_chart(lines, "step", unit or title, from_zero=title == _PROBES)
    return {"title": title, "legend": keys, "drawn": drawn}
