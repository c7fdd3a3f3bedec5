"""`ssast classify`: what is heard in audio files."""

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssast_recipes.commands.options import add_use
from ssast_recipes.system.tables import for_sheet
from ssast_recipes.system.words import shown

if TYPE_CHECKING:  # at run time after the arguments, so that --help need not wait for torch
    from ssast_recipes.inference.classifying import AudioClassifier, Classification
    from ssast_recipes.inference.files import Failures

    Found = Iterator[tuple[str, Classification]]

_COLUMNS = ("file", "start", "end", "label", "score")
_TRACKS = ("audacity", "raven")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.commands.main`."""
    add_use(parser)
    parser.add_argument("--top-k", type=int, help="classes a file; default: 5, in label tracks all")
    parser.add_argument(
        "--threshold",
        metavar="P",
        help="leave out what scores less; chosen: than its class's threshold in the model folder "
        "(the default of label tracks, or else 0.5)",
    )
    parser.add_argument(
        "--windows",
        action="store_true",
        help="hear all of long files, and tell each overlapping window, too",
    )
    parser.add_argument(
        "--whole",
        choices=["mean", "start"],
        help="scores of a long file: those of its start, as in the model's evaluation (default, "
        "if the model folder tells how much that heard), or the mean over windows of all of it",
    )
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument(
        "--format",
        choices=["text", "json", "csv", *_TRACKS],
        default="text",
        help="audacity, raven: label tracks, one a file",
    )
    shape.add_argument("--json", action="store_const", dest="format", const="json")
    shape.add_argument("--csv", action="store_const", dest="format", const="csv")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="of label tracks; one may be printed instead"
    )


def run(arguments: argparse.Namespace) -> int:
    """Tells what is heard in each file.

    Returns
    -------
    int
        1 if some files failed, which are left out and listed on standard error.

    Raises
    ------
    ValueError
        If an option is not what it should be.
    """
    is_track = arguments.format in _TRACKS
    threshold = _read_threshold(arguments.threshold)
    if arguments.output is not None and not is_track:
        raise ValueError("--output is of label tracks: --format audacity, or raven")

    from ssast_recipes.inference.classifying import AudioClassifier
    from ssast_recipes.inference.files import Failures, choose_workers, find_files

    if arguments.windows and arguments.whole == "start":
        raise ValueError(
            "--windows are of a whole file, --whole start hears its start: leave out one"
        )
    whole = "mean" if arguments.windows else arguments.whole
    files = find_files(arguments.files)
    if is_track and arguments.output is None and len(files) > 1:
        raise ValueError(f"{len(files)} files make as many label tracks: give --output FOLDER")
    options = {"device": arguments.device, "batch_size": arguments.batch_size}
    classifier = AudioClassifier.from_pretrained(arguments.model, **options)
    top_k = arguments.top_k
    if is_track and threshold is None:
        threshold = 0.5 if classifier.thresholds is None else "chosen"
    if not is_track and top_k is None:
        top_k = 5
    workers = choose_workers(arguments.workers)
    failures = Failures(len(files))
    stream = classifier.stream_classes(files, None, top_k, threshold, whole, workers)
    cut: list[str] = []  # files of which the start alone is heard
    found = _noting_cut(failures.leave_out(files, stream), cut)
    if is_track:
        _write_tracks(found, failures, classifier, arguments)
    elif arguments.format == "json":
        _print_json(found)
    elif arguments.format == "csv":
        _print_csv(found, arguments.windows)
    else:
        _print_text(found, arguments.windows)
    if cut and arguments.whole is None:
        print(
            f"ssast: {shown(cut[0])}{f' and {len(cut) - 1} more' if cut[1:] else ''}: longer than "
            f"{classifier.heard_seconds:.2f} s, of which the start is heard, as in the model's "
            "evaluation; --whole mean hears all",
            file=sys.stderr,
        )
    return failures.finish()


def _noting_cut(found: "Found", cut: list[str]) -> "Found":
    for path, one in found:
        if one.is_cut:
            cut.append(path)
        yield path, one


def _read_threshold(given: str | None) -> float | str | None:
    if given is None or given == "chosen":
        return given
    try:
        threshold = float(given)
    except ValueError:
        raise ValueError(f"--threshold is a probability, or chosen, not {given}") from None
    if not 0 <= threshold <= 1:
        raise ValueError(f"--threshold is a probability, from 0 to 1, not {given}")
    return threshold


def _print_text(found: "Found", with_windows: bool) -> None:
    for path, whole in found:
        for one in [whole, *(whole.windows if with_windows else [])]:
            print(f"{shown(path)}  {one.start:.1f} to {one.end:.1f} s")
            for label, score in zip(one.labels, one.scores, strict=True):
                print(f"  {score:.3f}  {shown(label)}")


def _print_csv(found: "Found", with_windows: bool) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for path, whole in found:
        for one in [whole, *(whole.windows if with_windows else [])]:
            span = (for_sheet(path), f"{one.start:.2f}", f"{one.end:.2f}")
            scored = zip(one.labels, one.scores, strict=True)
            writer.writerows((*span, for_sheet(label), f"{score:.6f}") for label, score in scored)


def _print_json(found: "Found") -> None:
    """A list, of which each record is printed when it is there."""
    is_first = True
    for path, one in found:
        record = json.dumps({"file": path, **_as_json(one)}, indent=2, ensure_ascii=False)
        print("[" if is_first else ",", end="")
        for line in record.split("\n"):  # nothing else ends a line of JSON
            print(f"\n  {line}", end="")
        is_first = False
    print("[]" if is_first else "\n]")


def _write_tracks(
    found: "Found",
    failures: "Failures",
    classifier: "AudioClassifier",
    arguments: argparse.Namespace,
) -> None:
    from ssast_recipes.inference import label_tracks

    front_end = classifier.config.front_end
    low, high = front_end.low_frequency, front_end.high_frequency
    if high <= 0:  # counted from half of the sample rate
        high += front_end.sample_rate / 2
    output, folder = arguments.output, None
    if output is not None:
        ending = label_tracks.ENDINGS[arguments.format]
        folder = label_tracks.TrackFolder(output, arguments.files, ending)
    count = 0
    for path, one in found:
        events = label_tracks.find_events(one, arguments.windows)
        if arguments.format == "raven":
            text = label_tracks.format_raven(events, low, high)
        else:
            text = label_tracks.format_audacity(events)
        if folder is None:
            print(text, end="")
            continue
        try:
            folder.write(path, text)
            count += 1
        except ValueError as error:
            failures.add(path, error)
    if folder is not None:
        print(f"{output}: {count} label tracks")


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
