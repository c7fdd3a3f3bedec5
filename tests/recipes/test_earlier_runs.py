"""Runs that version 0.1.0 began, before the package had rooms, go on as they would have gone on.

Each was interrupted by SIGTERM between two checkpoints. What it computed then, resumed by the
version that began it, stands in runs.json; its corpus is fabricated again.
"""

import json
import tarfile
from pathlib import Path

import pytest

from ssast_recipes.data import synthetic
from tests.recipes.conftest import RECIPES

HERE = Path(__file__).parent / "earlier_runs"
RUNS = json.loads((HERE / "runs.json").read_text())


@pytest.mark.parametrize("earlier", RUNS, ids=lambda earlier: earlier["recipe"])
def test_an_earlier_run_goes_on(earlier, run_recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with tarfile.open(HERE / f"{earlier['recipe']}.tar.xz") as archive:
        archive.extractall(filter="data")
    before = len(Path("run/metrics.jsonl").read_text().splitlines())
    function, arguments = earlier["corpus"]
    pairs = {key: tuple(one) if isinstance(one, list) else one for key, one in arguments.items()}
    getattr(synthetic, function)(Path("corpus"), **pairs)
    hparams_file = RECIPES / earlier["recipe"] / "hparams" / earlier["hparams"]
    words = ["--data_folder", earlier["data_folder"], *earlier["words"]]

    run = run_recipe(earlier["recipe"], hparams_file, *words)

    records = [one for one in run.brain.log.read() if "loss" in one]
    assert 0 < before < len(records)
    found = [[one["stage"], one["step"], one["loss"]] for one in records]
    expected = earlier["losses"]
    assert [one[:2] for one in found] == [one[:2] for one in expected]
    assert [one[2] for one in found] == pytest.approx([one[2] for one in expected], rel=1e-4)
    assert run.results["value"] == pytest.approx(earlier["value"], rel=1e-4)
    # None of the steps up to the checkpoint was trained anew.
    trained = sum(one.stage.name == "TRAIN" for one in run.seen)
    accumulation = run.brain.grad_accumulation_factor
    last = max(step for stage, step, _ in expected if stage == "train")
    assert trained == accumulation * (last - earlier["checkpoint"])
