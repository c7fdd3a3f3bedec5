"""Finds learning rate and number of steps for the demo, on its validation sounds.

`python benchmarks/demo_search.py FOLDER` makes the demo's sounds in FOLDER, pretrains once as
`ssast demo` does, then trains from scratch and from the pretrained weights at every learning rate
and number of steps, and prints accuracies on the sounds of the validation fold, but for those that
every run validates on. The demo's test fold is not looked at. What is finished is not done again,
so that points may be added: `--lr`, `--steps`, `--labels` (clips a family), `--seeds`, `--sides`.
"""

import argparse
from pathlib import Path
from statistics import mean

from ssast_recipes.commands import demo
from ssast_recipes.runs.jobs import run_jobs
from ssast_recipes.system.words import format_table


def main() -> None:
    """Runs what is missing, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lr", type=float, nargs="+", default=[3e-4, 1e-3, 3e-3])
    parser.add_argument("--steps", type=int, nargs="+", default=[300, 900, 1800])
    parser.add_argument("--labels", type=int, nargs="+", default=[demo.LABELS["train"]])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--sides", nargs="+", default=list(demo.KINDS), choices=list(demo.KINDS))
    parser.add_argument("--processes", type=int, default=1, help="runs at a time")
    given = parser.parse_args()
    demo.make_corpus(given.folder / "corpus", demo.CORPUS)
    pretraining = demo.make_pretraining(given.folder)
    jobs = {}
    for labels in given.labels:
        for seed in given.seeds:
            table = given.folder / "labels" / f"{labels}_seed{seed}.csv"
            if not table.exists():
                numbers = {**demo.LABELS, "train": labels}
                demo.draw_labels(given.folder / "corpus", table, seed, numbers, judge="valid")
            for side in given.sides:
                for lr in given.lr:
                    for steps in given.steps:
                        point = labels, side, lr, steps, seed
                        jobs[point] = demo.make_training(
                            " ".join(map(str, point)),
                            given.folder / "search" / "_".join(map(str, point)),
                            table,
                            {"lr": lr, "num_steps": steps, "valid_interval": 0, "seed": seed},
                            pretraining if side == "pretrained" else None,
                        )
    wanted = list(jobs.values())
    if "pretrained" in given.sides:
        wanted.insert(0, pretraining)
    run_jobs(wanted, given.processes, "search")
    print(tabulate(jobs, given.steps))


def tabulate(jobs: dict, steps: list[int]) -> str:
    """Formats accuracies in %: a line for a side and learning rate, a column for steps."""
    rows, ridge = [], {}
    for labels, side, lr in dict.fromkeys(point[:3] for point in jobs):
        cells = []
        for number in steps:
            results = [
                job.results for p, job in jobs.items() if p[:4] == (labels, side, lr, number)
            ]
            cells.append(f"{100 * mean(one['value']['last'] for one in results):.1f}")
            ridge[labels] = mean(100 * one["baselines"]["log_mel_ridge"] for one in results)
        rows.append([labels, side, f"{lr:g}", *cells])
    head = ["labels a family", "side", "learning rate", *(f"{number:,} steps" for number in steps)]
    beside = "; ".join(f"{labels} labels: {value:.1f}" for labels, value in ridge.items())
    return f"{format_table(head, rows, 'pipe')}\n\nRidge regression on log-mel bands, {beside}"


if __name__ == "__main__":
    main()
