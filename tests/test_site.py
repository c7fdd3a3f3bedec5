"""The site's pages: none is missing, and the reference has each public name once."""

import re

from docs.site.reference import FOLDER, public_names, write_pages
from tests.conftest import REPOSITORY
from tests.test_documents import PAGES
from tests.test_rooms import STUBS
from tests.test_rooms import public_names as names_of


def test_every_page_is_in_the_table_of_contents():
    text = (REPOSITORY / "docs" / "site" / "contents.md").read_text(encoding="utf-8")
    patterns = re.findall(r"^[\w/*-]+$", text, re.MULTILINE)
    listed = {path for pattern in patterns for path in REPOSITORY.glob(f"{pattern}.md")}
    assert {*PAGES} - {REPOSITORY / "README.md"} == listed
    assert f"{FOLDER}/index" in patterns


def test_the_reference_has_the_public_names_of_each_room(tmp_path):
    (tmp_path / "ssast_recipes").symlink_to(REPOSITORY / "ssast_recipes")
    left = tmp_path / FOLDER / "model.gone.rst"
    left.parent.mkdir(parents=True)
    left.touch()
    write_pages(tmp_path)
    assert not left.exists()
    pages = {path.stem: path.read_text() for path in (tmp_path / FOLDER).iterdir()}
    directive = r"^\.\. (autoclass|autofunction|autodata):: (\S+)$"
    written = re.findall(directive, "".join(pages.values()), re.MULTILINE)
    rooms = {*STUBS} - {"ssast_recipes"}
    expected = [f"{room}.{name}" for room in rooms for name in names_of(room)]
    assert sorted(name for _, name in written) == sorted(expected)
    kinds = {name.removeprefix("ssast_recipes."): kind for kind, name in written}
    assert kinds["model.ClusterMasker"] == "autoclass"
    assert kinds["model.patchify"] == "autofunction"
    assert "Masks" not in pages["model"] and "ssast_recipes.model.patchify\n" in pages["model"]
    assert all(name in pages["index"] for name in names_of("ssast_recipes"))


def test_names_are_read_by_the_file_that_has_them(tmp_path):
    stub = tmp_path / "__init__.pyi"
    stub.write_text("from .b import Two as Two\nfrom .a import One as One\nfrom .b import x as x\n")
    assert public_names(stub) == {"b": ["Two", "x"], "a": ["One"]}
