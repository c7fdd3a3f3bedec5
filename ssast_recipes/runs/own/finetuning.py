"""What `ssast finetune` plans: how to train on the labels and the machine at hand."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ssast_recipes.runs.own.choices import (
    choose_clip_frames,
    choose_learning_rate,
    choose_num_steps,
)
from ssast_recipes.runs.own.plans import choose_batch, choose_reading, kept_bytes
from ssast_recipes.runs.own.request import check_frames
from ssast_recipes.system.machine import choose_device, free_memory
from ssast_recipes.system.words import counted

if TYPE_CHECKING:
    from ssast_recipes.data.headers import AudioInfo
    from ssast_recipes.data.preparation.labelled_files import LabelledFile
    from ssast_recipes.weights.encoders import KnownEncoder
    from ssast_recipes.weights.formats.config import Architecture, FrontEndConfig

SCRATCH = "none"  # in place of an encoder
_BATCH = 32
# SpecAugment hides a fifth of a clip, which pays in long trainings: the published one on ESC-50
# has 1,700 steps. In a few hundred on ESC-10, classifiers learnt little with it (docs/results.md).
_LEAST_STEPS_TO_HIDE = 1500
_VALIDATIONS = 10
_SEED = 1  # of the YAML file, by which splits are drawn


class _Labelled(NamedTuple):
    """What there is to learn from."""

    found: dict[str, "AudioInfo"]  # by path
    splits: dict[str, list["LabelledFile"]]
    counts: dict[str, int]  # usable files of each split
    durations: list[float]  # seconds, of usable files
    num_classes: int
    is_multi: bool


class _Start(NamedTuple):
    """What a classifier begins with: an encoder's folder, or None, and what that is made for."""

    folder: Path | None
    geometry: "Architecture"
    front_end: "FrontEndConfig"
    masks_padding: bool


