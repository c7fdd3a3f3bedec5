"""How often clips are shown and classes count, from the labels of the training set."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor


def class_balanced_weights(labels: Sequence[Sequence[str]]) -> Tensor:
    """Weights that show every class equally often: N / count(class), as SUPERB's KS1 does.

    Arguments
    ---------
    labels : sequence of sequences of str
        The one label of every clip.

    Returns
    -------
    Tensor
        One weight a clip, [clips], float64.

    Raises
    ------
    ValueError
        If a clip has several labels, or none.

    Example
    -------
    >>> class_balanced_weights([("yes",), ("no",), ("no",), ("no",)]).tolist()
    [4.0, 1.3333333333333333, 1.3333333333333333, 1.3333333333333333]
    """
    for number, names in enumerate(labels):
        if len(names) != 1:
            raise ValueError(
                f"clip {number} has the labels {list(names)}, class_balanced_weights needs one; "
                "sample_weights for several are multi_label_weights"
            )
    counts = Counter(names[0] for names in labels)
    weights = [len(labels) / counts[names[0]] for names in labels]
    return torch.tensor(weights, dtype=torch.float64)


def multi_label_weights(labels: Sequence[Sequence[str]]) -> Tensor:
    """Weights that show rare classes more often: AudioSet's, of PSLA (Gong et al., 2021).

    The weight of a clip is the sum over its labels of `1000 / (count(label) + 0.01)`.

    Arguments
    ---------
    labels : sequence of sequences of str
        The labels of every clip.

    Returns
    -------
    Tensor
        One weight a clip, [clips], float64; 0 for a clip without labels.

    Example
    -------
    >>> multi_label_weights([("dog",), ("dog", "rain")]).round(decimals=1).tolist()
    [497.5, 1487.6]
    """
    counts = Counter(name for names in labels for name in names)
    weights = [sum(1000 / (counts[name] + 0.01) for name in names) for names in labels]
    return torch.tensor(weights, dtype=torch.float64)


def balanced_class_weights(labels: Sequence[Sequence[str]], classes: Sequence[str]) -> Tensor:
    """Weights of the loss that let every class count the same: N / (classes * count(class)).

    Arguments
    ---------
    labels : sequence of sequences of str
        The labels of every clip.
    classes : sequence of str
        Class names, in the order of the logits.

    Returns
    -------
    Tensor
        One weight a class, [classes], float32.

    Raises
    ------
    ValueError
        If a class has no clip.

    Example
    -------
    >>> balanced_class_weights([("no",), ("yes",), ("no",), ("no",)], ["yes", "no"])
    tensor([2.0000, 0.6667])
    """
    counts = Counter(name for names in labels for name in names)
    missing = [name for name in classes if not counts[name]]
    if missing:
        raise ValueError(
            f"class_weights are balanced, but no training clip is labelled {missing[0]!r}; give a "
            "list of weights, one a class"
        )
    weights = [len(labels) / (len(classes) * counts[name]) for name in classes]
    return torch.tensor(weights)
