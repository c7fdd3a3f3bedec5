"""Recordings longer than a model's input: overlapping windows, and what is made of them, merged."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad


class WindowShape(NamedTuple):
    """How windows are cut: lengths in frames, and what a frame is in samples."""

    length: int  # frames of a window
    stride: int  # frames from one patch column to the next: windows begin at multiples of it
    samples_per_shift: int
    samples_per_frame: int

    @property
    def num_samples(self) -> int:
        """Samples of a window."""
        return (self.length - 1) * self.samples_per_shift + self.samples_per_frame

    def num_frames(self, num_samples: int) -> int:
        """Counts the frames of a recording: one at least, with zeros behind its end."""
        return max(1, 1 + (num_samples - self.samples_per_frame) // self.samples_per_shift)


class Window(NamedTuple):
    """A window of a recording: where it begins, what is in it, and how much was read by then."""

    start: int  # in frames
    samples: Tensor  # [WindowShape.num_samples], with zeros behind the recording's end
    num_read: int  # samples; of the last window, those of the whole recording


def cut_windows(pieces: Iterable[Tensor], shape: WindowShape) -> Iterator[Window]:
    """Cuts a recording into windows as it is read; no more of it is kept than is needed.

    They are where `window_starts` has them, which need not be known before the recording's end.

    Arguments
    ---------
    pieces : iterable of Tensor
        The recording, [samples] each.
    shape : WindowShape
        The windows.

    Yields
    ------
    Window
        One at least.

    Example
    -------
    >>> shape = WindowShape(length=4, stride=1, samples_per_shift=2, samples_per_frame=3)
    >>> [window.start for window in cut_windows([torch.ones(7), torch.ones(9)], shape)]
    [0, 2, 3]
    """
    hop, shift = _hop(shape.length, shape.stride), shape.samples_per_shift
    held, begin = torch.zeros(0), 0  # what is kept, and where in the recording it begins
    start, total = 0, 0
    for piece in pieces:
        held = torch.cat([held, piece]) if len(held) else piece
        total += len(piece)
        while shape.num_frames(total) > start + shape.length:
            yield Window(start, cut_window(held, start * shift - begin, shape.num_samples), total)
            start += hop
        # The last window may begin up to a hop before the next one would.
        unneeded = min(len(held), max(0, (start - hop) * shift - begin))
        held, begin = held[unneeded:], begin + unneeded
    last = window_starts(shape.num_frames(total), shape.length, shape.stride)[-1]
    yield Window(last, cut_window(held, last * shift - begin, shape.num_samples), total)


def _hop(target_length: int, stride: int) -> int:
    return max(1, target_length // 2 // stride) * stride


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
    hop = _hop(target_length, stride)
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
