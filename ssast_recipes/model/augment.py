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
