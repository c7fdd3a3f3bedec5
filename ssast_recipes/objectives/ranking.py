"""How scores rank clips, class by class: average precision and the area under the ROC curve."""

import torch
from torch import Tensor
from torch.nn import functional as F


def multi_hot(targets: Tensor, num_classes: int) -> Tensor:
    """Tells which classes a clip has: its index's, or those with a target of at least a half.

    Arguments
    ---------
    targets : Tensor
        Class indices, [clips], int64; or one target a class, [clips, classes].
    num_classes : int
        Number of classes.

    Returns
    -------
    Tensor
        Which classes each clip has, [clips, classes], bool.

    Example
    -------
    >>> multi_hot(torch.tensor([1]), num_classes=3).tolist()
    [[False, True, False]]
    """
    if targets.ndim == 1:
        targets = F.one_hot(targets, num_classes)
    return targets >= 0.5


def average_precisions(logits: Tensor, targets: Tensor) -> Tensor:
    """Average precision class by class, equal to scikit-learn's.

    The sum over thresholds of `(R_n - R_(n-1)) * P_n`, clips of equal scores falling to one
    threshold. In 64-bit. Only the order of the logits matters: unlike probabilities, those of
    very certain classes do not become equal by rounding.

    Arguments
    ---------
    logits : Tensor
        Logits or scores, [clips, classes].
    targets : Tensor
        As for `multi_hot`.

    Returns
    -------
    Tensor
        Average precisions in (0, 1], [classes]; not a number for classes without positives.

    Example
    -------
    >>> logits = torch.tensor([[3.0, 0.0], [2.0, 0.0], [1.0, 0.0]])
    >>> average_precisions(logits, torch.tensor([[1, 1], [0, 0], [1, 0]]))
    tensor([0.8333, 0.3333], dtype=torch.float64)
    """
    positives, first, last = _ranked(-logits, multi_hot(targets, logits.shape[1]))
    found = positives.cumsum(dim=0)
    precision = found.gather(0, last) / (last + 1)  # where a clip's threshold lies
    return (positives * precision).sum(dim=0) / found[-1]


def roc_aucs(logits: Tensor, targets: Tensor) -> Tensor:
    """Area under the ROC curve class by class, equal to scikit-learn's.

    The share of pairs of a positive and a negative in which the positive scores higher, equal
    scores counting a half. In 64-bit.

    Arguments
    ---------
    logits, targets : Tensor
        As for `average_precisions`.

    Returns
    -------
    Tensor
        Areas in [0, 1], [classes]; not a number for classes without positives or negatives.

    Example
    -------
    >>> logits = torch.tensor([[3.0], [2.0], [1.0]])
    >>> roc_aucs(logits, torch.tensor([[1], [0], [1]]))
    tensor([0.5000], dtype=torch.float64)
    """
    positives, first, last = _ranked(logits, multi_hot(targets, logits.shape[1]))
    ranks = (first + last) / 2 + 1  # from 1; of equal scores, their mean
    count = positives.sum(dim=0)
    others = len(positives) - count
    return ((positives * ranks).sum(dim=0) - count * (count + 1) / 2) / (count * others)


def _ranked(scores: Tensor, positives: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sorts every class's clips by rising score.

    Returns, each [clips, classes] and in that order: the positives (float64), and the first and
    the last place that hold the same score as a place does.
    """
    scores, order = scores.sort(dim=0)
    places = torch.arange(len(scores), device=scores.device).unsqueeze(1).expand_as(order)
    differs = scores[1:] != scores[:-1]
    edge = torch.ones_like(differs[:1])
    first = torch.where(torch.cat([edge, differs]), places, 0).cummax(dim=0).values
    last = torch.where(torch.cat([differs, edge]), places, len(scores) - 1)
    last = last.flip(0).cummin(dim=0).values.flip(0)
    return positives.gather(0, order).double(), first, last
