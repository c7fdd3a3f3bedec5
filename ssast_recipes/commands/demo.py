"""`ssast demo`: what pretraining gains, shown in minutes on two CPU cores, without any data.

On fabricated sounds, `recipes/OwnAudio/train.py` pretrains a small masked autoencoder once; then,
by three seeds, it fine-tunes that encoder and trains the same one from scratch, on the same few
labels.
docs/demo.md tells how the settings were found.
"""

import argparse
import csv
import io
import json
import os
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ssast_recipes.data.synthetic import FAMILIES, make_esc50
from ssast_recipes.reporting.demo import write_report
from ssast_recipes.runs.jobs import Job, run_jobs
from ssast_recipes.system.files import write_text
from ssast_recipes.system.machine import num_cores
from ssast_recipes.system.recipes import recipe_folder

SEEDS = (1, 2, 3)  # of the labels' choice, of new weights and of the order
CORPUS = {
    "clips_per_class_and_fold": 80,
    "num_classes": 13,
    "duration": 1.0,  # seconds
    "sample_rate": 16000,
    "signal_to_noise": (10.0, 30.0),  # dB
}
# What ESC-50's folds become: folders. Settings were chosen on "valid" (benchmarks/demo_search.py).
FOLDS = {1: "test", 2: "valid", 3: "train", 4: "train", 5: "train"}
LABELS = {"train": 10, "valid": 20}  # clips a family that are drawn by a seed; of "test", all
# What pretraining and both kinds of training have in common.
COMMON = {
    "size": "tiny",
    "embed_dim": 96,
    "depth": 3,
    "num_heads": 4,
    "patch_size": "[16, 16]",
    "positions": "learned",
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
    "num_masked_patches": 36,  # of 48
    "keep_in_memory": True,
    "valid_interval": 500,
    "checkpoint_interval": 500,
}
# The same from scratch and from pretrained weights, but for what `KINDS` names.
TRAINING = {
    "num_classes": CORPUS["num_classes"],
    "patch_stride": "[16, 16]",
    "batch_size": 16,
    "warmup_steps": 50,
    "valid_interval": 150,
    "hidden_mel_bins": 0,
    "hidden_frames": 0,
}
# docs/demo.md tells what was tried on other sounds than those of the test.
KINDS: dict[str, dict[str, Any]] = {
    "scratch": {"lr": 1e-3, "num_steps": 900},
    "pretrained": {"lr": 1e-3, "num_steps": 900},
}
# To see it run, not to see a gain.
QUICK_SEEDS = SEEDS[:1]
QUICK_CORPUS = {"clips_per_class_and_fold": 2}
QUICK_LABELS = {"train": 2, "valid": 1}
QUICK_PRETRAINING = {
    "num_steps": 4,
    "valid_interval": 4,
    "checkpoint_interval": 0,
    "batch_size": 4,
    "warmup_steps": 1,
}
QUICK_TRAINING = {"num_steps": 4, "valid_interval": 4, "warmup_steps": 1}


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
    labels = QUICK_LABELS if quick else LABELS
    seeds = QUICK_SEEDS if quick else SEEDS
    pretraining, trainings = make_jobs(output, quick)
    jobs = [pretraining, *trainings["scratch"], *trainings["pretrained"]]
    settings = {"corpus": corpus, "labels": labels}
    _keep_settings(output, {**settings, "runs": {job.name: job.options for job in jobs}})
    print(f"The demo's files: {output}", flush=True)
    make_corpus(output / "corpus", corpus)
    for seed in seeds:
        draw_labels(output / "corpus", label_file(output, seed), seed, labels)
    # Pretraining keeps one core busy, training from scratch the others.
    run_jobs(jobs, num_processes=min(num_cores(), 1 + len(seeds)), title="training")

    results = {kind: [job.results for job in runs] for kind, runs in trainings.items()}
    summary = {
        **{
            name: [one["baselines"][name] for one in results["scratch"]]
            for name in ("chance", "log_mel_ridge")
        },
        **{kind: [one["value"]["last"] for one in several] for kind, several in results.items()},
    }
    write_text(output / "summary.json", json.dumps(summary, indent=2) + "\n")
    print(write_report(output, pretraining, trainings, summary, quick))
    if quick:
        print("\nA quick demo: it shows that everything runs, and means nothing else.")