def plan_finetuning(
    request: Mapping[str, Any],
    files: Sequence["LabelledFile"],
    output: Path,
    device_name: str | None,
) -> tuple[str, dict[str, Any]]:
    """Says what there is; returns the name of the recipe's YAML file and its values."""
    from ssast_recipes.evaluation.probes import LEAST_VALID

    labelled = _look_at_labels(request, files, output)
    counts = labelled.counts
    device = choose_device(device_name)
    start = _choose_start(request["encoder"], labelled)
    geometry = start.geometry
    frames = choose_clip_frames(labelled.durations, geometry.patch_size[1], geometry.target_length)
    # Published: patches overlap. It takes two and a half times as long.
    overlaps = device.type == "cuda" and geometry.patch_size == (16, 16) and not start.masks_padding
    stride = [10, 10] if overlaps else list(geometry.patch_size)
    tokens = (geometry.num_mel_bins // stride[0]) * (frames // stride[1]) + 2
    weights = 12 * geometry.depth * geometry.embed_dim**2
    kept = kept_bytes(geometry.depth, tokens, geometry.embed_dim)
    batch = choose_batch(_BATCH, counts["train"], weights, kept, free_memory(device))
    clips = batch.size * batch.accumulation
    if request["epochs"]:
        steps = request["epochs"] * math.ceil(counts["train"] / clips)
    else:
        steps = choose_num_steps(counts["train"], clips, geometry.embed_dim)
    has_own_valid = labelled.splits["valid"] is not labelled.splits["test"]
    # Fewer files choose the best weights by chance: then the last are kept.
    can_select = has_own_valid and counts["valid"] >= LEAST_VALID
    print(
        f"Plan: {counted(steps, 'step')} of {counted(clips, 'clip')} of {frames / 100:g} s "
        f"({steps * clips / counts['train']:.1f} passes); "
        f"{'from scratch, ' if start.folder is None else ''}{geometry.embed_dim} wide, "
        f"{counted(geometry.depth, 'block')}, patches of {geometry.patch_size[0]} mel bins x "
        f"{counted(geometry.patch_size[1], 'frame')}; "
        f"judged by {'mAP' if labelled.is_multi else 'accuracy'}, the "
        f"{'best by validation' if can_select else 'last'} weights are kept"
    )
    values = {
        **_start_values(start),
        "seed": _SEED,
        "data_folder": request["labels"],
        "background": request.get("background"),
        "num_folds": request.get("folds"),
        "num_classes": labelled.num_classes,
        "target_length": frames,
        "patch_stride": stride,
        "num_steps": steps,
        "warmup_steps": min(1000, steps // 10),
        "valid_interval": max(1, steps // _VALIDATIONS) if can_select else 0,
        "checkpoint_interval": max(100, steps // _VALIDATIONS),
        "log_interval": max(1, min(20, steps // 20)),
        "batch_size": batch.size,
        "grad_accumulation_factor": batch.accumulation,
        "lr": choose_learning_rate(geometry.embed_dim, geometry.depth),
        "hidden_mel_bins": geometry.num_mel_bins * 3 // 16,
        **choose_reading(sum(labelled.durations), device, start.front_end.sample_rate),
        "precision": "bf16" if device.type == "cuda" else "fp32",
    }
    if steps < _LEAST_STEPS_TO_HIDE:
        values |= {"hidden_mel_bins": 0, "hidden_frames": 0}
    return f"finetune{'_multi' if labelled.is_multi else ''}.yaml", values


def _look_at_labels(
    request: Mapping[str, Any], files: Sequence["LabelledFile"], output: Path
) -> _Labelled:
    """Scans the audio, splits it and says what there is; refuses labels that teach nothing."""
    from ssast_recipes.data.preparation.background import add_background
    from ssast_recipes.data.preparation.label_report import describe_labels
    from ssast_recipes.data.preparation.labelled_files import (
        check_classes,
        clip_durations,
        split_files,
    )
    from ssast_recipes.data.preparation.manifests import HEADER_THREADS
    from ssast_recipes.data.preparation.scanning import check_rejected, scan_audio
    from ssast_recipes.runs.own.survey import survey_labelled, tell_rejected

    labels = request["labels"]
    background, folds = request.get("background"), request.get("folds")
    found, rejected = scan_audio([file.path for file in files], HEADER_THREADS)
    rejected_file = output / "rejected.csv"
    tell_rejected(rejected, rejected_file)
    check_rejected(rejected, len({file.path for file in files}), 0.1, rejected_file)
    check_classes(labels, files, found)
    if background:
        files, added = add_background(files, found, background, _SEED)
        print(f"Background: {added}")
    splits, told = split_files(files, _SEED, 1 if folds else None, folds, labels)
    usable = clip_durations(files, found)
    counts = {name: sum(file in usable for file in part) for name, part in splits.items()}
    num_classes = len({label for file in files for label in file.labels})
    is_multi = any(len(file.labels) > 1 for file in files)
    print(
        f"{labels}: {len(files):,} files of {num_classes} classes, "
        f"{'several labels' if is_multi else 'one label'} a file; training {counts['train']:,}, "
        f"validation {counts['valid']:,}, test {counts['test']:,} ({told})"
    )
    survey_labelled(found)
    print(describe_labels(splits))
    if not counts["train"]:
        raise ValueError(f"{labels}: none of the training files can be read")
    return _Labelled(found, splits, counts, list(usable.values()), num_classes, is_multi)


def _choose_start(encoder: str, labelled: _Labelled) -> _Start:
    """The pretrained encoder that was asked for, or one from scratch that fits the audio."""
    from ssast_recipes.runs.own.scratch import describe_scratch

    if encoder != SCRATCH:
        known = _read_encoder(encoder)
        return _Start(known.path, known.architecture, known.front_end, known.masks_padding)
    trained = {file.path for file in labelled.splits["train"]}
    heard = {path: info for path, info in labelled.found.items() if path in trained}
    geometry, front_end = describe_scratch(heard, labelled.durations)
    return _Start(None, geometry, front_end, True)


def _start_values(start: _Start) -> dict[str, Any]:
    """What follows from the encoder, for the YAML file."""
    from ssast_recipes.model.builders import size_options

    front_end, masks_padding = start.front_end, start.masks_padding
    return {
        **size_options(vars(start.geometry)),
        "pretrained_encoder": None if start.folder is None else str(start.folder),
        "sample_rate": front_end.sample_rate,
        "num_mel_bins": front_end.num_mel_bins,
        "low_frequency": front_end.low_frequency,
        "high_frequency": front_end.high_frequency,
        "mean": front_end.mean,
        "std": front_end.std,
        "pad_before_standardising": front_end.pad_before_standardising,
        "positions": "sinusoidal" if start.folder is None else "learned",
        "padding": "masked" if masks_padding else "released",
        "placement": "random" if masks_padding else "start",
        "max_shift": 0 if masks_padding else 10,
        "patch_size": list(start.geometry.patch_size),
    }


def _read_encoder(source: str) -> "KnownEncoder":
    """An encoder to begin with; refuses frames of other lengths."""
    from ssast_recipes.weights.encoders import describe_encoder

    encoder = describe_encoder(source)
    if encoder.told:
        print(encoder.told)
    check_frames(encoder)
    return encoder
