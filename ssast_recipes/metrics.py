"""How well masked patches are found, and clips classified."""

import torch
from torch import Tensor

from ssast_recipes.losses import masked_mean, similarity_matrix


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
    found = (similarities.argmax(dim=2) == own).float()  # [batch, masked]
    if included is None:
        return found.mean()
    return masked_mean(found, included).mean()


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of clips whose highest logit is the label's.

    Arguments
    ---------
    logits : Tensor
        Logits or scores, [clips, classes].
    labels : Tensor
        Class indices, [clips], int64.

    Returns
    -------
    Tensor
        The share in [0, 1], a scalar.

    Example
    -------
    >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1])).item()
    0.5
    """
    return (logits.argmax(dim=1) == labels).float().mean()
