"""The text of hparams YAML: its lines with their comments, and copies with other values.

Other values are put in the places of the old ones. A dump, ruamel's round trip too, would write
other lines anew as well: `null` as nothing, `False` as `false`, lists less indented.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ssast_recipes.system.files import write_text
from ssast_recipes.system.reading import read_text

_INCLUDE = "include:"  # behind the "!" of a tag


class Line(NamedTuple):
    """A key at the top of a YAML text, as it is read on the line where it begins."""

    key: str
    value: str  # of several lines, what is on the first
    comment: str
    heading: list[str]  # the lines of comments between it and the key before


def read_lines(text: str, source: str | Path = "the text") -> list[Line]:
    """Reads the keys at the top of a YAML text with their comments.

    Arguments
    ---------
    text : str
        The text.
    source : str or Path
        What errors call it.

    Returns
    -------
    list of Line
        Of the keys that begin a line; none if the text holds no keys.

    Raises
    ------
    ValueError
        If it is not YAML.

    Example
    -------
    >>> for line in read_lines("# Model\\nsize: base # tiny, small, base\\nparts:\\n    a: 1"):
    ...     print(line)
    Line(key='size', value='base', comment='tiny, small, base', heading=['Model'])
    Line(key='parts', value='', comment='', heading=[])
    """
    lines, above, found = text.splitlines(), 0, []
    for key, place in _places(text, source).items():
        if place.key.start_mark.column > 0:
            continue
        number, colon = place.key.end_mark.line, place.key.end_mark.column
        line = lines[number]
        # A comment begins behind the last word of the value; one that goes on below has no "#".
        seen = max((column for row, column in place.ends if row == number), default=colon)
        rest, _, comment = line[seen:].partition(" #")
        value = (line[colon:seen] + rest).strip().removeprefix(":").strip()
        heading = [one.lstrip("# ") for one in lines[above:number] if one.startswith("#")]
        found.append(Line(key, value, comment.strip(), heading))
        above = number + 1
    return found


def write_hparams(source: Path, target: Path, values: Mapping[str, Any]) -> None:
    """Copies a recipe's YAML file, comments and all, with other values at its top level.

    All else stays as it is, to the letter.

    Arguments
    ---------
    source : Path
        A file in the recipe's `hparams`.
    target : Path
        The copy, anywhere; files that it includes are copied beside it, for a tag of YAML cannot
        hold every path.
    values : mapping
        By key; plain ones, as JSON has them.

    Raises
    ------
    KeyError
        If the file has no such key.
    ValueError
        If it is not YAML.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "a.yaml").write_text("lr: 1.0e-4 # published\\nsize: base\\n")
    >>> write_hparams(folder / "a.yaml", folder / "b.yaml", {"lr": 5e-4})
    >>> print((folder / "b.yaml").read_text().strip())
    lr: 0.0005 # published
    size: base
    """
    text = read_text(source)
    places = _places(text, source)
    edits = []
    for key, value in values.items():
        if key not in places:
            raise KeyError(f"{source} has no key {key}")
        begin, end = places[key].span
        told = f"{places[key].anchor}{_as_yaml(value)}"
        # On a line of its own it would begin where keys do.
        is_apart = text[begin - 1].isspace() and text[begin - 1] != "\n"
        edits.append((begin, end, told if is_apart else f" {told}"))
    for begin, end, name in _includes(text, source):
        if any(first <= begin < last for first, last, _ in edits):
            continue
        included, copy = source.parent / name, target.parent / Path(name).name
        if included.resolve() != copy.resolve():
            write_hparams(included, copy, {})
            edits.append((begin, end, f"!{_INCLUDE}{copy.name}"))
    for begin, end, told in sorted(edits, reverse=True):
        text = text[:begin] + told + text[end:]
    try:
        yaml.compose(text)
    except yaml.YAMLError as error:
        raise ValueError(
            f"{source}: {', '.join(values)} cannot be given other values, as what is there now is "
            f"needed by others: {' '.join(str(error).split())}"
        ) from None
    write_text(target, text)


def _as_yaml(value: Any) -> str:
    """As JSON has it, but for the numbers that JSON does not have."""
    if isinstance(value, Mapping):
        pairs = (
            f"{json.dumps(key, ensure_ascii=False)}: {_as_yaml(one)}" for key, one in value.items()
        )
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_as_yaml, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    return json.dumps(value, ensure_ascii=False)


def included_files(path: Path) -> list[Path]:
    """Names the files that a YAML file includes.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.yaml"
    >>> _ = path.write_text("parts: !include:model.yaml\\n    size: tiny # !include:none.yaml\\n")
    >>> [included.name for included in included_files(path)]
    ['model.yaml']
    """
    return [path.parent / name for *_, name in _includes(read_text(path), path)]


def _includes(text: str, source: str | Path) -> list[tuple[int, int, str]]:
    """Where the tags are that include files, and which."""
    try:
        return [
            (token.start_mark.index, token.end_mark.index, token.value[1].removeprefix(_INCLUDE))
            for token in yaml.scan(text)
            if isinstance(token, yaml.TagToken) and token.value[1].startswith(_INCLUDE)
        ]
    except yaml.YAMLError as error:
        raise ValueError(f"{source} is not YAML: {' '.join(str(error).split())}") from None


class _Place(NamedTuple):
    """Where a value stands in a text."""

    key: yaml.ScalarEvent
    span: tuple[int, int]  # characters
    ends: list[tuple[int, int]]  # of its words: line and column
    anchor: str  # "&name ", by which the value is meant elsewhere; most often none


def _places(text: str, source: str | Path) -> dict[str, _Place]:
    """Where the values of the keys at the top of a YAML text stand; of a key twice, the last."""
    places: dict[str, _Place] = {}
    depth, key, events = 0, None, []
    try:
        for event in yaml.parse(text):
            if depth == 0 and isinstance(event, yaml.SequenceStartEvent):
                return {}
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth == 1 and key is None:
                key = event
            elif depth > 0:
                events.append(event)
            depth += isinstance(event, yaml.CollectionStartEvent)
            if depth == 1 and events and isinstance(key, yaml.ScalarEvent):
                places[key.value] = _place(text, key, events)
            if depth == 1 and events:
                key, events = None, []
    except yaml.YAMLError as error:
        raise ValueError(f"{source} is not YAML: {' '.join(str(error).split())}") from None
    return places


def _place(text: str, key: yaml.ScalarEvent, events: list[yaml.Event]) -> _Place:
    begin = events[0].start_mark.index
    # What has no letters of its own does not count: the end of a block is behind comments, where
    # the next key begins.
    words = [one.end_mark for one in events if one.end_mark.index > one.start_mark.index]
    end = max((mark.index for mark in words), default=begin)
    end = begin + len(text[begin:end].rstrip())  # a block of text has its line's end, too
    first = events[0]
    is_named = first.anchor is not None and not isinstance(first, yaml.AliasEvent)
    anchor = f"&{first.anchor} " if is_named else ""
    return _Place(key, (begin, end), [(mark.line, mark.column) for mark in words], anchor)
