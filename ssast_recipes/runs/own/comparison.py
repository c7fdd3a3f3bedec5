"""Pretrained against from scratch: both fine-tuned by several seeds, and set side by side."""

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from ssast_recipes.records.hparams import read_hparams, read_value
from ssast_recipes.records.run import Run
from ssast_recipes.runs.jobs import Job, run_jobs
from ssast_recipes.runs.own.outcome import measured_rows, tell_outcome
from ssast_recipes.system.files import write_text
from ssast_recipes.system.machine import choose_device, num_cores
from ssast_recipes.system.recipes import recipe_folder

KINDS = {"scratch": "from scratch", "pretrained": "pretrained"}
_FILE = "compare.json"


def comparison_jobs(hparams_file: Path, num_seeds: int, device: str | None) -> dict[str, list[Job]]:
    """Makes the runs, by kind: of each seed one from scratch and one pretrained, else alike.

    Arguments
    ---------
    hparams_file : Path
        The planned YAML file, which names the pretrained encoder. Runs are in its folder.
    num_seeds : int
        Seeds are 1 to this. They draw new weights, the order of clips, augmentation and, where none
        are given, the splits.
    device : str, optional
        As for `ssast finetune`.

    Returns
    -------
    dict of str to list of Job
        By kind.
    """
    steps = read_value(read_hparams(hparams_file)["num_steps"])
    train = recipe_folder("OwnAudio") / "train.py"
    on_device = {"device": device} if device else {}
    return {
        kind: [
            Job(
                f"{name}, seed {seed}",
                train,
                str(hparams_file.absolute()),
                hparams_file.parent / kind / f"seed{seed}",
                {
                    "seed": seed,
                    **({"pretrained_encoder": None} if kind == "scratch" else {}),
                    **on_device,
                },
                length=("step", steps),
            )
            for seed in range(1, num_seeds + 1)
        ]
        for kind, name in KINDS.items()
    }


def has_begun(hparams_file: Path) -> bool:
    """Whether a comparison in the YAML file's folder has a checkpoint, or is finished."""
    folders = (path for kind in KINDS for path in (hparams_file.parent / kind).glob("seed*"))
    return any(Run(folder).has_begun or Run(folder).is_finished for folder in folders)


def compare(hparams_file: Path, num_seeds: int, device: str | None) -> tuple[str, Path]:
    """Runs what is not finished, and writes `compare.json`.

    Arguments
    ---------
    hparams_file, num_seeds, device
        As for `comparison_jobs`.

    Returns
    -------
    tuple[str, Path]
        The table, as of `tell_outcome`, and the file with its numbers.

    Raises
    ------
    RunError
        If a run fails.
    """
    jobs = comparison_jobs(hparams_file, num_seeds, device)
    # Several at a time share the memory, which the plan took for one: on a CPU, too, where a large
    # encoder's batch is as large as fits.
    nodes = read_hparams(hparams_file)
    is_cut = "grad_accumulation_factor" in nodes and nodes["grad_accumulation_factor"].value != "1"
    alone = choose_device(device).type == "cuda" or is_cut
    at_a_time = 1 if alone else num_cores()
    # Seed by seed, so that an interrupted comparison has whole pairs.
    pairs = [job for of_seed in zip(*jobs.values(), strict=True) for job in of_seed]
    run_jobs(pairs, num_processes=at_a_time, title="training")
    results = {KINDS[kind]: [job.results for job in runs] for kind, runs in jobs.items()}
    file = hparams_file.parent / _FILE
    metric = results["pretrained"][0]["metric"]
    write_text(file, json.dumps(_summary(metric, measured_rows(results)), indent=2) + "\n")
    return tell_outcome(results), file


def _summary(metric: str, rows: Mapping[str, list[float]]) -> dict[str, Any]:
    return {
        "metric": metric,
        "seeds": [*range(1, len(next(iter(rows.values()))) + 1)],
        "rows": {
            name: {
                "values": values,
                "mean": mean(values),
                "standard_deviation": stdev(values) if len(values) > 1 else None,
            }
            for name, values in rows.items()
        },
    }
