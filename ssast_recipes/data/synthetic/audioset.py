"""AudioSet, fabricated."""

import json
import os
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import soundfile

from ssast_recipes.data.synthetic.sounds import FAMILIES, make_sound

_CHARACTERS = string.ascii_letters + string.digits + "-_"
_BEGINNINGS = "-_Y"  # of the first IDs: those that naming files by IDs gets wrong


class Segment(NamedTuple):
    """A row of a list."""

    video: str
    start: int  # in seconds
    mids: list[str]


def make_audioset(
    folder: str | os.PathLike,
    clips: Mapping[str, int] = MappingProxyType({"balanced_train": 12, "eval": 8}),
    num_sounds: int = 4,
    duration: float = 10.0,
    sample_rate: int = 16000,
    seed: int = 0,
    file_name: str = "{split}_segments/{video}.wav",
    missing: int = 0,
) -> Path:
    """Fabricates a corpus laid out as AudioSet.

    ``class_labels_indices.csv``, ``ontology.json``, ``<split>_segments.csv``, and audio files. The
    classes are families of sounds, and groups of two of these, which are their parents; the root
    is no class. A clip has one sound or two at once. As AudioSet's, labels are incomplete: every
    clip's name its sounds, every other clip's also their groups.

    Arguments
    ---------
    folder : str or path
        Where all of it is made.
    clips : mapping of str to int
        How many clips are listed, by split: ``balanced_train``, ``unbalanced_train``, ``eval``.
    num_sounds : int
        Families, from 2 to 13; half as many groups come on top.
    duration : float
        Length of every clip in seconds.
    sample_rate : int
        In Hz.
    seed : int
        The same seed fabricates the same corpus.
    file_name : str
        Pattern with ``split``, ``video`` and ``start`` (an integer); its extension says the format.
    missing : int
        The last so many clips of each split are listed and have no audio file.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ValueError
        If there are not so many families.

    Example
    -------
    >>> folder = make_audioset(getfixture("tmp_path"), {"eval": 2}, duration=0.1)
    >>> print((folder / "eval_segments.csv").read_text().splitlines()[3])
    -FrSOaZw74X, 50.000, 50.100, "/m/00001"
    >>> sorted(path.name for path in (folder / "eval_segments").iterdir())
    ['-FrSOaZw74X.wav', '_QE2t7FOt_1.wav']
    """
    if not 2 <= num_sounds <= len(FAMILIES):
        raise ValueError(f"there are 2 to {len(FAMILIES)} families of sounds, not {num_sounds}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    families = list(FAMILIES)[:num_sounds]
    names = [f"{family.capitalize()}, fabricated" for family in families]
    names += [f"Group {group}" for group in range(-(-num_sounds // 2))]
    mids = write_classes(folder / "class_labels_indices.csv", names)
    _write_ontology(folder / "ontology.json", names, num_sounds)
    for split, count in clips.items():
        segments = []
        for clip in range(count):
            random = np.random.default_rng([seed, *split.encode(), clip])
            sounds = random.choice(num_sounds, random.integers(1, 3), replace=False)
            groups = num_sounds + sounds // 2 if clip % 2 else []
            segment = Segment(
                _video(clip, random),
                10 * int(random.integers(0, 12)),
                [mids[label] for label in sorted({*sounds, *groups})],
            )
            segments.append(segment)
            if clip < count - missing:
                path = folder / file_name.format(split=split, **segment._asdict())
                path.parent.mkdir(parents=True, exist_ok=True)
                waveform = sum(
                    make_sound(families[sound], duration, sample_rate, random) for sound in sounds
                )
                soundfile.write(path, np.clip(waveform, -1, 1), sample_rate)
        write_segments(folder / f"{split}_segments.csv", segments, duration)
    return folder


def _video(clip: int, random: np.random.Generator) -> str:
    """An ID of 11 characters."""
    characters = [_CHARACTERS[i] for i in random.integers(0, len(_CHARACTERS), 11)]
    characters[0] = (*_BEGINNINGS, characters[0])[min(clip, len(_BEGINNINGS))]
    return "".join(characters)


def _mid(label: int) -> str:
    return f"/m/{label:05}"


def write_classes(path: Path, names: Sequence[str]) -> list[str]:
    """Writes a list of classes; returns their mids."""
    mids = [_mid(label) for label in range(len(names))]
    rows = [f'{label},{mids[label]},"{name}"' for label, name in enumerate(names)]
    path.write_text("\n".join(["index,mid,display_name", *rows, ""]), encoding="utf-8")
    return mids


def _write_ontology(path: Path, names: Sequence[str], num_sounds: int) -> None:
    groups = range(num_sounds, len(names))
    nodes = [("/m/root", "Sounds", [_mid(group) for group in groups])]
    for label, name in enumerate(names):
        sounds = range(num_sounds)
        children = [_mid(sound) for sound in sounds if num_sounds + sound // 2 == label]
        nodes.append((_mid(label), name, children))
    content = [
        {
            "id": mid,
            "name": name,
            "description": "",
            "citation_uri": "",
            "positive_examples": [],
            "child_ids": children,
            "restrictions": ["abstract"] if mid == "/m/root" else [],
        }
        for mid, name, children in nodes
    ]
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def write_segments(path: Path, segments: Sequence[Segment], duration: float) -> None:
    """Writes a list of segments: three lines of comment, blanks behind commas, labels in quotes."""
    positives = [mid for segment in segments for mid in segment.mids]
    lines = [
        "# Segments csv created Sun Mar  5 10:54:25 2017",
        f"# num_ytids={len(segments)}, num_segs={len(segments)}, "
        f"num_unique_labels={len(set(positives))}, num_positive_labels={len(positives)}",
        "# YTID, start_seconds, end_seconds, positive_labels",
    ]
    lines += [
        f'{video}, {start:.3f}, {start + duration:.3f}, "{",".join(mids)}"'
        for video, start, mids in segments
    ]
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
