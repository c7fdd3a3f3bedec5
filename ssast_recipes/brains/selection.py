"""Which weights of a training count: their average over epochs, and when no better are to come."""

from pathlib import Path
from typing import Any

import torch
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from torch import Tensor, nn


@register_checkpoint_hooks
class WeightAverage:
    """The mean of a model's weights at the ends of epochs, as of PSLA (Gong et al., 2021).

    A running mean: one copy of the weights, in the main memory, which goes into every checkpoint,
    in place of a checkpoint of every epoch.

    Arguments
    ---------
    first_epoch, last_epoch : int
        The range, counted from 1, both included.

    Raises
    ------
    ValueError
        If the range is empty or begins before epoch 1.

    Example
    -------
    >>> model, average = torch.nn.Linear(1, 1), WeightAverage(2, 3)
    >>> for epoch in (1, 2, 3, 4):
    ...     _ = model.weight.data.fill_(epoch)
    ...     average.observe(model, epoch)
    >>> average.copy_to(model)
    >>> model.weight.item()
    2.5
    """

    def __init__(self, first_epoch: int, last_epoch: int):
        if not 1 <= first_epoch <= last_epoch:
            raise ValueError(
                f"average_epochs are {first_epoch} to {last_epoch}; give the first and the last "
                "epoch, counted from 1"
            )
        self.first_epoch, self.last_epoch = first_epoch, last_epoch
        self.epochs: list[int] = []
        self.weights: dict[str, Tensor] = {}

    @torch.no_grad()
    def observe(self, model: nn.Module, epoch: int) -> None:
        """Takes the weights at the end of an epoch into the mean, if it lies in the range."""
        if not self.first_epoch <= epoch <= self.last_epoch:
            return
        self.epochs.append(epoch)
        for name, value in _weights(model).items():
            value = value.cpu()
            mean = self.weights.setdefault(name, torch.zeros_like(value))
            mean += (value - mean) / len(self.epochs)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Puts the mean in the place of a model's weights."""
        for name, value in _weights(model).items():
            value.copy_(self.weights[name])

    @mark_as_saver
    def _save(self, path: Path) -> None:
        torch.save({"epochs": self.epochs, "weights": self.weights}, path)

    @mark_as_loader
    def _recover(self, path: Path, end_of_epoch: bool) -> None:
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.epochs, self.weights = state["epochs"], state["weights"]


def average_of(epochs: Any, by_steps: bool) -> WeightAverage | None:
    """Makes what `average_epochs` of a YAML file asks for.

    Raises
    ------
    ValueError
        If it is no range, or steps are counted.
    """
    if epochs is None:
        return None
    if by_steps:
        raise ValueError("average_epochs counts epochs, num_steps steps; set one to null")
    if not isinstance(epochs, list | tuple) or [type(one) for one in epochs] != [int, int]:
        raise ValueError(f"average_epochs is {epochs!r}; give [first, last], or null")
    return WeightAverage(*epochs)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """A model's parameters and buffers of real numbers, without copying them."""
    return {
        name: value
        for name, value in model.state_dict().items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }


class EarlyStopping:
    """Counts the validations since the last new best.

    Arguments
    ---------
    patience : int, optional
        How many in a row without a new best end training; by default none do.

    Raises
    ------
    ValueError
        If the patience is below 1.

    Example
    -------
    >>> stopping = EarlyStopping(patience=2)
    >>> for score in (0.5, 0.6, 0.6, 0.4):
    ...     stopping.observe(score)
    >>> stopping.is_due
    True
    """

    def __init__(self, patience: int | None = None):
        if patience is not None and patience < 1:
            raise ValueError(f"patience is {patience}; give 1 validation or more, or null")
        self.patience = patience
        self.best = float("-inf")
        self.num_bad = 0

    @property
    def is_due(self) -> bool:
        """Whether training is to end."""
        return self.patience is not None and self.num_bad >= self.patience

    def observe(self, score: float) -> None:
        """Takes note of a validation score; higher is better."""
        if score > self.best:
            self.best, self.num_bad = score, 0
        else:
            self.num_bad += 1

    def state_dict(self) -> dict[str, Any]:
        """Returns what has been observed, in plain Python."""
        return {"best": self.best, "num_bad": self.num_bad}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from what `state_dict` returned."""
        self.best, self.num_bad = state["best"], state["num_bad"]
