"""The model folder that an evaluated run leaves: its best weights, ready to be used."""

import csv
import logging
from functools import partial

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError

from ssast_recipes import AudioClassifier
from ssast_recipes.brains.leaving import kept_thresholds
from ssast_recipes.data.pipelines import WaveformReader
from ssast_recipes.data.sampling import ClipKey
from ssast_recipes.objectives.thresholds import best_thresholds
from ssast_recipes.records.run import Run
from ssast_recipes.weights.formats.folder import find_model_folder, load_model
from tests.brains.tiny import NUM_CLASSES, Clips, classification_brain, fit, pretraining_brain


def one_hot(index: int) -> torch.Tensor:
    return torch.eye(NUM_CLASSES)[index % NUM_CLASSES]


def test_a_classifier_is_left_that_scores_as_evaluated(tmp_path):
    brain = fit(classification_brain(tmp_path), Clips(8), Clips(6))
    test_set = Clips(6)
    values = brain.evaluate(test_set, test_loader_kwargs={"batch_size": 4})
    _, config = load_model(find_model_folder(tmp_path))
    assert config.labels == tuple(brain.hparams.classes) and config.label_kind == "single"
    assert config.provenance["weights"] == "best"
    assert config.provenance["value"] == values["best"]
    with open(tmp_path / "predictions.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["selection"] == "best"]
    classifier = AudioClassifier.from_pretrained(tmp_path, "cpu")
    for clip, row in enumerate(rows):
        # What lies behind the model's input, the first 32 frames, was not heard in training.
        audio = test_set[ClipKey(epoch=0, index=clip, place=clip)]["waveform"][: 31 * 160 + 400]
        found = classifier.classify(audio, 16000, top_k=None)
        scores = dict(zip(found.labels, found.scores, strict=True))
        logits = torch.tensor([float(row[label]) for label in config.labels])
        expected = logits.softmax(dim=0).tolist()
        assert [scores[label] for label in config.labels] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("readers", "heard"),
    [
        ({}, None),
        ({"read_waveform": WaveformReader(max_duration=0.25)}, 0.25),
        ({"read_waveform": WaveformReader()}, (31 * 160 + 400) / 16000),
        ({"read_waveform": WaveformReader(max_duration=0.25, crop="random")}, None),
        (
            {"read_waveform": None, "test_read_waveform": WaveformReader(max_duration=0.2)},
            0.2,
        ),
    ],
)
def test_a_model_tells_how_much_was_heard(tmp_path, readers, heard):
    brain = fit(classification_brain(tmp_path, **readers), Clips(8))
    brain.evaluate(Clips(6), test_loader_kwargs={"batch_size": 4})
    config = load_model(tmp_path / "model")[1]
    assert config.heard_seconds == heard
    assert AudioClassifier.from_pretrained(tmp_path, "cpu").whole_by_default == (
        "mean" if heard is None else "start"
    )


@pytest.mark.parametrize("target", [None, one_hot])
def test_thresholds_are_chosen_on_the_validation_set(tmp_path, target):
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    options = {"loss": partial(bce), "label_kind": "multi"} if target else {}
    kind = {"target": target} if target else {}
    brain = classification_brain(tmp_path, choose_thresholds=True, **options)
    valid_set = Clips(6, **kind)
    fit(brain, Clips(8, **kind), valid_set)
    brain.evaluate(Clips(4, **kind), test_loader_kwargs={"batch_size": 4})
    classifier = AudioClassifier.from_pretrained(tmp_path, "cpu")
    keys = [ClipKey(epoch=0, index=clip, place=clip) for clip in range(6)]
    clips = [valid_set[key]["waveform"] for key in keys]
    scores = []
    for found in classifier.classify(clips, 16000, top_k=None, whole="start"):
        by_label = dict(zip(found.labels, found.scores, strict=True))
        scores.append([by_label[label] for label in classifier.labels])
    targets = torch.stack([torch.as_tensor(valid_set[key]["target"]) for key in keys])
    expected = best_thresholds(torch.tensor(scores), targets)
    assert list(classifier.thresholds.values()) == pytest.approx(expected.tolist(), abs=1e-3)
    assert kept_thresholds(tmp_path) == list(classifier.thresholds.values())
    only_tested = classification_brain(tmp_path, choose_thresholds=True, **options)
    only_tested.evaluate(Clips(4, **kind), test_loader_kwargs={"batch_size": 4})
    assert kept_thresholds(tmp_path) == list(classifier.thresholds.values())


