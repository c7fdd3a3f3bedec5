"""Recordings longer than a model's input: overlapping windows, and what is made of them, merged."""

import torch
from torch import Tensor
from torch.nn.functional import pad


def window_starts(num_frames: int, target_length: int, stride: int) -> list[int]:
    """Tells where the windows of a recording begin.

    Neighbours overlap by half, as nearly as whole strides allow. The last one ends with the
    recording or less than a stride behind it.

    Arguments
    ---------
    num_frames : int
        Length of the recording in frames.
    target_length : int
        Length of a window in frames.
    stride : int
        Frames from one patch column to the next: windows begin at multiples of it, so that the
        columns of all windows lie on one grid.

    Returns
    -------
    list[int]
        The windows' first frames.

    Example
    -------
    >>> window_starts(num_frames=300, target_length=128, stride=16)
    [0, 64, 128, 176]
    """
    hop = max(1, target_length // 2 // stride) * stride
    last = -(-max(0, num_frames - target_length) // stride) * stride
    return [*range(0, last, hop), last]


def cut_window(waveform: Tensor, start: int, length: int) -> Tensor:
    """Cuts a stretch out of a waveform [samples], with zeros behind the end: [length].

    Example
    -------
    >>> cut_window(torch.tensor([1.0, 2.0, 3.0]), start=1, length=4)
    tensor([2., 3., 0., 0.])
    """
    window = waveform[start : start + length]
    return pad(window, (0, length - len(window)))


def merge_columns(values: Tensor, first_columns: Tensor, num_columns: int) -> Tensor:
    """Averages, column by column, what the windows that hold a column say of it.

    Arguments
    ---------
    values : Tensor
        One vector a patch column, [windows, columns, width].
    first_columns : Tensor
        Which column of the recording is each window's first, [windows] int64.
    num_columns : int
        How many columns of the recording to keep; each lies in some window.

    Returns
    -------
    Tensor
        [num_columns, width].

    Example
    -------
    >>> values = torch.tensor([[[1.0], [3.0]], [[5.0], [7.0]]])
    >>> merge_columns(values, torch.tensor([0, 1]), num_columns=3).flatten()
    tensor([1., 4., 7.])
    """
    places = first_columns.unsqueeze(1) + torch.arange(values.shape[1], device=values.device)
    total = int(first_columns[-1]) + values.shape[1]
    sums = values.new_zeros(total, values.shape[2])
    sums.index_add_(0, places.flatten(), values.flatten(0, 1))
    counts = values.new_zeros(total).index_add_(
        0, places.flatten(), values.new_ones(places.numel())
    )
    return (sums / counts.unsqueeze(1))[:num_columns]
