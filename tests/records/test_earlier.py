"""Runs that were begun before the package was laid out in rooms go on.

`earlier/` holds what the code of then resolved some of the YAML files to, without comments.
"""

from pathlib import Path

import pytest
from hyperpyyaml import resolve_references

from ssast_recipes.records.configuration import changed_keys

EARLIER = sorted((Path(__file__).parent / "earlier").glob("*.txt"))
RECIPES = Path(__file__).parents[2] / "recipes"
# What the command lines of then gave.
GIVEN = {"data_folder": "/data", "output_folder": "/out"}
JOINT = {"librispeech_manifest": "/data/librispeech.csv"}


@pytest.mark.parametrize("path", EARLIER, ids=lambda path: path.stem)
def test_an_earlier_run_goes_on_and_no_other_in_its_place(path):
    recipe, _, name = path.stem.partition("_")
    given = {**GIVEN, **(JOINT if "joint" in name else {})}
    before = path.read_text(encoding="utf-8")

    def changed(**options):
        with open(RECIPES / recipe / "hparams" / f"{name}.yaml", encoding="utf-8") as file:
            return changed_keys(before, resolve_references(file, {**given, **options}).getvalue())

    assert changed() == []
    assert {"lr", "opt_class"} <= set(changed(lr=0.5))
    assert {"patch_size", "encoder", "model"} <= set(changed(patch_size=[16, 32]))
    assert changed(max_grad_norm=7) == ["max_grad_norm"]


def test_all_recipes_are_among_them():
    """But of OwnAudio, whose commands write a YAML file that stays with the run."""
    recipes = {path.parents[0].name for path in RECIPES.glob("*/train.py")} - {"OwnAudio"}
    assert {path.stem.partition("_")[0] for path in EARLIER} == recipes