def test_without_validation_the_last_weights_are_left_not_the_averaged(tmp_path):
    brain = classification_brain(tmp_path, average_epochs=[1, 2])
    fit(brain, Clips(8))
    values = brain.evaluate(Clips(6), test_loader_kwargs={"batch_size": 4})
    assert set(values) == {"last", "averaged"}
    model, config = load_model(tmp_path / "model")
    assert config.provenance["weights"] == "last"
    (checkpoint,) = tmp_path.glob("save/CKPT*/model.ckpt")
    last = torch.load(checkpoint, weights_only=True)
    assert torch.equal(model.classifier.linear.weight, last["classifier.linear.weight"])


@pytest.mark.parametrize(
    "loss", ["binary_cross_entropy_with_logits", "multilabel_soft_margin_loss"]
)
def test_several_labels_are_several_whatever_the_loss(tmp_path, loss):
    loss = partial(getattr(torch.nn.functional, loss))
    brain = classification_brain(tmp_path, loss=loss, label_kind="multi")
    fit(brain, Clips(8, target=one_hot))
    brain.evaluate(Clips(6, target=one_hot), test_loader_kwargs={"batch_size": 4})
    assert load_model(tmp_path / "model")[1].label_kind == "multi"


def test_a_pretrained_model_is_left_with_its_heads(tmp_path):
    brain = fit(pretraining_brain(tmp_path, reconstruction=False), Clips(8), Clips(4))
    brain.evaluate(Clips(4), test_loader_kwargs={"batch_size": 4})
    model, config = load_model(tmp_path / "model")
    assert (config.kind, config.heads.contrastive, config.heads.reconstruction) == (
        "pretraining",
        True,
        False,
    )
    state = brain.model.state_dict()
    for name, value in model.state_dict().items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, state[name]), name


def test_a_front_end_that_cannot_be_told_ends_no_run(tmp_path, caplog):
    brain = fit(classification_brain(tmp_path, sample_rate=8000), Clips(8))  # not the filterbank's
    with caplog.at_level(logging.WARNING):
        brain.evaluate(Clips(6), test_loader_kwargs={"batch_size": 4})
    assert "no model folder is left beside the checkpoints" in caplog.text
    assert (tmp_path / "results.json").exists() and not (tmp_path / "model").exists()


def test_a_disk_full_at_the_end_leaves_a_run_that_is_not_finished(tmp_path, monkeypatch):
    """Results alone would have it taken for finished."""
    brain = fit(classification_brain(tmp_path), Clips(8), Clips(6))

    def save_file(weights, path, metadata):
        path.write_bytes(b"half of it")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as context:
        context.setattr(safetensors.torch, "save_file", save_file)
        with pytest.raises(OSError, match="No space left on device"):
            brain.evaluate(Clips(6), test_loader_kwargs={"batch_size": 4})
    assert not Run(tmp_path).is_finished
    assert not list(tmp_path.glob("model/*"))
    brain.evaluate(Clips(6), test_loader_kwargs={"batch_size": 4})
    assert Run(tmp_path).is_finished


def test_results_beside_half_a_model_are_no_end(tmp_path):
    (tmp_path / "results.json").write_text("{}")
    assert Run(tmp_path).is_finished  # of a model that no folder can hold
    (tmp_path / "model").mkdir()
    assert not Run(tmp_path).is_finished
    (tmp_path / "model" / "config.json").write_text("{}")
    assert Run(tmp_path).is_finished
