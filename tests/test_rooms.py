"""Rooms: public names resolve, YAML uses no others, and starting `ssast` enters few rooms."""

import ast
import json
import pydoc
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import ssast_recipes

PACKAGE = Path(ssast_recipes.__file__).parent
ROOT = PACKAGE.parent
STUBS = {
    ".".join(path.relative_to(ROOT).parent.parts): path for path in PACKAGE.rglob("__init__.pyi")
}
# The rooms that YAML may name. The longer one first: it lies in the other.
PREFIXES = ("data.preparation", "data", "model", "objectives", "brains")


def public_names(room: str) -> list[str]:
    imports = [node for node in ast.parse(STUBS[room].read_text()).body if hasattr(node, "names")]
    return sorted(one.asname for node in imports for one in node.names)


@pytest.mark.parametrize("room", STUBS)
def test_the_public_names_of_a_room_are_listed_and_resolve(room):
    module, names = import_module(room), public_names(room)
    assert names and dir(module) == sorted(module.__all__) == names
    for name in names:
        assert getattr(module, name).__name__ == name
        assert getattr(module, name).__module__.startswith(f"{room}.")


def test_yaml_and_documents_use_public_names_of_five_rooms():
    texts = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    for folder in ("recipes", "docs"):
        texts += [path for path in (ROOT / folder).rglob("*") if path.suffix in (".yaml", ".md")]
    used = set()
    for path in texts:
        used |= set(re.findall(r"!(?:new|name|apply):ssast_recipes\.([\w.]+)", path.read_text()))
    seen = set()
    for name in used:
        prefix = next((one for one in PREFIXES if name.startswith(f"{one}.")), None)
        assert prefix, f"{name} is of no room that YAML may name"
        assert name.removeprefix(f"{prefix}.").split(".")[0] in public_names(
            f"ssast_recipes.{prefix}"
        ), name
        assert pydoc.locate(f"ssast_recipes.{name}"), name  # as HyperPyYAML does
        seen.add(prefix)
    assert seen == set(PREFIXES)


@pytest.mark.parametrize(
    ("arguments", "others"),
    [
        (["--help"], set()),
        (["classify", "--help"], set()),
        (["pretrain", "--help"], {"records", "runs"}),
    ],
)
def test_help_enters_few_rooms_and_imports_nothing_slow(arguments, others):
    code = (
        "import json, sys\n"
        "from ssast_recipes.commands.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(json.dumps([*sys.modules]), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("usage: ssast")
    modules = [name.split(".") for name in json.loads(result.stderr)]
    rooms = {parts[1] for parts in modules if parts[0] == "ssast_recipes" and len(parts) > 1}
    assert rooms == {"commands", "system"} | others
    slow = {"torch", "numpy", "pandas", "matplotlib", "speechbrain", "pydantic", "filelock"}
    assert not slow & {parts[0] for parts in modules}
