"""What is told of a fine-tuning and of a comparison, and which runs a comparison makes."""

import json

import pytest

from ssast_recipes.records.run import Run
from ssast_recipes.runs.own import comparison
from ssast_recipes.runs.own.outcome import measured_rows, tell_outcome


def results(best, ridge=0.5):
    values = {"last": 0.01, "best": best}
    baselines = {"chance": 0.1, "log_mel_ridge": ridge}
    return {
        "metric": "mAP",
        "num_clips": {"test": 1000},
        "value": values,
        "baselines": baselines,
    }


def test_one_run_stands_beside_the_baselines():
    lines = tell_outcome({"this classifier": [results(0.725)]}).splitlines()
    assert lines[0] == "mAP in %, 1,000 test files"
    assert [line.split()[-1] for line in lines[2:5]] == ["10.0", "50.0", "72.5"]
    assert "Warning" not in "".join(lines)


@pytest.mark.parametrize(("value", "warns"), [(0.4, True), (0.5, True), (0.51, False)])
def test_a_loser_is_told(value, warns):
    said = tell_outcome({"this classifier": [results(value)]})
    assert ("Warning: this classifier is not better than ridge regression" in said) == warns


def test_several_seeds_are_a_mean_and_a_deviation():
    runs = {
        "from scratch": [results(0.3), results(0.5), results(0.4)],
        "pretrained": [results(0.7, 0.6), results(0.7), results(0.7, 0.4)],
    }
    lines = tell_outcome(runs).splitlines()
    told = [line.rpartition("  ")[2] for line in lines[2:6]]
    assert told == ["10.0 ± 0.0", "50.0 ± 0.0", "40.0 ± 10.0", "70.0 ± 0.0"]
    (warning,) = [line for line in lines if line.startswith("Warning")]
    assert "from scratch" in warning
    assert measured_rows(runs)["pretrained"] == [0.7] * 3


def test_folds_are_of_several_sizes():
    folds = [{**results(0.5), "num_clips": {"test": count}} for count in (11, 9, 10)]
    assert tell_outcome({"this": folds}).startswith("mAP in %, 9 to 11 test files\n")


def test_a_run_of_an_earlier_version_has_nothing_to_be_compared_with():
    earlier = {key: value for key, value in results(0.2).items() if key != "baselines"}
    assert list(measured_rows({"this": [earlier]})) == ["this"]
    assert "Warning" not in tell_outcome({"this": [earlier]})


@pytest.fixture
def hparams_file(tmp_path):
    (tmp_path / "finetune.yaml").write_text("num_steps: 30\npretrained_encoder: /model\n")
    return tmp_path / "finetune.yaml"


def test_a_comparison_differs_in_weights_and_seeds_alone(hparams_file, tmp_path):
    jobs = comparison.comparison_jobs(hparams_file, 2, "cpu")
    assert [job.options for job in jobs["pretrained"]] == [
        {"seed": seed, "device": "cpu"} for seed in (1, 2)
    ]
    assert [job.options for job in jobs["scratch"]] == [
        {"seed": seed, "pretrained_encoder": None, "device": "cpu"} for seed in (1, 2)
    ]
    command = jobs["scratch"][1].command
    assert command[2:] == [
        str(hparams_file),
        "--seed=2",
        "--pretrained_encoder=null",
        "--device=cpu",
        f"--output_folder={tmp_path}/scratch/seed2",
    ]


def test_whole_pairs_run_first_and_the_numbers_are_kept(hparams_file, tmp_path, monkeypatch):
    order = []

    def run_jobs(jobs, num_processes, title):
        for job in jobs:
            order.append(job.name)
            job.folder.mkdir(parents=True)
            value = 0.7 if "pretrained" in job.name else 0.4
            Run(job.folder).path.joinpath("results.json").write_text(json.dumps(results(value)))

    monkeypatch.setattr(comparison, "run_jobs", run_jobs)
    assert not comparison.has_begun(hparams_file)
    table, file = comparison.compare(hparams_file, 2, None)
    assert order == [
        *("from scratch, seed 1", "pretrained, seed 1"),
        *("from scratch, seed 2", "pretrained, seed 2"),
    ]
    assert comparison.has_begun(hparams_file)
    kept = json.loads(file.read_text())
    assert file == tmp_path / "compare.json" and kept["seeds"] == [1, 2]
    assert kept["rows"]["pretrained"] == {
        "values": [0.7, 0.7],
        "mean": 0.7,
        "standard_deviation": 0.0,
    }
    assert list(kept["rows"]) == ["chance", "log_mel_ridge", "from scratch", "pretrained"]
    assert "70.0 ± 0.0" in table
