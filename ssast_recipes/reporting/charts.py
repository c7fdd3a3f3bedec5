"""Charts as inline SVG: crisp at any size, and in the page's own colours, light and dark."""

import math
from collections.abc import Iterable, Mapping, Sequence

from ssast_recipes.reporting.markup import Html, join, tag

NUM_COLOURS = 10  # the page's style has so many, and a grey
_WIDTH, _HEIGHT = 360, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 10, 40
_MOST_POINTS = 400  # of a line; more are averaged
_MOST_MARKS = 40  # of a line whose points are marked

Points = Sequence[tuple[float, float]]


def colour(number: int | None) -> str:
    """The style's class of a colour; grey if there is no number, or there are no more colours.

    Example
    -------
    >>> colour(0), colour(None)
    ('c0', 'grey')
    """
    return f"c{number}" if number is not None and number < NUM_COLOURS else "grey"


def line_chart(lines: Mapping[str, Points], x_label: str, y_label: str) -> Html:
    """Draws lines over a common x.

    Arguments
    ---------
    lines : mapping of str to points
        (x, y) with rising x, a line each, in the order of the colours; one point at least
        altogether.
    x_label, y_label : str
        What the axes show, with units.

    Returns
    -------
    Html
        An SVG element.

    Example
    -------
    >>> drawn = line_chart({"train": [(1, 0.5), (2, 0.25)]}, "step", "loss")
    >>> drawn.count("<circle"), 'aria-label="loss over step. train: from 0.5 to 0.25' in drawn
    (2, True)
    """
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    x_range = (0 if min(xs) < 0.5 * max(xs) else min(xs), max(xs))
    frame = _Frame(x_range, _room(min(ys), max(ys)), x_label, y_label)
    told = [
        f"{name}: from {points[0][1]:.4g} to {points[-1][1]:.4g}"
        for name, points in lines.items()
        if points
    ]
    drawn = []
    for number, (name, points) in enumerate(lines.items()):
        if not points:  # it keeps its colour
            continue
        kind = colour(number)
        thin = thin_out(points)
        corners = " ".join("{:.1f},{:.1f}".format(*frame.place(x, y)) for x, y in thin)
        drawn.append(tag("polyline", points=corners, class_=f"line {kind}"))
        if len(thin) <= _MOST_MARKS:
            drawn += [
                _dot(frame, x, y, f"{kind} dot", f"{name}, {x_label} {x:g}: {y:.5g}", 2.5)
                for x, y in thin
            ]
    return frame.finish(drawn, f"{y_label} over {x_label}. {'; '.join(told)}.")


def scatter_chart(
    points: Points, colours: Sequence[int | None], names: Sequence[str], x_label: str, y_label: str
) -> Html:
    """Draws points, each with a colour and a name that is shown where one points at it.

    Arguments
    ---------
    points : sequence of (x, y)
        At least one.
    colours : sequence of int or None
        Of every point, as for `colour`.
    names : sequence of str
        Of every point.
    x_label, y_label : str
        What the axes show.

    Returns
    -------
    Html
        An SVG element.
    """
    xs, ys = zip(*points, strict=True)
    ranges = ((min(xs), max(xs)), (min(ys), max(ys)))
    x_range, y_range = (
        (low - _margin(low, high), high + _margin(low, high)) for low, high in ranges
    )
    frame = _Frame(x_range, y_range, x_label, y_label, width=1040, height=560)
    dots = [
        _dot(frame, x, y, f"{colour(number)} point", name, 4)
        for (x, y), number, name in zip(points, colours, names, strict=True)
    ]
    return frame.finish(dots, f"{len(points)} points: {y_label} against {x_label}.")


def picture_chart(
    address: str,
    x_range: tuple[float, float],
    x_label: str,
    y_ticks: Points,
    y_label: str,
    told: str,
) -> Html:
    """Draws a picture between axes.

    Arguments
    ---------
    address : str
        A data URI of the picture.
    x_range : tuple[float, float]
        What its left and right edges are.
    x_label, y_label : str
        What the axes show, with units.
    y_ticks : sequence of (value, height)
        Heights from 0, the lower edge, to 1.
    told : str
        What it shows, for those who cannot see it.

    Returns
    -------
    Html
        An SVG element.
    """
    frame = _Frame(x_range, (0, 1), x_label, y_label, dict(y_ticks), height=200)
    picture = tag(
        "image",
        href=address,
        x=_LEFT,
        y=_TOP,
        width=frame.width - _LEFT - _RIGHT,
        height=frame.height - _TOP - _BOTTOM,
        preserveAspectRatio="none",
    )
    return frame.finish([picture], told)


def legend(names: Sequence[str], colours: Sequence[int | None] | None = None) -> Html:
    """Tells which colour is what."""
    colours = range(len(names)) if colours is None else colours
    keys = (
        tag("span", name, class_=f"key {colour(number)}")
        for name, number in zip(names, colours, strict=True)
    )
    return tag("span", *keys, class_="legend")


