"""From the labels of a clip to what a loss compares with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from ssast_recipes.data.manifest import read_classes


class LabelEncoder:
    """Knows the classes and their order; its sub-classes encode.

    Arguments
    ---------
    classes : sequence of str
        Class names, in the order of their indices.
    """

    def __init__(self, classes: Sequence[str]):
        self.classes = list(classes)
        self._index = {name: index for index, name in enumerate(self.classes)}

    @classmethod
    def from_file(cls, path: str | Path, num_classes: int, **options: Any) -> Self:
        """Reads the classes from a text file, one a line.

        Arguments
        ---------
        path : str or Path
            The file that preparation wrote.
        num_classes : int
            How many there are to be: the size of the classifier.
        options
            Of the encoder.

        Returns
        -------
        LabelEncoder
            The encoder.

        Raises
        ------
        ValueError
            If there are more or fewer.
        """
        classes = read_classes(path)
        if len(classes) != num_classes:
            raise ValueError(
                f"num_classes is {num_classes}, but {path} lists {len(classes)}; "
                f"pass --num_classes {len(classes)}"
            )
        return cls(classes, **options)


class ClassEncoder(LabelEncoder):
    """Turns the one label of a clip into its class index.

    Arguments
    ---------
    classes : sequence of str
        Class names, in the order of their indices.

    Raises
    ------
    ValueError
        When called, if a clip has no label or several, or one that is not a class.

    Example
    -------
    >>> ClassEncoder(["dog", "rain"])(("rain",))
    tensor(1)
    """

    def __call__(self, labels: Sequence[str]) -> Tensor:
        """Maps one label to its class index, a 0-dimensional int64 tensor."""
        if len(labels) != 1 or labels[0] not in self._index:
            raise ValueError(f"labels {list(labels)} are not one of {len(self.classes)} classes")
        return torch.tensor(self._index[labels[0]])


class MultiHotEncoder(LabelEncoder):
    """Turns the labels of a clip, one or several, into a vector: 1 for each of them, 0 elsewhere.

    For binary cross-entropy, and for mixup, which mixes such vectors.

    Arguments
    ---------
    classes : sequence of str
        Class names, in the order of their indices.
    allows_none : bool
        Whether a clip may have none of the labels: then it is an example of what each is not.

    Raises
    ------
    ValueError
        When called, if a clip has no label, unless it may, or one that is not a class.

    Example
    -------
    >>> MultiHotEncoder(["dog", "rain", "sea"])(("sea", "dog"))
    tensor([1., 0., 1.])
    >>> MultiHotEncoder(["dog", "rain", "sea"], allows_none=True)(())
    tensor([0., 0., 0.])
    """

    def __init__(self, classes: Sequence[str], allows_none: bool = False):
        super().__init__(classes)
        self._allows_none = allows_none

    def __call__(self, labels: Sequence[str]) -> Tensor:
        """Maps labels to a vector of their classes, [classes] float32."""
        if not labels and not self._allows_none:
            raise ValueError(f"there is no label of the {len(self.classes)} classes")
        unknown = [label for label in labels if label not in self._index]
        if unknown:
            raise ValueError(f"labels {unknown} are not among {len(self.classes)} classes")
        target = torch.zeros(len(self.classes))
        target[[self._index[label] for label in labels]] = 1.0
        return target
