"""What `ssast demo` shows: a table, curves, and a page of them."""

import os
import shlex
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ssast_recipes.reporting.rendering import render
from ssast_recipes.runs.jobs import Job
from ssast_recipes.system import words
from ssast_recipes.system.files import beside, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {
    "chance": "chance",
    "log_mel_ridge": "ridge regression on log-mel bands",
    "scratch": "from scratch",
    "pretrained": "pretrained",
}


def write_report(
    output: Path,
    pretraining: Job,
    trainings: Mapping[str, Sequence[Job]],
    summary: Mapping[str, Sequence[float]],
    quick: bool = False,
) -> str:
    """Writes `report.md` and its pictures to a demo's folder.

    Arguments
    ---------
    output : Path
        The folder.
    pretraining : Job
        The finished pretraining.
    trainings : mapping
        By kind, "scratch" and "pretrained", the finished runs: one a seed.
    summary : mapping
        The accuracies in [0, 1]: see `format_table`.
    quick : bool
        Whether it was a quick demo, which means nothing but that everything runs.

    Returns
    -------
    str
        The table, and where the report is.
    """
    pictures = output / "pictures"
    pictures.mkdir(exist_ok=True)
    last = max(pretraining.folder.glob("pictures/reconstruction_*.png"))
    shutil.copy(last, pictures / "reconstruction.png")
    with beside(pictures / "curves.png") as part:
        draw_curves(pretraining, trainings).savefig(part, format="png", dpi=100)

    table = format_table(summary)
    scratch, pretrained = trainings["scratch"][0], trainings["pretrained"][0]
    text = render(
        "demo.md.jinja",
        table=table,
        scratch=scratch,
        pretrained=pretrained,
        pretraining=pretraining,
        quick=quick,
        num_seeds=len(summary["scratch"]),
        commands=[
            _command(job, output / "again" / job.folder.relative_to(output))
            for job in (pretraining, scratch, pretrained)
        ],
    )
    write_text(output / "report.md", f"{text}\n")
    return f"\n{table}\n\nReport with pictures: {output / 'report.md'}"


def format_table(summary: Mapping[str, Sequence[float]]) -> str:
    """Formats accuracies in [0, 1] as a Markdown table in %.

    Arguments
    ---------
    summary : mapping
        By what has them, an accuracy a seed: the baselines "chance" and "log_mel_ridge", then
        "scratch" and "pretrained".

    Returns
    -------
    str
        The table, and the gain.

    Example
    -------
    >>> accuracies = {"log_mel_ridge": [0.3, 0.3], "scratch": [0.2, 0.25], "pretrained": [0.4, 0.5]}
    >>> print(format_table(accuracies))
    |                                   |   mean ± std |   seed 1 |   seed 2 |
    |:----------------------------------|-------------:|---------:|---------:|
    | ridge regression on log-mel bands |   30.0 ± 0.0 |     30.0 |     30.0 |
    | from scratch                      |   22.5 ± 3.5 |     20.0 |     25.0 |
    | pretrained                        |   45.0 ± 7.1 |     40.0 |     50.0 |
    <BLANKLINE>
    Gained: 22.5 points.
    """
    rows, means = [], {}
    for kind, values in summary.items():
        percent = [100 * value for value in values]
        means[kind] = statistics.mean(percent)
        spread = f" ± {statistics.stdev(percent):.1f}" if len(percent) > 1 else ""
        row = [f"{means[kind]:.1f}{spread}", *(f"{value:.1f}" for value in percent)]
        rows.append([NAMES[kind], *row])
    seeds = range(1, len(summary["scratch"]) + 1)
    head = ["", "mean ± std", *(f"seed {seed}" for seed in seeds)]
    gain = means["pretrained"] - means["scratch"]
    table = words.format_table(head, rows, "pipe", numbers=True)
    return f"{table}\n\nGained: {gain:.1f} points."


def draw_curves(pretraining: Job, trainings: Mapping[str, Sequence[Job]]) -> "Figure":
    """Draws the losses of pretraining, and loss and accuracy of what came after, over steps.

    Arguments
    ---------
    pretraining : Job
        The finished pretraining.
    trainings : mapping
        By kind, the finished runs.

    Returns
    -------
    Figure
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 3.6), layout="constrained")
    contrastive, found, loss, accuracy = figure.subplots(1, 4)
    for stage, style in (("train", {"alpha": 0.5}), ("valid", {"marker": "o"})):
        for axes, key in ((contrastive, "loss"), (found, "masked_patch_accuracy")):
            axes.plot(*_curve(pretraining, stage, key), label=stage, **style)
    for colour, (kind, runs) in zip(("tab:grey", "tab:orange"), trainings.items(), strict=True):
        for number, job in enumerate(runs):
            label = NAMES[kind] if number == 0 else None
            loss.plot(*_curve(job, "train", "loss"), color=colour, label=label, alpha=0.8)
            accuracy.plot(*_curve(job, "valid", "accuracy"), color=colour, label=label, marker="o")
    for axes, title in (
        (contrastive, "pretraining: loss"),
        (found, "pretraining: masked patches found"),
        (loss, "classifying: training loss"),
        (accuracy, "classifying: validation accuracy"),
    ):
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("step")
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    return figure


def _curve(job: Job, stage: str, key: str) -> tuple[list[int], list[float]]:
    records = [record for record in job.metrics if record["stage"] == stage]
    return [record["step"] for record in records], [record[key] for record in records]


def _command(job: Job, folder: Path) -> str:
    """The command into another folder, as one would type it here, in lines of 100 characters."""
    _, *files = job.command[:3]
    lines = [" ".join(["python", *map(os.path.relpath, files)])]
    for key, value in {**job.options, "output_folder": folder}.items():
        option = f"--{key} {shlex.quote(str(value))}"
        if len(lines) > 1 and len(lines[-1]) + len(option) < 94:
            lines[-1] += f" {option}"
        else:
            lines.append(option)
    return " \\\n    ".join(lines)
