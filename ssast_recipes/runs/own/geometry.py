"""What one's own audio is cut into: mel bins it can fill, clips, and patches or frames."""

import math
from collections.abc import Sequence
from typing import NamedTuple

SAMPLE_RATE = 16000
FRAMES_PER_SECOND = 100
MOST_FRAMES = 1024  # of the published models
LEAST_FRAMES = 32
KINDS = ("frame", "patch")
LEAST_TOKENS = {"frame": 32, "patch": 64}  # so that masks vary, and something is left to look at

_FRAME_SAMPLES = 0.025  # seconds
_HIGH_SHARE = 0.95  # of the files, that a window holds whole
_FEW = 0.1  # of the files, whose upper bands are given up
_MEL_BINS = 128  # up to 8 kHz
_PATCH_SIZES = ((16, 16), (16, 8), (8, 8), (8, 4), (4, 4), (4, 2))
_MANY_FRAMES = 256  # from which on a CPU takes frames of 4


class MelRange(NamedTuple):
    """The mel bins of a filterbank."""

    num_mel_bins: int
    high_frequency: float  # Hz; 0: half of the sample rate


class Geometry(NamedTuple):
    """What a clip is cut into."""

    kind: str  # frame, patch
    num_mel_bins: int
    target_length: int  # frames of 10 ms
    patch_size: tuple[int, int]  # mel bins, frames

    @property
    def grid_size(self) -> tuple[int, int]:
        """Patch rows (frequency) and columns (time)."""
        return self.num_mel_bins // self.patch_size[0], self.target_length // self.patch_size[1]

    @property
    def num_tokens(self) -> int:
        """Patches of a clip."""
        rows, columns = self.grid_size
        return rows * columns

    def __str__(self) -> str:
        name = {"frame": "frames", "patch": "patches"}[self.kind]
        return f"{name} of {self.patch_size[0]} mel bins × {self.patch_size[1]}"


def choose_mel_range(
    sample_rates: Sequence[int], sample_rate: int = SAMPLE_RATE, high_frequency: float | None = None
) -> MelRange:
    """Chooses the mel bins that nine of ten files can fill.

    A recording at 8 kHz has nothing above 4 kHz: bins there would hold silence, and be targets.

    Arguments
    ---------
    sample_rates : sequence of int
        Of the files, in Hz.
    sample_rate : int
        To which they are resampled, in Hz.
    high_frequency : float, optional
        In Hz, where the highest bin ends, if that is given.

    Returns
    -------
    MelRange
        128 bins up to 8 kHz, or in proportion to the range, a multiple of 16.

    Example
    -------
    >>> choose_mel_range([44100] * 20), choose_mel_range([8000] * 20 + [48000])
    (MelRange(num_mel_bins=128, high_frequency=0.0), MelRange(num_mel_bins=64, ...=4000.0))
    """
    rates = sorted(sample_rates)
    highest = rates[-1 - int(_FEW * len(rates))] / 2
    top = high_frequency or min(highest, sample_rate / 2)
    bins = min(_MEL_BINS, _MEL_BINS * top / (SAMPLE_RATE / 2))
    ends = 0.0 if top == sample_rate / 2 else top
    return MelRange(max(32, int(bins) // 16 * 16), ends)


def choose_target_length(durations: Sequence[float]) -> int:
    """Chooses the frames of a clip: 19 of 20 files fit, up to 10.24 s.

    Arguments
    ---------
    durations : sequence of float
        Lengths of the files in seconds.

    Returns
    -------
    int
        A multiple of 16 frames, 32 to 1024.

    Example
    -------
    >>> (
    ...     choose_target_length([5.0] * 20),
    ...     choose_target_length([3600.0]),
    ...     choose_target_length([0.1]),
    ... )
    (496, 1024, 32)
    """
    return min(MOST_FRAMES, max(LEAST_FRAMES, long_frames(durations) // 16 * 16))


def long_frames(durations: Sequence[float]) -> int:
    """Counts the whole frames of a file that only one of twenty is longer than.

    Example
    -------
    >>> long_frames([0.3] * 95 + [10.0] * 5)
    28
    """
    long = sorted(durations)[max(0, math.ceil(_HIGH_SHARE * len(durations)) - 1)]
    return count_frames(long)


def count_frames(seconds: float) -> int:
    """Counts the whole frames of a clip.

    Example
    -------
    >>> count_frames(1.0), count_frames(0.01)
    (98, 0)
    """
    return max(0, int((seconds - _FRAME_SAMPLES) * FRAMES_PER_SECOND + 1 + 1e-6))


def choose_geometry(kind: str, num_mel_bins: int, target_length: int, is_fast: bool) -> Geometry:
    """Chooses the size of patches, or of frames, such that there are enough of them.

    Arguments
    ---------
    kind : str
        "patch", of which there are at least 64, at most 16 mel bins × 16 frames large; or "frame",
        as high as the spectrogram, of which there are at least 32, 2 frames long if that will do.
    num_mel_bins : int
        Of the spectrogram.
    target_length : int
        Its frames.
    is_fast : bool
        Whether the machine is; without a GPU, clips of more than 256 frames are cut into fewer.

    Returns
    -------
    Geometry
        Its clips may be a few frames shorter, to be whole patches.

    Raises
    ------
    ValueError
        If a clip is shorter than any patch.

    Example
    -------
    >>> print(choose_geometry("frame", 64, 64, False), choose_geometry("patch", 64, 64, False))
    frames of 64 mel bins × 2 patches of 8 mel bins × 8
    >>> choose_geometry("frame", 128, 1024, is_fast=False).grid_size
    (1, 256)
    """
    if kind == "frame":
        lengths = (2, 1) if is_fast or target_length <= _MANY_FRAMES else (4,)
        sizes: Sequence[tuple[int, int]] = [(num_mel_bins, length) for length in lengths]
    else:
        sizes = [size for size in _PATCH_SIZES if num_mel_bins % size[0] == 0]
        if not sizes:
            raise ValueError(
                f"no patch fills {num_mel_bins} mel bins; give --num-mel-bins that 16 divides, or "
                "--geometry frame"
            )
    all_sizes = [
        Geometry(kind, num_mel_bins, target_length // size[1] * size[1], size)
        for size in sizes
        if size[1] <= target_length
    ]
    if not all_sizes:
        raise ValueError(
            f"a clip of {target_length} frames is shorter than a patch; give longer --clip-seconds"
        )
    enough = (one for one in all_sizes if one.num_tokens >= LEAST_TOKENS[kind])
    return next(enough, all_sizes[-1])


def given_geometry(patch_size: tuple[int, int], num_mel_bins: int, target_length: int) -> Geometry:
    """The geometry of patches whose size is given.

    Raises
    ------
    ValueError
        If the mel bins cannot be shared out, or a patch is longer than a clip.

    Example
    -------
    >>> given_geometry((128, 2), 64, 96)
    Traceback (most recent call last):
    ValueError: --patch 128 2: patches of 128 mel bins do not fill the 64 that the audio can fill;
        give a number that divides 64
    """
    height, length = patch_size
    told = f"--patch {height} {length}"
    if num_mel_bins % height:
        raise ValueError(
            f"{told}: patches of {height} mel bins do not fill the {num_mel_bins} that the audio "
            f"can fill; give a number that divides {num_mel_bins}"
        )
    if length > target_length:
        raise ValueError(
            f"{told}: a patch of {length} frames is longer than a clip of {target_length}; give "
            "shorter ones, or longer --clip-seconds"
        )
    kind = "frame" if height == num_mel_bins else "patch"
    return Geometry(kind, num_mel_bins, target_length // length * length, (height, length))
