"""A model of other makers under our names, with as much of its settings as its files tell."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ssast_recipes.model.encoder import EXTRA_STATE, NUM_PREFIX_TOKENS

# AudioSet's statistics, which most published models were made with.
AUDIOSET = {"mean": -4.2677393, "std": 4.5689974}


@dataclass(frozen=True)
class ImportedModel:
    """What a file or folder was recognised as; of what nothing there tells, None.

    Arguments
    ---------
    description : str
        What it is, for people.
    weights : dict[str, Tensor]
        Its weights under our names.
    geometry : dict
        As of `AudioSpectrogramTransformer.geometry`, perhaps without `grid_size`.
    left_over : list of str
        Names, as they are there, of weights that have no place in our models.
    num_mel_bins, target_length : int, optional
        The size of the input.
    patch_stride : tuple[int, int], optional
        Mel bins and frames from one patch to the next.
    pooling : str, optional
        A classifier's pooling.
    labels : tuple of str
        A classifier's classes; none, if nothing tells them.
    label_kind : str, optional
        "single" or "multi".
    front_end : mapping
        `mean`, `std` and, perhaps, `sample_rate`.
    """

    description: str
    weights: dict[str, Tensor]
    geometry: dict[str, Any]
    left_over: list[str]
    num_mel_bins: int | None = None
    target_length: int | None = None
    patch_stride: tuple[int, int] | None = None
    pooling: str | None = None
    labels: tuple[str, ...] = ()
    label_kind: str | None = None
    front_end: Mapping[str, Any] = field(default_factory=lambda: AUDIOSET)

    @property
    def num_patches(self) -> int:
        """How many patches have a position embedding."""
        return self.weights["encoder.position_embedding"].shape[1] - NUM_PREFIX_TOKENS

    @property
    def is_of_pictures(self) -> bool:
        """Whether it has heard no sound yet, so that any front end is as good."""
        return "grid_size" in self.geometry and self.num_mel_bins is None

    @property
    def num_classes(self) -> int:
        """How many classes its classifier has; 0 without a classifier."""
        bias = self.weights.get("classifier.linear.bias")
        return 0 if bias is None else len(bias)

    @property
    def heads(self) -> set[str]:
        """Names of what stands on the encoder."""
        return {name.split(".")[0] for name in self.weights} - {"encoder"}

    def state_dict(self) -> dict[str, Any]:
        """Returns weights and geometry, as a checkpoint of ours holds them."""
        return {**self.weights, EXTRA_STATE: self.geometry}


def check_encoder(weights: Mapping[str, Any]) -> None:
    """Raises a ValueError if what tells an encoder's size is not there, or of other dimensions.

    Arguments
    ---------
    weights : mapping
        Tensors under our names.

    Raises
    ------
    ValueError
        That names the tensor.

    Example
    -------
    >>> check_encoder({})
    Traceback (most recent call last):
    ValueError: holds no encoder weights (no encoder.patch_embedding.projection.weight in it)
    """
    dimensions = {
        "encoder.patch_embedding.projection.weight": 4,
        "encoder.position_embedding": 3,
        "encoder.class_token": 3,
        "encoder.distillation_token": 3,
    }
    for name, count in dimensions.items():
        if name not in weights:
            raise ValueError(f"holds no encoder weights (no {name} in it)")
        if weights[name].ndim != count:
            shape = list(weights[name].shape)
            raise ValueError(f"{name} is of shape {shape}, not of {count} dimensions")
