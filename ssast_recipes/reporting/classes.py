"""The page's part on classes: which are told apart, and which are taken for which."""

import math
from collections import Counter

from ssast_recipes.records.predictions import Predictions
from ssast_recipes.reporting.folder import RunFolder
from ssast_recipes.reporting.markup import Html, join, table, tag

_MOST_CLASSES = 50  # of a matrix that can still be read
_NARROW = 15  # classes of a matrix that leaves room beside it
_MOST_CONFUSIONS = 12
_MOST_ROWS = 60  # of classes in a table; of more, the worst are shown


def confusion_section(predictions: Predictions) -> Html | None:
    """Shows the confusion matrix and the most frequent confusions of clips with one label each.

    Arguments
    ---------
    predictions : Predictions
        Of the test set.

    Returns
    -------
    Html or None
        None if clips have several labels.
    """
    if predictions.targets.ndim != 1:
        return None
    counts = confusion_counts(predictions)
    clips = len(predictions.ids)
    hits = sum(count for (label, predicted), count in counts.items() if label == predicted)
    told = f"{hits} of {clips} test clips are classified as labelled, by {predictions.weights}."
    told = tag("p", told, class_="quiet")
    names = predictions.classes
    wrong = [
        (names[label], names[predicted], count)
        for (label, predicted), count in counts.most_common()
        if label != predicted
    ][:_MOST_CONFUSIONS]
    listed = None
    if wrong:
        listed = table(["label", "classified as", "clips"], wrong, "Most frequent confusions")
    if len(names) > _MOST_CLASSES:
        return join(told, listed)
    side = "beside" if len(names) <= _NARROW else None
    return join(told, tag("div", _matrix(names, counts), listed, class_=side))


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


def _matrix(names: list[str], counts: Counter[tuple[int, int]]) -> Html:
    """A table with a row a label; a cell is the darker, the more of the row's clips it has."""
    totals = Counter()
    for (label, _), count in counts.items():
        totals[label] += count
    corner = tag("th", "label", scope="col")
    head = (tag("th", tag("span", name), scope="col", class_="turned") for name in names)
    rows = []
    for label, name in enumerate(names):
        cells = []
        for predicted in range(len(names)):
            count = counts[label, predicted]
            share = count / totals[label] if count else 0.0
            kind = " ".join(
                word
                for word, is_so in (("own", label == predicted), ("dark", share > 0.8))
                if is_so
            )
            style = f"--share:{share:.2f}" if count else None
            cells.append(tag("td", count or "", style=style, class_=kind or None))
        rows.append(tag("tr", tag("th", name, scope="row"), *cells))
    caption = "Clips by label (rows) and predicted class (columns); shades are shares of a row."
    body = (tag("thead", tag("tr", corner, *head)), tag("tbody", *rows))
    kind = "matrix" if len(names) <= _NARROW else "matrix dense"
    whole = tag("table", tag("caption", caption), *body, class_=kind)
    return tag("div", whole, class_="scroll", tabindex=0)


def per_class_section(run: RunFolder, selection: str | None) -> Html:
    """Lists the run's metrics by class, the worst first.

    Arguments
    ---------
    run : RunFolder
        With a `per_class.csv`.
    selection : str, optional
        Of which weights.

    Returns
    -------
    Html
        A table.

    Raises
    ------
    FileNotFoundError, ValueError
        As `RunFolder.per_class`.
    """
    metrics, rows = run.per_class(selection)
    ordered = sorted(rows, key=lambda row: _number(row[metrics[0]]))
    named = [metric.replace("_", " ") for metric in metrics]
    caption = f"{named[0]} by class, the worst first"
    if len(ordered) > _MOST_ROWS:
        caption += f"; {_MOST_ROWS} of {len(ordered)} classes"
    body = [
        (row["class"], row["clips"], *(cell for metric in metrics for cell in _cells(row[metric])))
        for row in ordered[:_MOST_ROWS]
    ]
    header = ["class", "clips", *(cell for name in named for cell in (name, ""))]
    return table(header, body, caption=caption)


def _number(text: str) -> float:
    return float(text) if text else math.inf  # a class without clips has no worth


def _cells(text: str) -> tuple[str, Html | str]:
    """A number, and a bar if it is a share."""
    value = _number(text)
    if not math.isfinite(value):
        return "–", ""
    bar = ""
    if 0 <= value <= 1:
        inner = tag("span", class_="bar", style=f"width:{100 * value:.1f}%")
        bar = tag("div", inner, class_="track")
    return f"{value:.3f}", bar
