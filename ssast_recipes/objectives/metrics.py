"""How well masked patches are found, and clips classified."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ssast_recipes.objectives.losses import masked_mean, similarity_matrix
from ssast_recipes.objectives.ranking import average_precisions, roc_aucs


def masked_patch_accuracy(
    predictions: Tensor,
    targets: Tensor,
    softmax_over: str = "targets",
    included: Tensor | None = None,
) -> Tensor:
    """Share of masked patches that are found among those of their clip: the pretext accuracy.

    Arguments
    ---------
    predictions : Tensor
        What the contrastive head predicts at the masked patches, [batch, masked, patch area].
    targets : Tensor
        The masked patches, [batch, masked, patch area].
    softmax_over : str
        The retrieval to score, as for `info_nce_loss`: "targets" (each prediction chooses a
        target) or "predictions" (each target chooses a prediction). "released" scores as the
        released code does: each prediction chooses among targets whose similarities were
        normalised over the predictions, which is neither retrieval, and higher than both.
    included : Tensor, optional
        Which masked patches take part, [batch, masked], bool; by default all.

    Returns
    -------
    Tensor
        The share in [0, 1], a scalar; 1 / masked is chance.

    Raises
    ------
    ValueError
        If `softmax_over` is unknown.

    Example
    -------
    >>> targets = torch.eye(8).unsqueeze(0)
    >>> masked_patch_accuracy(targets, targets).item()
    1.0
    """
    found = found_patches(predictions, targets, softmax_over, included).float()  # [batch, masked]
    if included is None:
        return found.mean()
    return masked_mean(found, included).mean()


def found_patches(
    predictions: Tensor,
    targets: Tensor,
    softmax_over: str = "targets",
    included: Tensor | None = None,
) -> Tensor:
    """Tells which masked patches are found, as `masked_patch_accuracy` counts them.

    Arguments
    ---------
    predictions, targets, softmax_over, included
        As for `masked_patch_accuracy`.

    Returns
    -------
    Tensor
        [batch, masked] bool; without a meaning for patches that take no part.

    Raises
    ------
    ValueError
        If `softmax_over` is unknown.

    Example
    -------
    >>> targets = torch.eye(3).unsqueeze(0)
    >>> found_patches(targets[:, [0, 1, 1]], targets)
    tensor([[ True,  True, False]])
    """
    with torch.autocast(predictions.device.type, enabled=False):
        similarities = similarity_matrix(predictions, targets)  # [batch, predictions, targets]
        if included is not None:
            unavailable = ~(included.unsqueeze(1) & included.unsqueeze(2))
            similarities = similarities.masked_fill(unavailable, -1e9)
        if softmax_over == "predictions":
            similarities = similarities.transpose(1, 2)
        elif softmax_over == "released":
            similarities = similarities.softmax(dim=1)
            if included is not None:
                # A target left out shares its softmax out evenly, which might win.
                similarities = similarities.masked_fill(unavailable, -1)
        elif softmax_over != "targets":
            raise ValueError(
                f"softmax_over is targets, predictions or released, not {softmax_over!r}"
            )
    own = torch.arange(similarities.shape[1], device=similarities.device)
    return similarities.argmax(dim=2) == own


def accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """Share of clips whose highest logit is that of the label.

    Arguments
    ---------
    logits : Tensor
        Logits or scores, [clips, classes].
    targets : Tensor
        Class indices, [clips], int64; or one target a class, [clips, classes], of which the
        highest is the label (one-hot, or mixed by mixup).

    Returns
    -------
    Tensor
        The share in [0, 1], a scalar.

    Example
    -------
    >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1])).item()
    0.5
    """
    labels = targets if targets.ndim == 1 else targets.argmax(dim=1)
    return (logits.argmax(dim=1) == labels).float().mean()


def recalls(logits: Tensor, targets: Tensor) -> Tensor:
    """Accuracy class by class: the share of a class's clips whose highest logit is the class's.

    Arguments
    ---------
    logits, targets : Tensor
        As for `accuracy`.

    Returns
    -------
    Tensor
        Shares in [0, 1], [classes]; not a number for classes without clips.

    Example
    -------
    >>> recalls(torch.eye(3)[[0, 0, 1]], torch.tensor([0, 1, 1])).tolist()
    [1.0, 0.5, nan]
    """
    num_classes = logits.shape[1]
    labels = targets if targets.ndim == 1 else targets.argmax(dim=1)
    own = F.one_hot(labels, num_classes)  # [clips, classes]
    found = own * F.one_hot(logits.argmax(dim=1), num_classes)
    return found.sum(dim=0) / own.sum(dim=0)


def mean_average_precision(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over classes of `average_precisions`: mAP. Classes without positives are left out.

    Arguments
    ---------
    logits, targets : Tensor
        As for `average_precisions`.

    Returns
    -------
    Tensor
        The mean in (0, 1], a scalar; 0 if no class has a positive.

    Example
    -------
    >>> logits = torch.tensor([[3.0, 0.0], [2.0, 0.0], [1.0, 0.0]])
    >>> mean_average_precision(logits, torch.tensor([[1, 0], [0, 0], [1, 0]])).item()
    0.8333333333333333
    """
    return _mean_of_numbers(average_precisions(logits, targets))


def mean_roc_auc(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over classes of `roc_aucs`: AUC. Classes without one are left out.

    Arguments
    ---------
    logits, targets : Tensor
        As for `average_precisions`.

    Returns
    -------
    Tensor
        The mean in [0, 1], a scalar; 0 if no class has an area.

    Example
    -------
    >>> mean_roc_auc(torch.tensor([[3.0], [2.0], [1.0]]), torch.tensor([[1], [0], [1]])).item()
    0.5
    """
    return _mean_of_numbers(roc_aucs(logits, targets))


def d_prime(logits: Tensor, targets: Tensor) -> Tensor:
    """How far apart positives and negatives lie: `sqrt(2) * Phi^-1(AUC)` of the mean AUC.

    Phi is the distribution function of the normal distribution (Gemmeke et al., Audio Set, 2017).

    Arguments
    ---------
    logits, targets : Tensor
        As for `average_precisions`.

    Returns
    -------
    Tensor
        A scalar: 0 is chance, infinity what an AUC of 1 gives.

    Example
    -------
    >>> d_prime(torch.tensor([[3.0], [2.0], [1.0]]), torch.tensor([[1], [0], [1]])).item()
    0.0
    """
    return math.sqrt(2) * torch.special.ndtri(mean_roc_auc(logits, targets))


def _mean_of_numbers(values: Tensor) -> Tensor:
    """The mean of what is a number; 0 where nothing is, as `nanmean` would not say."""
    is_number = ~values.isnan()
    return values.nan_to_num(0.0).sum() / is_number.sum().clamp(min=1)
