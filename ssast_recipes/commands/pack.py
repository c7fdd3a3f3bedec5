"""`ssast pack`: the clips of a manifest in shards."""

import argparse
import os
from pathlib import Path

from ssast_recipes.system.machine import num_cores


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.commands.main`."""
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="what to pack: train.csv")
    parser.add_argument("output", type=Path, metavar="OUT", help="folder for the shards")
    parser.add_argument(
        "--format", choices=["flac", "wav"], default="flac", help="default: %(default)s"
    )
    parser.add_argument("--sample-rate", type=int, default=16000, help="Hz; default: %(default)s")
    parser.add_argument(
        "--shard-megabytes", type=float, default=1000, help="about; default: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the clips' order; default: 0")
    parser.add_argument("--num-workers", type=int, default=num_cores(), help="default: all cores")
    parser.add_argument(
        "--max-rejected",
        type=float,
        default=0.01,
        help="share of unreadable clips to leave out; default: %(default)s",
    )


def run(arguments: argparse.Namespace) -> None:
    """Packs, and says what to give to `train.py`."""
    from ssast_recipes.data.manifest import iterate_manifests
    from ssast_recipes.data.preparation.packing import Packing, pack
    from ssast_recipes.data.shards import split_location

    packing = Packing(
        arguments.format,
        arguments.sample_rate,
        round(arguments.shard_megabytes * 1e6),
        arguments.seed,
    )
    packed = pack(
        arguments.manifest,
        arguments.output,
        packing,
        arguments.num_workers,
        arguments.max_rejected,
    )
    count, seconds, shards = 0, 0.0, set()
    for clip in iterate_manifests([packed]):
        count, seconds = count + 1, seconds + clip.duration
        shards.add(split_location(clip.path).shard)
    size = sum(os.path.getsize(shard) for shard in shards)
    print(
        f"{count:,} clips, {seconds / 3600:,.1f} hours, in {len(shards)} shard(s) of "
        f"{size / 1e6:,.0f} MB together. To read them, in place of {arguments.manifest.name}:\n"
        f'--train_manifests "[{packed}]"'
    )
