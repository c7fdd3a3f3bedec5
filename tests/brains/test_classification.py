import csv
import json

import pytest
import torch
from speechbrain import Stage

from ssast_recipes.augment import NoiseAndRoll, SpecAugment
from ssast_recipes.metrics import accuracy
from ssast_recipes.randomness import ClipGenerator
from ssast_recipes.results import read_predictions
from ssast_recipes.schedules import WarmupCosine

from .tiny import NUM_CLASSES, Clips, Killed, classification_brain, fit, kill_at, losses, weights

TEST_OPTIONS = {"test_loader_kwargs": {"batch_size": 4}}


class Watched:
    """An augmentation that remembers what it was given."""

    def __init__(self, augment):
        self.augment, self.seen = augment, []

    def __call__(self, spectrograms, generator):
        self.seen.append((generator.seed, generator.step, generator.places.tolist(), spectrograms))
        return self.augment(spectrograms, generator)


def test_training_is_augmented_from_the_step_and_the_place(tmp_path):
    masking, noise = Watched(SpecAugment(24, 16)), Watched(NoiseAndRoll())
    brain = classification_brain(tmp_path, spec_augment=masking, noise_and_roll=noise, seed=7)
    fit(brain, Clips(8), Clips(4))
    drawn = [(seed, step, places) for seed, step, places, _ in masking.seen]
    assert drawn == [(7, step, [0, 1, 2, 3]) for step in (1, 2, 3, 4)]
    assert [(seed, step, places) for seed, step, places, _ in noise.seen] == drawn
    raw, standardised = masking.seen[0][3], noise.seen[0][3]
    masked = SpecAugment(24, 16)(raw, ClipGenerator(7, 1, torch.arange(4)))
    assert torch.equal(standardised, brain.modules.front_end.standardise(masked))


def test_evaluation_is_untouched_by_augmentation(tmp_path):
    def refuse(spectrograms, generator):
        raise AssertionError("evaluation is augmented")

    plain = classification_brain(tmp_path / "plain")
    augmented = classification_brain(
        tmp_path / "augmented", spec_augment=refuse, noise_and_roll=refuse
    )
    for stage in (Stage.VALID, Stage.TEST):
        records = [
            brain.evaluate_set(
                brain.make_dataloader(Clips(6), stage, batch_size=4), stage, enable=False
            )
            for brain in (plain, augmented)
        ]
        assert records[0] == records[1]
        assert torch.equal(plain._outputs["logits"], augmented._outputs["logits"])


def test_the_loss_gets_logits_of_32_bits(tmp_path):
    seen = []

    def loss(logits, targets):
        seen.append(logits.dtype)
        return torch.nn.functional.cross_entropy(logits, targets)

    fit(classification_brain(tmp_path, loss=loss, precision="bf16", num_epochs=1), Clips(4))
    assert seen == [torch.float32]


def test_a_linear_probe_trains_the_classifier_alone(tmp_path):
    before = weights(classification_brain(tmp_path, freeze_encoder=True))
    brain = fit(classification_brain(tmp_path, freeze_encoder=True), Clips(8), Clips(4))
    for name, after in weights(brain).items():
        assert torch.equal(after, before[name]) == (".encoder." in name), name
    assert len(brain.optimizer.param_groups) == 1
    assert len(brain.optimizer.state) == len(list(brain.modules.model.classifier.parameters()))


def test_fine_tuning_trains_all_but_the_mask_token(tmp_path):
    before = weights(classification_brain(tmp_path))
    brain = fit(classification_brain(tmp_path), Clips(8))
    for name, after in weights(brain).items():
        assert torch.equal(after, before[name]) == name.endswith("mask_token"), name


