"""Values that fit one's own audio and machine: batch, steps, time, memory, disk."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ssast_recipes.system.machine import free_memory, num_cores

if TYPE_CHECKING:
    import torch

# Adam's two moments, gradient and weight, 4 bytes each.
BYTES_PER_WEIGHT = 16
# What a backward pass keeps of a clip: 0.31 GB in 32-bit was counted of Base at 1024 frames, whose
# 12 blocks see 514 tokens 768 wide.
KEPT_BYTES = 0.31e9 / (12 * 514 * 768)


def positive_integer(text: str) -> int:
    """Reads a number of a command line; argparse tells what is wrong with another.

    Example
    -------
    >>> positive_integer("5")
    5
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, found {text!r}")
    return number


def positive_number(text: str) -> float:
    """Reads a number of a command line, as `positive_integer` does.

    Example
    -------
    >>> positive_number("0.5")
    0.5
    """
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text!r}")
    return number


def name_after(path: Path) -> str:
    """Names a run after what it is made from; `..` is no name.

    Example
    -------
    >>> name_after(Path("/data/my_sounds")), name_after(Path("/data/my_sounds/.."))
    ('my_sounds', 'data')
    """
    return (path.resolve() if path.name == ".." else path).name


class Batch(NamedTuple):
    """How a step's clips are shared out."""

    size: int  # clips at a time
    accumulation: int  # times that many before a step


class Corpus(NamedTuple):
    """What there is to hear."""

    num_clips: int
    seconds: float  # of all of them
    seconds_to_read: float  # a clip, on average
    num_probed: int  # labelled clips


def choose_batch(
    wanted: int, num_clips: int, num_weights: int, kept_per_clip: float, memory: float
) -> Batch:
    """Chooses a batch that fits the memory; what is wanting to the wanted one is accumulated.

    Arguments
    ---------
    wanted : int
        Clips of a step.
    num_clips : int
        Of the training set.
    num_weights : int
        Parameters of the model.
    kept_per_clip : float
        Bytes that a backward pass keeps of a clip.
    memory : float
        Free bytes of the device, of which four fifths are used.

    Returns
    -------
    Batch

    Raises
    ------
    ValueError
        If not even one clip fits.

    Example
    -------
    >>> choose_batch(24, num_clips=1000, num_weights=86_000_000, kept_per_clip=0.31e9, memory=8e9)
    Batch(size=12, accumulation=2)
    """
    fits = int((0.8 * memory - BYTES_PER_WEIGHT * num_weights) / kept_per_clip)
    if fits < 1:
        raise ValueError(
            f"a clip needs {(BYTES_PER_WEIGHT * num_weights + kept_per_clip) / 1e9:.1f} GB of "
            f"memory, four fifths of {memory / 1e9:.1f} GB are less; choose a smaller --size"
        )
    wanted = min(wanted, num_clips)
    accumulation = -(-wanted // fits)
    return Batch(-(-wanted // accumulation), accumulation)


def kept_bytes(depth: int, num_tokens: int, width: int) -> float:
    """Estimates what a backward pass keeps of a clip, in bytes, in 32-bit.

    Example
    -------
    >>> round(kept_bytes(depth=12, num_tokens=514, width=768) / 1e9, 2)
    0.31
    """
    return KEPT_BYTES * depth * num_tokens * width


_MOST_KEPT = 2e9  # bytes of audio that are kept in memory


def choose_reading(
    seconds: float, device: "torch.device", sample_rate: int = 16000
) -> dict[str, Any]:
    """Chooses how audio is read: little of it once, where the processor has better things to do.

    Arguments
    ---------
    seconds : float
        Of all clips.
    device : torch.device
        Where the model is trained: beside a GPU, the processor's time is free for reading.
    sample_rate : int
        At which clips are kept, in Hz.

    Returns
    -------
    dict
        The values of `keep_in_memory` and `num_workers`.

    Example
    -------
    >>> import torch
    >>> choose_reading(seconds=600, device=torch.device("cpu"))
    {'keep_in_memory': True, 'num_workers': 0}
    """
    most = min(_MOST_KEPT, free_memory(device) / 4)
    keeps = device.type == "cpu" and 4 * sample_rate * seconds <= most
    return {"keep_in_memory": keeps, "num_workers": 0 if keeps else min(4, num_cores())}
