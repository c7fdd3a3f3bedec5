"""`ssast transcribe`: what is said in audio files."""

import argparse
import json

from ssast_recipes.commands.options import add_use
from ssast_recipes.system.words import shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.commands.main`."""
    add_use(parser)
    parser.add_argument(
        "--json", action="store_true", help="a JSON object a file, with the times of the pieces"
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints a line for each file: its path, a tab and the text, or a JSON object.

    Returns
    -------
    int
        1 if some files failed, which are left out and listed on standard error.

    Raises
    ------
    ValueError
        If the model recognises no speech, or no file is audio.
    """
    from ssast_recipes.inference.files import Failures, choose_workers, find_files
    from ssast_recipes.inference.transcribing import AudioTranscriber

    files = find_files(arguments.files)
    options = {"device": arguments.device, "batch_size": arguments.batch_size}
    transcriber = AudioTranscriber.from_pretrained(arguments.model, **options)
    stream = transcriber.stream_transcripts(files, workers=choose_workers(arguments.workers))
    failures = Failures(len(files))
    for path, found in failures.leave_out(files, stream):
        if arguments.json:
            pieces = [piece._asdict() for piece in found.pieces]
            print(json.dumps({"path": path, **found._asdict(), "pieces": pieces}), flush=True)
        else:
            print(f"{shown(path)}\t{found.text}", flush=True)
    return failures.finish()
