"""Reading a reference case, and how far our numbers are from it, as the tolerances define it."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np


class NothingToMatch(Exception):
    """The case states facts about the released code that ours need not share."""


class Comparison(NamedTuple):
    """One quantity of a case: how far it is off, and how far it may be."""

    quantity: str
    deviation: float
    tolerance: float

    @property
    def severity(self) -> float:
        """Deviation in tolerances: up to 1 passes. What is not a number is infinitely far off."""
        if self.deviation == 0:
            return 0.0
        severity = self.deviation / self.tolerance if self.tolerance else np.inf
        return severity if severity == severity else np.inf

    def __str__(self) -> str:
        return f"{self.quantity} {self.deviation:.1e} (tolerance {self.tolerance:.2g})"


def parse(key: str, pattern: str, form: str) -> dict[str, str | None]:
    """The named groups of a key that matches a pattern from end to end; `form` is for people."""
    match = re.fullmatch(pattern, key)
    if match is None:
        raise ValueError(f"the key does not read as {form}")
    return match.groupdict()


def relative(
    theirs: Mapping[str, Any],
    ours: Mapping[str, Any],
    tolerance: float,
    floor: float = 0.0,
    prefix: str = "",
) -> list[Comparison]:
    """Compares numbers and lists by the largest difference over the largest value.

    Arguments
    ---------
    theirs : Mapping[str, Any]
        The reference: numbers and lists by name. What ours lack is not compared.
    ours : Mapping[str, Any]
        Numbers, arrays and tensors by name.
    tolerance : float
        What the deviation may be.
    floor : float
        What to divide by at least.
    prefix : str
        What to say before each name.

    Example
    -------
    >>> print(*relative({"sum": [1.0, 2.0], "more": 3.0}, {"sum": [1.0, 2.1]}, tolerance=0.1))
    sum 5.0e-02 (tolerance 0.1)
    """
    comparisons = []
    for name, reference, measured in _pairs(theirs, ours):
        scale = max(float(abs(reference).max()), floor)
        difference = float(abs(measured - reference).max())
        deviation = difference / scale if scale else difference and np.inf
        comparisons.append(Comparison(prefix + name, deviation, tolerance))
    return comparisons


def absolute(
    theirs: Mapping[str, Any], ours: Mapping[str, Any], tolerance: float
) -> list[Comparison]:
    """Compares numbers and lists by the largest difference; arguments as for `relative`."""
    return [
        Comparison(name, float(abs(measured - reference).max()), tolerance)
        for name, reference, measured in _pairs(theirs, ours)
    ]


def exact(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[Comparison]:
    """Compares counts and sizes, which must be equal; arguments as for `relative`."""
    return absolute(theirs, ours, tolerance=0.0)


def within(
    theirs: Mapping[str, Any], ours: Mapping[str, Any], tolerances: Mapping[str, Any]
) -> list[Comparison]:
    """Compares numbers and lists, each value with a tolerance of its own; reports the worst."""
    comparisons = []
    for name, reference, measured in _pairs(theirs, ours):
        allowed = np.broadcast_to(_numbers(name, tolerances[name]), reference.shape)
        pairs = zip(abs(measured - reference).tolist(), allowed.tolist(), strict=True)
        each = [Comparison(name, deviation, tolerance) for deviation, tolerance in pairs]
        comparisons.append(max(each, key=lambda comparison: comparison.severity))
    return comparisons


def _pairs(
    theirs: Mapping[str, Any], ours: Mapping[str, Any]
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    for name in (name for name in ours if name in theirs):
        reference, measured = _numbers(name, theirs[name]), _numbers(name, ours[name])
        if reference.shape != measured.shape or not reference.size:
            raise ValueError(
                f"{name}: {reference.size} numbers in the case, {measured.size} of ours"
            )
        yield name, reference, measured


def _numbers(name: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(values, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        raise ValueError(f"{name}: not numbers: {str(values)[:60]}") from None
