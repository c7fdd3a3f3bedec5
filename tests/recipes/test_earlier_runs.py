"""Runs that version 0.1.0 began, before the package had rooms, go on as they would have gone on.

Each was interrupted by SIGTERM between two checkpoints. What it computed then, resumed by the
version that began it, stands in runs.json; its corpus is fabricated again.
"""

import json
import tarfile
from pathlib import Path

import pytest

from ssast_recipes.commands import main as cli
from ssast_recipes.data import synthetic
from ssast_recipes.records.run import Run
from tests.recipes.conftest import RECIPES

HERE = Path(__file__).parent / "earlier_runs"
RUNS = json.loads((HERE / "runs.json").read_text())


# In the quick tests, one pretraining and one fine-tuning; tests/records/test_earlier.py has the
# YAML files of the others.
RUNS = [
    earlier
    if earlier["recipe"] in ("AudioSet", "ESC50")
    else pytest.param(earlier, marks=pytest.mark.slow)
    for earlier in RUNS
]


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


@pytest.mark.slow
def test_an_earlier_pretraining_on_a_folder_goes_on(ssast, tmp_path):
    """Its YAML file, in its folder, names parts by the modules of then."""
    with tarfile.open(HERE / "OwnAudio.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    for path in (tmp_path / "run").rglob("*"):
        if path.suffix in (".yaml", ".json", ".csv"):  # where it was then
            path.write_text(path.read_text().replace("@HERE@", str(tmp_path)))
    synthetic.make_esc50(tmp_path / "corpus", duration=0.7, sample_rate=16000)

    words = ["corpus/audio", "--output", "run", "--device", "cpu"]
    done = ssast("pretrain", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "going on after step 6" in log
    records = Run(tmp_path / "run").metrics
    found = {one["step"]: one["loss"] for one in records if one["stage"] == "train"}
    assert list(found) == list(range(1, 10))
    # As it went on by the version that had begun it.
    expected = {7: 7.9799652099609375, 8: 7.542901039123535, 9: 5.80351448059082}
    assert {step: found[step] for step in expected} == pytest.approx(expected, rel=1e-4)


def test_an_earlier_cross_validation_goes_on(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with tarfile.open(HERE / "ESC50_crossval.tar.xz") as archive:
        archive.extractall(filter="data")
    train = str(RECIPES / "ESC50" / "train.py")
    words = {"depth": "1", "embed_dim": "4", "num_heads": "1", "target_length": "32"}
    words |= {"size": "tiny", "patch_stride": "[16,16]", "spec_augment": "{max_frames: 16}"}
    words |= {"number_of_epochs": "1", "num_classes": "4", "batch_size": "8"}
    words |= {"data_folder": "corpus", "manifest_folder": "manifests", "num_workers": "0"}
    given = [word for key, value in words.items() for word in (f"--{key}", value)]
    command = ["crossval", train, "hparams/finetune_patch.yaml", "--folds", "1"]
    command += ["--output", "crossval_finetune_patch", *given, "--noprogressbar"]

    assert cli.main(command) == 0
    assert "fold 1: finished before" in capfd.readouterr().out

    record = Path("crossval_finetune_patch/fold1/hyperparams.yaml")
    record.write_text(record.read_text().replace("lr: 1.0e-4", "lr: 0.5"))
    assert cli.main(command) == 1
    assert "fold 1 was run with another " in capfd.readouterr().err
