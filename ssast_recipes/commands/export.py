"""`ssast export`: a model for transformers, or as a torch program."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.commands.main`."""
    parser.add_argument("model", help="a model folder, or the folder of a run that was evaluated")
    parser.add_argument("out", help="huggingface: the folder to write; torch: the file, *.pt2")
    parser.add_argument(
        "--to",
        required=True,
        choices=["huggingface", "torch"],
        help="an ASTModel folder of Hugging Face's transformers, or a torch.export program",
    )


def run(arguments: argparse.Namespace) -> None:
    """Exports, and says what was left out."""
    from ssast_recipes.weights.exporting import export_huggingface, export_torch

    if arguments.to == "torch":
        export_torch(arguments.model, arguments.out)
        left_out = []
    else:
        left_out = export_huggingface(arguments.model, arguments.out)
    print(f"wrote {arguments.out}")
    for sentence in left_out:
        print(f"left out: {sentence}")
