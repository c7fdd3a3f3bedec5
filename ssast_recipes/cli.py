"""The command line: `ssast COMMAND …`.

A command is a module with two functions, `add_arguments(parser)` and `run(arguments)`. It is
imported only when it was chosen, so that `ssast --help` need not wait for torch.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from ssast_recipes import __version__
from ssast_recipes.errors import explain
from ssast_recipes.interruption import Interrupted, raising_interrupts

# command: (module, help in one line)
COMMANDS: dict[str, tuple[str, str]] = {
    "pretrain": ("ssast_recipes.own_pretraining", "an encoder of a folder of your own audio"),
    "finetune": ("ssast_recipes.own_finetuning", "a classifier of an encoder and your own labels"),
    "demo": ("ssast_recipes.demo", "see what pretraining gains, in minutes, without any data"),
    "recipes": ("ssast_recipes.recipe_files", "list the recipes, or copy them to a folder"),
    "statistics": ("ssast_recipes.data.statistics", "mean and deviation of your own spectrograms"),
    "pack": ("ssast_recipes.pack", "put the clips of a manifest into shards: fewer, larger files"),
    "index": ("ssast_recipes.index", "make a manifest of shards that are there already"),
    "classify": ("ssast_recipes.classify", "what is heard in audio files"),
    "embed": ("ssast_recipes.embed", "embeddings of audio files, as .npz or .parquet"),
    "show": ("ssast_recipes.show", "a picture of what a model makes of masked patches"),
    "report": ("ssast_recipes.report.command", "what a run did, on one page to look at"),
    "import": ("ssast_recipes.importing", "make a model folder of released or foreign weights"),
    "export": ("ssast_recipes.exporting", "a model for transformers, or as a torch program"),
    "push": ("ssast_recipes.push", "upload a model to the Hugging Face Hub"),
    "tables": ("ssast_recipes.tables.command", "published numbers beside those of runs"),
    "reproduce": ("ssast_recipes.tables.reproduce", "the runs that fill a table of the paper"),
    "crossval": ("ssast_recipes.crossval", "train and test every fold of a recipe, and average"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    What the user can mend (a value, a file, the state of the machine) is told in one line. Any
    other exception is a mistake of ours and keeps its traceback.

    Arguments
    ---------
    argv : Sequence[str] | None
        The arguments after `ssast`; None takes those of the process.

    Returns
    -------
    int
        The exit status: what the command returned (None is 0), 1 after an error, 130 after Ctrl-C
        and 143 after SIGTERM.

    Raises
    ------
    SystemExit
        After `--help` and `--version`, and with status 2 where the arguments are wrong.

    Example
    -------
    >>> main(["--version"])
    Traceback (most recent call last):
    SystemExit: 0
    """
    parser = argparse.ArgumentParser(
        prog="ssast",
        description="Self-supervised audio spectrogram transformers on SpeechBrain.",
        epilog="\n  ".join(
            ["commands:", *(f"{name:<10}  {text}" for name, (_, text) in COMMANDS.items())]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--debug", action="store_true", help="show an error's traceback")
    parser.add_argument(
        "command", choices=COMMANDS, metavar="COMMAND", help="one of the commands below"
    )
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="see ssast COMMAND --help")
    chosen = parser.parse_args(argv)

    module, text = COMMANDS[chosen.command]
    with raising_interrupts():
        try:
            command = importlib.import_module(module)
            prog = f"ssast {chosen.command}"
            command_parser = argparse.ArgumentParser(prog=prog, description=text)
            command.add_arguments(command_parser)
            return command.run(command_parser.parse_args(chosen.rest)) or 0
        except Interrupted as interruption:
            print(f"ssast: {interruption}", file=sys.stderr)
            return interruption.status
        except Exception as error:
            line = explain(error)
            if line is None or chosen.debug:
                raise
            print(f"ssast: error: {line}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
