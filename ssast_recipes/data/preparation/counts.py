"""What a preparation found, beside what was published: a table that fits a screen."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ssast_recipes.data.manifest import Clip
from ssast_recipes.system.words import format_table, shown

MOST_CLASSES = 50  # of which each gets a line


class Published(NamedTuple):
    """What was published of a corpus, to be compared with what is there.

    Arguments
    ---------
    name : str
        Of the corpus.
    clips : mapping of str to int
        Their number by split, of those splits of which it is known.
    num_classes : int, optional
        The number of classes.
    """

    name: str
    clips: Mapping[str, int]
    num_classes: int | None = None


@dataclass
class SplitCounts:
    """Counts the clips of a split while they pass.

    Example
    -------
    >>> counts = SplitCounts()
    >>> clips = [Clip("a", "/a.wav", 0.0, 4.0, 16000, ("dog",))]
    >>> list(counts.counting(clips)) == clips
    True
    >>> counts.num_clips, counts.seconds, counts.per_class
    (1, 4.0, Counter({'dog': 1}))
    """

    num_clips: int = 0
    seconds: float = 0.0
    shortest: float = math.inf
    longest: float = 0.0
    per_class: Counter[str] = field(default_factory=Counter)

    def counting(self, clips: Iterable[Clip]) -> Iterator[Clip]:
        """Yields the clips as they are."""
        for clip in clips:
            self.num_clips += 1
            self.seconds += clip.duration
            self.shortest = min(self.shortest, clip.duration)
            self.longest = max(self.longest, clip.duration)
            self.per_class.update(clip.labels)
            yield clip


def format_report(
    counts: Mapping[str, SplitCounts], published: Published, classes: Sequence[str] = ()
) -> str:
    """Formats the counts of a preparation.

    A line for each split, then one for each class, or if there are more than fifty, their least,
    median and greatest number of clips and the first of those without any.

    Arguments
    ---------
    counts : mapping of str to SplitCounts
        By split.
    published : Published
        To compare with.
    classes : sequence of str
        In the order of their indices; none for a corpus without labels.

    Returns
    -------
    str
        Several lines.

    Example
    -------
    >>> train = SplitCounts(4, 7200.0, 0.5, 10.0, Counter(dog=3, rain=1))
    >>> print(format_report({"train": train}, Published("Sounds", {"train": 6}), ["dog", "rain"]))
    split  clips  published  missing  hours  shortest  longest
    train      4          6        2   2.00    0.50 s  10.00 s
    2 classes
    class  train
    dog        3
    rain       1
    """
    compared = ("published", "missing") if published.clips else ()
    rows = [("split", "clips", *compared, "hours", "shortest", "longest")]
    for split, count in counts.items():
        known = published.clips.get(split)
        numbers = ("", "") if known is None else (known, max(known - count.num_clips, 0))
        rows.append(
            (
                split,
                f"{count.num_clips:,}",
                *(f"{number:,}" if number != "" else "" for number in numbers[: len(compared)]),
                f"{count.seconds / 3600:.2f}",
                f"{count.shortest:.2f} s",
                f"{count.longest:.2f} s",
            )
        )
    lines = _aligned(rows)
    if not classes:
        return "\n".join(lines)
    of_published = f" of {published.num_classes}" if published.num_classes else ""
    lines.append(f"{len(classes)}{of_published} classes")
    if len(classes) <= MOST_CLASSES:
        numbers = [
            (name, *(f"{count.per_class[name]:,}" for count in counts.values())) for name in classes
        ]
        return "\n".join(lines + _aligned([("class", *counts), *numbers]))
    rows = [("clips per class", "least", "median", "greatest", "classes without")]
    without = []
    for split, count in counts.items():
        numbers = [count.per_class[name] for name in classes]
        absent = [name for name in classes if not count.per_class[name]]
        middle = statistics.median(numbers)
        rows.append(
            (split, f"{min(numbers):,}", f"{middle:,.0f}", f"{max(numbers):,}", f"{len(absent):,}")
        )
        if absent:
            more = ", …" if absent[3:] else ""
            named = ", ".join(map(shown, absent[:3]))
            without.append(f"{split} has no clip of {named}{more}")
    return "\n".join(lines + _aligned(rows) + without)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *lines = rows
    return format_table(head, lines, "plain", numbers=True).splitlines()
