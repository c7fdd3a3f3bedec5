"""`ssast demo`: what pretraining gains, shown in minutes on two CPU cores, without any data.

On fabricated sounds, `recipes/ESC50/train.py` pretrains a small model once; then, by three seeds,
it fine-tunes that model and trains the same one from scratch, on the same few labels. docs/demo.md
tells how the settings were found.
"""

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

from ssast_recipes.data.synthetic import make_esc50
from ssast_recipes.reporting.demo import write_report
from ssast_recipes.runs.jobs import Job, run_jobs
from ssast_recipes.runs.recipes import recipe_folder
from ssast_recipes.system.files import write_text
from ssast_recipes.system.machine import num_cores

SEEDS = (1, 2, 3)  # of the labels' choice, of new weights and of the order
CORPUS = {
    "clips_per_class_and_fold": 80,
    "num_classes": 13,
    "duration": 1.0,  # seconds
    "sample_rate": 16000,
    "signal_to_noise": (10.0, 30.0),  # dB
}
# What pretraining and both kinds of training have in common.
COMMON = {
    "test_fold": 1,
    "size": "tiny",
    "embed_dim": 96,
    "depth": 3,
    "num_heads": 4,
    "target_length": 96,
    "max_duration": 0.98,  # seconds, of which 96 frames can be made
    "mean": -5.4,  # of these sounds
    "std": 3.7,
    "num_workers": 0,
    "log_interval": 25,
}
PRETRAINING = {
    "seed": 1,
    "num_steps": 2000,
    "batch_size": 64,
    "lr": 1e-3,
    "warmup_steps": 200,
    "num_masked_patches": 24,  # of 48
    "masker": "{cluster_factors: [1, 2]}",  # patches and small squares of them
    "valid_interval": 250,
}
# The same from scratch and from pretrained weights, but for the learning rate.
TRAINING = {
    "num_classes": CORPUS["num_classes"],
    "clips_per_class": 20,
    "patch_stride": "[16, 16]",
    "num_steps": 500,
    "valid_interval": 100,
    "batch_size": 16,
    "spec_augment": "null",
    "schedule": "{decay: 0.9, first_epoch: 10}",
}
KINDS = {"scratch": {"lr": 1e-3}, "pretrained": {"lr": 1e-3}}
# To see it run, not to see a gain.
QUICK_CORPUS = {"clips_per_class_and_fold": 2, "duration": 0.5}
QUICK_PRETRAINING = {"num_steps": 4, "valid_interval": 2, "batch_size": 4, "warmup_steps": 1}
QUICK_TRAINING = {"num_steps": 4, "valid_interval": 2, "clips_per_class": 2}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.commands.main`."""
    parser.add_argument(
        "--output", type=Path, default=Path("results/demo"), help="default: %(default)s"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a few steps: it runs, gaining nothing"
    )


def run(arguments: argparse.Namespace) -> None:
    """Makes the sounds, runs what is not finished, prints the table and writes the report."""
    output, quick = arguments.output, arguments.quick
    corpus = CORPUS | (QUICK_CORPUS if quick else {})
    pretraining, trainings = make_jobs(output, quick)
    jobs = [pretraining, *trainings["scratch"], *trainings["pretrained"]]
    _keep_settings(output, {"corpus": corpus, "runs": {job.name: job.options for job in jobs}})
    print(f"The demo's files: {output}", flush=True)
    _make_corpus(output / "corpus", corpus)
    # Pretraining keeps one core busy, training from scratch the others.
    run_jobs(jobs, num_processes=min(num_cores(), 1 + len(SEEDS)), title="training")

    summary = {
        kind: [job.results["value"]["last"] for job in runs] for kind, runs in trainings.items()
    }
    write_text(output / "summary.json", json.dumps(summary, indent=2) + "\n")
    print(write_report(output, pretraining, trainings, summary, quick))
    if quick:
        print("\nA quick demo: it shows that everything runs, and means nothing else.")


def make_jobs(output: Path, quick: bool) -> tuple[Job, dict[str, list[Job]]]:
    """Returns the pretraining and, by kind, the runs that classify: one a seed."""
    train = recipe_folder("ESC50") / "train.py"
    common = {**COMMON, "data_folder": output / "corpus", "manifest_folder": output / "manifests"}
    options = common | PRETRAINING | (QUICK_PRETRAINING if quick else {})
    pretraining = Job("pretraining", train, "pretrain_patch.yaml", output / "pretraining", options)
    options = common | TRAINING | (QUICK_TRAINING if quick else {})
    trainings: dict[str, list[Job]] = {}
    for kind, more in KINDS.items():
        after: tuple[Job, ...] = ()
        if kind == "pretrained":
            after, more = (pretraining,), {**more, "pretrained_encoder": pretraining.folder}
        trainings[kind] = [
            Job(
                f"{kind} {seed}",
                train,
                "finetune_patch.yaml",
                output / kind / f"seed{seed}",
                {**options, **more, "seed": seed},
                after,
            )
            for seed in SEEDS
        ]
    return pretraining, trainings


def _keep_settings(output: Path, settings: dict[str, Any]) -> None:
    """Writes `settings.json`; refuses a folder with a demo of other settings."""
    path = output / "settings.json"
    text = json.dumps(settings, indent=2, default=str) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise ValueError(f"{output} holds a demo with other settings; choose another --output")
    write_text(path, text)


def _make_corpus(folder: Path, options: dict[str, Any]) -> None:
    if folder.is_dir():
        return
    num_clips = 5 * options["num_classes"] * options["clips_per_class_and_fold"]
    print(f"Making {num_clips} sounds of {options['num_classes']} families …", flush=True)
    part = folder.with_name("corpus.part")
    shutil.rmtree(part, ignore_errors=True)  # of an attempt that was killed
    make_esc50(part, **options)
    os.replace(part, folder)
