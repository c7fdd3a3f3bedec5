"""Options that several commands have."""

import argparse


def add_use(parser: argparse.ArgumentParser) -> None:
    """Declares a model, the files that it is used on, and how they are gone through.

    Example
    -------
    >>> parser = argparse.ArgumentParser()
    >>> add_use(parser)
    >>> parser.parse_args(["model", "a.wav", "sounds"]).files
    ['a.wav', 'sounds']
    """
    parser.add_argument("model", metavar="MODEL", help="model folder, run folder, or Hub name")
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="audio files of any format, or folders of such"
    )
    parser.add_argument("--device", help="cpu, cuda, mps; default: a GPU if there is one")
    parser.add_argument("--batch-size", type=int, default=8, help="windows at a time; default: 8")
    parser.add_argument("--workers", type=int, help="threads that read files; default: one a core")
