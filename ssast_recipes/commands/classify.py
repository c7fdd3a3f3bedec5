"""`ssast classify`: what is heard in audio files."""

import argparse
import csv
import json
import sys
from typing import TYPE_CHECKING, Any

from ssast_recipes.system.tables import for_sheet
from ssast_recipes.system.words import shown

if TYPE_CHECKING:  # at run time after the arguments, so that --help need not wait for torch
    from ssast_recipes.inference.models import Classification

_COLUMNS = ("file", "start", "end", "label", "score")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.commands.main`."""
    parser.add_argument("model", metavar="MODEL", help="model folder, run folder, or Hub name")
    parser.add_argument("files", nargs="+", metavar="FILE", help="audio files of any format")
    parser.add_argument("--top-k", type=int, default=5, help="classes a file; default: 5")
    parser.add_argument("--threshold", type=float, help="leave out what scores less")
    parser.add_argument(
        "--windows", action="store_true", help="of long files, tell each overlapping window too"
    )
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print JSON, always with the windows")
    shape.add_argument("--csv", action="store_true", help=f"print CSV: {','.join(_COLUMNS)}")
    parser.add_argument("--device", help="cpu, cuda, mps; default: a GPU if there is one")
    parser.add_argument("--batch-size", type=int, default=8, help="windows at a time; default: 8")


def run(arguments: argparse.Namespace) -> None:
    """Prints what is heard in each file."""
    threshold = arguments.threshold
    if threshold is not None and not 0 <= threshold <= 1:
        raise ValueError(f"--threshold is a probability, from 0 to 1, not {threshold:g}")

    from ssast_recipes.data.headers import audio_info
    from ssast_recipes.inference.models import AudioClassifier

    for path in arguments.files:
        audio_info(path)  # a missing or damaged file is told before the first is classified
    options = {"device": arguments.device, "batch_size": arguments.batch_size}
    classifier = AudioClassifier.from_pretrained(arguments.model, **options)
    found = (
        (path, classifier.classify_file(path, arguments.top_k, threshold))
        for path in arguments.files
    )
    if arguments.json:
        records = [{"file": path, **_as_json(one)} for path, one in found]
        print(json.dumps(records, indent=2, ensure_ascii=False))
        return
    if arguments.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(_COLUMNS)
    for path, whole in found:
        for one in [whole, *(whole.windows if arguments.windows else [])]:
            scored = list(zip(one.labels, one.scores, strict=True))
            if arguments.csv:
                span = (for_sheet(path), f"{one.start:.2f}", f"{one.end:.2f}")
                writer.writerows(
                    (*span, for_sheet(label), f"{score:.6f}") for label, score in scored
                )
            else:
                print(f"{shown(path)}  {one.start:.1f} to {one.end:.1f} s")
                for label, score in scored:
                    print(f"  {score:.3f}  {shown(label)}")


def _as_json(one: "Classification") -> dict[str, Any]:
    return {
        "start": round(one.start, 3),
        "end": round(one.end, 3),
        "labels": [
            {"label": label, "score": round(score, 6)}
            for label, score in zip(one.labels, one.scores, strict=True)
        ],
        "windows": [_as_json(window) for window in one.windows],
    }
