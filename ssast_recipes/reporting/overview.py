"""The page's head: what the run is, how well it did, and its configuration in brief."""

import re
import statistics
from collections.abc import Mapping
from typing import Any

import yaml
from markupsafe import Markup

from ssast_recipes.reporting.folder import RunFolder, is_number
from ssast_recipes.reporting.rendering import render

_WEIGHTS = {
    "last": "last step",
    "averaged": "averaged over epochs",
    "best": "best by validation",
}
_BASELINES = {  # what has to be beaten
    "chance": "by chance",
    "log_mel_ridge": "ridge regression on log-mel bands",
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
    kind = "Recognition" if run.is_recognition else kind
    about = [str(run.results["dataset"])] if run.results.get("dataset") else []
    for key, setting in (("fold", "test_fold"), ("seed", "seed")):
        value = run.results.get(key)
        value = run.setting(setting) if value is None else value
        if value is not None:
            about.append(f"{key} {value}")
    return f"{kind}: {', '.join(about)}" if about else kind


def kind_of_clips(run: RunFolder) -> str:
    """Names the clips that a run is judged by: pretraining recipes validate and test on the same.

    Example
    -------
    >>> from pathlib import Path
    >>> kind_of_clips(RunFolder(Path("a"), {"dataset": "ESC-10", "fold": 1, "seed": 2}))
    'test'
    """
    valid, test = run.setting("valid_manifests"), run.setting("test_manifests")
    return "validation" if run.is_pretraining and valid and valid == test else "test"


def results_section(run: RunFolder) -> Markup:
    """Shows the metric by selection of the weights, or that the run was not evaluated."""
    values = _mapping(run.results.get("value"))
    if not values:
        so_far = {"last_step": run.last_step, "num_steps": run.setting("num_steps")}
        return render("results.html.jinja", tiles=[], **so_far)
    metric = str(run.results.get("metric", "metric")).replace("_", " ")
    clips = _mapping(run.results.get("num_clips")).get("test")
    kind, baselines = kind_of_clips(run), _mapping(run.results.get("baselines"))
    tiles = [
        (f"{value:.4g}" if is_number(value) else "–", f"{metric}, {_WEIGHTS.get(name, name)}")
        for name, value in values.items()
    ]
    told = [f"On {clips} {kind} clips."] if clips is not None else []
    tiles += [
        (f"{baselines[name]:.4g}", f"{metric}, {what}")
        for name, what in _BASELINES.items()
        if is_number(baselines.get(name))
    ]
    masked = run.setting("num_masked_patches") or ""
    if run.results.get("metric") == "masked_patch_accuracy" and re.fullmatch("[1-9][0-9]*", masked):
        told.append(f"By chance, 1 in {masked} masked patches is found: {1 / float(masked):.2g}.")
    chosen = run.results.get("best_is_chosen_on")
    if chosen and "best" in values:
        told.append(f"The best weights were chosen on {chosen}.")
    return render("results.html.jinja", tiles=tiles, told=told)


def configuration_section(run: RunFolder) -> Markup:
    """Tells the configuration in brief and, folded in, every plain value."""
    plain = [
        (key, node.value)
        for key, node in run.settings.items()
        if isinstance(node, yaml.ScalarNode) and not node.tag.startswith("!")
    ]
    return render("configuration.html.jinja", brief=_brief(run), plain=plain)


def _brief(run: RunFolder) -> list[tuple[str, Any]]:
    results, settings = run.results, run.settings
    rows = {
        "Data": _join(results.get("dataset"), results.get("protocol")),
        "Clips": _join(
            *(
                f"{n} {split}"
                for split, n in _mapping(results.get("num_clips")).items()
                if split != "test" or kind_of_clips(run) == "test"
            )
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
        digest, before = source.get("sha256"), _mapping(source.get("run"))
        seed = before.get("seed")
        return _join(
            before.get("experiment"),
            before.get("dataset"),
            None if seed is None else f"seed {seed}",
            run.setting("pretrained_encoder"),
            source.get("name"),
            digest and f"SHA-256 {str(digest)[:_SHORT]}",
        )
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
