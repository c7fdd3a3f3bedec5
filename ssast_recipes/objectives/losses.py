"""The two objectives of masked spectrogram patch modeling."""

import torch
from torch import Tensor
from torch.nn import functional as F


def info_nce_loss(
    predictions: Tensor,
    targets: Tensor,
    softmax_over: str = "targets",
    included: Tensor | None = None,
) -> Tensor:
    """InfoNCE among the masked patches of each clip: the discriminative objective.

    The similarity of prediction i and target j is their dot product; i = j is the positive.
    With `softmax_over="targets"` each prediction chooses among the targets (SSAST, equation 1);
    with `"predictions"` each target chooses among the predictions, which is what the released
    code computes. Always in 32-bit (on GPUs as
    TF32 if torch is allowed to); targets carry no gradient.

    Arguments
    ---------
    predictions : Tensor
        What the contrastive head predicts at the masked patches, [batch, masked, patch area].
    targets : Tensor
        The masked patches, [batch, masked, patch area].
    softmax_over : str
        "targets" (paper) or "predictions" (released code).
    included : Tensor, optional
        Which masked patches take part, [batch, masked], bool; by default all. The others are
        neither asked for nor offered as negatives.

    Returns
    -------
    Tensor
        The mean over each clip's included patches, then over clips, a scalar; log(masked) is
        chance. A clip with none included counts as 0.

    Raises
    ------
    ValueError
        If `softmax_over` is unknown.

    Example
    -------
    >>> loss = info_nce_loss(torch.zeros(2, 400, 256), torch.rand(2, 400, 256))
    >>> round(loss.item(), 4) == round(torch.tensor(400.0).log().item(), 4)
    True
    """
    with torch.autocast(predictions.device.type, enabled=False):
        similarities = similarity_matrix(predictions, targets)  # [batch, predictions, targets]
        if softmax_over == "predictions":
            similarities = similarities.transpose(1, 2)
        elif softmax_over != "targets":
            raise ValueError(f"softmax_over is targets or predictions, not {softmax_over!r}")
        if included is None:
            return -similarities.log_softmax(dim=2).diagonal(dim1=1, dim2=2).mean()
        # A finite floor: a clip with nothing included must not turn into 0 * inf = NaN.
        similarities = similarities.masked_fill(~included.unsqueeze(1), -1e9)
        positives = similarities.log_softmax(dim=2).diagonal(dim1=1, dim2=2)  # [batch, masked]
        # Each clip's own mean first: then the loss does not depend on what shares its batch.
        return -masked_mean(positives, included).mean()


def masked_mean(values: Tensor, included: Tensor) -> Tensor:
    """Averages each clip's values over what is included.

    Arguments
    ---------
    values : Tensor
        One value a patch, [batch, masked].
    included : Tensor
        Which ones take part, [batch, masked], bool.

    Returns
    -------
    Tensor
        The means, [batch]; 0 where nothing is included.

    Example
    -------
    >>> masked_mean(torch.tensor([[1.0, 5.0]]), torch.tensor([[True, False]])).tolist()
    [1.0]
    """
    return (values * included).sum(dim=1) / included.sum(dim=1).clamp(min=1)


def similarity_matrix(predictions: Tensor, targets: Tensor) -> Tensor:
    """Dot products of all predictions with all targets of the same clip, in 32-bit.

    Arguments
    ---------
    predictions, targets : Tensor
        Vectors, [batch, masked, patch area].

    Returns
    -------
    Tensor
        Similarities, [batch, masked predictions, masked targets]; no gradient to the targets.

    Example
    -------
    >>> similarity_matrix(torch.ones(1, 3, 4), torch.ones(1, 3, 4)).shape
    torch.Size([1, 3, 3])
    """
    return predictions.float() @ targets.detach().float().transpose(1, 2)


def masked_reconstruction_loss(
    predictions: Tensor, targets: Tensor, included: Tensor | None = None
) -> Tensor:
    """Mean squared error over the masked patches: the generative objective.

    Arguments
    ---------
    predictions : Tensor
        What the reconstruction head predicts at the masked patches, [batch, masked, patch area].
    targets : Tensor
        The masked patches, [batch, masked, patch area]; they carry no gradient.
    included : Tensor, optional
        Which masked patches take part, [batch, masked], bool; by default all.

    Returns
    -------
    Tensor
        The mean over all values of each clip's included patches, then over clips, a scalar, in
        32-bit. A clip with none included counts as 0.

    Example
    -------
    >>> masked_reconstruction_loss(torch.zeros(2, 400, 256), torch.ones(2, 400, 256)).item()
    1.0
    """
    with torch.autocast(predictions.device.type, enabled=False):
        predictions, targets = predictions.float(), targets.detach().float()
        if included is None:
            return F.mse_loss(predictions, targets)
        errors = F.mse_loss(predictions, targets, reduction="none").mean(dim=2)  # [batch, masked]
        return masked_mean(errors, included).mean()


def smooth_targets(targets: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """Makes targets of a loss less certain: label smoothing (Szegedy et al., CVPR 2016).

    Arguments
    ---------
    targets : Tensor
        Class indices, [clips], int64, for cross-entropy; or one target a class, [clips, classes],
        each for itself, as binary cross-entropy takes them.
    num_classes : int
        Number of classes.
    smoothing : float
        The share that goes to the others, in [0, 1): of an index, evenly to all classes, as
        torch's `label_smoothing` does; of one target a class, to its even odds of a half.

    Returns
    -------
    Tensor
        [clips, classes] float32.

    Example
    -------
    >>> smooth_targets(torch.tensor([1]), num_classes=2, smoothing=0.2)
    tensor([[0.1000, 0.9000]])
    >>> smooth_targets(torch.tensor([[1.0, 1.0, 0.0]]), num_classes=3, smoothing=0.2)
    tensor([[0.9000, 0.9000, 0.1000]])
    """
    odds = 0.5
    if targets.ndim == 1:
        targets, odds = F.one_hot(targets, num_classes), 1 / num_classes
    return (1 - smoothing) * targets.float() + smoothing * odds


def constant_patches(patches: Tensor) -> Tensor:
    """Tells which patches hold one value only: padding and digital silence.

    They are all alike, so no prediction can tell one from another: InfoNCE can only lose on them.

    Arguments
    ---------
    patches : Tensor
        Patches, [batch, patches, patch area].

    Returns
    -------
    Tensor
        True where a patch is constant, [batch, patches], bool.

    Example
    -------
    >>> constant_patches(torch.tensor([[[0.5, 0.5], [0.5, 0.6]]])).tolist()
    [[True, False]]
    """
    return patches.amax(dim=2) == patches.amin(dim=2)
