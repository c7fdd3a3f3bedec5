"""The site, by Sphinx: `make docs`. Its sources are the pages that GitHub shows, and docstrings."""

import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
# The package of this tree, whichever is installed.
sys.path[:0] = [str(HERE), str(ROOT)]

import reference  # noqa: E402

import ssast_recipes  # noqa: E402

project = "ssast-recipes"
author = "The ssast-recipes contributors"
version = release = ssast_recipes.__version__
copyright = author

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]

# The root of the repository, so that the links which GitHub follows lead to the same pages here.
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", f"{reference.FOLDER}/**", "recipes/*/README.md"]
exclude_patterns = [
    *({path.name for path in ROOT.iterdir() if path.is_dir()} - {"docs", "recipes"}),
    "docs/site",
    "recipes/*/results",
]
myst_heading_anchors = 4

# Docstrings say types and shapes; napoleon reads their underlined sections, as SpeechBrain's.
autodoc_typehints = "none"
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_default_options = {
    "members": True,
    "special-members": "__call__",
}
autosummary_generate = False
napoleon_google_docstring = False
napoleon_preprocess_types = True
napoleon_use_rtype = False
default_role = "py:obj"
# Blocks without a language are what programs print.
highlight_language = "text"
maximum_signature_line_length = 80
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"{project} {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
# Search finds the names; the index's two columns do not fit a phone.
html_use_index = False
html_show_sphinx = False


def add_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """Gives the front page, which is the README, the table of contents that GitHub need not see."""
    if name == root_doc:
        source[0] += "\n" + (HERE / "contents.md").read_text(encoding="utf-8")


def skip_field_numbers(app, kind, name, thing, skip, options) -> bool | None:
    """Leaves out what Python itself writes about the fields of a named tuple."""
    return True if (getattr(thing, "__doc__", "") or "").startswith("Alias for field") else None


def make_front_page(app: Sphinx, failure: Exception | None) -> None:
    """Copies the README's page to where a visitor of the site begins."""
    if failure is None and app.builder.format == "html":
        shutil.copyfile(Path(app.outdir, f"{root_doc}.html"), Path(app.outdir, "index.html"))


def setup(app: Sphinx) -> None:
    """Tells Sphinx what to call when."""
    reference.write_pages(ROOT)
    app.connect("source-read", add_contents)
    app.connect("autodoc-skip-member", skip_field_numbers)
    app.connect("build-finished", make_front_page)
