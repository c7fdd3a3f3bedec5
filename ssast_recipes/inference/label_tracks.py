"""What is heard when, as programs show it: Audacity's label tracks and Raven's selection tables."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ssast_recipes.system.files import write_text
from ssast_recipes.system.words import shown

if TYPE_CHECKING:
    from ssast_recipes.inference.classifying import Classification

ENDINGS = {"audacity": ".txt", "raven": ".Table.1.selections.txt"}
_RAVEN = (
    "Selection",
    "View",
    "Channel",
    "Begin Time (s)",
    "End Time (s)",
    "Low Freq (Hz)",
    "High Freq (Hz)",
    "Annotation",
    "Score",
)


class Event(NamedTuple):
    """A stretch of a recording, in seconds, in which a class is heard, and its highest score."""

    start: float
    end: float
    label: str
    score: float


def find_events(found: "Classification", by_window: bool) -> list[Event]:
    """Joins what neighbouring windows tell of a class to one stretch.

    Arguments
    ---------
    found : Classification
        With the labels that are above their thresholds.
    by_window : bool
        Whether to tell where in a long recording a class is heard; otherwise the whole of it is
        one stretch.

    Returns
    -------
    list of Event
        By start, then by label.

    Example
    -------
    >>> from ssast_recipes.inference import Classification
    >>> windows = [
    ...     Classification(0.0, 2.0, ["dog"], [0.6], []),
    ...     Classification(1.0, 3.0, ["dog"], [0.9], []),
    ...     Classification(2.0, 4.0, [], [], []),
    ... ]
    >>> find_events(Classification(0.0, 4.0, [], [], windows), by_window=True)
    [Event(start=0.0, end=3.0, label='dog', score=0.9)]
    """
    events: list[Event] = []
    last: dict[str, int] = {}  # of each label, which event a further window may belong to
    for window in found.windows if by_window and found.windows else [found]:
        for label, score in zip(window.labels, window.scores, strict=True):
            index = last.get(label)
            if index is not None and window.start <= events[index].end:
                before = events[index]
                score = max(score, before.score)
                events[index] = Event(before.start, window.end, label, score)
            else:
                last[label] = len(events)
                events.append(Event(window.start, window.end, label, score))
    return sorted(events)


def format_audacity(events: Iterable[Event]) -> str:
    r"""Writes a label track, as Audacity imports it.

    Example
    -------
    >>> format_audacity([Event(0.0, 1.5, "dog", 0.9)])
    '0.000000\t1.500000\tdog\n'
    """
    return "".join(f"{one.start:.6f}\t{one.end:.6f}\t{shown(one.label)}\n" for one in events)


def format_raven(events: Iterable[Event], low: float, high: float) -> str:
    r"""Writes a selection table, as Raven opens it.

    Arguments
    ---------
    events : iterable of Event
        Its rows.
    low, high : float
        What the model hears, in Hz.

    Example
    -------
    >>> format_raven([Event(0.0, 1.5, "dog", 0.9)], 20, 8000).splitlines()[1]
    '1\tSpectrogram 1\t1\t0.000000\t1.500000\t20.0\t8000.0\tdog\t0.900000'
    """
    lines = ["\t".join(_RAVEN)]
    for number, one in enumerate(events, start=1):
        times = f"{one.start:.6f}\t{one.end:.6f}\t{low:.1f}\t{high:.1f}"
        lines.append(f"{number}\tSpectrogram 1\t1\t{times}\t{shown(one.label)}\t{one.score:.6f}")
    return "".join(f"{line}\n" for line in lines)


class TrackFolder:
    """A folder of label tracks, each named after its recording.

    Arguments
    ---------
    folder : Path
        Where to write.
    given : sequence of str
        What the command line names: of a folder, the folders in it are made here, too.
    ending : str
        Of the tracks' names.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> (folder / "sounds").mkdir()
    >>> tracks = TrackFolder(folder / "heard", [f"{folder}/sounds"], ".txt")
    >>> tracks.write(f"{folder}/sounds/day/a.wav", "").relative_to(folder).as_posix()
    'heard/day/a.txt'
    """

    def __init__(self, folder: Path, given: Sequence[str], ending: str):
        self.folder, self.ending = folder, ending
        self._tops = [path for path in given if os.path.isdir(path)]
        self._written: set[Path] = set()

    def write(self, path: str, text: str) -> Path:
        """Writes a recording's track, and returns where.

        Raises
        ------
        ValueError
            If it would be written over that of another, or over a file beside the recording, which
            may be the labels that somebody gave it.
        """
        top = next((one for one in self._tops if path.startswith(os.path.join(one, ""))), None)
        name = Path(os.path.relpath(path, top) if top else os.path.basename(path))
        target = self.folder / name.with_name(name.stem + self.ending)
        if target in self._written:  # as of a.wav and a.flac
            target = self.folder / name.with_name(name.name + self.ending)
        if target in self._written:
            raise ValueError(
                f"{path}: the track of another file is {target}; give its folder, or another "
                "--output"
            )
        if target.exists() and os.path.samefile(target.parent, os.path.dirname(path) or "."):
            raise ValueError(f"{path}: {target} is there, beside it; give another --output")
        write_text(target, text)
        self._written.add(target)
        return target
