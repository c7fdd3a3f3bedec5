"""What the machine has: cores and memory."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def num_cores() -> int:
    """Counts the cores that this process may use, where the system tells.

    Example
    -------
    >>> num_cores() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose_device(name: str | None) -> "torch.device":
    """Returns the device of a name or, without one, a GPU if there is one.

    Example
    -------
    >>> choose_device("cpu")
    device(type='cpu')
    """
    import torch

    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def free_memory(device: "torch.device") -> float:
    """Returns the bytes that are free on a device: a GPU's, or the machine's.

    Where the system does not tell, it is half of the machine's memory.

    Example
    -------
    >>> import torch
    >>> free_memory(torch.device("cpu")) > 1e6
    True
    """
    if device.type == "cuda":
        import torch

        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo", encoding="utf-8") as file:
            values = dict(line.split(":") for line in file)
    except FileNotFoundError:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2
    return 1024 * float(values["MemAvailable"].split()[0])
