"""`ssast finetune`: from an encoder and labels to a classifier."""

import argparse
import math
import shlex
from pathlib import Path
from typing import Any

from ssast_recipes.machine import check_device, choose_device, free_memory, num_cores
from ssast_recipes.own_plans import choose_batch, choose_target_length, kept_bytes
from ssast_recipes.recipe_files import recipe_folder
from ssast_recipes.recipe_runs import (
    is_same_request,
    keep_request,
    run_recipe,
    train_command,
    write_hparams,
)

_LEARNING_RATES = {768: 1e-4, 384: 2e-4}  # by width, of others 3e-4; Base's is published
_LEAST_STEPS = 500
# SpecAugment hides a fifth of a clip, which pays in long trainings: the published one on ESC-50
# has 1,700 steps. In a few hundred on ESC-10, classifiers learnt little with it (docs/results.md).
_LEAST_STEPS_TO_HIDE = 1500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.cli`."""
    parser.add_argument("encoder", metavar="ENCODER", help="run folder, model folder, or Hub name")
    parser.add_argument(
        "labels", type=Path, metavar="LABELS", help="folder of class folders, or CSV path,label"
    )
    parser.add_argument("--epochs", type=int, help="default: 25, or more of few files")
    parser.add_argument("--output", type=Path, help="default: results/finetune/NAME, after LABELS")
    parser.add_argument("--device", help="cpu, cuda; default: a GPU if there is one")
    parser.add_argument("--plan", action="store_true", help="write the YAML file and stop there")


def run(arguments: argparse.Namespace) -> None:
    """Looks at encoder and labels, writes `finetune.yaml`, trains, tests and reports."""
    check_device(arguments.device)
    labels = arguments.labels.absolute()
    output = (arguments.output or Path("results/finetune") / labels.stem).absolute()
    hparams_file = output / "finetune.yaml"
    encoder = arguments.encoder
    encoder = str(Path(encoder).absolute()) if Path(encoder).exists() else encoder
    request = {"encoder": encoder, "labels": labels, "epochs": arguments.epochs}
    if is_same_request(output, request):
        print(f"Going on with {hparams_file}, as it stands", flush=True)
    else:
        name, values = _plan(encoder, labels, arguments.epochs, arguments.device)
        source = recipe_folder("OwnAudio") / "hparams" / name
        write_hparams(source, hparams_file, {**values, "output_folder": str(output)})
        keep_request(output, request)
        print(f"These values and the others are in {hparams_file}, to be changed", flush=True)
    if arguments.plan:
        command = shlex.join(train_command("OwnAudio", hparams_file, arguments.device))
        print(f"To run it: {command}")
        return
    run_recipe("OwnAudio", hparams_file, arguments.device)
    print(
        f"The classifier: {output / 'model'}; class by class: {output / 'per_class.csv'}. To use "
        f"it:\nssast classify {output} FILES…"
    )


def _plan(
    encoder: str, labels: Path, epochs: int | None, device_name: str | None
) -> tuple[str, dict[str, Any]]:
    """Says what there is; returns the name of the recipe's YAML file and its values."""
    from ssast_recipes.builders import size_options
    from ssast_recipes.data.labelled_files import read_labelled_files, split_files
    from ssast_recipes.data.preparation import HEADER_THREADS
    from ssast_recipes.data.scanning import scan_audio
    from ssast_recipes.model_config import read_config
    from ssast_recipes.model_source import fetch_model

    folder = fetch_model(encoder)
    config = read_config(folder)
    geometry, front_end = config.architecture, config.front_end
    files = read_labelled_files(labels)
    splits, told = split_files(files)
    classes = sorted({label for file in files for label in file.labels})
    is_multi = any(len(file.labels) > 1 for file in files)
    found, _ = scan_audio([file.path for file in files], HEADER_THREADS)
    if not found:
        raise ValueError(f"{labels}: none of the {len(files)} files can be read as audio")
    length = min(max(choose_target_length([info.duration for info in found.values()]), 32), 1024)
    device = choose_device(device_name)
    on_gpu = device.type == "cuda"
    # Published: patches overlap. It takes two and a half times as long.
    stride = [10, 10] if on_gpu and geometry.patch_size == (16, 16) else list(geometry.patch_size)
    tokens = (128 // stride[0]) * (length // stride[1]) + 2
    weights = 12 * geometry.depth * geometry.embed_dim**2
    kept = kept_bytes(geometry.depth, tokens, geometry.embed_dim)
    num_train = len(splits["train"])
    batch = choose_batch(24, num_train, weights, kept, free_memory(device))
    clips = batch.size * batch.accumulation
    steps = math.ceil(num_train / clips)
    epochs = epochs or max(25, min(100, math.ceil(_LEAST_STEPS / steps)))
    decay_from = max(2, epochs // 5)
    print(
        f"{labels}: {len(files):,} files of {len(classes)} classes, "
        f"{'several labels' if is_multi else 'one label'} a file; training {num_train:,}, "
        f"validation {len(splits['valid']):,}, test {len(splits['test']):,} ({told})"
    )
    print(
        f"Plan: {epochs} epochs of {steps} steps; clips of {length / 100:g} s; judged by "
        f"{'mAP' if is_multi else 'accuracy'}"
    )
    values = {
        **size_options(vars(geometry)),
        "data_folder": str(labels),
        "num_classes": len(classes),
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
        **(
            {}
            if epochs * steps >= _LEAST_STEPS_TO_HIDE
            else {"hidden_mel_bins": 0, "hidden_frames": 0}
        ),
        "num_workers": min(4, num_cores()),
        "precision": "bf16" if on_gpu else "fp32",
    }
    if epochs * steps < _LEAST_STEPS_TO_HIDE:
        values |= {"hidden_mel_bins": 0, "hidden_frames": 0}
    return f"finetune{'_multi' if is_multi else ''}.yaml", values
