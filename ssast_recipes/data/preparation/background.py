"""Stretches of labelled recordings that nobody labelled, as clips of a class of their own."""

import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from ssast_recipes.data.headers import AudioInfo
from ssast_recipes.data.preparation.splitting import LabelledFile


def add_background(
    files: Sequence[LabelledFile], found: Mapping[str, AudioInfo], label: str, seed: int = 0
) -> tuple[list[LabelledFile], str]:
    """Adds what lies between and around the labelled stretches of recordings.

    Arguments
    ---------
    files : sequence of LabelledFile
        Stretches of recordings; whole files stay as they are.
    found : mapping
        What the recordings' headers say, from `scan_audio`.
    label : str
        The class of what is added. Where files have several labels, it gets none instead.
    seed : int
        What is drawn from it if there is more than of the commonest class.

    Returns
    -------
    list of LabelledFile
        With clips about as long as the median of the labelled stretches, each with split and group
        of its recording.
    str
        What was added, in words.

    Raises
    ------
    ValueError
        If no stretch is labelled, or nothing is left between them, or the label is a class already.

    Example
    -------
    >>> one = LabelledFile("/a.wav", ("dog",), start=0.0, duration=2.0)
    >>> files = [one, one._replace(labels=("sea",), start=4.0)]
    >>> files, told = add_background(files, {"/a.wav": AudioInfo(600, 100, 1)}, "none")
    >>> [(file.labels, file.start) for file in files]
    [(('dog',), 0.0), (('none',), 2.0), (('sea',), 4.0)]
    >>> told
    '1 of 1 unlabelled stretches of 2 s'
    """
    by_path: dict[str, list[LabelledFile]] = defaultdict(list)
    for file in files:
        if file.is_stretch and file.path in found:
            by_path[file.path].append(file)
    if not by_path:
        raise ValueError("background: there are no labelled stretches, between which it would be")
    counts = Counter(name for file in files for name in file.labels)
    if label in counts:
        raise ValueError(f"background: {label!r} is a class already; give another name")
    several = any(len(file.labels) > 1 for file in files)
    stretches = [file for part in by_path.values() for file in part]
    known = [file.duration for file in stretches if file.duration is not None]
    length = statistics.median(known or [1.0])
    between: list[LabelledFile] = []
    for path, part in sorted(by_path.items()):
        labels = () if several else (label,)
        for start, end in _gaps(part, found[path].duration):
            if end - start < length / 2:
                continue
            number = max(1, round((end - start) / length))
            step = (end - start) / number
            between += [
                part[0]._replace(labels=labels, start=start + step * place, duration=step)
                for place in range(number)
            ]
    if not between:
        raise ValueError(
            f"background: no unlabelled stretch is as long as half of {length:g} s, which the "
            "labelled ones are"
        )
    most = counts.most_common(1)[0][1]
    kept = between
    if len(between) > most:
        kept = _draw(between, most, f"background {seed}")
    told = f"{len(kept):,} of {len(between):,} unlabelled stretches of {length:g} s"
    told += ", as many as the commonest class has" if len(kept) < len(between) else ""
    return sorted([*files, *kept], key=lambda file: (file.path, file.start)), told


def _draw(between: Sequence[LabelledFile], count: int, seed: str) -> list[LabelledFile]:
    """Draws stretches, as evenly over the recordings as they have them."""
    draws, taken = random.Random(seed), Counter[str]()
    ranked = []
    for file in draws.sample(between, len(between)):
        ranked.append((taken[file.path], file))
        taken[file.path] += 1
    ranked.sort(key=lambda pair: pair[0])
    return [file for _, file in ranked[:count]]


def _gaps(part: Sequence[LabelledFile], seconds: float) -> list[tuple[float, float]]:
    gaps, reached = [], 0.0
    for file in sorted(part, key=lambda file: file.start):
        if file.start > reached:
            gaps.append((reached, min(file.start, seconds)))
        reached = max(reached, seconds if file.duration is None else file.start + file.duration)
    if reached < seconds:
        gaps.append((reached, seconds))
    return gaps
