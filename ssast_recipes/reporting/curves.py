"""The page's curves: every number that the run logged, over steps."""

from ssast_recipes.reporting.charts import legend, line_chart
from ssast_recipes.reporting.folder import RunFolder, is_number
from ssast_recipes.reporting.markup import Html, figure, join, tag

# What is known of the keys of metrics.jsonl: a title, and the unit. In the order of the page.
_KNOWN = {
    "loss": ("Loss", ""),
    "contrastive_loss": ("Contrastive loss", "InfoNCE / nats"),
    "reconstruction_loss": ("Reconstruction loss", "squared error"),
    "accuracy": ("Accuracy", "share of clips"),
    "masked_patch_accuracy": ("Masked-patch accuracy", "share of masked patches"),
    "mAP": ("mAP", "mean average precision"),
}
_LAST = {
    "constant_patches": ("Constant patches", "share of masked patches"),
    "learning_rate": ("Learning rate", "learning rate"),
    "clips_per_second": ("Throughput", "clips / s"),
}
_PROBE = "probe_"
# `valid_score` is the metric or the loss again; a test has no curve.
_LEFT_OUT = frozenset({"step", "epoch", "valid_score"})
_STAGES = ("train", "valid")


def curves_section(run: RunFolder) -> Html | None:
    """Draws a chart for every number in the log, training and validation in one.

    Arguments
    ---------
    run : RunFolder
        The run.

    Returns
    -------
    Html or None
        The charts; None if nothing was logged.
    """
    charts = [_chart(run, *choice) for choice in _choose(run)]
    return tag("div", *charts, class_="grid") if charts else None


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
        charts.append(("Probes", "share of clips", probes))
    charts += [(key.replace("_", " "), "", [key]) for key in others]
    return charts + [(*_LAST[key], [key]) for key in _LAST if key in found]


def _chart(run: RunFolder, title: str, unit: str, keys: list[str]) -> Html:
    logged = {record["stage"] for record in run.records} - {"test"}
    stages = [*_STAGES, *sorted(logged - set(_STAGES))]
    lines = {}
    for key in keys:
        for stage in stages:
            name = key.removeprefix(_PROBE) if key.startswith(_PROBE) else stage
            lines.setdefault(name, []).extend(run.series(stage, key))
    # A stage without the number keeps its colour, so that a stage has one on the whole page.
    names = [name for name, points in lines.items() if points]
    colours = [number for number, points in enumerate(lines.values()) if points]
    caption = join(tag("b", title), legend(names, colours))
    return figure(line_chart(lines, "step", unit or title), caption, class_="chart")