def thin_out(points: Points) -> list[tuple[float, float]]:
    """Averages neighbours where there are more points than can be told apart.

    Example
    -------
    >>> len(thin_out([(x, 1.0) for x in range(1001)]))
    334
    """
    size = -(-len(points) // _MOST_POINTS)
    if size <= 1:
        return list(points)
    parts = (points[first : first + size] for first in range(0, len(points), size))
    return [tuple(sum(values) / len(part) for values in zip(*part, strict=True)) for part in parts]


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Chooses round numbers between two others.

    Example
    -------
    >>> ticks(0, 0.93), ticks(1997, 2003)
    ([0.0, 0.2, 0.4, 0.6, 0.8], [1998.0, 2000.0, 2002.0])
    """
    span = (high - low) or 1.0
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(s * power for s in (1, 2, 5, 10, 20) if span / (s * power) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) + 0.0 for number in range(first, last + 1)]


def _room(low: float, high: float) -> tuple[float, float]:
    """A range for an axis: from 0, if that takes no more room than the values."""
    if low >= 0 and low < 0.5 * high:
        return 0.0, high + 0.05 * high
    return low - _margin(low, high), high + _margin(low, high)


def _margin(low: float, high: float) -> float:
    return 0.05 * (high - low) or 0.05 * abs(high) or 1.0


def _dot(frame: "_Frame", x: float, y: float, kind: str, name: str, radius: float) -> Html:
    left, top = frame.place(x, y)
    return tag(
        "circle", tag("title", name), cx=f"{left:.1f}", cy=f"{top:.1f}", r=radius, class_=kind
    )


class _Frame:
    """Axes with their ticks, and where values lie between them."""

    def __init__(
        self,
        x_range: tuple[float, float],
        y_range: tuple[float, float],
        x_label: str,
        y_label: str,
        y_ticks: Mapping[float, float] | None = None,
        width: int = _WIDTH,
        height: int = _HEIGHT,
    ):
        self.x_range, self.y_range = x_range, y_range
        self.x_label, self.y_label = x_label, y_label
        self.y_ticks = {y: y for y in ticks(*y_range)} if y_ticks is None else y_ticks
        self.width, self.height = width, height

    def place(self, x: float, y: float) -> tuple[float, float]:
        (x_low, x_high), (y_low, y_high) = self.x_range, self.y_range
        across = (x - x_low) / ((x_high - x_low) or 1)
        up = (y - y_low) / ((y_high - y_low) or 1)
        left = _LEFT + across * (self.width - _LEFT - _RIGHT)
        return left, self.height - _BOTTOM - up * (self.height - _TOP - _BOTTOM)

    def finish(self, drawn: Sequence[Html], told: str) -> Html:
        """The whole: the axes behind what is drawn."""
        return tag(
            "svg",
            *self._axes(),
            *drawn,
            viewBox=f"0 0 {self.width} {self.height}",
            role="img",
            aria_label=told,
        )

    def _axes(self) -> list[Html]:
        right, floor = self.width - _RIGHT, self.height - _BOTTOM
        parts = []
        for number, height in zip(_numbers(self.y_ticks), self.y_ticks.values(), strict=True):
            _, y = self.place(self.x_range[0], height)
            parts.append(_line(_LEFT, y, right, y, "grid"))
            parts.append(_text(_LEFT - 6, y + 4, number, "end"))
        x_ticks = ticks(*self.x_range)
        for number, value in zip(_numbers(x_ticks), x_ticks, strict=True):
            x, _ = self.place(value, self.y_range[0])
            parts.append(_line(x, floor, x, floor + 4, "axis"))
            parts.append(_text(x, floor + 17, number, "middle"))
        parts.append(_line(_LEFT, floor, right, floor, "axis"))
        parts.append(_text((_LEFT + right) / 2, self.height - 6, self.x_label, "middle"))
        middle = (_TOP + floor) / 2
        turned = f"rotate(-90 12 {middle:.0f})"
        parts.append(_text(12, middle, self.y_label, "middle", transform=turned))
        return parts


def _numbers(values: Iterable[float]) -> list[str]:
    """Ticks' numbers; small ones by their power of ten, for room."""
    values = list(values)
    if not 0 < max(map(abs, values), default=0) < 1e-2:
        return [f"{value:.6g}" for value in values]
    parts = (f"{value:.3e}".split("e") for value in values)
    return [f"{float(digits):g}e{int(power)}" if float(digits) else "0" for digits, power in parts]


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Html:
    places = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return tag("line", **{key: f"{value:.1f}" for key, value in places.items()}, class_=kind)


def _text(x: float, y: float, text: str, anchor: str, **more: str) -> Html:
    return join(tag("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, **more))
