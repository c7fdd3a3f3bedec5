"""Logistic regression on frozen embeddings, by scikit-learn."""

import random
import warnings
from collections import defaultdict

import torch
from torch import Tensor

from ssast_recipes.objectives.metrics import accuracy, mean_average_precision

STRENGTHS = tuple(10.0**power for power in range(-4, 2))  # of scikit-learn's C
HELD_OUT = 0.2  # of the training clips, where validation clips are too few
_MOST_ITERATIONS = 300


def hold_out(targets: Tensor, share: float = HELD_OUT, seed: int = 0) -> Tensor:
    """Draws clips to choose by, out of those to train on: a share of each set of labels.

    Arguments
    ---------
    targets : Tensor
        Which classes clips have, [clips, classes], 0 or 1.
    share : float
        How many of each set of labels, rounded; none of a single clip.
    seed : int
        Of the draw.

    Returns
    -------
    Tensor
        Which are held out, [clips] bool.

    Example
    -------
    >>> hold_out(torch.eye(2)[[0] * 10 + [1] * 5]).sum().item()
    3
    """
    alike: dict[tuple, list[int]] = defaultdict(list)
    for place, row in enumerate(targets.tolist()):
        alike[tuple(row)].append(place)
    held = torch.zeros(len(targets), dtype=torch.bool)
    for labels, places in sorted(alike.items()):
        count = min(round(share * len(places)), len(places) - 1)
        held[random.Random(f"{seed} {labels}").sample(places, count)] = True
    return held


def logistic_scores(
    known: Tensor, targets: Tensor, asked: Tensor, valid: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Scores classes by logistic regression: of one label, softmax; of several, one a class.

    Its penalty is the one with the best accuracy, or mAP, on validation clips or, without these, on
    a fifth of the known ones; then all known clips are fitted.

    Arguments
    ---------
    known : Tensor
        Embeddings of labelled clips, [known, width].
    targets : Tensor
        Which classes they have, [known, classes], 0 or 1.
    asked : Tensor
        Embeddings of the clips in question, [asked, width].
    valid : tuple[Tensor, Tensor], optional
        Embeddings and targets of validation clips.

    Returns
    -------
    Tensor
        Log-probabilities or, of several labels, log-odds, [asked, classes]; float64.

    Raises
    ------
    ModuleNotFoundError
        If scikit-learn is not installed.

    Example
    -------
    >>> vectors = torch.eye(2)[[0, 1] * 5]
    >>> logistic_scores(vectors, vectors, torch.eye(2)).argmax(dim=1)
    tensor([0, 1])
    """
    mean, std = known.double().mean(dim=0), known.double().std(dim=0, correction=0)
    std = std.where(std > 0, 1.0)

    def scaled(vectors: Tensor) -> Tensor:
        return (vectors.double() - mean) / std

    vectors = scaled(known)
    if valid is None:
        held = hold_out(targets)
        fitted, judges = (vectors[~held], targets[~held]), (vectors[held], targets[held])
    else:
        fitted, judges = (vectors, targets), (scaled(valid[0]), valid[1])
    is_multi = bool((targets.sum(dim=1) != 1).any())
    measure = mean_average_precision if is_multi else accuracy
    best, strength = -1.0, 1.0
    for one in STRENGTHS if len(judges[0]) else ():
        value = float(measure(_fit(*fitted, judges[0], one, is_multi), judges[1]))
        if value > best:
            best, strength = value, one
    return _fit(vectors, targets, scaled(asked), strength, is_multi)


def _fit(known: Tensor, targets: Tensor, asked: Tensor, strength: float, is_multi: bool) -> Tensor:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=_MOST_ITERATIONS)
    scores = torch.full((len(asked), targets.shape[1]), -1e9, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if not is_multi:
            labels = targets.argmax(dim=1)
            if len(labels.unique()) < 2:  # of few labels, there may be one class
                scores[:, labels[0]] = 0.0
                return scores
            model.fit(known.numpy(), labels.numpy())
            found = model.predict_log_proba(asked.numpy())
            scores[:, torch.from_numpy(model.classes_)] = torch.from_numpy(found)
            return scores
        for column in range(targets.shape[1]):
            own = targets[:, column]
            if 0 < own.sum() < len(own):
                model.fit(known.numpy(), own.numpy())
                scores[:, column] = torch.from_numpy(model.decision_function(asked.numpy()))
    return scores