def test_validates_and_saves_after_every_epoch(tmp_path):
    brain = classification_brain(tmp_path, num_epochs=3, checkpoints_to_keep=9)
    fit(brain, Clips(10), Clips(4))  # three steps an epoch, the last of two clips
    assert list(losses(brain, "valid")) == [3, 6, 9]
    saved = sorted(brain.checkpointer.list_checkpoints(), key=lambda found: found.meta["step"])
    assert [(found.meta["step"], found.meta["epoch"]) for found in saved] == [
        (3, 1),
        (6, 2),
        (9, 3),
    ]
    accuracies = [r["accuracy"] for r in brain.log.read() if r["stage"] == "valid"]
    assert [found.meta["valid_score"] for found in saved] == accuracies
    sizes = [record["step"] for record in brain.log.read() if record["stage"] == "train"]
    assert sizes == list(range(1, 10))


def scores_of(brain, number):
    """Makes the Brain say class `number` of every clip."""
    with torch.no_grad():
        brain.modules.model.classifier.linear.weight.zero_()
        brain.modules.model.classifier.linear.bias.copy_(torch.eye(NUM_CLASSES)[number])


@pytest.fixture
def evaluated(tmp_path):
    """A Brain whose best checkpoint says class 0 (4 of 10 are) and whose last says class 2."""
    brain = classification_brain(tmp_path)
    brain.on_fit_start()
    for epoch, (answer, score) in enumerate([(0, 0.9), (2, 0.1)], 1):
        scores_of(brain, answer)
        brain.optimizer_step = 10 * epoch
        brain.save({"step": 10 * epoch, "epoch": epoch, "valid_score": score}, end_of_epoch=True)
    return brain.evaluate(Clips(10), **TEST_OPTIONS)


def test_the_last_and_the_best_checkpoint_are_evaluated(tmp_path, evaluated):
    assert evaluated == {"last": 0.3, "best": 0.4}
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["value"] == evaluated
    assert results["metric"] == "accuracy"
    assert results["epochs"] == {"last": 2, "best": 1}


def test_predictions_give_the_result_again(tmp_path, evaluated):
    for selection, value in evaluated.items():
        logits, targets = read_predictions(tmp_path / "predictions.csv", selection)
        assert logits.shape == (10, NUM_CLASSES)
        assert targets.tolist() == [index % NUM_CLASSES for index in range(10)]
        assert round(float(accuracy(logits, targets)), 6) == value


def test_predictions_name_every_clip_once_with_its_label(tmp_path, evaluated):
    with open(tmp_path / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["selection", "id", "label", "pitch0", "pitch1", "pitch2"]
    for selection in ("last", "best"):
        named = [(row["id"], row["label"]) for row in rows if row["selection"] == selection]
        assert named == [(f"clip{i}", f"pitch{i % NUM_CLASSES}") for i in range(10)]


def test_predictions_of_a_trained_model_are_exact(tmp_path):
    brain = fit(classification_brain(tmp_path, num_epochs=1), Clips(9), Clips(6))
    brain.evaluate(Clips(6), **TEST_OPTIONS)
    logits, _ = read_predictions(tmp_path / "predictions.csv", "best")
    assert torch.equal(logits, brain._outputs["logits"])


def test_the_history_holds_every_validation(tmp_path):
    brain = fit(classification_brain(tmp_path), Clips(8), Clips(4))
    brain.evaluate(Clips(4), **TEST_OPTIONS)
    results = json.loads((tmp_path / "results.json").read_text())
    assert [record["step"] for record in results["history"]] == [2, 4]
    assert results["history"] == [r for r in brain.log.read() if r["stage"] == "valid"]


def test_evaluation_of_a_run_killed_within_an_epoch(tmp_path):
    brain = classification_brain(tmp_path, checkpoint_interval=1)
    kill_at(brain, 4)
    with pytest.raises(Killed):
        fit(brain, Clips(8), Clips(4))
    again = classification_brain(tmp_path, run_opts={"test_only": True})
    again.evaluate(Clips(4), **TEST_OPTIONS)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["epochs"] == {"last": 2, "best": 1}


def test_fine_tuning_learns(tmp_path):
    brain = classification_brain(
        tmp_path, num_epochs=15, lr=0.003, schedule=WarmupCosine(90, warmup_steps=10)
    )
    fit(brain, Clips(24), Clips(12))
    last = brain.log.read()[-1]
    assert last["stage"] == "valid" and last["accuracy"] > 0.9
