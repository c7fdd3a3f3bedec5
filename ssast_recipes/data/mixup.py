"""Mixup, part of the loading: a second clip has to be read."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad


def mix_waveforms(waveform: Tensor, partner: Tensor, share: float) -> Tensor:
    """Adds up two waveforms without their means, in the first one's length.

    Arguments
    ---------
    waveform : Tensor
        [samples].
    partner : Tensor
        [any samples]: cut at the end or zero-padded.
    share : float
        What the first contributes; the partner contributes the rest.

    Returns
    -------
    Tensor
        The mixture, [samples]; its mean is removed too.

    Example
    -------
    >>> mix_waveforms(torch.tensor([1.0, -1.0, 1.0, -1.0]), torch.tensor([6.0, 2.0]), 0.75)
    tensor([ 1.2500, -1.2500,  0.7500, -0.7500])
    """
    waveform, partner = waveform - waveform.mean(), partner - partner.mean()
    partner = pad(partner, (0, len(waveform) - len(partner)))  # a negative number cuts
    mixture = share * waveform + (1 - share) * partner
    return mixture - mixture.mean()


@dataclass(frozen=True)
class Mixup:
    """Mixes some clips with others of the training set, waveforms and targets alike.

    Each clip is mixed with the probability `rate`. Its partner is drawn uniformly from the training
    set, the clip itself included, and its share from Beta(concentration, concentration) (Zhang et
    al., mixup, ICLR 2018; Tokozume et al., ICLR 2018, for sounds). The draws are a function of the
    seed, the occasion and the clip.

    Arguments
    ---------
    rate : float
        The share of clips that are mixed, 0 to 1.
    seed : int
        The experiment's seed.
    concentration : float
        Of the beta distribution; the higher, the closer shares are to a half.

    Raises
    ------
    ValueError
        If `rate` or `concentration` is out of range; when called, if targets cannot be mixed.

    Example
    -------
    >>> clips = [
    ...     {"id": "a", "waveform": torch.tensor([1.0, -1.0]), "target": torch.tensor([1.0, 0.0])},
    ...     {"id": "b", "waveform": torch.tensor([5.0, -5.0]), "target": torch.tensor([0.0, 1.0])},
    ... ]
    >>> mixed = Mixup(rate=1.0, seed=3)(clips[0], occasion=1, num_clips=2, read=clips.__getitem__)
    >>> mixed["id"], mixed["target"].sum()
    ('a', tensor(1.))
    """

    rate: float = 0.5
    seed: int = 0
    concentration: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ValueError(f"the rate of mixup is from 0 to 1, not {self.rate}")
        if not self.concentration > 0:
            raise ValueError(f"the concentration of mixup is above 0, not {self.concentration}")

    def __call__(
        self,
        clip: dict[str, Any],
        occasion: int | str,
        num_clips: int,
        read: Callable[[int], dict[str, Any]],
    ) -> dict[str, Any]:
        """Mixes a clip with another, or returns it as it is.

        Arguments
        ---------
        clip : dict
            `id`, `waveform` [samples] and `target` [classes], floating point.
        occasion : int or str
            Tells one time that the clip is shown from another, such as the epoch.
        num_clips : int
            Size of the training set.
        read : callable
            Reads clip number 0 to `num_clips - 1`.

        Returns
        -------
        dict
            The clip, `waveform` and `target` mixed.
        """
        target = clip.get("target")
        if target is None or not target.is_floating_point():
            raise ValueError(
                "mixup mixes targets of one number a class: name target in output_keys, and "
                "MultiHotEncoder for the labels; or set mixup: null"
            )
        draws = random.Random(f"mixup {self.seed} {occasion} {clip['id']}")
        if draws.random() >= self.rate:
            return clip
        partner = read(draws.randrange(num_clips))
        share = draws.betavariate(self.concentration, self.concentration)
        waveform = mix_waveforms(clip["waveform"], partner["waveform"], share)
        # In this order, targets alike stay exactly as they are.
        target = torch.lerp(partner["target"], target, share)
        return {**clip, "waveform": waveform, "target": target}
