"""`ssast embed`: embeddings of audio files, for whatever is to be learned from them."""

import argparse
from pathlib import Path
from typing import Any

_SUFFIXES = (".npz", ".parquet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.commands.main`."""
    parser.add_argument("model", metavar="MODEL", help="model folder, run folder, or Hub name")
    parser.add_argument("files", nargs="+", metavar="FILE", help="audio files of any format")
    parser.add_argument("--output", type=Path, required=True, help="NumPy's .npz, or .parquet")
    parser.add_argument(
        "--frames", action="store_true", help="a row every patch column, not every file"
    )
    parser.add_argument("--device", help="cpu, cuda, mps; default: a GPU if there is one")
    parser.add_argument("--batch-size", type=int, default=8, help="windows at a time; default: 8")


def run(arguments: argparse.Namespace) -> None:
    """Writes the columns `path`, `embedding` and, of frames, `time` in seconds.

    Raises
    ------
    ValueError
        If the output's format is unknown, or a file is no audio.
    """
    output = arguments.output
    if output.suffix not in _SUFFIXES:
        raise ValueError(f"--output {output}: give a name that ends in {' or '.join(_SUFFIXES)}")

    import torch
    from tqdm import tqdm

    from ssast_recipes.data.headers import audio_info
    from ssast_recipes.inference.audio_model import read_audio
    from ssast_recipes.inference.models import AudioEncoder

    for path in arguments.files:
        audio_info(path)
    options = {"device": arguments.device, "batch_size": arguments.batch_size}
    encoder = AudioEncoder.from_pretrained(arguments.model, **options)
    names, embeddings, times = [], [], []
    for path in tqdm(arguments.files, desc="files", disable=None):
        if arguments.frames:
            found = encoder.encode_frames(*read_audio(path))
            embeddings.append(found.embeddings)
            times.append(found.times)
        else:
            embeddings.append(encoder.encode_file(path).unsqueeze(0))
        names += [path] * len(embeddings[-1])
    columns: dict[str, Any] = {"path": names, "embedding": torch.cat(embeddings).numpy()}
    if times:
        columns["time"] = torch.cat(times).numpy()
    _write(output, columns)
    count, width = columns["embedding"].shape
    print(f"{output}: {count} embeddings of {width} values, of {len(arguments.files)} files")


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
