"""From which score on a class counts as heard."""

import torch
from torch import Tensor

from ssast_recipes.objectives.ranking import multi_hot


def best_thresholds(scores: Tensor, targets: Tensor) -> Tensor:
    """Chooses each class's threshold: the one of the highest F1, on data that were not trained on.

    It lies halfway between the lowest score that counts and the next below it.

    Arguments
    ---------
    scores : Tensor
        Probabilities, [clips, classes].
    targets : Tensor
        Class indices [clips], or one a class, [clips, classes].

    Returns
    -------
    Tensor
        [classes]; 0.5 of a class that no clip has.

    Example
    -------
    >>> scores = torch.tensor([[0.9], [0.6], [0.2], [0.1]])
    >>> best_thresholds(scores, torch.tensor([[1.0], [1.0], [0.0], [0.0]]))
    tensor([0.4000])
    """
    truth = multi_hot(targets, scores.shape[1]).to(scores.dtype)  # [clips, classes]
    values, order = scores.sort(dim=0, descending=True, stable=True)
    hits = truth.gather(0, order).cumsum(dim=0)  # of the k highest, k from 1
    counts = torch.arange(1, len(scores) + 1, device=scores.device).unsqueeze(1)
    f1 = 2 * hits / (counts + truth.sum(dim=0))
    below = torch.cat([values[1:], torch.zeros_like(values[:1])])
    f1[:-1][values[:-1] == below[:-1]] = -1.0  # equal scores count, or not, together
    best = f1.argmax(dim=0, keepdim=True)
    chosen = (values.gather(0, best) + below.gather(0, best)).squeeze(0) / 2
    return torch.where(truth.sum(dim=0) > 0, chosen, torch.full_like(chosen, 0.5))
