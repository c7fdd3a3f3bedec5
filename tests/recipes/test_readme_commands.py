"""Every training command of the recipes' READMEs is one that its YAML file takes."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from ssast_recipes.runs.command_line import read_experiment
from tests.recipes.conftest import RECIPES

WITH_VALUE_LEFT_OUT = ("--pretrained_encoder",)  # a file that need not be there
CROSSVAL = ("--folds", "--seeds", "--output")


def find_commands(readme: Path) -> list[list[str]]:
    """The words behind `train.py` of all commands, shell variables filled in."""
    text = readme.read_text(encoding="utf-8")
    variables = {
        name: " ".join(value.split())
        for name, value in re.findall(r'^ *(\w+)="([^"]*)"', text, re.MULTILINE)
    }
    for _ in range(2):  # one may name another
        for name, value in variables.items():
            variables[name] = value.replace("$SMALL", variables.get("SMALL", ""))
    text = re.sub(r"\\\n\s*", " ", text)
    found = re.findall(r"train\.py (hparams/[^`\n]+)", text)
    commands = []
    for command in found:
        for name, value in variables.items():
            command = command.replace(f"${name}", value)
        command = re.sub(r"\$\w+|\{fold\}", "1", command)  # of loops
        commands.append(shlex.split(command, comments=True))
    return commands


COMMANDS = [
    (readme.parent, words)
    for readme in sorted(RECIPES.glob("*/README.md"))
    for words in find_commands(readme)
]


def test_every_recipe_shows_commands():
    shown = {folder.name for folder, _ in COMMANDS}
    assert shown == {train.parent.name for train in RECIPES.glob("*/train.py")}
    assert len(COMMANDS) > 40


@pytest.mark.parametrize(
    ("folder", "words"), COMMANDS, ids=[f"{f.name} {' '.join(w)[:60]}" for f, w in COMMANDS]
)
def test_a_command_fits_its_file(folder, words, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", sys.path.copy())  # read_experiment adds to it
    monkeypatch.chdir(tmp_path)  # where output folders are made
    kept, rest = [], iter(words)
    for word in rest:
        if word in WITH_VALUE_LEFT_OUT or word in CROSSVAL:
            next(rest)
        else:
            kept.append(word)
    small = {"--size": "tiny", "--depth": "1"}  # Base takes a second to be made
    for option, value in small.items():
        kept += [] if option in kept else [option, value]
    if "--data_folder" not in kept:
        kept += ["--data_folder", "DATA"]
    kept[0] = str(folder / kept[0])
    hparams_file, hparams, _, _ = read_experiment(kept)
    assert hparams_file == kept[0] and hparams["data_folder"]
