"""Splits of FSDD and ESC-10 for the tables `speech` and `sounds`: folders of links, nothing copied.

python benchmarks/small_tables.py --fsdd /data/FSDD --esc10 /data/ESC-10 --output /data/small
ssast reproduce speech sounds --data-root /data/small

The folders are class folders (`SPLIT/CLASS/file`), as `ssast finetune` reads them, and for
pretraining folders of audio without labels:

* `digits_few`, `digits_all`: ten digits; 10 a digit or all others of george, jackson, lucas and
  yweweler train, 20 a digit of theirs validate, nicolas and theo test. `digits_unlabelled`: all of
  the four, for pretraining.
* `speakers`: six speakers; recordings with index 0 to 4 test, 5 to 9 validate, the others train;
  `speakers_unlabelled` are these others.
* `sounds_few`, `sounds_all`: ESC-10's classes; 5 a class or all of folds 3 to 5 train, fold 2
  validates, fold 1 tests. `sounds_unlabelled`: folds 2 to 5.
"""

import argparse
import csv
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

_Drawn = TypeVar("_Drawn")

_TEST_SPEAKERS = ("nicolas", "theo")
_FEW_DIGITS, _VALID_DIGITS, _FEW_SOUNDS = 10, 20, 5  # of each class
_TEST_INDICES, _VALID_INDICES = range(5), range(5, 10)


class Item(NamedTuple):
    """A file, where it goes: a split or "" for none, and a class or "" for none."""

    split: str
    label: str
    path: Path


class Digit(NamedTuple):
    """A recording of FSDD, by its name."""

    path: Path
    digit: str
    speaker: str
    index: int


def read_digits(folder: Path) -> list[Digit]:
    """Lists `recordings/{digit}_{speaker}_{index}.wav`, in the order of their names."""
    paths = sorted((folder / "recordings").glob("*_*_*.wav"))
    if not paths:
        raise FileNotFoundError(f"{folder}: no recordings/DIGIT_SPEAKER_INDEX.wav; is it FSDD?")
    parts = [path.stem.split("_") for path in paths]
    return [
        Digit(path, digit, speaker, int(index))
        for path, (digit, speaker, index) in zip(paths, parts, strict=True)
    ]


def split_digits(clips: Iterable[Digit], seed: int) -> dict[str, list[Item]]:
    """Splits FSDD: by speaker for its digits, by index for its speakers."""
    clips = list(clips)
    known = [clip for clip in clips if clip.speaker not in _TEST_SPEAKERS]
    test = [Item("test", clip.digit, clip.path) for clip in clips if clip.speaker in _TEST_SPEAKERS]
    drawn = _draw(known, lambda clip: clip.digit, _FEW_DIGITS + _VALID_DIGITS, seed)
    few = {clip for clips in drawn.values() for clip in clips[:_FEW_DIGITS]}
    valid = {clip for clips in drawn.values() for clip in clips[_FEW_DIGITS:]}
    validation = [Item("valid", clip.digit, clip.path) for clip in known if clip in valid]
    train = [clip for clip in known if clip not in valid]
    speakers = [Item(_split_of(clip.index), clip.speaker, clip.path) for clip in clips]
    return {
        "digits_unlabelled": [Item("", "", clip.path) for clip in known],
        "digits_few": [
            *(Item("train", clip.digit, clip.path) for clip in train if clip in few),
            *validation,
            *test,
        ],
        "digits_all": [
            *(Item("train", clip.digit, clip.path) for clip in train),
            *validation,
            *test,
        ],
        "speakers": speakers,
        "speakers_unlabelled": [Item("", "", one.path) for one in speakers if one.split == "train"],
    }


def _split_of(index: int) -> str:
    if index in _TEST_INDICES:
        return "test"
    return "valid" if index in _VALID_INDICES else "train"


def split_sounds(folder: Path, seed: int) -> dict[str, list[Item]]:
    """Splits ESC-10 by its folds."""
    table = folder / "meta" / "esc50.csv"
    with open(table, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["esc10"] == "True"]
    splits = {"1": "test", "2": "valid"}
    items = [
        Item(splits.get(row["fold"], "train"), row["category"], folder / "audio" / row["filename"])
        for row in rows
    ]
    items = [item if item.path.exists() else _as_ogg(item) for item in items]
    train = [item for item in items if item.split == "train"]
    others = [item for item in items if item.split != "train"]
    drawn = _draw(train, lambda item: item.label, _FEW_SOUNDS, seed)
    few = {item for some in drawn.values() for item in some}
    return {
        "sounds_unlabelled": [Item("", "", one.path) for one in items if one.split != "test"],
        "sounds_few": [*(item for item in train if item in few), *others],
        "sounds_all": items,
    }


def _as_ogg(item: Item) -> Item:
    """Some copies of ESC-10 are Ogg Vorbis, with a table that says WAV."""
    return item._replace(path=item.path.with_suffix(".ogg"))


def _draw(
    items: Iterable[_Drawn], kind: Callable[[_Drawn], str], count: int, seed: int
) -> dict[str, list[_Drawn]]:
    by_kind: dict[str, list[_Drawn]] = defaultdict(list)
    for item in items:
        by_kind[kind(item)].append(item)
    drawing = random.Random(seed)
    return {name: drawing.sample(by_kind[name], count) for name in sorted(by_kind)}


def write_links(folder: Path, items: Iterable[Item]) -> int:
    """Writes a folder of links, `SPLIT/CLASS/file`; those that are there are kept. Counts them."""
    count = 0
    for item in items:
        place = folder / item.split / item.label / item.path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            place.symlink_to(item.path.resolve(strict=True))
        count += 1
    return count


def main() -> None:
    """Reads the command line, and writes the folders."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fsdd", type=Path, help="the folder of FSDD, with recordings/")
    parser.add_argument("--esc10", type=Path, help="the folder of ESC-10, with audio/ and meta/")
    parser.add_argument("--output", type=Path, required=True, help="where the folders are made")
    parser.add_argument("--seed", type=int, default=1, help="what labels are drawn from")
    given = parser.parse_args()
    folders: dict[str, list[Item]] = {}
    if given.fsdd:
        folders |= split_digits(read_digits(given.fsdd), given.seed)
    if given.esc10:
        folders |= split_sounds(given.esc10, given.seed)
    if not folders:
        parser.error("give --fsdd, --esc10 or both")
    for name, items in folders.items():
        print(f"{given.output / name}: {write_links(given.output / name, items):,} links")


if __name__ == "__main__":
    main()
