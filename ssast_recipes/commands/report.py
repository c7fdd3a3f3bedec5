"""`ssast report`: what a run did, as one page to look at and to send around."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.commands.main`."""
    parser.add_argument("run", metavar="RUN_DIR", type=Path, help="a run's output folder")
    parser.add_argument("--output", type=Path, help="the page; default: RUN_DIR/report.html")
    parser.add_argument(
        "--clips", type=int, default=8, help="how many of the worst clips; default: 8"
    )
    parser.add_argument(
        "--points", type=int, default=400, help="how many clips to embed at most; default: 400"
    )
    parser.add_argument(
        "--explain",
        type=int,
        default=3,
        help="of how many of the worst clips to show what spoke for the class; default: 3",
    )
    parser.add_argument("--device", help="cpu, cuda, mps; default: a GPU if there is one")


def run(arguments: argparse.Namespace) -> None:
    """Writes the page.

    Raises
    ------
    OSError
        If the folder is no run's, or the page cannot be written.
    ValueError
        If a count is below 0.
    """
    for name in ("clips", "points", "explain"):
        if getattr(arguments, name) < 0:
            raise ValueError(f"--{name} is 0 or more, not {getattr(arguments, name)}")

    from ssast_recipes.reporting.page import make_page
    from ssast_recipes.system.files import write_text

    output = arguments.output or arguments.run / "report.html"
    counts = arguments.clips, arguments.points
    page = make_page(arguments.run, *counts, arguments.device, arguments.explain)
    write_text(output, page)
    print(f"{output} ({len(page.encode()) / 1e6:.1f} MB)")
