"""Numbers in words, and in tables; words of others, made safe to show."""

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# What moves a terminal's cursor, colours its text, begins lines or turns their direction: control
# characters, separators of lines, and halves of characters, which UTF-8 cannot hold.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str) -> str:
    r"""Escapes what would not be seen of a name or label of others, but do something.

    Example
    -------
    >>> print(shown("dog\x1b[2J\nerror: none"), shown("Töne"))
    dog\x1b[2J\nerror: none Töne
    """
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)


class ShownRecord(logging.LogRecord):
    """A line of a log, in which whatever names of others are told is escaped.

    For `logging.setLogRecordFactory`. Line ends count in a format, and in `Lines`.
    """

    def getMessage(self) -> str:
        """The line."""
        if isinstance(self.args, tuple):
            self.args = tuple(map(_as_shown, self.args))
        elif isinstance(self.args, Mapping):
            self.args = {key: _as_shown(value) for key, value in self.args.items()}
        return "\n".join(map(shown, super().getMessage().split("\n")))


class Lines(str):
    """Text of several lines, for a log, made of what is escaped already."""

    __slots__ = ()


def _as_shown(argument: Any) -> Any:
    is_text = isinstance(argument, str | os.PathLike | BaseException)
    return shown(str(argument)) if is_text and not isinstance(argument, Lines) else argument


def counted(number: int, name: str) -> str:
    """Says how many there are of something whose plural ends in s.

    Example
    -------
    >>> counted(1, "step"), counted(1200, "step")
    ('1 step', '1,200 steps')
    """
    return f"{number:,} {name}{'' if number == 1 else 's'}"


def format_seconds(seconds: float) -> str:
    """Says how long something takes, in two digits.

    Example
    -------
    >>> format_seconds(40), format_seconds(3000), format_seconds(9000), format_seconds(900_000)
    ('40 s', '50 min', '2.5 h', '10 days')
    """
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{float(f'{seconds / unit:.2g}'):g} {name}"
    return f"{float(f'{seconds / 86_400:.2g}'):g} days"


def format_table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    layout: str = "simple",
    numbers: bool = False,
) -> str:
    """Sets a table for the terminal or for a Markdown page.

    Arguments
    ---------
    head : sequence of str
        Names of the columns; none for lines alone.
    rows : iterable of sequences of str
        The cells; what of them would not be seen is escaped.
    layout : str
        One of tabulate's: "simple" has a rule below the head, "plain" has none, "pipe" is Markdown.
    numbers : bool
        Whether columns but the first hold numbers: they are set flush right.

    Returns
    -------
    str
        Without a line end.

    Example
    -------
    >>> print(format_table(["class", "clips"], [["dog", "3"], ["rain", "12"]], numbers=True))
    class      clips
    -------  -------
    dog            3
    rain          12
    """
    from tabulate import tabulate

    lines = [[shown(str(cell)) for cell in row] for row in rows]
    if layout == "plain" and head:  # as a line of its own: tabulate sets a head in wider columns
        head, lines = (), [[*head], *lines]
    columns = max(map(len, [head, *lines]))
    aligned = ["left", *["right" if numbers else "left"] * (columns - 1)] if lines else None
    return tabulate(lines, head, tablefmt=layout, disable_numparse=True, colalign=aligned)
