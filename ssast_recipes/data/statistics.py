"""Mean and standard deviation of spectrograms, to standardise a data set of one's own."""

import math
from collections.abc import Iterable

from torch import Tensor


def spectrogram_statistics(spectrograms: Iterable[Tensor]) -> tuple[float, float]:
    """Mean and standard deviation over all values, in one pass and without keeping them.

    In double precision: each batch's mean and squared deviations are merged into the running ones
    (Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances", 1979), so that neither the number of frames nor the distance of the mean from zero
    costs digits.

    Arguments
    ---------
    spectrograms : iterable of tensors
        Log-mel spectrograms of any shape, without padding, on one device.

    Returns
    -------
    mean, std : float
        Of the whole; ``std`` divides by the number of values.

    Raises
    ------
    ValueError
        If there are no values, or some are not finite.

    Example
    -------
    >>> import torch
    >>> spectrogram_statistics([torch.tensor([[1.0, 3.0]]), torch.tensor([5.0, 7.0])])
    (4.0, 2.23606797749979)
    """
    count, mean, deviations = 0, 0.0, 0.0
    for values in spectrograms:
        if values.numel() == 0:
            continue
        values = values.detach().double()
        batch_mean = values.mean()
        difference = batch_mean - mean
        share = values.numel() / (count + values.numel())
        mean = mean + difference * share
        deviations = deviations + (values - batch_mean).square().sum()
        deviations = deviations + difference.square() * count * share
        count += values.numel()
    if count == 0:
        raise ValueError("there are no spectrograms to take the mean and standard deviation of")
    # Read from the device only here: a value that is not finite makes the mean so, and stays.
    mean, std = float(mean), float((deviations / count).sqrt())
    if not math.isfinite(mean):
        raise ValueError(f"the spectrograms hold values that are not finite: their mean is {mean}")
    return mean, std
