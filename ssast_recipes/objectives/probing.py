"""What embeddings know: nearest neighbours, a linear classifier, and how far they differ at all."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

_AT_ONCE = 1000  # clips whose similarities to all known ones are in memory
# Of the ridge penalty, in units of the embeddings' variance; the best by leaving one out is taken.
PENALTIES = tuple(10.0**power for power in range(-3, 5))


def nearest_neighbour_scores(
    known: Tensor, targets: Tensor, asked: Tensor, num_neighbours: int = 5
) -> Tensor:
    """Scores classes by the labels of the nearest known clips.

    Arguments
    ---------
    known : Tensor
        Embeddings of labelled clips, [known, width].
    targets : Tensor
        Which classes they have, [known, classes], 0 or 1.
    asked : Tensor
        Embeddings of the clips in question, [asked, width].
    num_neighbours : int
        How many neighbours vote. The nearer weigh more: by one plus the cosine between embeddings
        of which every dimension is standardised.

    Returns
    -------
    Tensor
        Scores, [asked, classes]; float64.

    Example
    -------
    >>> known = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.8]])
    >>> targets = torch.tensor([[1, 0], [1, 0], [0, 1], [0, 1]])
    >>> nearest_neighbour_scores(known, targets, known + 0.05, num_neighbours=2).argmax(dim=1)
    tensor([0, 0, 1, 1])
    """
    known, asked = _standardise(known, asked)
    known, asked, targets = normalize(known, dim=1), normalize(asked, dim=1), targets.double()
    scores = []
    for some in asked.split(_AT_ONCE):
        similarities = some @ known.T  # [some, known]
        nearest, index = similarities.topk(min(num_neighbours, len(known)), dim=1)
        votes = targets[index]  # [some, neighbours, classes]
        scores.append(((1 + nearest).unsqueeze(2) * votes).sum(dim=1))
    return torch.cat(scores)


def linear_scores(
    known: Tensor,
    targets: Tensor,
    asked: Tensor,
    valid: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Scores classes by ridge regression on the embeddings: a linear probe in closed form.

    The penalty is the one of `PENALTIES` with the least squared error on validation clips or,
    without these, when each known clip is left out in turn, for which no regression has to be
    repeated (Hastie, Tibshirani, Friedman: *The Elements of Statistical Learning*, 7.10).

    Arguments
    ---------
    known, targets, asked
        As for `nearest_neighbour_scores`.
    valid : tuple[Tensor, Tensor], optional
        Embeddings and targets of validation clips.

    Returns
    -------
    Tensor
        Scores, [asked, classes]; float64.

    Example
    -------
    >>> known = torch.eye(4)
    >>> targets = torch.tensor([[1, 0], [1, 0], [0, 1], [0, 1]])
    >>> linear_scores(known, targets, known).argmax(dim=1)
    tensor([0, 0, 1, 1])
    """
    judged = None if valid is None else _standardise(known, valid[0])[1]
    known, asked = _standardise(known, asked)
    targets = targets.double()
    mean = targets.mean(dim=0)
    variances, directions = _principal_axes(known)
    placed = known @ directions  # [known, rank]
    projected = placed.T @ (targets - mean)  # [rank, classes]
    scores, least = torch.zeros(len(asked), targets.shape[1]), float("inf")
    for penalty in PENALTIES:
        damped = variances + penalty * len(known)  # [rank]
        weights = directions @ (projected / damped.unsqueeze(1))  # [width, classes]
        if judged is not None:
            errors = valid[1].double() - mean - judged @ weights
        else:
            # The mean, too, is fitted to the clip that is left out.
            leverage = (placed**2 @ (1 / damped) + 1 / len(known)).clamp(max=1 - 1e-9)
            errors = (targets - mean - known @ weights) / (1 - leverage).unsqueeze(1)
        if (error := errors.square().mean().item()) < least:
            least, scores = error, asked @ weights + mean
    return scores


def effective_rank(embeddings: Tensor) -> Tensor:
    """Counts the directions in which embeddings differ, each by how much they do so.

    The exponential of the entropy of the singular values' shares (Roy and Vetterli: *The effective
    rank*, EUSIPCO 2007), of the embeddings less their mean.

    Arguments
    ---------
    embeddings : Tensor
        [clips, width].

    Returns
    -------
    Tensor
        From 0, if all clips are alike, to the lesser of clips - 1 and width; a scalar, float64.

    Example
    -------
    >>> corners = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    >>> effective_rank(corners), effective_rank(torch.ones(4, 2))
    (tensor(2., dtype=torch.float64), tensor(0., dtype=torch.float64))
    """
    embeddings = embeddings.double()
    centred = embeddings - embeddings.mean(dim=0)
    singular = torch.linalg.svdvals(centred)
    # Below rounding of 32-bit there is no direction.
    singular = singular.where(singular > 1e-6 * embeddings.abs().max(), 0.0)
    shares = singular / singular.sum().clamp(min=1e-300)
    entropy = -torch.special.xlogy(shares, shares).sum()
    return entropy.exp() * (shares.sum() > 0)


def embedding_spread(embeddings: Tensor) -> Tensor:
    """Tells how far embeddings lie from their mean, compared with their length.

    Arguments
    ---------
    embeddings : Tensor
        [clips, width].

    Returns
    -------
    Tensor
        Root of the mean squared distance from the mean over that from zero: 0 if all clips are
        alike, 1 if their mean is zero; a scalar, float64.

    Example
    -------
    >>> embedding_spread(torch.tensor([[3.0, 4.0], [3.0, 4.0]])).item()
    0.0
    """
    embeddings = embeddings.double()
    centred = embeddings - embeddings.mean(dim=0)
    return (centred.square().sum() / embeddings.square().sum().clamp(min=1e-300)).sqrt()


def _principal_axes(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of squares along the principal axes, [rank], and the axes, [width, rank].

    Of many vectors by their products' matrix: faster than their decomposition, and exact enough,
    since penalties hide what is small.
    """
    if len(vectors) >= vectors.shape[1]:
        squares, axes = torch.linalg.eigh(vectors.T @ vectors)
        return squares.clamp(min=0.0), axes
    _, singular, axes = torch.linalg.svd(vectors, full_matrices=False)
    return singular**2, axes.T


def _standardise(known: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    """Gives every dimension of the known clips mean 0 and deviation 1, and the asked the same."""
    known, asked = known.double(), asked.double()
    mean, std = known.mean(dim=0), known.std(dim=0, correction=0)
    std = std.where(std > 0, 1.0)
    return (known - mean) / std, (asked - mean) / std
