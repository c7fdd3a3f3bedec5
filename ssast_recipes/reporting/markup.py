"""HTML in which text cannot become markup: whatever is not `Html` is escaped where it is put in."""

import base64
import html
from collections.abc import Iterable, Sequence
from typing import Any

_VOID = frozenset({"img", "meta"})  # elements without an end


class Html(str):
    """Text that is markup, and is put in as it is."""

    __slots__ = ()


def tag(name: str, *children: Any, **attributes: Any) -> Html:
    """Makes an element.

    Arguments
    ---------
    name : str
        Of the element.
    *children
        `Html` is put in as it is, anything else as escaped text; None is left out.
    **attributes
        `class_` is `class`, other underscores become hyphens; None is left out, True has no value.

    Returns
    -------
    Html
        The element.

    Example
    -------
    >>> tag("p", "a < b", tag("b", "bold"), class_="note")
    '<p class="note">a &lt; b<b>bold</b></p>'
    >>> tag("img", src="data:,", alt='a "b"')
    '<img src="data:," alt="a &quot;b&quot;">'
    """
    told = ""
    for key, value in attributes.items():
        if value is None:
            continue
        key = key.removesuffix("_").replace("_", "-")
        told += f" {key}" if value is True else f' {key}="{html.escape(str(value))}"'
    if name in _VOID:
        return Html(f"<{name}{told}>")
    return Html(f"<{name}{told}>{join(*children)}</{name}>")


def join(*children: Any) -> Html:
    """Puts pieces behind each other, as `tag` its children.

    Example
    -------
    >>> join("1 < 2", None, tag("b"))
    '1 &lt; 2<b></b>'
    """
    return Html(
        "".join(
            child if isinstance(child, Html) else html.escape(str(child))
            for child in children
            if child is not None
        )
    )


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]], caption: Any = None) -> Html:
    """Makes a table whose first column names its rows.

    Arguments
    ---------
    header : sequence
        Names of the columns; none for a table of names and values.
    rows : iterable of sequences
        The cells, a row each.
    caption : optional
        What the table shows.

    Returns
    -------
    Html
        A table that scrolls by itself where it is wider than the page.

    Example
    -------
    >>> table(["", "n"], [["dog", 3]], caption="Clips").count("<th")
    4
    """
    head = None
    if header:
        cells = (tag("th", name, scope="col") for name in header)
        head = tag("thead", tag("tr", *cells))
    body = (
        tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in cells))
        for first, *cells in rows
    )
    told = None if caption is None else tag("caption", caption)
    return tag("div", tag("table", told, head, tag("tbody", *body)), class_="scroll", tabindex=0)


def figure(content: Html, caption: Any, **attributes: Any) -> Html:
    """Puts a caption under something."""
    return tag("figure", content, tag("figcaption", caption), **attributes)


def data_uri(content: bytes, media_type: str) -> str:
    """Writes bytes as an address that holds them.

    Example
    -------
    >>> data_uri(b"a", "text/plain")
    'data:text/plain;base64,YQ=='
    """
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
