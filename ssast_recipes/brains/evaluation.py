"""Measuring: a model's pass over a set, and what all processes found on it."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from speechbrain.utils.distributed import is_distributed_initialized
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm import tqdm

from ssast_recipes.brains.loading import begin
from ssast_recipes.brains.logs import NonFiniteLossError
from ssast_recipes.brains.processes import gather
from ssast_recipes.data.batches import ClipBatch
from ssast_recipes.system.interruption import raise_if_interrupted


class Selection(NamedTuple):
    """Weights that were measured on the test set."""

    name: str  # "last", "averaged" or "best"
    value: float  # of the metric that the run is judged by
    metrics: dict[str, float]
    step: int
    epochs: int | list[int]  # of "averaged", all whose weights went into it


def without_ddp(module: nn.Module) -> nn.Module:
    """A module to evaluate, which need not be called equally often on all processes.

    DistributedDataParallel's forward may send buffers from process to process: one that has a batch
    more than the others would wait for them for ever.
    """
    return module.module if isinstance(module, DistributedDataParallel) else module


def evaluate_batches(
    step: Callable[[ClipBatch], Any],
    loader: DataLoader,
    most: int | None = None,
    progress: str | None = None,
) -> list[Any]:
    """Takes this process's batches of a set through a step of a model, without gradients.

    Arguments
    ---------
    step : callable
        A batch, as the loader yields it, to what is wanted of it. Of a model in evaluation mode.
    loader : DataLoader
        Of this process's share.
    most : int, optional
        How many batches are enough.
    progress : str, optional
        Names the progress bar; none is shown without.

    Returns
    -------
    list
        What the step returned, batch by batch.

    Example
    -------
    >>> loader = DataLoader(torch.arange(5.0), batch_size=2)
    >>> evaluate_batches(lambda batch: batch.sum().item(), loader)
    [1.0, 5.0, 4.0]
    """
    outputs: list[Any] = []
    options = {"desc": progress, "disable": None if progress else True, "leave": False}
    with torch.no_grad():
        for batch in tqdm(begin(loader), total=len(loader), **options):
            outputs.append(step(batch))
            raise_if_interrupted()
            if len(outputs) == most:
                break
    return outputs


def sum_over_processes(outputs: Sequence[Tensor]) -> Tensor:
    """Adds the outputs of batches over all processes, which all have to call it.

    Example
    -------
    >>> sum_over_processes([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])])
    tensor([4., 6.])
    """
    sums = torch.stack(list(outputs)).sum(dim=0)
    if is_distributed_initialized():
        torch.distributed.all_reduce(sums)
    return sums


def gather_in_order(outputs: Sequence[tuple[Tensor, ...]]) -> list[Tensor]:
    """Joins the outputs of batches over all processes, which all have to call it.

    Arguments
    ---------
    outputs : sequence of tuple of Tensor
        Of each batch, its clips' numbers, [batch] int64, and further tensors [batch, …].

    Returns
    -------
    list of Tensor
        The same of all clips, in the order of their numbers, on the CPU.

    Example
    -------
    >>> numbers, values = torch.tensor([2, 0]), torch.tensor([0.2, 0.0])
    >>> gather_in_order([(numbers, values), (torch.tensor([1]), torch.tensor([0.1]))])[0]
    tensor([0, 1, 2])
    """
    own = [torch.cat(column).cpu() for column in zip(*outputs, strict=True)]
    columns = [torch.cat(column) for column in zip(*gather(own), strict=True)]
    order = columns[0].argsort()
    return [column[order] for column in columns]


def check_loss(metrics: Mapping[str, float], name: str, step: int) -> None:
    """Refuses a loss that is not finite.

    Raises
    ------
    NonFiniteLossError
        If `metrics["loss"]` is not.
    """
    if not math.isfinite(metrics["loss"]):
        raise NonFiniteLossError(
            f"the {name} loss is not finite after step {step}; lower the learning rate, set "
            "max_grad_norm, or check the data"
        )
