"""Errors in one line: what the user can mend needs no traceback."""

import errno
import re
import sys
import textwrap

from ssast_recipes.system.words import shown

# What writing to a full disk raises, without the name of the file.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# torch hands on what a loader process raised with its traceback as text, in the same exception.
_FROM_WORKER = re.compile(r"Caught \w+ in DataLoader worker process \d+\.\nOriginal Traceback")
# What torch says in the training process of a loader process that ended or hangs.
_LOADER_GONE = re.compile(r"DataLoader (?:worker \(pid|timed out after)")
# What gloo and NCCL say of a process that ended, or did not come in time.
_PEER_GONE = re.compile(
    r"Timed out waiting \d+ms|Connection (?:closed|reset) by peer|caused pair closure"
    r"|collective operation timeout"
)
# What torch says where shared memory is full, in the training process or in a loader process.
_SHARED_MEMORY = re.compile(
    r"unable to (?:allocate shared memory|write to file </torch_|mmap .* bytes from file </torch_)"
    r"|No space left on device.*torch_|killed by signal: Bus error|out of shared memory"
)
# What torch says of the machine's own memory; of a GPU's, it raises an error of its own.
_NO_MEMORY = re.compile(
    r"(?:DefaultCPUAllocator: (?:can't allocate|not enough) memory: you tried to allocate|"
    r"failed to allocate) (\d+)"
)
_MAX_LENGTH = 600


_LESS_MEMORY = "halve batch_size and double grad_accumulation_factor, which gives the same result"

# How other libraries say that a file cannot be written, in exceptions of their own: Rust's number
# (safetensors); of torch, names of C++ parts are all that a full disk is told by.
_RUST = re.compile(r"\(os error (\d+)\)")
_TORCH = ("inline_container", "iostream", "PytorchStreamWriter")


class RunError(RuntimeError):
    """A run cannot go on, for a reason that its user can mend and no other exception names."""


def explain(error: BaseException) -> str | None:
    """Says in one line what went wrong, if it is something that the user can mend.

    That is: a value, a file, a missing package, the state of the machine. torch is not imported for
    it, which may have been imported or not.

    Arguments
    ---------
    error : BaseException
        What was raised.

    Returns
    -------
    str | None
        The line; None if the error is a mistake of ours, of which only the traceback tells enough.

    Example
    -------
    >>> explain(FileNotFoundError(errno.ENOENT, "No such file or directory", "mine.yaml"))
    'mine.yaml: No such file or directory'
    >>> explain(IndexError("list index out of range"))
    """
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        if package == __name__.partition(".")[0]:
            return None
        return f"the Python package {package!r} is missing; install it: pip install {package}"
    if _is_out_of_memory(error):
        what = ". ".join(str(error).split(". ")[:2])  # without the allocator's statistics
        text = f"{what}; {_LESS_MEMORY}"
    elif isinstance(error, RuntimeError) and _SHARED_MEMORY.search(str(error)):
        text = (
            "shared memory, /dev/shm, in which loading workers hand over batches, is full; start "
            "the container with more (docker run --shm-size 8g), or give fewer num_workers, or 0; "
            "the same command goes on from the last checkpoint"
        )
    elif isinstance(error, RuntimeError) and (wanted := _NO_MEMORY.search(str(error))):
        text = f"{int(wanted[1]) / 1e9:,.2f} GB more of memory are not there; {_LESS_MEMORY}"
    elif isinstance(error, MemoryError):
        text = f"out of memory ({error or 'of the machine'}); {_LESS_MEMORY}"
    elif isinstance(error, RuntimeError) and _LOADER_GONE.match(str(error)):
        text = (
            f"{str(error).partition('. ')[0]}; the same command goes on from the last checkpoint; "
            "if it happens again, try fewer num_workers, or 0"
        )
    elif isinstance(error, RuntimeError) and (gone := _PEER_GONE.search(str(error))):
        text = (
            f"another process of this run ended or hangs ({gone[0]}); the same command goes on "
            "from the last checkpoint"
        )
    elif not isinstance(error, ValueError | OSError | RunError):
        return None
    elif _FROM_WORKER.match(str(error)):
        text = re.split(rf"\n(?:[\w.]+\.)?{type(error).__name__}: ", str(error))[-1]
    elif isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        is_full = error.errno in DISK_FULL
        advice = "; free some space, then give the same command again" if is_full else ""
        text = f"{where}{error.strerror}{advice}"
    else:
        text = str(error)
    return shown(textwrap.shorten(text, _MAX_LENGTH, placeholder=" …")) or type(error).__name__


def writing_error(error: Exception) -> int | None:
    """Tells the system's number of an error in writing, whichever library raised it.

    Example
    -------
    >>> text = "Error while serializing: I/O error: No space left on device (os error 28)"
    >>> writing_error(RuntimeError(text)) == errno.ENOSPC
    True
    >>> writing_error(RuntimeError("shapes differ"))
    """
    if isinstance(error, OSError):
        return error.errno
    if found := _RUST.search(str(error)):
        return int(found[1])
    is_torch = isinstance(error, RuntimeError) and any(word in str(error) for word in _TORCH)
    return errno.ENOSPC if is_torch else None


def _is_out_of_memory(error: BaseException) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)
