"""Speed perturbation: the same words, faster or slower, and higher or lower with it."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from ssast_recipes.data.batches import as_float
from ssast_recipes.data.rates import resample


class SpeedPerturbation:
    """Reads clips by another reader and, in training, plays them at a random speed.

    The speed is a function of (seed, epoch, clip), as a random crop is. Evaluation, whose epoch is
    0, hears clips as they are. After Ko, Peddinti, Povey and Khudanpur (Interspeech 2015).

    Arguments
    ---------
    read_waveform : WaveformReader
        What reads them, at its `sample_rate`.
    factors : sequence of float
        The speeds, each as likely as every other.
    seed : int
        What they are drawn from.

    Raises
    ------
    ValueError
        If there are no factors, or one is not from 0.5 to 2.

    Example
    -------
    >>> import torch
    >>> def silence(path, start, duration, epoch, clip_id, draw=0):
    ...     return torch.zeros(16000)
    >>> silence.sample_rate = 16000
    >>> perturbed = SpeedPerturbation(silence, factors=[0.8])
    >>> [len(perturbed("a.wav", 0.0, 1.0, epoch, "a")) for epoch in (0, 1)]
    [16000, 20000]
    """

    def __init__(
        self,
        read_waveform: Callable[..., Tensor],
        factors: Sequence[float] = (0.9, 1.0, 1.1),
        seed: int = 0,
    ):
        if not factors or not all(0.5 <= factor <= 2 for factor in factors):
            raise ValueError(f"speeds are factors from 0.5 to 2, not {list(factors)}")
        self.read_waveform, self.factors, self.seed = read_waveform, tuple(factors), seed
        self.sample_rate = read_waveform.sample_rate
        self.max_duration = getattr(read_waveform, "max_duration", None)

    def __call__(
        self,
        path: str | Path,
        start: float,
        duration: float,
        epoch: int,
        clip_id: str,
        draw: int = 0,
    ) -> Tensor:
        """Reads a clip; arguments and returns as a `WaveformReader`'s."""
        waveform = self.read_waveform(path, start, duration, epoch, clip_id, draw)
        if epoch == 0:
            return waveform
        factor = random.Random(f"speed {self.seed} {epoch} {draw} {clip_id}").choice(self.factors)
        if factor == 1:
            return waveform
        return resample(as_float(waveform), round(factor * self.sample_rate), self.sample_rate)
