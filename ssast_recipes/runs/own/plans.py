"""Values that fit one's own audio and machine: clip length, batch, steps, time, memory, disk."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

PATCH_SIZE = (16, 16)
NUM_MEL_BINS = 128
FRAMES_PER_SECOND = 100
MOST_FRAMES = 1024  # of the published models
MASKED_SHARE = 400 / 512  # published
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


def choose_target_length(durations: Sequence[float]) -> int:
    """Chooses the frames of a clip: nine of ten files fill it, and none of the patches is cut.

    Arguments
    ---------
    durations : sequence of float
        Lengths of the files in seconds.

    Returns
    -------
    int
        A multiple of 16 frames, 32 to 1024.

    Example
    -------
    >>> (
    ...     choose_target_length([5.0] * 20),
    ...     choose_target_length([3600.0]),
    ...     choose_target_length([0.1]),
    ... )
    (496, 1024, 32)
    """
    shortest = sorted(durations)[len(durations) // 10]
    step = PATCH_SIZE[1]
    frames = int(shortest * FRAMES_PER_SECOND) // step * step
    return min(MOST_FRAMES, max(2 * step, frames))


def num_patches(target_length: int) -> int:
    """Counts the patches of a spectrogram of so many frames.

    Example
    -------
    >>> num_patches(1024)
    512
    """
    return NUM_MEL_BINS // PATCH_SIZE[0] * (target_length // PATCH_SIZE[1])


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


def choose_steps(num_clips: int, batch: int, seconds_per_step: float, most_hours: float) -> int:
    """Chooses how long to pretrain: a hundred passes over the clips, if there is time for it.

    Arguments
    ---------
    num_clips : int
        Of the training set.
    batch : int
        Clips of a step.
    seconds_per_step : float
        As measured.
    most_hours : float
        What it may take at most; a thousand steps are made all the same.

    Returns
    -------
    int
        Steps, 1,000 to 800,000 (as published), rounded to two digits.

    Example
    -------
    >>> choose_steps(num_clips=400, batch=24, seconds_per_step=1.0, most_hours=2)
    1700
    >>> choose_steps(num_clips=2_000_000, batch=24, seconds_per_step=0.1, most_hours=24)
    800000
    """
    passes = 100 * num_clips / batch
    steps = max(1000, min(passes, 800_000, 3600 * most_hours / seconds_per_step))
    return int(float(f"{steps:.1e}"))


def count_evaluations(steps: int, interval: int, num_held_out: int, num_probed: int) -> int:
    """Counts the clips that a pretraining looks at without learning from them.

    Arguments
    ---------
    steps : int
        Of training.
    interval : int
        Steps from validation to validation.
    num_held_out, num_probed : int
        Clips of the validation set, and of labelled audio.

    Returns
    -------
    int
        Of all validations, of the last and the best weights' evaluation, and of six probes.

    Example
    -------
    >>> count_evaluations(600, 50, num_held_out=20, num_probed=400)
    2680
    """
    return (-(-steps // interval) + 2) * num_held_out + 6 * num_probed
