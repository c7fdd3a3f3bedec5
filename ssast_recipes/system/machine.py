"""What the machine has: cores and memory."""

import math
import os
from pathlib import Path
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


def check_device(name: str | None) -> None:
    """Looks whether a device is there, before anything else is done.

    Raises
    ------
    ValueError
        If torch knows no such device, or the machine has none.

    Example
    -------
    >>> check_device("cpu")
    """
    if name and name.partition(":")[0] == "mps":
        raise ValueError(
            f"--device {name} cannot be used: training computes spectrograms in 64-bit, which MPS "
            "has not; give cpu, or cuda (a trained model can be used on MPS)"
        )
    try:
        try_device(name)
    except ValueError as error:
        raise ValueError(f"--device {name} cannot be used: {error}") from error


def try_device(name: "str | torch.device | None") -> "torch.device":
    """Returns a device that tensors can be made on.

    Raises
    ------
    ValueError
        With torch's reason, if there is no such device, or nothing can be read from it.

    Example
    -------
    >>> try_device("cpu")
    device(type='cpu')
    """
    import torch

    try:
        found = torch.zeros(1, device=name)
        found.cpu()  # "meta" makes tensors without values
        return found.device
    except (RuntimeError, AssertionError) as error:  # torch's for a wrong name, and for no CUDA
        raise ValueError(str(error).partition("\n")[0]) from error


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

    Of the machine's, no more than what the control groups (of a container or a job) leave. Where
    the system does not tell, it is half of the machine's memory.

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
    return min(1024 * float(values["MemAvailable"].split()[0]), control_group_memory())


def free_shared_memory(folder: str = "/dev/shm") -> float:
    """Returns the bytes that processes can still share; infinity where the system does not tell.

    Example
    -------
    >>> free_shared_memory() > 0, free_shared_memory("no/such/folder")
    (True, inf)
    """
    try:
        found = os.statvfs(folder)
    except (OSError, AttributeError):  # of a system without
        return math.inf
    return found.f_bavail * found.f_frsize


def control_group_memory(root: Path = Path("/")) -> float:
    """Returns the bytes that this process's control groups leave it, of version 1 or 2.

    What they hold of files may be dropped for something else, so it counts as free.

    Arguments
    ---------
    root : Path
        Where `proc` and `sys` are.

    Returns
    -------
    float
        Infinity without a limit.

    Example
    -------
    >>> control_group_memory() > 1e6
    True
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return math.inf
    free = math.inf
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif controllers == "memory":
            base = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = base / path.lstrip("/")
        # Every group above has a say. In a container, paths may be those outside of it: then only
        # the topmost is there.
        for folder in (group, *group.parents):
            if folder.is_relative_to(base):
                free = min(free, _left(folder, *names))
    return free


def _left(folder: Path, limit: str, usage: str, reclaimable: str) -> float:
    try:
        statistics = dict(line.split() for line in (folder / "memory.stat").open(encoding="utf-8"))
        most, used = ((folder / name).read_text(encoding="utf-8") for name in (limit, usage))
        return float(most) - float(used) + float(statistics[reclaimable])
    except (OSError, ValueError, KeyError):  # no such file, or "max"
        return math.inf
