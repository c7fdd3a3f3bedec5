"""Writes the pages of the reference: one a room, one a file of it, with the room's public names."""

import ast
from functools import cache
from pathlib import Path

FOLDER = "docs/reference"
PACKAGE = "ssast_recipes"
# In the order in which a reader meets them; a room that is not named comes last.
ORDER = [
    "model",
    "objectives",
    "data",
    "data.preparation",
    "brains",
    "inference",
    "weights",
    "weights.formats",
    "records",
]
DIRECTIVES = {ast.ClassDef: "autoclass", ast.FunctionDef: "autofunction"}


def write_pages(root: Path) -> None:
    """Writes all pages; removes those of files that are no more, leaves what has not changed.

    Arguments
    ---------
    root : Path
        The root of the repository.
    """
    rooms = {
        ".".join(stub.relative_to(root / PACKAGE).parent.parts): public_names(stub)
        for stub in (root / PACKAGE).rglob("__init__.pyi")
    }
    own = rooms.pop("")
    ordered = sorted(rooms, key=lambda room: (*(ORDER.index(room) if room in ORDER else 99,), room))
    told = {room: _docstring(_folder(root, room) / "__init__.py") for room in ordered}
    pages = {"index": index_page(told, own)}
    for room in ordered:
        folder = _folder(root, room)
        pages[room] = room_page(folder, room, rooms[room])
        for module, names in rooms[room].items():
            pages[f"{room}.{module}"] = module_page(folder, room, module, names)
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.stem not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def public_names(stub: Path) -> dict[str, list[str]]:
    """Reads which names a room exports, by the file that has them.

    Arguments
    ---------
    stub : Path
        The room's `__init__.pyi`.

    Returns
    -------
    names : dict[str, list[str]]
        For each file of the room, without its ending, its names, in the stub's order.
    """
    names: dict[str, list[str]] = {}
    for node in _parse(stub).body:
        if isinstance(node, ast.ImportFrom):
            names.setdefault(node.module, []).extend(one.name for one in node.names)
    return names


def index_page(rooms: dict[str, str], own: dict[str, list[str]]) -> str:
    """Writes the page of all rooms. `own` is what the package itself exports, by module."""
    entries = [f":doc:`{room}`\n   {told}" for room, told in rooms.items()]
    listed = [
        f"* :py:class:`{PACKAGE}.{name} <{PACKAGE}.{module.split('.')[0]}.{name}>`"
        for module, names in own.items()
        for name in names
    ]
    return _lines(
        _heading("Reference", "="),
        "The public names, by the rooms that export them: ``from ssast_recipes.model import ...``",
        "in Python, ``!new:ssast_recipes.model...`` in YAML. :doc:`/docs/architecture` tells what",
        "the rooms are.",
        "",
        *entries,
        "",
        "These names are the package's own, too:",
        "",
        *listed,
        "",
        ".. toctree::",
        "   :hidden:",
        "",
        *(f"   {room}" for room in rooms),
    )


def room_page(folder: Path, room: str, names: dict[str, list[str]]) -> str:
    """Writes the page of a room: what each of its files is for, and its names in a line each."""
    toctree = [f"   {room}.{module}" for module in names]
    lines = [_heading(room, "="), _docstring(folder / "__init__.py"), ""]
    lines += [".. toctree::", "   :hidden:", "", *toctree, ""]
    for module, listed in names.items():
        lines += [_heading(f":doc:`{module} <{room}.{module}>`", "-")]
        lines += [_docstring(folder / f"{module}.py").partition("\n\n")[0], ""]
        lines += [".. autosummary::", "   :nosignatures:", ""]
        lines += [f"   ~{PACKAGE}.{room}.{name}" for name in listed] + [""]
    return _lines(*lines)


def module_page(folder: Path, room: str, module: str, names: list[str]) -> str:
    """Writes the page of a file: what it is for, and its public names in full."""
    path = folder / f"{module}.py"
    nodes = {getattr(node, "name", None): node for node in _parse(path).body}
    lines = [_heading(f"{room}.{module}", "="), _docstring(path), ""]
    for name in names:
        node = nodes.get(name)
        lines += [f".. {DIRECTIVES.get(type(node), 'autodata')}:: {PACKAGE}.{room}.{name}"]
        # Not of all classes: that each is an object need not be said.
        lines += ["   :show-inheritance:"] if getattr(node, "bases", None) else []
        lines += [""]
    return _lines(*lines)


def _folder(root: Path, room: str) -> Path:
    return root.joinpath(PACKAGE, *room.split("."))


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _docstring(path: Path) -> str:
    return ast.get_docstring(_parse(path)) or ""


def _heading(text: str, underline: str) -> str:
    return f"{text}\n{underline * len(text)}\n"


def _lines(*lines: str) -> str:
    return "\n".join(lines).rstrip() + "\n"
