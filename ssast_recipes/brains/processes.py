"""What the processes of a run tell each other."""

from typing import Any

import torch
from speechbrain.utils.distributed import is_distributed_initialized


def gather(value: Any) -> list[Any]:
    """Every process's value, the main process's first; all have to call it.

    Example
    -------
    >>> gather(7)
    [7]
    """
    if not is_distributed_initialized():
        return [value]
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values