def make_jobs(output: Path, quick: bool) -> tuple[Job, dict[str, list[Job]]]:
    """Returns the pretraining and, by kind, the runs that classify: one a seed."""
    pretraining = make_pretraining(output, QUICK_PRETRAINING if quick else {})
    trainings: dict[str, list[Job]] = {}
    for kind, own in KINDS.items():
        options = own | (QUICK_TRAINING if quick else {})
        trainings[kind] = [
            make_training(
                f"{kind} {seed}",
                output / kind / f"seed{seed}",
                label_file(output, seed),
                {**options, "seed": seed},
                pretraining if kind == "pretrained" else None,
            )
            for seed in (QUICK_SEEDS if quick else SEEDS)
        ]
    return pretraining, trainings


def make_pretraining(output: Path, changed: Mapping[str, Any] = MappingProxyType({})) -> Job:
    """Returns the pretraining, on the training sounds of a demo's folder."""
    options = {**COMMON, **PRETRAINING, **changed, "data_folder": output / "corpus" / "train"}
    return Job("pretraining", _train_script(), "pretrain.yaml", output / "pretraining", options)


def make_training(
    name: str, folder: Path, labels: Path, changed: dict[str, Any], pretraining: Job | None
) -> Job:
    """Returns a run that learns to classify, after a pretraining or from scratch."""
    options = {**COMMON, **TRAINING, **changed, "data_folder": labels}
    after: tuple[Job, ...] = ()
    if pretraining is not None:
        after, options["pretrained_encoder"] = (pretraining,), pretraining.folder
    return Job(name, _train_script(), "finetune.yaml", folder, options, after)


def _train_script() -> Path:
    return recipe_folder("OwnAudio") / "train.py"


def label_file(output: Path, seed: int) -> Path:
    """Returns where a seed's labels are, in a demo's folder."""
    return output / "labels" / f"seed{seed}.csv"


def make_corpus(folder: Path, options: dict[str, Any]) -> None:
    """Fabricates the sounds, in a folder a split, unless they are there."""
    if folder.is_dir():
        return
    num_clips = 5 * options["num_classes"] * options["clips_per_class_and_fold"]
    print(f"Making {num_clips} sounds of {options['num_classes']} families …", flush=True)
    part = folder.with_name("corpus.part")
    shutil.rmtree(part, ignore_errors=True)  # of an attempt that was killed
    make_esc50(part, **options)
    for fold, split in FOLDS.items():
        (part / split).mkdir(exist_ok=True)
        for clip in (part / "audio").glob(f"{fold}-*"):
            os.replace(clip, part / split / clip.name)
    (part / "audio").rmdir()
    os.replace(part, folder)


def draw_labels(
    corpus: Path, table: Path, seed: int, numbers: dict[str, int], judge: str = "test"
) -> None:
    """Writes a CSV file path,label,split, of clips that are drawn from a seed.

    Arguments
    ---------
    corpus : Path
        As `make_corpus` made it.
    table : Path
        The CSV file.
    seed : int
        What the clips are drawn from.
    numbers : dict of str to int
        How many clips a family are drawn to train on, and for validation.
    judge : str
        Whose other clips, all of them, are to test on: "test" or, to choose settings, "valid".
    """
    families = list(FAMILIES)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "label", "split"))
    drawn: set[Path] = set()
    for folder, split in (("train", "train"), ("valid", "valid"), (judge, "test")):
        clips: dict[int, list[Path]] = {}
        for clip in sorted({*(corpus / folder).iterdir()} - drawn):
            clips.setdefault(int(clip.stem.rpartition("-")[2]), []).append(clip)
        for target, group in sorted(clips.items()):
            chooser = random.Random(f"{seed} {split} {target}")
            for clip in sorted(chooser.sample(group, numbers.get(split, len(group)))):
                drawn.add(clip)
                writer.writerow((os.path.relpath(clip, table.parent), families[target], split))
    table.parent.mkdir(parents=True, exist_ok=True)
    write_text(table, text.getvalue())


def _keep_settings(output: Path, settings: dict[str, Any]) -> None:
    """Writes `settings.json`; refuses a folder with a demo of other settings."""
    path = output / "settings.json"
    text = json.dumps(settings, indent=2, default=str) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise ValueError(f"{output} holds a demo with other settings; choose another --output")
    write_text(path, text)
