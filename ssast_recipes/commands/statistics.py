"""`ssast statistics`: the mean and deviation by which spectrograms are standardised."""

import argparse
import random
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.commands.main`."""
    parser.add_argument("manifests", type=Path, nargs="+", metavar="MANIFEST", help="train.csv …")
    parser.add_argument("--sample-rate", type=int, default=16000, help="Hz; default: %(default)s")
    parser.add_argument(
        "--num-clips", type=int, default=2000, help="a sample of so many; default: %(default)s"
    )


def run(arguments: argparse.Namespace) -> None:
    """Prints the options to give to `train.py`."""
    from ssast_recipes.data.manifest import read_manifest
    from ssast_recipes.data.pipelines import WaveformReader
    from ssast_recipes.model.filterbank import LogMelFilterbank
    from ssast_recipes.runs.own.statistics import spectrogram_statistics

    clips = [clip for manifest in arguments.manifests for clip in read_manifest(manifest)]
    if len(clips) > arguments.num_clips:
        clips = random.Random(0).sample(clips, arguments.num_clips)
    rate = arguments.sample_rate
    mean, std = spectrogram_statistics(
        clips, WaveformReader(rate), LogMelFilterbank(rate), progress=True
    )
    print(f"--mean {mean:.4f} --std {std:.4f}")
