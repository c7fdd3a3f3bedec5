"""Completes the labels of a training set by a trained model's scores.

python enhance_labels.py --predictions TEACHER/predictions.parquet --lists /data/AudioSet \
        --manifest MANIFESTS/balanced_train.csv --output MANIFESTS/balanced_train_enhanced.csv

AudioSet's labels are incomplete: of clips that are labelled "Dog", some bark and do not say so. The
label enhancement of PSLA (Gong, Chung and Glass, "PSLA: Improving Audio Tagging with Pretraining,
Sampling, Labeling, and Aggregation", TASLP 2021) adds labels that are near in the ontology to those
of a clip, where the model is as sure of them as of the clips that have them.
"""

import argparse
import math
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from audioset_prepare import CLASS_LIST, read_classes

from ssast_recipes.data.manifest import read_manifest, write_manifest
from ssast_recipes.records.predictions import iterate_predictions
from ssast_recipes.system.errors import explain
from ssast_recipes.system.reading import read_json

ONTOLOGY = "ontology.json"


class Enhanced(NamedTuple):
    """What label enhancement did."""

    num_clips: int
    num_changed: int  # clips that got labels
    num_labels: int  # before
    num_added: int


def enhance_labels(
    predictions: str | os.PathLike,
    manifest: str | os.PathLike,
    output: str | os.PathLike,
    lists: str | os.PathLike,
    selection: str = "averaged",
) -> Enhanced:
    """Writes a manifest with more labels.

    A class's threshold is the mean score (sigmoid of the logit) of the clips that are labelled with
    it. To a clip are added the children and the ancestors of its labels, as `find_relatives` finds
    them, that score above their thresholds. Predictions are read twice and never held: of two
    million clips they take more than ten gigabytes.

    Arguments
    ---------
    predictions : str or path
        The ``predictions.parquet`` (or, of an older run, ``predictions.csv``) of a run that had
        the training set as its test set.
    manifest : str or path
        The training set's.
    output : str or path
        Manifest to be written: the same clips in the same order.
    lists : str or path
        Folder with ``class_labels_indices.csv`` and ``ontology.json``.
    selection : str
        Which of the run's weights to go by: "averaged", "last" or "best".

    Returns
    -------
    Enhanced
        Counts.

    Raises
    ------
    ValueError
        If a clip has no prediction, the files do not fit together, or the output is the manifest.
    """
    predictions, lists = Path(predictions), Path(lists)
    if Path(output).resolve() == Path(manifest).resolve():
        raise ValueError(f"{output} is the manifest itself: name another file to be written")
    classes = read_classes(lists / CLASS_LIST)
    relatives = find_relatives(lists / ONTOLOGY, classes)
    numbers = {name: number for number, name in enumerate(classes.values())}
    clips = {clip.id: clip for clip in read_manifest(manifest)}
    for clip in clips.values():
        if not numbers.keys() >= set(clip.labels):
            raise ValueError(f"{manifest}: clip {clip.id} has labels that are no AudioSet classes")

    sums: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for clip_id, logits in _read_logits(predictions, selection, list(numbers)):
        if clip_id in clips:
            for name in clips[clip_id].labels:
                sums[name] += _sigmoid(logits[numbers[name]])
                counts[name] += 1
    thresholds = {name: sums[name] / counts[name] for name in counts}

    added: dict[str, tuple[str, ...]] = {}
    for clip_id, logits in _read_logits(predictions, selection, list(numbers)):
        if clip_id in clips:
            labels = clips[clip_id].labels
            near = set().union(*(relatives[name] for name in labels)).difference(labels)
            added[clip_id] = tuple(
                name
                for name in sorted(near & thresholds.keys(), key=numbers.__getitem__)
                if _sigmoid(logits[numbers[name]]) > thresholds[name]
            )
    missing = clips.keys() - added.keys()
    if missing:
        raise ValueError(
            f"{predictions}: {len(missing):,} of the {len(clips):,} clips of {manifest} are not in "
            f"it, such as {min(missing)}; give the teacher --test_manifests '[{manifest}]'"
        )
    more = (replace(clip, labels=clip.labels + added[clip.id]) for clip in clips.values())
    write_manifest(output, more)
    return Enhanced(
        len(clips),
        sum(map(bool, added.values())),
        sum(len(clip.labels) for clip in clips.values()),
        sum(map(len, added.values())),
    )


