"""Augmentation in fine-tuning, from each clip's own random numbers.

Spectrograms are augmented in batches, on the device; mixup, which needs a second clip read, is part
of the loading.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ssast_recipes.model.randomness import ClipGenerator


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
    return _stretch(generator, length, length, max_width)


@dataclass(frozen=True)
class SpeechSpecAugment:
    """Masks bands of mel bins and stretches of frames of clips of any lengths.

    For standardised spectrograms, in which the mask is 0, the mean. Widths and starts are drawn
    uniformly and rounded down; a stretch lies within its clip and takes at most a share of it
    (Park et al., SpecAugment on large scale datasets, ICASSP 2020). The defaults are the policy LD,
    but for that share.

    Arguments
    ---------
    num_bands, max_mel_bins : int
        How many bands, each narrower than `max_mel_bins`.
    num_stretches, max_frames : int
        How many stretches, each shorter than `max_frames`.
    max_share : float
        Of its clip, what a stretch takes at most.

    Example
    -------
    >>> generator = ClipGenerator(seed=1, step=0, places=torch.arange(2))
    >>> lengths = torch.tensor([500, 90])
    >>> SpeechSpecAugment()(torch.ones(2, 500, 128), lengths, generator).shape
    torch.Size([2, 500, 128])
    """

    num_bands: int = 2
    max_mel_bins: int = 27
    num_stretches: int = 2
    max_frames: int = 100
    max_share: float = 0.1

    def __call__(
        self, spectrograms: Tensor, num_frames: Tensor, generator: ClipGenerator
    ) -> Tensor:
        """Augments spectrograms [batch, frames, mel bins] of clips of `num_frames` [batch]."""
        lengths = num_frames.float()
        bins = torch.full_like(lengths, spectrograms.shape[2])
        most_bins = bins.clamp(max=self.max_mel_bins)
        most_frames = (self.max_share * lengths).clamp(max=self.max_frames)
        masked = torch.zeros_like(spectrograms, dtype=torch.bool)
        for _ in range(self.num_bands):
            masked |= _stretch(generator, spectrograms.shape[2], bins, most_bins).unsqueeze(1)
        for _ in range(self.num_stretches):
            masked |= _stretch(generator, spectrograms.shape[1], lengths, most_frames).unsqueeze(2)
        return spectrograms.masked_fill(masked, 0.0)


def _stretch(
    generator: ClipGenerator, num_places: int, lengths: Tensor | int, most: Tensor | int
) -> Tensor:
    """Marks a random stretch within each clip's length, [batch, places], bool."""
    width = generator.uniform() * most
    start = (generator.uniform() * (lengths - width)).floor()
    places = torch.arange(num_places, device=generator.device)
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
