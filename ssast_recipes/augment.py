"""Augmentation in fine-tuning, from each clip's own random numbers.

Spectrograms are augmented in batches, on the device; mixup, which needs a second clip read, is part
of the loading.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ssast_recipes.randomness import ClipGenerator


@dataclass(frozen=True)
class SpecAugment:
    """Zeroes one band of mel bins and one stretch of frames of every clip.

    Width and start are drawn uniformly and rounded down, as torchaudio's `FrequencyMasking` and
    `TimeMasking` do (Park et al., SpecAugment, Interspeech 2019). Meant for log-mel spectrograms
    before they are standardised, as in the released code.

    Arguments
    ---------
    max_mel_bins : int
        The band is narrower than this; 0 for none.
    max_frames : int
        The stretch is shorter than this; 0 for none.

    Example
    -------
    >>> generator = ClipGenerator(seed=1, step=0, places=torch.arange(2))
    >>> SpecAugment(24, 96)(torch.ones(2, 512, 128), generator).shape
    torch.Size([2, 512, 128])
    """

    max_mel_bins: int = 24
    max_frames: int = 96

    def __call__(self, spectrograms: Tensor, generator: ClipGenerator) -> Tensor:
        """Augments spectrograms [batch, frames, mel bins]; a ValueError if they are too small."""
        _, num_frames, num_mel_bins = spectrograms.shape
        if self.max_mel_bins > num_mel_bins or self.max_frames > num_frames:
            raise ValueError(
                f"{self} does not fit spectrograms of {num_mel_bins} mel bins and {num_frames} "
                "frames; lower max_mel_bins or max_frames of spec_augment, or raise target_length"
            )
        band = _random_stretch(generator, num_mel_bins, self.max_mel_bins).unsqueeze(1)
        stretch = _random_stretch(generator, num_frames, self.max_frames).unsqueeze(2)
        return spectrograms.masked_fill(band | stretch, 0.0)


def _random_stretch(generator: ClipGenerator, length: int, max_width: int) -> Tensor:
    """Marks a random stretch of each clip, [batch, length], bool."""
    width = generator.uniform() * max_width
    start = (generator.uniform() * (length - width)).floor()
    places = torch.arange(length, device=generator.device)
    begin, end = start.unsqueeze(1), (start + width.floor()).unsqueeze(1)
    return (places >= begin) & (places < end)


@dataclass(frozen=True)
class NoiseAndRoll:
    """Adds uniform noise of a random level, then rolls the frames by a random shift.

    For standardised spectrograms: `x + U(0, 1) * u / 10` with one `u ~ U(0, 1)` a clip, then a
    roll by -10 to +9 frames, as in the released code.

    Arguments
    ---------
    max_shift : int
        Shifts are drawn from -max_shift to max_shift - 1 frames.

    Example
    -------
    >>> generator = ClipGenerator(seed=1, step=0, places=torch.arange(2))
    >>> NoiseAndRoll()(torch.zeros(2, 512, 128), generator).shape
    torch.Size([2, 512, 128])
    """

    max_shift: int = 10

    def __call__(self, spectrograms: Tensor, generator: ClipGenerator) -> Tensor:
        """Augments spectrograms [batch, frames, mel bins]."""
        _, num_frames, num_mel_bins = spectrograms.shape
        level = generator.uniform(1, 1) / 10
        spectrograms = spectrograms + generator.uniform(num_frames, num_mel_bins) * level
        shift = (generator.uniform(1) * 2 * self.max_shift).floor().long() - self.max_shift
        frames = torch.arange(num_frames, device=generator.device)
        sources = (frames - shift) % num_frames  # [batch, frames]
        return spectrograms.gather(1, sources.unsqueeze(2).expand_as(spectrograms))


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
