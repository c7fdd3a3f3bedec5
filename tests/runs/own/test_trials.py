"""Trials of patches and frames: what judges, what is left of them, and what is planned then."""

import sys

import numpy as np
import pytest
import soundfile

from ssast_recipes.commands.main import main
from ssast_recipes.runs.own import trials
from ssast_recipes.system.errors import RunError

TRAIN = """
import json, sys, time
folder = sys.argv[1].rpartition("/")[0]
for score in (0.2, {score}):
    with open(folder + "/metrics.jsonl", "a") as file:
        file.write(json.dumps(dict(stage="probe", step=1, linear_accuracy=score)) + "\\n")
time.sleep({seconds})
sys.exit({status})
"""


@pytest.fixture
def try_out(tmp_path, monkeypatch):
    """`try_out(seconds, score=…, seconds_needed=…, status=…)` with a train.py that trains not."""
    (tmp_path / "pretrain.yaml").write_text("num_steps: 1\noutput_folder: a\n")

    def run(seconds, score=0.7, seconds_needed=0, status=0):
        train = tmp_path / "train.py"
        train.write_text(TRAIN.format(score=score, seconds=seconds_needed, status=status))
        words = [sys.executable, str(train)]
        monkeypatch.setattr(trials, "own_command", lambda path, device: [*words, str(path)])
        source, folder = tmp_path / "pretrain.yaml", tmp_path / "run"
        found = trials.try_out(source, folder, {"num_steps": 5}, "cpu", seconds)
        assert list(folder.iterdir()) == []
        return found

    return run


def test_the_last_probe_judges_and_nothing_is_left(try_out):
    assert try_out(30, score=0.7) == 0.7


def test_a_trial_that_takes_too_long_is_ended(try_out):
    assert try_out(0.5, seconds_needed=60) is None


def test_a_trial_that_fails_is_told(try_out):
    with pytest.raises(RunError, match="a trial ended with status 3"):
        try_out(30, status=3)


def test_a_trial_without_a_probe_is_told():
    with pytest.raises(RunError, match="a trial measured nothing"):
        trials.last_probe([{"stage": "probe", "step": 0}, {"stage": "test", "step": 5}])


@pytest.fixture
def plan(tmp_path, monkeypatch, capsys):
    """`plan(scores, …)` plans for ten sounds, and says what was tried and what is planned."""
    for name in ("dog", "rain"):
        (tmp_path / "sounds" / name).mkdir(parents=True)
        for number in range(5):
            noise = np.random.default_rng(number).uniform(-0.1, 0.1, 8000)
            soundfile.write(tmp_path / "sounds" / name / f"{number}.wav", noise, 16000)
    monkeypatch.setattr("ssast_recipes.runs.own.timing.measure_step", lambda *_: 0.01)

    def run(scores, *words):
        tried = []

        def try_out(source, folder, values, device, seconds):
            tried.append(values)
            score = scores["frame" if values["patch_size"][0] == 128 else "patch"]
            if isinstance(score, str):
                raise RunError(score)
            return score

        monkeypatch.setattr("ssast_recipes.runs.own.pretraining.try_out", try_out)
        sounds = str(tmp_path / "sounds")
        more = ["--probe-data", sounds, "--output", str(tmp_path / "run"), *words]
        assert main(["pretrain", sounds, "--plan", "--device", "cpu", *more]) == 0
        return tried, capsys.readouterr().out

    return run


@pytest.mark.parametrize(
    ("frames", "patches", "chosen", "told"),
    [
        (0.5, 0.6, "patches of 8 mel bins", "0.500 with frames of 128 mel bins × 1, 0.600 with"),
        (0.6, 0.6, "frames of 128 mel bins", "0.600 with frames of 128 mel bins × 1, 0.600 with"),
        (None, 0.6, "frames of 128 mel bins", "trials took too long"),
        (0.5, "a trial ended with status 3", "frames of 128 mel bins", "(frames, for a trial"),
    ],
)
def test_labels_choose_the_geometry(plan, frames, patches, chosen, told):
    tried, said = plan({"frame": frames, "patch": patches}, "--minutes", "10")
    assert f"Plan: {chosen}" in said and told in said
    assert len(tried) == 2
    for values in tried:
        assert values["embed_dim"] == 128 and values["probe_interval"] == 0
        assert 1 <= values["num_steps"] == values["valid_interval"] <= 4000  # of 10 ms


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        (["--minutes", "2"], "frames of 128 mel bins × 1"),  # too little for trials
        (["--geometry", "patch"], "patches of 8 mel bins × 8"),
        (["--patch", "32", "6", "--clip-seconds", "0.4"], "patches of 32 mel bins × 6"),
        (["--objective", "ssast", "--patch", "16", "16", "--steps", "7"], "patches of 16 mel bins"),
    ],
)
def test_what_is_asked_for_is_not_tried(plan, words, chosen):
    tried, said = plan({}, *words)
    assert tried == [] and f"Plan: {chosen}" in said
    assert ("SSAST, " in said) == ("ssast" in words)
    assert ("7 steps of 10 clips" in said) == ("7" in words)


def test_a_patch_that_does_not_fit_is_one_line(plan, tmp_path, capsys):
    words = ["pretrain", str(tmp_path / "sounds"), "--plan", "--output", str(tmp_path / "run")]
    assert main([*words, "--patch", "48", "2"]) == 1
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("ssast: error: --patch 48 2: patches of 48 mel bins")
