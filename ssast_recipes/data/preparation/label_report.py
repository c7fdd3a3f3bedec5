"""What is told of labels before training: how common they are, and what looks like a mistake."""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ssast_recipes.data.preparation.counts import MOST_CLASSES
from ssast_recipes.data.preparation.splitting import LabelledFile
from ssast_recipes.system.words import format_table

_TITLES = {"train": "training", "valid": "validation", "test": "test"}
NONE = "(none of them)"
_MOST_TOLD = 5
_UNSEEN = re.compile(r"[\u00ad\u180e\u200b-\u200f\u2060-\u2064\ufeff]")  # zero-width, soft hyphen
_NUMBERED = re.compile(r"(.*[^\W\d_].*?)[ _.-]+\d+", re.DOTALL)


def describe_labels(splits: Mapping[str, Sequence[LabelledFile]]) -> str:
    """Sets the classes with their numbers of files by split, and warnings below.

    Arguments
    ---------
    splits : mapping of str to sequence of LabelledFile
        From `split_files`.

    Returns
    -------
    str
        Several lines: a class each, the commonest fifty if there are more.

    Example
    -------
    >>> files = [LabelledFile(f"/{n}.wav", (name,)) for n, name in enumerate(("dog", "Dog", "sea"))]
    >>> print(describe_labels({"train": files[:1], "valid": [], "test": files[1:]}))
    class      training    validation    test
    -------  ----------  ------------  ------
    Dog               0             0       1
    dog               1             0       0
    sea               0             0       1
    Warning: the classes 'Dog' and 'dog' look alike (capitals); if they are one, name them alike
    Warning: no training file has the label 'Dog', 'sea', which no classifier can learn then
    """
    counts = {
        split: Counter(label for file in part for label in file.labels or (NONE,))
        for split, part in splits.items()
    }
    total: Counter[str] = sum(counts.values(), Counter())
    classes = sorted(total.keys() - {NONE})
    shown = classes
    if len(classes) > MOST_CLASSES:
        shown = [name for name, _ in total.most_common() if name != NONE][:MOST_CLASSES]
    rows = [[name, *(f"{count[name]:,}" for count in counts.values())] for name in shown]
    if len(shown) < len(classes):
        rows.append([f"and {len(classes) - len(shown):,} more, less common", *("" for _ in counts)])
    if total[NONE]:
        rows.append([NONE, *(f"{count[NONE]:,}" for count in counts.values())])
    table = format_table(["class", *(_TITLES[split] for split in counts)], rows, numbers=True)
    return "\n".join([table, *(f"Warning: {line}" for line in find_warnings(splits))])


def find_warnings(splits: Mapping[str, Sequence[LabelledFile]]) -> list[str]:
    """Lists what looks like a mistake in labels and splits, a line each.

    Arguments
    ---------
    splits : mapping of str to sequence of LabelledFile
        From `split_files`.

    Example
    -------
    >>> one, two = (LabelledFile(f"/dog/yard_{n}.wav", ("dog",)) for n in (1, 2))
    >>> other = LabelledFile("/dog/park.wav", ("dog",))
    >>> find_warnings({"train": [one, other], "valid": [], "test": [two]})[0][:75]
    'files that are numbered alike, as clips of one recording are, lie in severa'
    """
    labels = {
        split: {name for file in part for name in file.labels} for split, part in splits.items()
    }
    classes = set().union(*labels.values())
    lines = [
        f"the classes {_quoted(names)} look alike ({', '.join(reasons)}); if they are one, name "
        "them alike"
        for names, reasons in _alike(classes)
    ]
    if untrained := sorted(classes - labels["train"]):
        lines.append(
            f"no training file has the label {_quoted(untrained, ', ')}, which no classifier can "
            "learn then"
        )
    lines += _leaks(splits)
    if count := _overlapping([file for part in splits.values() for file in part]):
        lines.append(
            f"{count:,} labelled stretches overlap others with other labels, and are given their "
            "own alone"
        )
    return lines


