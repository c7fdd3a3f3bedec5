"""Charts as SVG within the page: drawn by matplotlib, crisp at any size, of text that is found."""

import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy import ndarray

# Ten colours that stay apart for the colour-blind, too; after Okabe and Ito, and Tol.
COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#c2408f", "#b8860b"),
    *("#3aa0d8", "#6a3d9a", "#7a5c3e", "#8a9a1b", "#d1495b"),
)
_GREY, _QUIET = "#9aa0a8", "#5b6470"
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 18, 42  # around the axes
_MOST_POINTS = 400  # of a line; more are averaged
_MOST_MARKS = 40  # of a line whose points are marked
_MOST_LETTERS = 40  # of a label; a log's keys may be of any length

Points = Sequence[tuple[float, float]]


def colour(number: int | None) -> str:
    """Returns a colour; grey if there is no number, or there are no more colours.

    Example
    -------
    >>> colour(0), colour(None) == colour(10)
    ('#0072b2', True)
    """
    return COLOURS[number] if number is not None and number < len(COLOURS) else _GREY


@contextmanager
def _styled() -> Iterator[None]:
    """Holds matplotlib's own defaults while a chart is made, whatever a user's file says."""
    from matplotlib import style

    options = {
        "font.size": 12,
        "font.sans-serif": "DejaVu Sans",  # which matplotlib brings, and measures by
        "svg.fonttype": "none",  # text stays text: searchable, in the page's own fonts
        "text.parse_math": False,  # of users' labels
    }
    with style.context(["default", options]), warnings.catch_warnings():
        # The page's fonts are the browser's; matplotlib's own need not have the letter.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield


@_styled()
def line_chart(
    lines: Mapping[str, Points], x_label: str, y_label: str, from_zero: bool = False
) -> Markup:
    """Draws lines over a common x.

    Arguments
    ---------
    lines : mapping of str to points
        (x, y) with rising x, a line each, in the order of the colours. Those that are not finite
        numbers are left out.
    x_label, y_label : str
        What the axes show, with units.
    from_zero : bool
        Whether y begins at 0; if not, it does where values reach half way down to it.

    Returns
    -------
    Markup
        An SVG element.

    Example
    -------
    >>> drawn = line_chart({"train": [(1, 0.5), (2, 0.25)]}, "step", "loss")
    >>> drawn.count("<title>"), 'aria-label="loss over step. train: from 0.5 to 0.25' in drawn
    (2, True)
    """
    figure, axes = _axes(x_label, y_label)
    told, titles = [], {}
    for number, (name, given) in enumerate(lines.items()):
        points = [point for point in given if all(map(math.isfinite, point))]
        if not points:  # it keeps its colour
            continue
        told.append(f"{name}: from {points[0][1]:.4g} to {points[-1][1]:.4g}")
        thin = thin_out(points)
        marked = thin if len(thin) <= _MOST_MARKS else []
        look = {"color": colour(number), "linewidth": 2, "marker": "." if marked else None}
        kind = f"line c{number}"
        axes.plot(*zip(*thin, strict=True), gid=kind, **look)
        titles[kind] = [f"{name}, {x_label} {x:g}: {y:.5g}" for x, y in marked]
    (x_low, x_high), (y_low, y_high) = axes.dataLim.intervalx, axes.dataLim.intervaly
    if 0 <= y_low and (from_zero or y_low < 0.5 * y_high):
        axes.set_ylim(bottom=0)
    axes.locator_params(axis="x", integer=True)  # steps
    if x_low < 0.5 * x_high:
        axes.set_xlim(left=0)
    return _to_svg(figure, f"{y_label} over {x_label}. {'; '.join(told)}.", titles)