def find_relatives(
    ontology: str | os.PathLike, classes: Mapping[str, str]
) -> dict[str, frozenset[str]]:
    """Finds the children and the ancestors of every class.

    The ontology also has nodes that are no class: their children count as their parents' own.

    Arguments
    ---------
    ontology : str or path
        AudioSet's ``ontology.json``.
    classes : mapping of str to str
        Names by mid, from `read_classes`.

    Returns
    -------
    dict of str to frozenset of str
        By name of the class, names of its nearest classes below and of all above.

    Raises
    ------
    ValueError
        If a class is not in the ontology.
    """
    nodes = read_json(ontology, "download it anew", list)
    try:
        below = {node["id"]: node["child_ids"] for node in nodes}
    except (KeyError, TypeError) as error:
        raise ValueError(f"{ontology} is no ontology ({error}): download it anew") from None
    above: dict[str, list[str]] = defaultdict(list)
    for parent, children in below.items():
        for child in children:
            above[child].append(parent)
    relatives = {}
    for mid, name in classes.items():
        if mid not in below:
            raise ValueError(f"{ontology}: the class {name} ({mid}) is not in it")
        near = _reach(below, mid, stops=classes) | _reach(above, mid, stops=())
        relatives[name] = frozenset(classes[node] for node in near if node in classes)
    return relatives


def _reach(edges: Mapping[str, Sequence[str]], start: str, stops: Collection[str]) -> set[str]:
    """All nodes that are reached from one, not passing those that stop."""
    reached: set[str] = set()
    ahead = list(edges.get(start, ()))
    while ahead:
        node = ahead.pop()
        if node not in reached:
            reached.add(node)
            if node not in stops:
                ahead += edges.get(node, ())
    return reached


def _read_logits(
    predictions: Path, selection: str, names: Sequence[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """Clips and their logits."""
    found: set[str] = set()
    classes, parts = iterate_predictions(predictions)
    if classes != names:
        raise ValueError(f"{predictions}: its columns are not the classes of {CLASS_LIST}")
    for selections, ids, _, logits in parts:
        found.update(selections)
        for name, clip_id, row in zip(selections, ids, logits, strict=True):
            if name == selection:
                yield clip_id, row
    if selection not in found:
        raise ValueError(
            f"{predictions} has no scores of the {selection} weights, but of "
            f"{', '.join(sorted(found)) or 'none'}: name them with --selection"
        )


def _sigmoid(logit: float) -> float:
    return 0.5 * (1 + math.tanh(0.5 * float(logit)))  # never overflows


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; 0 if all went well."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--predictions", required=True, help="predictions.parquet of the teacher's run"
    )
    parser.add_argument("--manifest", required=True, help="the training set's")
    parser.add_argument("--output", required=True, help="manifest to be written")
    parser.add_argument("--lists", required=True, help=f"folder with {CLASS_LIST} and {ONTOLOGY}")
    parser.add_argument(
        "--selection",
        default="averaged",
        choices=["averaged", "last", "best"],
        help="which of the teacher's weights to go by",
    )
    options = vars(parser.parse_args(arguments))
    try:
        done = enhance_labels(**options)
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        print(f"enhance_labels.py: error: {line}", file=sys.stderr)
        return 1
    print(
        f"{options['output']}: {done.num_clips:,} clips; {done.num_changed:,} of them got "
        f"{done.num_added:,} labels, {done.num_labels:,} were there"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
