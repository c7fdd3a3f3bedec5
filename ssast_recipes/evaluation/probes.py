"""Simple classifiers on frozen embeddings; what they choose, they choose on validation clips."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ssast_recipes.evaluation.attentive import attentive_scores
from ssast_recipes.evaluation.logistic import logistic_scores
from ssast_recipes.objectives.metrics import accuracy, mean_average_precision, mean_roc_auc
from ssast_recipes.objectives.probing import linear_scores, nearest_neighbour_scores
from ssast_recipes.objectives.ranking import roc_aucs

LEAST_VALID = 100  # fewer clips choose a penalty by chance


class Labelled(NamedTuple):
    """Embeddings [clips, width], and which classes the clips have, [clips, classes], 0 or 1."""

    embeddings: Tensor
    targets: Tensor


def knn(known: Labelled, asked: Tensor, valid: Labelled | None = None) -> Tensor:
    """Scores by the five nearest neighbours, which choose nothing; see `PROBES`."""
    return nearest_neighbour_scores(*known, asked)


def linear(known: Labelled, asked: Tensor, valid: Labelled | None = None) -> Tensor:
    """Scores by ridge regression; see `PROBES`.

    Validation clips choose the penalty, if there are `LEAST_VALID` at least; else the known ones
    do, each left out in turn.

    Example
    -------
    >>> known = Labelled(torch.eye(4), torch.tensor([[1, 0], [1, 0], [0, 1], [0, 1]]))
    >>> linear(known, torch.eye(4)).argmax(dim=1)
    tensor([0, 0, 1, 1])
    """
    return linear_scores(*known, asked, _judges(valid))


def logistic(known: Labelled, asked: Tensor, valid: Labelled | None = None) -> Tensor:
    """Scores by logistic regression; see `logistic_scores`."""
    return logistic_scores(*known, asked, _judges(valid))


def attentive(known: Labelled, asked: Tensor, valid: Labelled | None = None) -> Tensor:
    """Scores by attention over layers and moments; see `attentive_scores`."""
    return attentive_scores(*known, asked, _judges(valid))


def _judges(valid: Labelled | None) -> Labelled | None:
    return valid if valid is not None and len(valid.targets) >= LEAST_VALID else None


# By name: (labelled clips, embeddings of others [asked, width], validation clips) to scores
# [asked, classes]. The attentive probe takes [clips, layers, steps, width].
PROBES: dict[str, Callable[[Labelled, Tensor, Labelled | None], Tensor]] = {
    "knn": knn,
    "linear": linear,
    "logistic": logistic,
    "attentive": attentive,
}
OF_STEPS = ("attentive",)  # probes of embeddings layer by layer and moment by moment


def chroma_accuracy(scores: Tensor, targets: Tensor) -> Tensor:
    """Share of clips whose best class is the label or octaves away: classes are semitones.

    Example
    -------
    >>> chroma_accuracy(torch.eye(24)[[0, 1]], torch.eye(24)[[12, 2]]).item()
    0.5
    """
    return (scores.argmax(dim=1) % 12 == targets.argmax(dim=1) % 12).float().mean()


def mean_d_prime(scores: Tensor, targets: Tensor) -> Tensor:
    """Mean of the classes' d', as HEAR has it; `d_prime` is that of the mean area.

    Example
    -------
    >>> mean_d_prime(torch.tensor([[3.0], [2.0], [1.0]]), torch.tensor([[1], [0], [1]])).item()
    0.0
    """
    areas = roc_aucs(scores, targets)
    return 2**0.5 * torch.special.ndtri(areas[~areas.isnan()]).mean()


# By name: (scores, targets), [clips, classes] both, to a scalar. The last five are HEAR's names.
METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "accuracy": accuracy,
    "mAP": mean_average_precision,
    "top1_acc": accuracy,
    "pitch_acc": accuracy,
    "chroma_acc": chroma_accuracy,
    "d_prime": mean_d_prime,
    "aucroc": mean_roc_auc,
}
NO_SHARES = ("d_prime",)  # metrics that are not told in percent
