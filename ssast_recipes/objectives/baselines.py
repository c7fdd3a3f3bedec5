"""What a classifier has to beat: chance, and ridge regression on a few log-mel values."""

from torch import Tensor
from torch.nn.functional import interpolate

NUM_STEPS = 12  # of time, to which a clip's spectrogram is brought


def log_mel_features(log_mel: Tensor, num_steps: int = NUM_STEPS) -> Tensor:
    """Brings a clip's log-mel spectrogram to a fixed number of time steps, for `linear_scores`.

    Arguments
    ---------
    log_mel : Tensor
        The clip's own frames, without padding, [frames, mel bins]; one at least.
    num_steps : int
        How many steps: the middles of as many parts, interpolated between frames.

    Returns
    -------
    Tensor
        [num_steps * mel bins].

    Example
    -------
    >>> import torch
    >>> log_mel_features(torch.tensor([[1.0], [3.0], [5.0], [7.0]]), num_steps=2)
    tensor([2., 6.])
    """
    bands = log_mel.T.unsqueeze(0)  # [1, mel bins, frames]
    return interpolate(bands, size=num_steps, mode="linear")[0].T.flatten()


def chance_scores(targets: Tensor, num_clips: int) -> Tensor:
    """Scores classes by how common they are, whatever is heard.

    Their accuracy is the share of the commonest class, their mAP the mean share of a class.

    Arguments
    ---------
    targets : Tensor
        Which classes the training clips have, [known, classes], 0 or 1.
    num_clips : int
        Clips to score.

    Returns
    -------
    Tensor
        Scores, [num_clips, classes]; float64.

    Example
    -------
    >>> import torch
    >>> chance_scores(torch.tensor([[1, 0], [0, 1], [0, 1], [0, 1]]), num_clips=1)
    tensor([[0.2500, 0.7500]], dtype=torch.float64)
    """
    return targets.double().mean(dim=0).expand(num_clips, -1)
