"""`ssast index`: a manifest of shards that are there already."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.commands.main`."""
    parser.add_argument(
        "shards", type=Path, nargs="+", metavar="SHARD", help="tar files, or folders of them"
    )
    parser.add_argument("output", type=Path, metavar="MANIFEST", help="the CSV file to write")
    parser.add_argument("--num-workers", type=int, default=8, help="threads; default: %(default)s")
    parser.add_argument(
        "--max-rejected",
        type=float,
        default=0.01,
        help="share of unusable clips to leave out; default: %(default)s",
    )


def run(arguments: argparse.Namespace) -> None:
    """Writes the manifest and says what is in it."""
    from ssast_recipes.data.preparation.shard_index import index_shards

    shards = [
        shard
        for path in arguments.shards
        for shard in (sorted(path.glob("*.tar")) if path.is_dir() else [path])
    ]
    if not shards:
        raise FileNotFoundError(f"there is no .tar file in {', '.join(map(str, arguments.shards))}")
    count, rejected = index_shards(
        shards, arguments.output, arguments.num_workers, arguments.max_rejected
    )
    print(
        f"{count:,} clips in {len(shards)} shard(s), {rejected} unusable: {arguments.output}. To "
        f'read them:\n--train_manifests "[{arguments.output.absolute()}]"'
    )