def _alike(classes: Iterable[str]) -> list[tuple[list[str], list[str]]]:
    """Names that differ by nothing to be seen, or by capitals and blanks; and by what."""
    by_look: dict[str, list[str]] = defaultdict(list)
    for name in sorted(classes):
        by_look[_look(name)].append(name)
    return [(names, _differences(names)) for names in by_look.values() if len(names) > 1]


_STEPS = {
    "zero-width characters": lambda name: _UNSEEN.sub("", name),
    "Unicode NFC or NFD": lambda name: unicodedata.normalize("NFKC", name),
    "capitals": str.casefold,
    "blanks": lambda name: " ".join(name.replace("_", " ").split()),
}


def _look(name: str, without: str = "") -> str:
    """What a name looks like to who reads fast; without one of the steps, if that is named."""
    for step, function in _STEPS.items():
        name = function(name) if step != without else name
    return name


def _differences(names: Sequence[str]) -> list[str]:
    return [step for step in _STEPS if len({_look(name, step) for name in names}) > 1]


def _leaks(splits: Mapping[str, Sequence[LabelledFile]]) -> list[str]:
    if any(file.group for part in splits.values() for file in part):
        return []
    parts = {
        split: part
        for split, part in splits.items()
        if split != "valid" or part is not splits.get("test")
    }
    of_path: dict[str, set[str]] = defaultdict(set)
    of_series: dict[tuple[str, str], set[str]] = defaultdict(set)
    series_of: dict[tuple[str, ...], set[tuple[str, str] | None]] = defaultdict(set)
    labels_of: dict[tuple[str, str], set[tuple[str, ...]]] = defaultdict(set)
    for split, part in parts.items():
        for file in part:
            of_path[file.path].add(split)
            series = _series(file.path)
            series_of[file.labels].add(series)
            if series is not None:
                of_series[series].add(split)
                labels_of[series].add(file.labels)
    if cut := sorted(path for path, where in of_path.items() if len(where) > 1):
        return [
            f"{len(cut):,} recording(s) lie in several splits, such as {cut[0]}: the test may know "
            "what training has heard"
        ]
    # Where all files of a class are numbered alike, it is the class that the name tells.
    torn = sorted(
        series
        for series, where in of_series.items()
        if len(where) > 1
        and not (len(labels_of[series]) == 1 and len(series_of[min(labels_of[series])]) == 1)
    )
    if not torn:
        return []
    folder, name = torn[0]
    return [
        f"files that are numbered alike, as clips of one recording are, lie in several splits "
        f"({len(torn):,} such series, the first: {os.path.join(folder, name)}…): the test may know "
        "what training has heard; a column group keeps them together"
    ]


def _series(path: str) -> tuple[str, str] | None:
    """The folder and the common name of numbered files such as `name_001.wav`.

    Example
    -------
    >>> _series("/a/yard-07.wav"), _series("/a/07.wav"), _series("/a/yard.wav")
    (('/a', 'yard'), None, None)
    """
    folder, name = os.path.split(path)
    found = _NUMBERED.fullmatch(os.path.splitext(name)[0])
    return (folder, found[1]) if found else None


def _overlapping(files: Iterable[LabelledFile]) -> int:
    """Counts stretches that begin before another one of the same file, with other labels, ends."""
    by_path: dict[str, list[LabelledFile]] = defaultdict(list)
    for file in files:
        if file.is_stretch:
            by_path[file.path].append(file)
    count = 0
    for part in by_path.values():
        part.sort(key=lambda file: file.start)
        reached, labels = 0.0, ()
        for file in part:
            if file.start < reached and file.labels != labels:
                count += 1
            end = float("inf") if file.duration is None else file.start + file.duration
            if end > reached:
                reached, labels = end, file.labels
    return count


def _quoted(names: Sequence[str], between: str = " and ") -> str:
    told = [
        ascii(name) if _UNSEEN.search(name) or not name.isascii() else repr(name) for name in names
    ]
    more = f"{between}{len(told) - _MOST_TOLD:,} more" if len(told) > _MOST_TOLD else ""
    return between.join(told[:_MOST_TOLD]) + more
