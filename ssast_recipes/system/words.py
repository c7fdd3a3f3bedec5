"""Numbers in words."""


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
