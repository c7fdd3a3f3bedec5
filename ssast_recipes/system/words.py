"""Numbers in words, and in tables."""

from collections.abc import Iterable, Sequence


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
        The cells.
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

    lines = [[*map(str, row)] for row in rows]
    if layout == "plain" and head:  # as a line of its own: tabulate sets a head in wider columns
        head, lines = (), [[*head], *lines]
    columns = max(map(len, [head, *lines]))
    aligned = ["left", *["right" if numbers else "left"] * (columns - 1)] if lines else None
    return tabulate(lines, head, tablefmt=layout, disable_numparse=True, colalign=aligned)
