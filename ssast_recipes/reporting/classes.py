"""The page's part on classes: which are told apart, and which are taken for which."""

import math
from collections import Counter

from markupsafe import Markup

from ssast_recipes.records.predictions import Predictions
from ssast_recipes.reporting.folder import RunFolder
from ssast_recipes.reporting.rendering import render

_MOST_CLASSES = 50  # of a matrix that can still be read
_NARROW = 15  # classes of a matrix that leaves room beside it
_MOST_CONFUSIONS = 12
_MOST_ROWS = 60  # of classes in a table; of more, the worst are shown


def confusion_section(predictions: Predictions) -> Markup | None:
    """Shows the confusion matrix and the most frequent confusions of clips with one label each.

    Arguments
    ---------
    predictions : Predictions
        Of the test set.

    Returns
    -------
    Markup or None
        None if clips have several labels.
    """
    if predictions.targets.ndim != 1:
        return None
    counts = confusion_counts(predictions)
    names = predictions.classes
    wrong = [
        (names[label], names[predicted], count)
        for (label, predicted), count in counts.most_common()
        if label != predicted
    ]
    return render(
        "confusions.html.jinja",
        hits=sum(count for (label, predicted), count in counts.items() if label == predicted),
        clips=len(predictions.ids),
        weights=predictions.weights,
        matrix=_matrix(names, counts) if len(names) <= _MOST_CLASSES else [],
        dense=len(names) > _NARROW,
        wrong=wrong[:_MOST_CONFUSIONS],
    )


def confusion_counts(predictions: Predictions) -> Counter[tuple[int, int]]:
    """Counts clips by label and predicted class.

    Example
    -------
    >>> import torch
    >>> logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0]])
    >>> one = Predictions("last", ["a", "b", "c"], ["x", "y"], logits, torch.tensor([0, 0, 1]))
    >>> sorted(confusion_counts(one).items())
    [((0, 0), 1), ((0, 1), 1), ((1, 0), 1)]
    """
    predicted = predictions.logits.argmax(dim=1).tolist()
    return Counter(zip(predictions.targets.tolist(), predicted, strict=True))


def _matrix(
    names: list[str], counts: Counter[tuple[int, int]]
) -> list[tuple[str, list[tuple[int, float]]]]:
    """A row a label: by predicted class, how many clips, and which share of the row's."""
    rows = []
    for label, name in enumerate(names):
        row = [counts[label, predicted] for predicted in range(len(names))]
        rows.append((name, [(count, count / sum(row) if count else 0.0) for count in row]))
    return rows


def per_class_section(run: RunFolder, selection: str | None) -> Markup:
    """Lists the run's metrics by class, the worst first.

    Arguments
    ---------
    run : RunFolder
        With a `per_class.csv`.
    selection : str, optional
        Of which weights.

    Returns
    -------
    Markup
        A table.

    Raises
    ------
    FileNotFoundError, ValueError
        As `RunFolder.per_class`.
    """
    metrics, rows = run.per_class(selection)
    ordered = sorted(rows, key=lambda row: _number(row[metrics[0]]))
    named = [metric.replace("_", " ") for metric in metrics]
    caption = f"{named[0][:1].upper()}{named[0][1:]} by class, the worst first"
    if len(ordered) > _MOST_ROWS:
        caption += f"; {_MOST_ROWS} of {len(ordered)} classes"
    body = [
        (row["class"], row["clips"], *(_shown(row[metric]) for metric in metrics))
        for row in ordered[:_MOST_ROWS]
    ]
    header = ["class", "clips", *(cell for name in named for cell in (name, ""))]
    return render("classes.html.jinja", header=header, rows=body, caption=caption)


def _number(text: str) -> float:
    return float(text) if text else math.inf  # a class without clips has no worth


def _shown(text: str) -> float | None:
    value = _number(text)
    return value if math.isfinite(value) else None
