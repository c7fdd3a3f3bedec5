"""`ssast recipes --new`: a recipe that runs before anything in it was changed."""

import subprocess
import sys

import pytest

from ssast_recipes.commands.main import main
from ssast_recipes.records.overrides import check_overrides
from ssast_recipes.runs.new_recipe import write_recipe
from tests.conftest import REPOSITORY

GIVEN = "data_folder: x\nmean: -5\nstd: 4\n"


def test_the_files_are_named_and_every_placeholder_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["recipes", "--new", "MyData"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == sorted(
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*") if path.is_file()
    )
    hparams = tmp_path / "MyData" / "hparams"
    for name, given in {"pretrain": GIVEN, "finetune": f"{GIVEN}num_classes: 4\n"}.items():
        path = hparams / f"{name}_patch.yaml"
        check_overrides(path, given)
        for line in given.splitlines():  # each has to be given
            with pytest.raises(ValueError, match=line.partition(":")[0]):
                check_overrides(path, given.replace(f"{line}\n", ""))
        text = path.read_text()
        assert "ESC-50-master" not in text and "test_fold" not in text
        assert "-6.6268077" not in text  # ESC-50's mean


def test_in_the_repository_the_shared_part_is_included(tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "model.yaml").touch()
    names = {path.name for path in write_recipe(tmp_path / "MyData")}
    assert "model.yaml" not in names
    text = (tmp_path / "MyData" / "hparams" / "pretrain_patch.yaml").read_text()
    assert "!include:../../shared/model.yaml" in text


@pytest.mark.parametrize(
    ("name", "line"),
    [("my-data", "cannot name a recipe"), ("there", "is there already; name a new folder")],
)
def test_names_that_cannot_be_are_told(tmp_path, capsys, name, line):
    (tmp_path / "there").mkdir()
    assert main(["recipes", "--new", str(tmp_path / name)]) == 1
    assert line in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.mark.slow
def test_it_runs_as_it_is(tmp_path):
    write_recipe(tmp_path / "MyData")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "MyData"]
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
