"""VoxCeleb1's train.py, for every YAML file, on a fabricated corpus."""

import csv

import numpy as np
import pytest
import soundfile
import torch
from speechbrain import Stage

from ssast_recipes.data.synthetic import make_voxceleb
from ssast_recipes.runs.steps import make_datasets
from tests.recipes.conftest import RECIPES

HPARAMS = RECIPES / "VoxCeleb" / "hparams"
SMALL = {"embed_dim": 64, "depth": 2, "num_heads": 1, "target_length": 64, "num_workers": 0}
SMALL |= {"num_classes": 3, "num_steps": 2, "valid_interval": 1, "log_interval": 1}
SMALL |= {"batch_size": 2, "grad_accumulation_factor": 2, "crop_duration": 0.4}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Three speakers, each with one utterance of 0.8 s for training, validation and testing."""
    return make_voxceleb(tmp_path_factory.mktemp("corpus"), 3, 3, durations=(0.8, 0.8))


@pytest.fixture(scope="module")
def run(run_recipe, corpus, tmp_path_factory):
    """`run(name, **values)`: a run of two steps."""

    def run(name, **values):
        folder = tmp_path_factory.mktemp(name)
        places = {"data_folder": corpus, "manifest_folder": corpus.parent / "manifests"}
        options = {**SMALL, **places, "output_folder": folder, **values}
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        return run_recipe("VoxCeleb", HPARAMS / f"{name}.yaml", *words)

    return run


@pytest.fixture(scope="module", params=sorted(path.stem for path in HPARAMS.glob("*.yaml")))
def finished(run, request):
    return run(request.param)


def all_clips(finished, split):
    """A split in one batch, on the device."""
    brain = finished.brain
    clips = make_datasets(vars(brain.hparams))[split]
    (batch,) = brain.make_dataloader(clips, Stage.TEST, batch_size=len(clips))
    return batch.to(brain.device)


def test_there_are_two_files():
    assert sorted(path.stem for path in HPARAMS.glob("*")) == ["finetune_frame", "finetune_patch"]


def test_it_trains_validates_and_tests(finished, corpus):
    results = finished.results
    assert results["dataset"] == "VoxCeleb1"
    assert (results["protocol"], results["padding"]) == ("finetune", "released")
    assert results["num_clips"] == {"train": 3, "valid": 3, "test": 3}
    assert results["best_is_chosen_on"] == "the validation set"
    history = {record["step"]: record["accuracy"] for record in results["history"]}
    assert list(history) == [1, 2]
    assert history[results["steps"]["best"]] == max(history.values())
    assert len(finished.batches(Stage.TRAIN)) == 4  # two steps of two batches
    listed = (corpus / "iden_split.txt").read_text().splitlines()
    split_of = {line[2:].removesuffix(".wav"): line[0] for line in listed}
    for seen in finished.batches(Stage.TRAIN):
        assert {split_of[clip] for clip in seen.batch.ids} == {"1"}
        speakers = [int(clip[2:7]) - 10001 for clip in seen.batch.ids]
        assert seen.batch.targets.tolist() == speakers
    assert {split_of[clip] for clip in all_clips(finished, "valid").ids} == {"2"}
    with open(finished.folder / "predictions.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["selection"] == "best"]
    assert {split_of[row["id"]] for row in rows} == {"3"}
    assert all(row["label"] == row["id"][:7] for row in rows)
    right = [row["predicted"] == row["label"] for row in rows]
    assert results["value"]["best"] == pytest.approx(sum(right) / 3, abs=1e-6)
    changed = [
        name
        for name, value in finished.brain.model.encoder.named_parameters()
        if not torch.equal(value, finished.initial[name])
    ]
    # All but the mask token and the final norm, which comes after what is summed.
    assert len(finished.initial) - len(changed) == 3


def test_training_crops_at_random_evaluation_does_not(finished, corpus):
    crops = {}
    for seen in finished.batches(Stage.TRAIN):
        assert seen.batch.num_samples.unique().tolist() == [6400]  # 0.4 s
        for clip, waveform in zip(seen.batch.ids, seen.batch.waveforms.cpu(), strict=True):
            crops.setdefault(clip, []).append(waveform.numpy())
    assert sum(map(len, crops.values())) == 8
    starts = set()
    for clip, waveforms in crops.items():
        whole = np.float32(soundfile.read(next(corpus.rglob(f"{clip}.wav")))[0])
        stretches = np.lib.stride_tricks.sliding_window_view(whole, 6400)
        for waveform in waveforms:
            (start,) = (stretches[:, :50] == waveform[:50]).all(axis=1).nonzero()[0]
            np.testing.assert_array_equal(stretches[start], waveform)
            starts.add((clip, start))
    assert len(starts) == 8
    for split in ("valid", "test"):
        batch = all_clips(finished, split)
        # What 64 frames need, from the utterance's start.
        assert batch.num_samples.unique().tolist() == [400 + 63 * 160]
        for clip, waveform in zip(batch.ids, batch.waveforms.cpu(), strict=True):
            whole, _ = soundfile.read(next(corpus.rglob(f"{clip}.wav")), dtype="float32")
            np.testing.assert_array_equal(waveform.numpy(), whole[:10480])


def test_frozen_is_another_line(run):
    frozen = run("finetune_patch", freeze_encoder=True)
    assert frozen.results["protocol"] == "frozen"
    model = frozen.brain.model
    for name, value in model.encoder.named_parameters():
        assert torch.equal(value, frozen.initial[name])
    assert model.layer_scores.count_nonzero() == 2
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert trained == {
        "layer_scores",
        "classifier.projection.weight",
        "classifier.projection.bias",
        "classifier.linear.weight",
        "classifier.linear.bias",
    }


def test_masked_padding_is_another_line(run):
    """What lies behind an utterance's end matters as released, and does not if it is masked."""
    for padding in ("masked", "released"):
        finished = run("finetune_frame", padding=padding, max_duration=0.2)
        assert finished.results["padding"] == padding
        brain, batch = finished.brain, all_clips(finished, "test")
        with torch.no_grad():
            logits = brain.compute_forward(batch, Stage.TEST)
            spectrograms = brain.modules.front_end(batch.waveforms)
            assert (spectrograms[:, 18:] == 0).all()  # of 64 frames, 0.2 s have 18
            spectrograms[:, 19:] = 1.0  # frame 18 is in the last patch that begins before, too
            num_frames = torch.full_like(batch.num_samples, 18)
            changed = brain.model.eval()(spectrograms, num_frames)
        assert torch.allclose(changed, logits, atol=1e-5) == (padding == "masked")
