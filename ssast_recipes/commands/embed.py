"""`ssast embed`: embeddings of audio files, for whatever is to be learned from them."""

import argparse
from pathlib import Path
from typing import Any

from ssast_recipes.commands.options import add_use

_SUFFIXES = (".npz", ".parquet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.commands.main`."""
    add_use(parser)
    parser.add_argument("--output", type=Path, required=True, help="NumPy's .npz, or .parquet")
    parser.add_argument(
        "--frames", action="store_true", help="a row every patch column, not every file"
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes the columns `path`, `embedding` and, of frames, `time` in seconds.

    Returns
    -------
    int
        1 if some files failed, which are left out and listed on standard error.

    Raises
    ------
    ValueError
        If the output's format is unknown, or no file is audio.
    """
    output = arguments.output
    if output.suffix not in _SUFFIXES:
        raise ValueError(f"--output {output}: give a name that ends in {' or '.join(_SUFFIXES)}")

    import torch

    from ssast_recipes.inference.encoding import AudioEncoder
    from ssast_recipes.inference.files import Failures, choose_workers, find_files

    files = find_files(arguments.files)
    options = {"device": arguments.device, "batch_size": arguments.batch_size}
    encoder = AudioEncoder.from_pretrained(arguments.model, **options)
    stream = encoder.stream_frame_embeddings if arguments.frames else encoder.stream_embeddings
    workers = choose_workers(arguments.workers)
    failures = Failures(len(files))
    names, embeddings, times = [], [], []
    for path, found in failures.leave_out(files, stream(files, workers=workers)):
        if arguments.frames:
            embeddings.append(found.embeddings)
            times.append(found.times)
        else:
            embeddings.append(found.unsqueeze(0))
        names += [path] * len(embeddings[-1])
    if not names:
        return failures.finish()
    columns: dict[str, Any] = {"path": names, "embedding": torch.cat(embeddings).numpy()}
    if times:
        columns["time"] = torch.cat(times).numpy()
    _write(output, columns)
    count, width = columns["embedding"].shape
    done = len(files) - len(failures.found)
    print(f"{output}: {count} embeddings of {width} values, of {done} files")
    return failures.finish()


def _write(path: Path, columns: dict[str, Any]) -> None:
    from ssast_recipes.system.files import beside

    with beside(path) as part, open(part, "wb") as file:
        if path.suffix == ".npz":
            import numpy

            numpy.savez(file, **columns)
        else:
            import pyarrow
            from pyarrow import parquet

            rows = {**columns, "embedding": list(columns["embedding"])}
            parquet.write_table(pyarrow.table(rows), file)
