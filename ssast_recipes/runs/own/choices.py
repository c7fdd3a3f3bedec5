"""Lengths of clips and trainings, and learning rates, that fit labels and encoder."""

import math
from collections.abc import Sequence

from ssast_recipes.runs.own.geometry import MOST_FRAMES, long_frames

# Up to which width; others have Base's, which is published.
_LEARNING_RATES = {256: 1e-3, 512: 3e-4}
_LARGE_LEARNING_RATE = 1e-4
_DEEP, _DEEP_LEARNING_RATE = 9, 3e-4  # blocks
_LARGE = 512  # width
_STEPS, _LARGE_STEPS = 1200, 500
_LEAST_EPOCHS = 3


def choose_clip_frames(durations: Sequence[float], step: int, of_encoder: int) -> int:
    """Chooses the frames of a clip: nineteen of twenty files fit whole, the short ones are padded.

    Arguments
    ---------
    durations : sequence of float
        Lengths of the files in seconds.
    step : int
        Frames of a patch, of which the clip is a multiple.
    of_encoder : int
        The frames that the encoder was pretrained on: kept if they fit nearly as well, so that its
        positions are as they were learned.

    Returns
    -------
    int
        Frames of 10 ms, two patches to 1024.

    Example
    -------
    >>> lengths = [0.3] * 50 + [0.7] * 50
    >>> [choose_clip_frames(lengths, 2, of_encoder) for of_encoder in (64, 100, 1024)]
    [64, 68, 68]
    >>> choose_clip_frames([3600.0], 16, of_encoder=512)
    1024
    """
    frames = math.ceil(max(1, long_frames(durations)) / step) * step
    frames = max(2 * step, min(MOST_FRAMES // step * step, frames))
    return of_encoder if 0.9 * frames <= of_encoder <= 1.2 * frames else frames


def choose_num_steps(num_clips: int, batch: int, embed_dim: int) -> int:
    """Chooses how long to train: few labels many times, many labels a few times.

    Arguments
    ---------
    num_clips : int
        Of the training set.
    batch : int
        Clips of a step.
    embed_dim : int
        Width of the encoder: wide ones need fewer steps.

    Returns
    -------
    int
        As many as suit a thousand clips, or of more clips more by the root of their number, three
        passes at least; rounded to two digits.

    Example
    -------
    >>> [choose_num_steps(number, 32, embed_dim=128) for number in (100, 2000, 100_000, 2_000_000)]
    [1200, 1700, 12000, 190000]
    """
    steps = (_STEPS if embed_dim < _LARGE else _LARGE_STEPS) * math.sqrt(max(1.0, num_clips / 1000))
    steps = max(steps, _LEAST_EPOCHS * num_clips / batch)
    return int(float(f"{steps:.1e}"))


def choose_learning_rate(embed_dim: int, depth: int) -> float:
    """Chooses a learning rate by the encoder's size: the larger, the lower.

    Example
    -------
    >>> [choose_learning_rate(*size) for size in ((128, 4), (192, 12), (384, 12), (768, 12))]
    [0.001, 0.0003, 0.0003, 0.0001]
    """
    fits = (rate for width, rate in _LEARNING_RATES.items() if embed_dim <= width)
    rate = next(fits, _LARGE_LEARNING_RATE)
    return min(rate, _DEEP_LEARNING_RATE) if depth >= _DEEP else rate
