"""What a browser would make of a page of `ssast report`, and that it needs nothing beside it."""

import base64
import io
import re
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import soundfile

_VOID = {"meta", "img"}


class Page(HTMLParser):
    """The elements of a page, each with its attributes and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self._open: list[tuple[str, dict[str, str], list[str]]] = []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {[name for name, _, _ in self._open]}"

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes), []))
        if name not in _VOID:
            self._open.append(self.elements[-1])

    def handle_endtag(self, name):
        assert self._open.pop()[0] == name

    def handle_data(self, text):
        # Between blocks, line ends and indentation show nothing; within text they are a space.
        text = re.sub(r"\s+", " ", re.sub(r"^\s*\n\s*|\s*\n\s*$", "", text))
        for _, _, texts in self._open:
            texts.append(text)

    def all(self, name: str, **attributes: str) -> list[str]:
        """The text of every such element."""
        return [
            "".join(texts)
            for found, has, texts in self.elements
            if found == name and attributes.items() <= has.items()
        ]

    def values(self, name: str, attribute: str) -> list[str]:
        """An attribute of every such element."""
        return [has[attribute] for found, has, _ in self.elements if found == name]

    def all_values(self, attribute: str) -> list[str]:
        """An attribute of every element that has it."""
        return [has[attribute] for _, has, _ in self.elements if attribute in has]

    @property
    def sections(self) -> list[str]:
        return self.all("h2")

    @property
    def text(self) -> str:
        return " ".join(self.all("body")[0].split())

    def section(self, name: str) -> str:
        """The text of a section."""
        (found,) = (text for text in self.all("section") if text.startswith(name))
        return found[len(name) :]

    def lines(self) -> list[list[tuple[float, float]]]:
        """The corners of all lines of charts."""
        found = []
        for number, (name, has, _) in enumerate(self.elements):
            if name == "g" and has.get("class", "").startswith("line "):
                following, path, _ = self.elements[number + 1]
                assert following == "path"
                numbers = [float(one) for one in re.findall(r"-?[\d.]+", path["d"])]
                found.append(list(zip(numbers[::2], numbers[1::2], strict=True)))
        return found

    def pictures(self) -> list[np.ndarray]:
        """All pictures, decoded."""
        found = []
        for name, attribute in (("img", "src"), ("image", "href")):
            for address in self.values(name, attribute):
                kind, content = _decode(address)
                assert kind in ("image/png", "image/jpeg")
                found.append(matplotlib.image.imread(io.BytesIO(content), kind[6:]))
        return found

    def sounds(self) -> list[tuple[np.ndarray, int]]:
        """All that can be heard: samples and their rate."""
        addresses = self.values("audio", "src")
        return [soundfile.read(io.BytesIO(_decode(address)[1])) for address in addresses]


def check_page(text: str) -> Page:
    """Parses a page and checks what is true of every one."""
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert not {name for name, _, _ in page.elements} & {"script", "link", "iframe", "object"}
    for name, attributes, _ in page.elements:
        assert not [key for key in attributes if key.startswith("on")], name
        for key in ("src", "href", "action", "data", "poster", "srcset", "xlink:href"):
            if key in attributes:
                assert attributes[key].startswith(("data:", "#")), (name, attributes[key][:80])
        if name == "svg":
            assert attributes["role"] == "img" and attributes["aria-label"]
        if name == "img":
            assert attributes["alt"]
        if name == "th":
            assert attributes["scope"] in ("row", "col")
    (style,) = page.all("style")
    assert "url(" not in style and "@import" not in style
    assert "prefers-color-scheme:dark" in style
    (policy,) = (has["content"] for _, has, _ in page.elements if "http-equiv" in has)
    assert "default-src 'none'" in policy and "script" not in policy and "http" not in policy
    assert len(page.all("caption")) == len(page.all("table"))
    anchors = [has["id"] for name, has, _ in page.elements if name == "h2"]
    assert page.values("a", "href") == [f"#{anchor}" for anchor in anchors]
    assert len(set(anchors)) == len(anchors) > 0
    assert all(picture.size for picture in page.pictures())
    assert all(len(samples) for samples, _ in page.sounds())
    names = page.all_values("id")
    assert len(set(names)) == len(names)
    used = re.findall(r"url\(#([^)]*)\)", text) + [
        has["href"][1:] for name, has, _ in page.elements if name == "use"
    ]
    assert set(used) <= set(names)
    for line in page.lines():
        for x, y in line:
            assert 0 <= x <= 360 and 0 <= y <= 240
    return page


def _decode(address: str) -> tuple[str, bytes]:
    kind, found, content = address.removeprefix("data:").partition(";base64,")
    assert found
    return kind, base64.b64decode(content, validate=True)
