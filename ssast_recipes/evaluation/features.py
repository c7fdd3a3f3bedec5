"""Embeddings without learning, which encoders have to beat: log-mel bands and MFCC."""

import statistics
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchaudio.functional import create_dct

from ssast_recipes.model.filterbank import LogMelFilterbank
from ssast_recipes.objectives.baselines import log_mel_features

NUM_MEL_BINS = 64
NUM_COEFFICIENTS = 20


def plain_filterbank(file_rates: Iterable[int], sample_rate: int) -> LogMelFilterbank:
    """Makes the filterbank of the baselines, up to what most files hold.

    Arguments
    ---------
    file_rates : iterable of int
        The files' own sample rates, in Hz: empty bands would be noise, standardised.
    sample_rate : int
        Of the waveforms, in Hz.

    Returns
    -------
    LogMelFilterbank
        Of 64 mel bins.

    Example
    -------
    >>> plain_filterbank([8000, 8000, 44100], sample_rate=16000).frequency_range
    (20.0, 4000.0)
    """
    top = statistics.mode(file_rates) / 2
    high_frequency = top if top < sample_rate / 2 else 0.0
    return LogMelFilterbank(sample_rate, NUM_MEL_BINS, high_frequency=high_frequency)


def log_mel_frames(waveform: Tensor, filterbank: LogMelFilterbank) -> Tensor:
    """Computes a clip's own frames, one at least: [samples] to [frames, mel bins]."""
    least = filterbank.num_samples(1)
    waveform = pad(waveform, (0, max(0, least - len(waveform))))
    return filterbank(waveform.unsqueeze(0))[0]


def log_mel_statistics(log_mel: Tensor) -> Tensor:
    """Mean and standard deviation over time of every mel bin: [frames, bins] to [2 bins].

    Example
    -------
    >>> log_mel_statistics(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    tensor([2., 5., 1., 0.])
    """
    return torch.cat([log_mel.mean(dim=0), log_mel.std(dim=0, correction=0)])


def mfcc_statistics(log_mel: Tensor) -> Tensor:
    """Mean and standard deviation of 20 MFCCs, and of how they change from frame to frame.

    Arguments
    ---------
    log_mel : Tensor
        [frames, mel bins], as many bins as coefficients at least.

    Returns
    -------
    Tensor
        [80].

    Example
    -------
    >>> mfcc_statistics(torch.ones(3, 64))[:2].abs().round(decimals=3)
    tensor([8., 0.])
    """
    transform = create_dct(NUM_COEFFICIENTS, log_mel.shape[1], norm="ortho")
    coefficients = log_mel @ transform  # [frames, 20]
    changes = coefficients.diff(dim=0) if len(coefficients) > 1 else 0 * coefficients
    return torch.cat([log_mel_statistics(coefficients), log_mel_statistics(changes)])


# By what the command line calls them: from a clip's frames, [frames, mel bins], to one vector.
BASELINES: dict[str, Callable[[Tensor], Tensor]] = {
    "log-mel": log_mel_features,
    "log-mel-stats": log_mel_statistics,
    "mfcc": mfcc_statistics,
}
