from pathlib import Path

import pytest

from ssast_recipes.commands.main import main
from ssast_recipes.system.recipes import recipe_folder
from tests.conftest import REPOSITORY

DATA_FILES = ("*/*.py", "*/README.md", "*/hparams/*.yaml", "shared/*.yaml", "shared/new/*")


def test_the_wheel_has_every_module_recipe_and_table_and_nothing_else(installed):
    modules = {
        path.relative_to(REPOSITORY)
        for pattern in ("**/*.py", "**/*.pyi", "**/*.json", "reporting/templates/*")
        for path in REPOSITORY.glob(f"ssast_recipes/{pattern}")
    }
    recipes = {
        Path("ssast_recipes") / path.relative_to(REPOSITORY)
        for pattern in DATA_FILES
        for path in REPOSITORY.glob(f"recipes/{pattern}")
    }
    tables = {
        Path("ssast_recipes/published_tables") / path.name
        for path in REPOSITORY.glob("benchmarks/tables/*.yaml")
    }
    found = {path.relative_to(installed) for path in installed.rglob("*") if path.is_file()}
    assert {path for path in found if ".dist-info" not in str(path)} == modules | recipes | tables


def test_installed_commands_find_the_recipes(installed, ssast, tmp_path):
    listed = ssast("recipes", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert (
        f"ESC-50: environmental sounds\n    {installed}/ssast_recipes/recipes/ESC50"
        in listed.stdout
    )
    copied = ssast("recipes", "--copy-to", tmp_path / "mine", cwd=tmp_path)
    assert copied.returncode == 0, copied.stderr
    for pattern in DATA_FILES:
        for path in REPOSITORY.glob(f"recipes/{pattern}"):
            copy = tmp_path / "mine" / path.relative_to(REPOSITORY / "recipes")
            assert copy.read_bytes() == path.read_bytes()


def test_a_copy_overwrites_nothing(tmp_path, capsys):
    assert main(["recipes", "--copy-to", str(tmp_path)]) == 1
    assert f"error: {tmp_path} is there already; name a new folder" in capsys.readouterr().err


def test_a_recipe_of_ones_own_may_have_no_readme(tmp_path, capsys, monkeypatch):
    for name, text in (("Mine", None), ("Yours", "# Your sounds\n\nMore.\n"), ("Empty", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.py").touch()
        if text is not None:
            (tmp_path / name / "README.md").write_text(text)
    monkeypatch.setattr("ssast_recipes.commands.recipes.recipe_folder", lambda: tmp_path)
    assert main(["recipes"]) == 0
    assert capsys.readouterr().out.splitlines()[::2] == ["Empty", "Mine", "Your sounds"]


def test_a_recipe_that_is_not_there_is_told_from_those_that_are():
    with pytest.raises(FileNotFoundError, match="no recipe 'ESC51'; there are .*ESC50"):
        recipe_folder("ESC51")
