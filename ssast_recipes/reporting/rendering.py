"""Templates filled in: HTML in which what comes from users is escaped, whatever it holds."""

import base64
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> Markup:
    """Fills in a template of the folder `templates`.

    Arguments
    ---------
    template : str
        The file. In HTML whatever is not `Markup` is escaped; in other text nothing is.
    **values
        What the template names; a name that is not given is an error, as is one within it.

    Returns
    -------
    Markup
        The text, which another template takes as it is.

    Example
    -------
    >>> print(render("results.html.jinja", tiles=[("0.5", "a < b")], told=[]))
    <div class="tiles">
      <div><span class="number">0.5</span><span class="name">a &lt; b</span></div>
    </div>
    <p class="quiet"></p>
    """
    return Markup(_environment().get_template(template).render(**values).strip())


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=lambda name: name is None or ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["anchor"] = _anchor
    return environment


def _anchor(name: str) -> str:
    """A section's address within the page."""
    return name.lower().replace(", ", "-").replace(" ", "-")


def data_uri(content: bytes, media_type: str) -> str:
    """Writes bytes as an address that holds them.

    Example
    -------
    >>> data_uri(b"a", "text/plain")
    'data:text/plain;base64,YQ=='
    """
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
