"""Losses that stay on the device until they are wanted."""

import time
from collections.abc import Mapping

import torch
from torch import Tensor

from ssast_recipes.errors import RunError


class NonFiniteLossError(RunError):
    """The loss, or what it did to the weights, became infinite or not a number."""


class LossWindow:
    """Metrics of the batches since the last log line, read from the device all at once.

    Each batch weighs as many clips as it has, as it does in the gradient.

    Arguments
    ---------
    world_size : int
        Number of processes to average over.

    Example
    -------
    >>> window = LossWindow()
    >>> window.add({"loss": torch.tensor(3.0)}, step=1, num_clips=8)
    >>> window.add({"loss": torch.tensor(1.0)}, step=2, num_clips=24)
    >>> window.read()["loss"]
    1.5
    """

    def __init__(self, world_size: int = 1):
        self.world_size = world_size
        self.start()

    def start(self) -> None:
        """Empties the window and starts its clock."""
        self.names: list[str] = []
        self.rows: list[Tensor] = []
        self.steps: list[int] = []
        self.num_clips: list[int] = []
        self.began = time.perf_counter()

    def add(self, metrics: Mapping[str, Tensor], step: int, num_clips: int) -> None:
        """Adds a batch: scalar tensors, `loss` first, its step and this process's clips."""
        self.names = list(metrics)
        self.rows.append(torch.stack([value.detach().float() for value in metrics.values()]))
        self.steps.append(step)
        self.num_clips.append(num_clips)

    def read(self) -> dict[str, float]:
        """Returns the means over clips and processes, and clips a second; then starts anew.

        Raises
        ------
        NonFiniteLossError
            If a loss is not finite, naming the steps.
        """
        rows = torch.stack(self.rows)  # [batches, metrics]
        if self.world_size > 1:
            torch.distributed.all_reduce(rows)
            rows /= self.world_size
        rows = rows.cpu()
        finite = zip(self.steps, rows[:, 0].isfinite().tolist(), strict=True)
        bad = sorted({step for step, is_finite in finite if not is_finite})
        if bad:
            raise NonFiniteLossError(
                f"the loss is not finite at step {', '.join(map(str, bad[:5]))}; lower the "
                "learning rate, set max_grad_norm, or check the data"
            )
        clips = torch.tensor(self.num_clips, dtype=torch.float64)  # all processes have as many
        values = clips @ rows.double() / clips.sum()
        means = dict(zip(self.names, values.tolist(), strict=True))
        num_clips = self.world_size * sum(self.num_clips)
        means["clips_per_second"] = num_clips / (time.perf_counter() - self.began)
        self.start()
        return means
