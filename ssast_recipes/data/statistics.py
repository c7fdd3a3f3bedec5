"""`ssast statistics`: the mean and deviation by which spectrograms are standardised."""

import argparse
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from ssast_recipes.data.batches import as_float
from ssast_recipes.data.manifest import Clip, read_manifest
from ssast_recipes.data.pipelines import WaveformReader
from ssast_recipes.features import LogMelFilterbank


def spectrogram_statistics(
    clips: Sequence[Clip],
    read_waveform: Callable[..., Tensor],
    log_mel: Callable[[Tensor], Tensor],
    progress: bool = False,
) -> tuple[float, float]:
    """Computes the mean and the standard deviation of all values of log-mel spectrograms.

    Arguments
    ---------
    clips : sequence of Clip
        The clips; those of the training set, or a sample of them.
    read_waveform : callable
        (path, start, duration, epoch, id) to samples, such as a `WaveformReader`.
    log_mel : callable
        Waveforms [1, samples] to log-mel spectrograms [1, frames, mel bins].
    progress : bool
        Whether to show a bar.

    Returns
    -------
    tuple[float, float]
        Mean and standard deviation, of frames that are audio: padding does not count.

    Raises
    ------
    ValueError
        If no clip is as long as a frame.

    Example
    -------
    >>> import torch
    >>> clips = [Clip("a", "/a.wav", 0.0, 1.0, 16000), Clip("b", "/b.wav", 0.0, 1.0, 16000)]
    >>> levels = {"/a.wav": 1.0, "/b.wav": 3.0}
    >>> spectrogram_statistics(
    ...     clips,
    ...     read_waveform=lambda path, *rest: torch.full([16000], levels[path]),
    ...     log_mel=lambda waveforms: waveforms.reshape(1, 100, 160)[:, :, :128],
    ... )
    (2.0, 1.0)
    """
    count, total, squares = 0, 0.0, 0.0
    for clip in tqdm(clips, desc="clips", disable=not progress):
        waveform = read_waveform(clip.path, clip.start, clip.duration, 0, clip.id)
        values = log_mel(as_float(waveform).unsqueeze(0)).double()
        count += values.numel()
        total += values.sum().item()
        squares += values.square().sum().item()
    if count == 0:
        raise ValueError(f"none of the {len(clips)} clips is as long as a frame of the spectrogram")
    mean = total / count
    return mean, max(squares / count - mean**2, 0.0) ** 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.cli`."""
    parser.add_argument("manifests", type=Path, nargs="+", metavar="MANIFEST", help="train.csv …")
    parser.add_argument("--sample-rate", type=int, default=16000, help="Hz; default: %(default)s")
    parser.add_argument(
        "--num-clips", type=int, default=2000, help="a sample of so many; default: %(default)s"
    )


def run(arguments: argparse.Namespace) -> None:
    """Prints the options to give to `train.py`."""
    clips = [clip for manifest in arguments.manifests for clip in read_manifest(manifest)]
    if len(clips) > arguments.num_clips:
        clips = random.Random(0).sample(clips, arguments.num_clips)
    rate = arguments.sample_rate
    mean, std = spectrogram_statistics(
        clips, WaveformReader(rate), LogMelFilterbank(rate), progress=True
    )
    print(f"--mean {mean:.4f} --std {std:.4f}")
