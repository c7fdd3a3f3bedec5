"""The page of `ssast evaluate`: tables, few-shot curves, layers, confusions, and maps of clips."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from markupsafe import Markup

from ssast_recipes import __version__
from ssast_recipes.evaluation.comparing import Difference
from ssast_recipes.evaluation.records import CHANCE, Record, average
from ssast_recipes.evaluation.running import Evaluation
from ssast_recipes.evaluation.table import (
    DIFFERENCES_HEAD,
    describe_task,
    difference_rows,
    find_averages,
    ordered_encoders,
    result_rows,
)
from ssast_recipes.evaluation.tasks import Task
from ssast_recipes.records.predictions import Predictions
from ssast_recipes.reporting.charts import colour, line_chart
from ssast_recipes.reporting.classes import confusion_section
from ssast_recipes.reporting.embeddings import draw_map
from ssast_recipes.reporting.rendering import render

_LEAST_POINTS = 3  # of a map


class _Probed(Predictions):
    """What a probe said of test clips; `selection` tells whose."""

    @property
    def weights(self) -> str:
        """Who said it, in words."""
        return self.selection


def make_evaluation_page(
    evaluation: Evaluation,
    tasks: Sequence[Task],
    differences: Sequence[Difference],
    folder: Path,
) -> str:
    """Makes the page.

    Arguments
    ---------
    evaluation : Evaluation
        That was run.
    tasks : sequence of Task
        Its tasks.
    differences : sequence of Difference
        Paired comparisons.
    folder : Path
        Its folder, which the page names.

    Returns
    -------
    str
        HTML that needs nothing beside it.
    """
    records, probes = evaluation.records, evaluation.options.probes
    sections = {
        "Results": _results(records, tasks, probes, differences),
        "Few labels": _curves(records, tasks, "shots", "clips a class"),
        "Layers": _curves(records, tasks, "layer", "layer"),
        **_of_best(evaluation, tasks, probes),
    }
    return render(
        "page.html.jinja",
        title="What encoders know",
        folder=folder,
        sections={name: made for name, made in sections.items() if made is not None},
        notes=evaluation.failures,
        made_by="ssast evaluate",
        version=__version__,
    )


def _results(
    records: Sequence[Record],
    tasks: Sequence[Task],
    probes: Sequence[str],
    differences: Sequence[Difference],
) -> Markup:
    head, rows = result_rows(records, tasks, probes)
    return render(
        "evaluation.html.jinja",
        told=[describe_task(task) for task in tasks],
        head=head,
        rows=rows,
        differences_head=DIFFERENCES_HEAD,
        differences=difference_rows(differences),
    )


def _curves(
    records: Sequence[Record], tasks: Sequence[Task], axis: str, label: str
) -> Markup | None:
    """A chart for each task and probe: means over folds and draws, over shots or layers."""
    charts = []
    for task in tasks:
        of_task = [record for record in records if record.task == task.name]
        rows = [
            row
            for record in of_task
            for row in record.rows
            if row.metric == task.metric and getattr(row, axis) is not None
        ]
        for probe in dict.fromkeys(row.probe for row in rows):
            lines: dict[str, list[tuple[float, float]]] = {}
            for name in ordered_encoders(of_task):
                own = [row for row in rows if (row.encoder, row.probe) == (name, probe)]
                lines[name] = [
                    (value, average([row for row in own if getattr(row, axis) == value]).mean)
                    for value in sorted({getattr(row, axis) for row in own})
                ]
            # Each has its colour on the whole page.
            keys = [
                (name, colour(number))
                for number, (name, points) in enumerate(lines.items())
                if points
            ]
            drawn = line_chart(lines, label, task.metric)
            charts.append({"title": f"{task.name}, {probe}", "legend": keys, "drawn": drawn})
    return render("curves.html.jinja", charts=charts) if charts else None


def _of_best(
    evaluation: Evaluation, tasks: Sequence[Task], probes: Sequence[str]
) -> Mapping[str, Markup | None]:
    """Confusions and maps of the encoder that is best on each task, by the probe that is."""
    sections: dict[str, Markup | None] = {}
    found = {probe: find_averages(evaluation.records, tasks, probe) for probe in probes}
    for task in tasks:
        values = {
            (name, probe): one.mean
            for probe, averages in found.items()
            for (name, of_task), one in averages.items()
            if of_task == task.name and name != CHANCE
        }
        if not values:
            continue
        best, probe = max(values, key=values.__getitem__)
        record = next(
            one for one in evaluation.records if (one.task, one.encoder) == (task.name, best)
        )
        told = f"{probe} on {best}, the best of this task"
        predictions = _merge(task, record, probe, told)
        if predictions is not None:
            sections[f"Confusions, {task.name}"] = confusion_section(predictions)
        vectors, places = evaluation.samples[task.name, best]
        if len(places) >= _LEAST_POINTS:
            clips = [task.clips[place] for place in places]
            kind = f"{task.name} (by {best})"
            sections[f"Map, {task.name}"] = draw_map(clips, vectors, len(task.clips), kind)
    return sections


def _merge(task: Task, record: Record, probe: str, told: str) -> Predictions | None:
    """Test clips of all folds together; None where clips have several labels."""
    if task.is_multi:
        return None
    places = [place for fold in task.folds for place in record.places[fold.name].tolist()]
    scores = torch.cat([torch.from_numpy(record.scores[probe, fold.name]) for fold in task.folds])
    targets = task.targets[places].argmax(dim=1)
    names = [task.clips[place].id for place in places]
    return _Probed(told, names, list(task.classes), scores, targets)
