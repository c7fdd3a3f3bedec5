"""Labelled files, dealt to training, validation and test, or to folds."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

SPLITS = ("train", "valid", "test")
_NAMES = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation", "dev"),
    "test": ("test", "testing"),
}


class LabelledFile(NamedTuple):
    """An audio file, or a stretch of one, with its labels."""

    path: str  # absolute
    labels: tuple[str, ...]  # empty: of several labels, none
    split: str = ""  # of SPLITS; empty if none is given
    group: str = ""  # what stays in one split: a recording, site, speaker; empty if none is given
    start: float = 0.0  # seconds
    duration: float | None = None  # seconds; None: up to the end of the file

    @property
    def is_stretch(self) -> bool:
        """Whether it is a part of its file."""
        return self.start > 0 or self.duration is not None


Splits = dict[str, list[LabelledFile]]


def find_split(name: str) -> str | None:
    """Finds what a split that others named is called here.

    Example
    -------
    >>> [find_split(name) for name in ("Train", "val", "validation", "dev", "TEST", "dog")]
    ['train', 'valid', 'valid', 'valid', 'test', None]
    """
    name = name.strip().lower()
    return next((split for split, names in _NAMES.items() if name in names), None)


def split_files(
    files: Sequence[LabelledFile],
    seed: int = 0,
    test_fold: int | None = None,
    num_folds: int | None = None,
    source: object = None,
) -> tuple[Splits, str]:
    """Deals files to training, validation and test.

    Arguments
    ---------
    files : sequence of LabelledFile
        With splits, which are kept, or without. Where they have groups, no group comes into two
        splits; stretches of one file stay together likewise.
    seed : int
        What the deal is drawn from.
    test_fold, num_folds : int, optional
        Deals the files to so many folds, by their labels and groups, and tests on that one, from 1.
    source : str or path, optional
        Where they are listed, for what is told if there is an error.

    Returns
    -------
    dict of str to list of LabelledFile
        By split. Without given ones: of each set of labels, a tenth for validation and a fifth for
        test, rounded, of three files one for test and of five one for validation. Where only
        training and test are given, a tenth of training becomes validation. Where no test is given,
        the validation files are the test's as well, and the same list.
    str
        What was done, in words.

    Raises
    ------
    ValueError
        If nothing is left for training or for test, a group is in two of the given splits, or there
        are splits or too few groups for folds.

    Example
    -------
    >>> files = [LabelledFile(f"/{name}{n}", (name,)) for name in "ab" for n in range(10)]
    >>> {split: len(part) for split, part in split_files(files)[0].items()}
    {'train': 14, 'valid': 2, 'test': 4}
    >>> files = [file._replace(group=file.path[-1]) for file in files]
    >>> parts, told = split_files(files, test_fold=1, num_folds=5)
    >>> len({file.group for file in parts["test"]}), told
    (2, 'fold 1 of 5 for test, an eighth of the others for validation, by 10 groups')
    """
    try:
        if test_fold is None:
            return _split(files, seed)
        return _leave_out(files, seed, test_fold, num_folds)
    except ValueError as error:
        raise ValueError(f"{source}: {error}" if source else str(error)) from None


def _split(files: Sequence[LabelledFile], seed: int) -> tuple[Splits, str]:
    given = {file.split for file in files} - {""}
    key, kind, by_groups = _together(files)
    parts: Splits = {split: [] for split in SPLITS}
    for file in files:
        parts[file.split or "train"].append(file)
    if kind == "groups":
        _check_groups(parts)
    told = f"splits as given{by_groups}"
    if not given:
        told = f"a tenth for validation and a fifth for test, drawn from each class{by_groups}"
        if kind:
            parts = deal(files, {"train": 0.7, "valid": 0.1, "test": 0.2}, key, f"deal {seed}")
        else:
            parts["test"], parts["train"] = _draw(parts["train"], 0.2, 3, f"test {seed}")
    if "valid" not in given and not (kind and not given):
        # Of what is left: an eighth of four fifths is a tenth.
        share = 0.1 if given else 0.125
        parts["train"], parts["valid"] = _hold_out(parts["train"], share, seed, key, kind)
        told += ", a tenth of training for validation" if given else ""
    if given and not parts["test"]:
        parts["test"] = parts["valid"]
        told += "; no test files: tested on the validation files"
    elif not parts["valid"]:
        parts["valid"] = parts["test"]
        told += "; too few for validation, which is on the test files"
    for split in ("train", "test"):
        if not parts[split]:
            raise ValueError(f"there is no file for {split}: give more, or splits of your own")
    return parts, told


def _leave_out(
    files: Sequence[LabelledFile],
    seed: int,
    test_fold: int,
    num_folds: int,
) -> tuple[Splits, str]:
    """Deals files to folds, of which one is the test."""
    key, kind, by_groups = _together(files)
    if not 1 <= test_fold <= num_folds:
        raise ValueError(f"there are folds 1 to {num_folds}, not {test_fold}")
    if any(file.split for file in files):
        raise ValueError("folds deal anew what has splits: leave the splits out, or the folds")
    count = len(set(map(key, files)))
    if not 2 <= num_folds <= count:
        raise ValueError(
            f"{count} {kind or 'files'} cannot be dealt to {num_folds} folds; give --folds a "
            f"number from 2 to {count}"
        )
    shares = {str(number): 1 / num_folds for number in range(1, num_folds + 1)}
    folds = deal(files, shares, key, f"folds {seed}")
    tested = set(folds[str(test_fold)])
    others = [file for file in files if file not in tested]
    train, valid = _hold_out(others, 0.125, seed, key, kind)
    parts = {"train": train, "valid": valid, "test": folds[str(test_fold)]}
    told = f"fold {test_fold} of {num_folds} for test, an eighth of the others for validation"
    told += by_groups
    if not valid:
        parts["valid"] = parts["test"]
        told += "; too few for validation, which is on the test files"
    return parts, told


def _together(
    files: Sequence[LabelledFile],
) -> tuple[Callable[[LabelledFile], Hashable], str, str]:
    """By what files stay together, what that is called, and how many there are, in words.

    The words are empty if each file stands for itself.
    """
    key, kind = attrgetter("path"), ""
    if any(file.group for file in files):
        key, kind = attrgetter("group"), "groups"
    elif any(file.is_stretch for file in files):
        kind = "recordings"
    return key, kind, f", by {len(set(map(key, files))):,} {kind}" if kind else ""


def _check_groups(parts: Mapping[str, Sequence[LabelledFile]]) -> None:
    split_of: dict[str, str] = {}
    for split, part in parts.items():
        for file in part:
            if split_of.setdefault(file.group, split) != split:
                raise ValueError(
                    f"the group {file.group!r} is in {split_of[file.group]} and in {split}: the "
                    "test would know it; give each group one split, or leave the splits out"
                )


def _hold_out(
    files: Sequence[LabelledFile],
    share: float,
    seed: int,
    key: Callable[[LabelledFile], Hashable],
    kind: str,
) -> tuple[list[LabelledFile], list[LabelledFile]]:
    """Training and, out of it, validation."""
    if kind:
        parts = deal(files, {"train": 1 - share, "valid": share}, key, f"valid {seed}")
        return parts["train"], parts["valid"]
    held_out, kept = _draw(files, share, 5, f"valid {seed}")
    return kept, held_out


def deal(
    files: Sequence[LabelledFile],
    shares: Mapping[str, float],
    key: Callable[[LabelledFile], Hashable],
    seed: str,
) -> Splits:
    """Deals groups of files so that every part gets about its share of every label.

    The largest group first, each to the part that it brings nearest to what it is to get.

    Arguments
    ---------
    files : sequence of LabelledFile
        What to deal.
    shares : mapping of str to float
        By part; together 1.
    key : callable
        Of a file: those with the same key stay together.
    seed : str
        In what order groups of a size are dealt is drawn from it.

    Returns
    -------
    dict of str to list of LabelledFile
        By part, in their order. A part may be empty, but not "test", if there are two groups.

    Example
    -------
    >>> files = [LabelledFile(f"/{n}", ("dog",)) for n in range(10)]
    >>> parts = deal(files, {"train": 0.7, "test": 0.3}, lambda file: file.path, "1")
    >>> {part: len(dealt) for part, dealt in parts.items()}
    {'train': 7, 'test': 3}
    """
    groups: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for file in files:
        groups[key(file)].update(file.labels or ("",))
    totals = sum(groups.values(), Counter())
    order = sorted(groups)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda group: -groups[group].total())
    dealt: dict[str, Counter[str]] = {part: Counter() for part in shares}
    part_of: dict[Hashable, str] = {}
    for group in order:
        counts = groups[group]

        def worth(part: str, counts: Counter[str] = counts) -> tuple[float, float]:
            have, share = dealt[part], shares[part]
            # How much less the part's squared distance from its share is, label by label.
            change = sum(
                count * (2 * (have[label] - share * totals[label]) + count) / totals[label] ** 2
                for label, count in counts.items()
            )
            return round(change, 12), have.total() / share

        part_of[group] = min(shares, key=worth)
        dealt[part_of[group]].update(counts)
    if "test" in shares and "test" not in part_of.values() and len(order) > 1:
        part_of[order[-1]] = "test"
    parts: Splits = {part: [] for part in shares}
    for file in files:
        parts[part_of[key(file)]].append(file)
    return parts


def _draw(
    files: Sequence[LabelledFile], share: float, least: int, seed: str
) -> tuple[list[LabelledFile], list[LabelledFile]]:
    """Draws a share of each group of files with the same labels: the drawn, and the others."""
    groups: dict[tuple[str, ...], list[LabelledFile]] = defaultdict(list)
    for file in files:
        groups[file.labels].append(file)
    drawn: set[LabelledFile] = set()
    rare: list[LabelledFile] = []  # too few to share a group: drawn from together
    for labels, group in sorted(groups.items()):
        if len(group) < least:
            rare += group
        else:
            count = max(1, round(share * len(group)))
            drawn.update(random.Random(f"{seed} {labels}").sample(group, count))
    several = any(len(file.labels) > 1 for file in files)
    if several and rare:  # of single labels, a class with two files needs both to train on
        drawn.update(random.Random(seed).sample(rare, round(share * len(rare))))
    return [file for file in files if file in drawn], [file for file in files if file not in drawn]
