"""What `ssast finetune` plans: how to train on the labels and the machine at hand."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssast_recipes.runs.own.geometry import choose_target_length
from ssast_recipes.runs.own.plans import choose_batch, kept_bytes
from ssast_recipes.system.machine import choose_device, free_memory, num_cores

if TYPE_CHECKING:
    from ssast_recipes.data.preparation.labelled_files import LabelledFile

_LEARNING_RATES = {768: 1e-4, 384: 2e-4}  # by width, of others 3e-4; Base's is published
_LEAST_STEPS = 500
# SpecAugment hides a fifth of a clip, which pays in long trainings: the published one on ESC-50
# has 1,700 steps. In a few hundred on ESC-10, classifiers learnt little with it (docs/results.md).
_LEAST_STEPS_TO_HIDE = 1500


def plan_finetuning(
    request: Mapping[str, Any],
    files: Sequence["LabelledFile"],
    output: Path,
    device_name: str | None,
) -> tuple[str, dict[str, Any]]:
    """Says what there is; returns the name of the recipe's YAML file and its values."""
    from ssast_recipes.data.preparation.labelled_files import split_files
    from ssast_recipes.data.preparation.manifests import HEADER_THREADS
    from ssast_recipes.data.preparation.scanning import check_rejected, scan_audio
    from ssast_recipes.model.builders import size_options
    from ssast_recipes.runs.own.survey import tell_rejected
    from ssast_recipes.weights.formats.config import read_config
    from ssast_recipes.weights.source import fetch_model

    labels = request["labels"]
    folder = fetch_model(request["encoder"])
    config = read_config(folder)
    geometry, front_end = config.architecture, config.front_end
    found, rejected = scan_audio([file.path for file in files], HEADER_THREADS)
    splits, told = split_files(files)
    counts = {name: sum(file.path in found for file in part) for name, part in splits.items()}
    num_classes = len({label for file in files for label in file.labels})
    is_multi = any(len(file.labels) > 1 for file in files)
    print(
        f"{labels}: {len(files):,} files of {num_classes} classes, "
        f"{'several labels' if is_multi else 'one label'} a file; training {counts['train']:,}, "
        f"validation {counts['valid']:,}, test {counts['test']:,} ({told})"
    )
    rejected_file = output / "rejected.csv"
    tell_rejected(rejected, rejected_file)
    check_rejected(rejected, len(files), max_rejected=0.1, listed_in=rejected_file)
    if not counts["train"]:
        raise ValueError(f"{labels}: none of the training files can be read")
    length = choose_target_length([info.duration for info in found.values()])
    device = choose_device(device_name)
    on_gpu = device.type == "cuda"
    # Published: patches overlap. It takes two and a half times as long.
    stride = [10, 10] if on_gpu and geometry.patch_size == (16, 16) else list(geometry.patch_size)
    tokens = (128 // stride[0]) * (length // stride[1]) + 2
    weights = 12 * geometry.depth * geometry.embed_dim**2
    kept = kept_bytes(geometry.depth, tokens, geometry.embed_dim)
    batch = choose_batch(24, counts["train"], weights, kept, free_memory(device))
    clips = batch.size * batch.accumulation
    steps = math.ceil(counts["train"] / clips)
    epochs = request["epochs"] or max(25, min(100, math.ceil(_LEAST_STEPS / steps)))
    decay_from = max(2, epochs // 5)
    print(
        f"Plan: {epochs} epochs of {steps} steps; clips of {length / 100:g} s; judged by "
        f"{'mAP' if is_multi else 'accuracy'}"
    )
    values = {
        **size_options(vars(geometry)),
        "data_folder": labels,
        "num_classes": num_classes,
        "pretrained_encoder": str(folder),
        "sample_rate": front_end.sample_rate,
        "mean": front_end.mean,
        "std": front_end.std,
        "pad_before_standardising": front_end.pad_before_standardising,
        "target_length": length,
        "patch_size": list(geometry.patch_size),
        "patch_stride": stride,
        "number_of_epochs": epochs,
        "decay_from": decay_from,
        "decay": round(0.05 ** (1 / max(1, epochs - decay_from + 1)), 4),
        "batch_size": batch.size,
        "grad_accumulation_factor": batch.accumulation,
        "lr": _LEARNING_RATES.get(geometry.embed_dim, 3e-4),
        "num_workers": min(4, num_cores()),
        "precision": "bf16" if on_gpu else "fp32",
    }
    if epochs * steps < _LEAST_STEPS_TO_HIDE:
        values |= {"hidden_mel_bins": 0, "hidden_frames": 0}
    return f"finetune{'_multi' if is_multi else ''}.yaml", values
