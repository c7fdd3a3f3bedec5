"""The page's head: what the run is, how well it did, and its configuration in brief."""

import re
import statistics
from collections.abc import Mapping
from typing import Any

import yaml

from ssast_recipes.reporting.folder import RunFolder, is_number
from ssast_recipes.reporting.markup import Html, join, table, tag

_WEIGHTS = {
    "last": "last step",
    "averaged": "averaged over epochs",
    "best": "best by validation",
}
_SHORT = 12  # digits of a checksum


def title_of(run: RunFolder) -> str:
    """Names the run: what it does, and on what.

    Example
    -------
    >>> from pathlib import Path
    >>> title_of(RunFolder(Path("a"), {"dataset": "ESC-10", "fold": 1, "seed": 2}))
    'Classification: ESC-10, fold 1, seed 2'
    """
    kind = "Pretraining" if run.is_pretraining else "Classification"
    about = [str(run.results["dataset"])] if run.results.get("dataset") else []
    for key, setting in (("fold", "test_fold"), ("seed", "seed")):
        value = run.results.get(key)
        value = run.setting(setting) if value is None else value
        if value is not None:
            about.append(f"{key} {value}")
    return f"{kind}: {', '.join(about)}" if about else kind


def results_section(run: RunFolder) -> Html:
    """Shows the metric by selection of the weights, or that the run was not evaluated."""
    values = _mapping(run.results.get("value"))
    if not values:
        limit = run.setting("num_steps")
        so_far = f"Its log ends at step {run.last_step:,}" + (f" of {limit}." if limit else ".")
        return tag(
            "p", tag("b", "Not evaluated: no results yet. "), so_far, class_="note", role="status"
        )
    metric = str(run.results.get("metric", "metric")).replace("_", " ")
    clips = _mapping(run.results.get("num_clips")).get("test")
    tiles = [
        tag(
            "div",
            tag("span", f"{value:.4g}" if is_number(value) else "–", class_="number"),
            tag("span", f"{metric}, {_WEIGHTS.get(name, name)}", class_="name"),
        )
        for name, value in values.items()
    ]
    told = [f"On {clips} test clips."] if clips is not None else []
    masked = run.setting("num_masked_patches") or ""
    if run.results.get("metric") == "masked_patch_accuracy" and re.fullmatch("[1-9][0-9]*", masked):
        told.append(f"By chance, 1 in {masked} masked patches is found: {1 / float(masked):.2g}.")
    chosen = run.results.get("best_is_chosen_on")
    if chosen and "best" in values:
        told.append(f"The best weights were chosen on {chosen}.")
    return join(tag("div", *tiles, class_="tiles"), tag("p", " ".join(told), class_="quiet"))


def configuration_section(run: RunFolder) -> Html:
    """Tells the configuration in brief and, folded in, every plain value."""
    brief = table([], _brief(run), caption="In brief")
    plain = [
        (key, node.value)
        for key, node in run.settings.items()
        if isinstance(node, yaml.ScalarNode) and not node.tag.startswith("!")
    ]
    if not plain:
        return brief
    whole = table(["key", "value"], plain, caption="Top level of hyperparams.yaml")
    return join(brief, tag("details", tag("summary", "All plain values"), whole))


def _brief(run: RunFolder) -> list[tuple[str, Any]]:
    results, settings = run.results, run.settings
    rows = {
        "Data": _join(results.get("dataset"), results.get("protocol")),
        "Clips": _join(
            *(f"{n} {split}" for split, n in _mapping(results.get("num_clips")).items())
        ),
        "Model": _model(run),
        "Begins with": _origin(run),
        "Masks": run.setting("masker"),
        "Objectives": _objectives(run) if run.is_pretraining else None,
        "Optimiser": run.setting("opt_class"),
        "Schedule": run.setting("schedule"),
        "Batch": _join(run.setting("batch_size"), run.setting("precision")),
        "Loss": None if "loss" not in settings else run.setting("loss"),
        "Trained": _trained(run),
        "Throughput": _throughput(run),
        "Device": results.get("device"),
        "Version": _join(
            results.get("package_version") and f"ssast-recipes {results['package_version']}",
            results.get("configuration_sha256")
            and f"configuration {str(results['configuration_sha256'])[:_SHORT]}",
        ),
    }
    return [(name, told) for name, told in rows.items() if told]


def _model(run: RunFolder) -> str:
    geometry = _mapping(run.results.get("geometry"))

    def number(key: str) -> Any:
        return geometry.get(key, run.setting(key))

    size = run.results.get("size")
    told = [size if "size" in run.results else run.setting("size")]
    words = {"embed_dim": "{} wide", "depth": "{} blocks", "num_heads": "{} heads"}
    told += [text.format(number(key)) for key, text in words.items() if number(key) is not None]
    words = {"patch_size": "patches {}", "patch_stride": "stride {}"}
    told += [text.format(number(key)) for key, text in words.items() if number(key) is not None]
    if number("target_length") is not None:
        told.append(f"{number('target_length')} frames")
    return _join(*told)


def _origin(run: RunFolder) -> str:
    source = run.results.get("pretrained_from")
    if isinstance(source, Mapping):
        digest = source.get("sha256")
        return _join(source.get("name"), digest and f"SHA-256 {str(digest)[:_SHORT]}")
    if "pretrained_from" in run.results:
        return "fresh weights (from scratch)"
    named = run.setting("pretrained_encoder")
    if named:
        return named
    return "fresh weights (from scratch)" if "pretrained_encoder" in run.settings else ""


def _objectives(run: RunFolder) -> str:
    told = []
    if run.setting("contrastive_head"):
        told.append(f"contrastive (softmax over {run.setting('softmax_over')})")
    if run.setting("reconstruction_head"):
        told.append(f"reconstruction (weight {run.setting('reconstruction_weight')})")
    return " + ".join(told)


def _trained(run: RunFolder) -> str:
    epochs = [record["epoch"] for record in run.records if is_number(record.get("epoch"))]
    seconds = run.results.get("seconds")
    return _join(
        f"{run.last_step:,} steps" if run.records else None,
        f"{max(epochs)} epochs" if epochs else None,
        f"{seconds / 60:.1f} minutes" if is_number(seconds) else None,
    )


def _throughput(run: RunFolder) -> str:
    rates = [rate for _, rate in run.series("train", "clips_per_second")]
    return f"{statistics.median(rates):.4g} clips / s (median of training)" if rates else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _join(*told: Any) -> str:
    return ", ".join(str(one) for one in told if one)
