"""At another sample rate from recordings to scores, which are those of evaluation."""

import json

import numpy as np
import pytest
import soundfile

from ssast_recipes.commands.main import main
from ssast_recipes.data.manifest import read_manifest
from ssast_recipes.records.predictions import find_predictions, load_predictions
from ssast_recipes.weights.formats.config import read_config

RATE, SECONDS = 32000, 1.25
NAMES = ("high", "low")
SMALL = {"embed_dim": 32, "depth": 1, "num_heads": 2, "num_workers": 0}


@pytest.fixture
def recordings(tmp_path):
    """Noise above and below 8 kHz: at 16 kHz, one of the two would be silent."""
    random = np.random.default_rng(0)
    for name in NAMES:
        (tmp_path / "sounds" / name).mkdir(parents=True)
        for number in range(10):
            spectrum = np.fft.rfft(random.normal(0, 0.1, int(RATE * SECONDS)))
            above = np.fft.rfftfreq(int(RATE * SECONDS), 1 / RATE) > 9000
            spectrum[above != (name == "high")] = 0
            # Half of the files are of another rate, and longer than what is heard.
            path = tmp_path / "sounds" / name / f"{number}.wav"
            soundfile.write(path, np.fft.irfft(spectrum), RATE if number % 2 else 40000, "FLOAT")
    return tmp_path / "sounds"


@pytest.fixture
def in_process(monkeypatch, run_recipe):
    """Stands in for a process of its own, and makes the model small, and what it hears short."""

    def run(hparams_file, device=None):
        options = dict(SMALL)
        if hparams_file.name.startswith("finetune"):
            options |= {"target_length": 48}
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        run_recipe("OwnAudio", hparams_file, *words)

    monkeypatch.setattr("ssast_recipes.runs.own.timing.measure_step", lambda *_: 0.01)
    for command in ("pretrain", "finetune"):
        monkeypatch.setattr(f"ssast_recipes.commands.{command}.run_own", run)


@pytest.mark.slow
def test_classify_gives_the_scores_of_evaluation(recordings, in_process, tmp_path, device, capsys):
    encoder, classifier = str(tmp_path / "encoder"), tmp_path / "classifier"
    words = ["--sample-rate", str(RATE), "--steps", "4", "--geometry", "frame"]
    words += ["--clip-seconds", "0.48", "--output", encoder]
    assert main(["pretrain", str(recordings), *words]) == 0
    words = ["--epochs", "2", "--output", str(classifier)]
    assert main(["finetune", encoder, str(recordings), *words]) == 0
    config = read_config(classifier / "model")
    # Up to half of it.
    assert (config.front_end.sample_rate, config.front_end.high_frequency) == (RATE, 0)
    assert config.heard_seconds == pytest.approx(0.495)  # 48 frames
    # Of the weights that are kept.
    evaluated = load_predictions(find_predictions(classifier), "best")
    expected = dict(zip(evaluated.ids, evaluated.logits.softmax(dim=1).tolist(), strict=True))
    paths = {clip.id: clip.path for clip in read_manifest(classifier / "manifests" / "test.csv")}
    files = [paths[clip] for clip in evaluated.ids]
    capsys.readouterr()
    assert main(["classify", str(classifier), *files, "--json", "--device", str(device)]) == 0
    said = capsys.readouterr()
    assert f"and {len(files) - 1} more: longer than 0.49 s, of which the start" in said.err
    for clip, found in zip(evaluated.ids, json.loads(said.out), strict=True):
        scores = {one["label"]: one["score"] for one in found["labels"]}
        assert found["end"] == 0.495 and found["windows"] == []
        assert [scores[name] for name in evaluated.classes] == pytest.approx(
            expected[clip], abs=1e-5
        )
    assert main(["classify", str(classifier), *files, "--json", "--whole", "mean"]) == 0
    assert all(len(found["windows"]) > 2 for found in json.loads(capsys.readouterr().out))
