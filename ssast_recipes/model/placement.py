"""Where in the spectrogram a clip stands that is shorter."""

import torch
from torch import Tensor

from ssast_recipes.model.randomness import ClipGenerator


def place_at_random(
    spectrograms: Tensor, num_frames: Tensor, generator: ClipGenerator
) -> tuple[Tensor, Tensor]:
    """Moves each clip to a random place, so that its padding is before and behind it.

    Arguments
    ---------
    spectrograms : Tensor
        Clips that begin at frame 0, padded with one value, [batch, frames, mel bins].
    num_frames : Tensor
        The clips' lengths in frames, [batch] integers; longer ones stay where they are.
    generator : ClipGenerator
        The clips' random numbers.

    Returns
    -------
    tuple[Tensor, Tensor]
        The spectrograms, of the same shape, and the frame at which each clip begins, [batch] int64.

    Example
    -------
    >>> clips = torch.tensor([[1.0, 2.0, 0.0, 0.0, 0.0]]).unsqueeze(2)
    >>> generator = ClipGenerator(seed=2, step=0, places=torch.arange(1))
    >>> placed, starts = place_at_random(clips, torch.tensor([2]), generator)
    >>> starts, placed[0, :, 0]
    (tensor([1]), tensor([0., 1., 2., 0., 0.]))
    """
    length = spectrograms.shape[1]
    free = (length - num_frames.clamp(min=1)).clamp(min=0)  # [batch]
    starts = (generator.uniform() * (free + 1)).long().minimum(free)
    frames = torch.arange(length, device=spectrograms.device)
    source = (frames - starts.unsqueeze(1)) % length  # [batch, frames]
    return spectrograms.gather(1, source.unsqueeze(2).expand_as(spectrograms)), starts