@_styled()
def scatter_chart(
    points: Points, colours: Sequence[int | None], names: Sequence[str], x_label: str, y_label: str
) -> Markup:
    """Draws points, each with a colour and a name that is shown where one points at it.

    Arguments
    ---------
    points : sequence of (x, y)
        Those that are not finite numbers are left out.
    colours : sequence of int or None
        Of every point, as for `colour`.
    names : sequence of str
        Of every point.
    x_label, y_label : str
        What the axes show.

    Returns
    -------
    Markup
        An SVG element.
    """
    figure, axes = _axes(x_label, y_label, width=900, height=500)
    groups: dict[str, list[int]] = {_GREY: []}  # by colour; grey lies below
    for place, number in enumerate(colours):
        if all(map(math.isfinite, points[place])):
            groups.setdefault(colour(number), []).append(place)
    titles = {}
    for shade, places in groups.items():
        kind = f"points {shade}"
        titles[kind] = [names[place] for place in places]
        xs, ys = ([points[place][i] for place in places] for i in range(2))
        look = {"markersize": 8, "markeredgecolor": "white", "alpha": 0.85}
        axes.plot(xs, ys, "o", color=shade, gid=kind, **look)
    return _to_svg(
        figure, f"{sum(map(len, groups.values()))} points: {y_label} against {x_label}.", titles
    )


@_styled()
def picture_chart(
    values: "ndarray",
    value_range: tuple[float, float],
    x_range: tuple[float, float],
    x_label: str,
    y_ticks: Mapping[str, float],
    y_label: str,
    told: str,
) -> Markup:
    """Draws a matrix as a picture between axes.

    Arguments
    ---------
    values : ndarray
        [rows, columns], the lowest row first.
    value_range : tuple[float, float]
        Values that are darkest and brightest.
    x_range : tuple[float, float]
        What the picture's left and right edges are.
    x_label, y_label : str
        What the axes show, with units.
    y_ticks : mapping of str to float
        Names of heights, from 0, the lower edge, to 1.
    told : str
        What it shows, for those who cannot see it.

    Returns
    -------
    Markup
        An SVG element.
    """
    figure, axes = _axes(x_label, y_label, height=210)
    axes.grid(False)
    # Interpolated by the browser: every value is a pixel of the picture that the page holds.
    look = {"origin": "lower", "cmap": "magma", "aspect": "auto", "interpolation": "none"}
    low, high = value_range
    axes.imshow(values, extent=(*x_range, 0, 1), vmin=low, vmax=high, **look)
    axes.set_yticks(list(y_ticks.values()), list(y_ticks))
    return _to_svg(figure, told, {})


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


def _axes(
    x_label: str, y_label: str, width: int = 360, height: int = 240
) -> tuple["Figure", "Axes"]:
    """Makes empty axes, in a figure of so many points: units of the SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72))
    axes = figure.add_axes(
        (
            _LEFT / width,
            _BOTTOM / height,
            (width - _LEFT - _RIGHT) / width,
            (height - _TOP - _BOTTOM) / height,
        )
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="y", color=_QUIET, alpha=0.2)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(colors=_QUIET)
    axes.spines["bottom"].set_color(_QUIET)
    axes.ticklabel_format(scilimits=(-3, 6))
    axes.locator_params(nbins=5)
    axes.yaxis.set_label_coords(12 / width, 0.55, transform=figure.transFigure)
    axes.set_xlabel(_shorten(x_label), color=_QUIET)
    axes.set_ylabel(_shorten(y_label), color=_QUIET)
    return figure, axes


def _shorten(text: str) -> str:
    """A label in one line, without what XML forbids."""
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 1]}…"


def _to_svg(figure: "Figure", told: str, titles: Mapping[str, Sequence[str]]) -> Markup:
    """Writes a figure as an element of HTML: what it shows, and titles of marks by their group."""
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": told}):  # ids of marks are a chart's, not a moment's
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = ElementTree.fromstring(file.getvalue())
    for element in svg.iter():  # HTML knows SVG's names without their namespaces
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: text for key, text in element.attrib.items()}
        element.tail = None
        element.text = (element.text or "").strip()
        if element.tag == "image":
            element.set("href", "".join(element.get("href").split()))
    for group in svg.iter("g"):
        name = group.attrib.pop("id", None)  # as in every other figure
        if name in titles:
            group.set("class", name)
            for mark, title in zip(group.iter("use"), titles[name], strict=True):
                ElementTree.SubElement(mark, "title").text = title
    svg.remove(svg.find("metadata"))
    svg.remove(svg.find("defs"))  # a style, of the whole page; it stands in style.css
    svg.attrib = {"viewBox": svg.attrib["viewBox"], "role": "img", "aria-label": told}
    return Markup(ElementTree.tostring(svg, "unicode", short_empty_elements=False))
