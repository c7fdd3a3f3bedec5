"""`ssast push`: uploads a model to the Hugging Face Hub."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.commands.main`."""
    parser.add_argument("model", help="a model folder, a run's folder, or an exported folder")
    parser.add_argument("repository", help="its name on the Hub: user/name")
    parser.add_argument("--private", action="store_true", help="make it private, if it is new")


def run(arguments: argparse.Namespace) -> None:
    """Uploads, and prints where to."""
    from ssast_recipes.weights.hub import push_model

    print(push_model(arguments.model, arguments.repository, arguments.private))
