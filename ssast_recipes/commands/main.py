"""The command line: `ssast COMMAND …`.

A command is a module with two functions, `add_arguments(parser)` and `run(arguments)`. It is
imported only when it was chosen, so that `ssast --help` need not wait for torch.
"""

import argparse
import difflib
import importlib
import keyword
import logging
import sys
from collections.abc import Sequence
from types import ModuleType

from ssast_recipes import __version__
from ssast_recipes.system.errors import explain
from ssast_recipes.system.interruption import Interrupted, raising_interrupts
from ssast_recipes.system.words import ShownRecord

COMMANDS = {  # with help in one line
    "pretrain": "an encoder of a folder of your own audio",
    "finetune": "a classifier, or a recogniser, of an encoder and your own labels",
    "demo": "see what pretraining gains, in minutes, without any data",
    "recipes": "list the recipes, or copy them to a folder",
    "statistics": "mean and deviation of your own spectrograms",
    "pack": "put the clips of a manifest into shards: fewer, larger files",
    "index": "make a manifest of shards that are there already",
    "classify": "what is heard in audio files",
    "transcribe": "what is said in audio files",
    "embed": "embeddings of audio files, as .npz or .parquet",
    "evaluate": "what frozen encoders know, against baselines",
    "show": "what a model makes of masked patches, or why a classifier decided so",
    "report": "what a run did, on one page to look at",
    "import": "make a model folder of released or foreign weights",
    "export": "a model for transformers, or as a torch program",
    "push": "upload a model to the Hugging Face Hub",
    "tables": "published numbers beside those of runs",
    "reproduce": "the runs that fill a table of the paper",
    "crossval": "train and test every fold of a recipe, and average",
}


def import_command(name: str) -> ModuleType:
    """Imports a command's module.

    Example
    -------
    >>> import_command("import").__name__
    'ssast_recipes.commands.import_'
    """
    module = f"{name}_" if keyword.iskeyword(name) else name
    return importlib.import_module(f"ssast_recipes.commands.{module}")


def _with_dashes(words: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """Reads `--batch_size`, as train.py has it, as `--batch-size`, where a command has that."""
    known = parser._option_string_actions
    found = []
    for word in words:
        name, equals, value = word.partition("=")
        dashed = name.replace("_", "-")
        is_meant = name.startswith("--") and name not in known and dashed in known
        found.append(f"{dashed}{equals}{value}" if is_meant else word)
    return found


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
            ["commands:", *(f"{name:<10}  {text}" for name, text in COMMANDS.items())]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--debug", action="store_true", help="show an error's traceback")
    parser.add_argument("command", metavar="COMMAND", help="one of the commands below")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="see ssast COMMAND --help")
    words = sys.argv[1:] if argv is None else argv
    if not words:
        parser.print_help(sys.stderr)
        parser.exit(2)
    chosen = parser.parse_args(words)
    if chosen.command not in COMMANDS:
        near = difflib.get_close_matches(chosen.command, COMMANDS, n=1)
        advice = f"did you mean {near[0]}? " if near else ""
        parser.error(
            f"there is no command {chosen.command!r}; {advice}(choose from {', '.join(COMMANDS)})"
        )

    logging.setLogRecordFactory(ShownRecord)
    with raising_interrupts():
        try:
            command = import_command(chosen.command)
            prog = f"ssast {chosen.command}"
            command_parser = argparse.ArgumentParser(
                prog=prog, description=COMMANDS[chosen.command]
            )
            command.add_arguments(command_parser)
            rest = _with_dashes(chosen.rest, command_parser)
            return command.run(command_parser.parse_args(rest)) or 0
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
