import csv
import json
import logging
from functools import partial

import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from speechbrain import Stage

from ssast_recipes.model.augment import NoiseAndRoll, SpecAugment
from ssast_recipes.model.randomness import ClipGenerator
from ssast_recipes.objectives.metrics import accuracy, d_prime, mean_average_precision, mean_roc_auc
from ssast_recipes.objectives.ranking import average_precisions, roc_aucs
from ssast_recipes.objectives.schedules import WarmupCosine
from ssast_recipes.records.predictions import read_predictions

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
    columns = ["selection", "id", "label", "predicted", "pitch0", "pitch1", "pitch2"]
    assert list(rows[0]) == columns
    for selection, answer in (("last", "pitch2"), ("best", "pitch0")):
        assert {r["predicted"] for r in rows if r["selection"] == selection} == {answer}
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


def test_without_a_validation_set_the_last_checkpoint_is_evaluated_alone(tmp_path):
    brain = fit(classification_brain(tmp_path), Clips(8))
    values = brain.evaluate(Clips(4), **TEST_OPTIONS)
    assert list(values) == ["last"]
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["value"] == values and results["epochs"] == {"last": 2}


# ---- class by class


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_classes_are_reported(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    brain = classification_brain(tmp_path, num_epochs=1, num_classes=4)
    brain.hparams.classes = ["low", "middle", "high", "none"]
    brain.on_fit_start()
    with torch.no_grad():
        brain.modules.model.classifier.linear.weight.zero_()
        brain.modules.model.classifier.linear.bias.copy_(torch.eye(4)[1])
    brain.save({"valid_score": 0.0}, end_of_epoch=True)
    brain.evaluate(Clips(7), **TEST_OPTIONS)
    rows = [tuple(row.values()) for row in table(tmp_path / "per_class.csv")]
    expected = [("low", "3", "0"), ("middle", "2", "1"), ("high", "2", "0"), ("none", "0", "")]
    assert rows == [(name, *row) for name in ("last", "best") for row in expected]
    assert json.loads((tmp_path / "results.json").read_text())["classes_without_clips"] == 1
    told = [message for message in caplog.messages if message.startswith("Lowest recall, last")]
    assert told == [
        "Lowest recall, last weights: low 0 (3 clips); high 0 (2 clips); middle 1 (2 clips)"
    ]
    assert "1 of 4 classes have no clip in the test set" in caplog.text


# ---- several labels a clip, one-hot and mixed targets

BCE = {"loss": torch.nn.functional.binary_cross_entropy_with_logits}


def several(index):
    """The pitch's class and, for every other clip, the next one."""
    target = torch.eye(NUM_CLASSES)[index % NUM_CLASSES]
    return target + (index % 2) * target.roll(1)


def test_several_labels_are_a_matter_of_loss_metric_and_targets(tmp_path):
    options = {
        "metric": mean_average_precision,
        "metric_name": "mAP",
        "further_metrics": {"AUC": mean_roc_auc, "d_prime": d_prime},
        "class_metrics": {"average_precision": average_precisions, "AUC": roc_aucs},
    }
    brain = classification_brain(tmp_path, **BCE, **options)
    test = Clips(10, target=several)
    fit(brain, Clips(12, target=several), Clips(6, target=several))
    values = brain.evaluate(test, **TEST_OPTIONS)
    results = json.loads((tmp_path / "results.json").read_text())
    records = table(tmp_path / "per_class.csv")
    assert results["metric"] == "mAP" and results["value"] == values
    for selection in ("last", "best"):
        logits, targets = read_predictions(tmp_path / "predictions.csv", selection)
        assert torch.equal(targets, torch.stack([several(index) for index in range(10)]))
        precisions = average_precision_score(targets.numpy(), logits.numpy(), average=None)
        areas = roc_auc_score(targets.numpy(), logits.numpy(), average=None)
        metrics = results["metrics"][selection]
        assert metrics["mAP"] == values[selection] == pytest.approx(precisions.mean(), abs=1e-6)
        assert metrics["AUC"] == pytest.approx(areas.mean(), abs=1e-6)
        assert metrics["d_prime"] == pytest.approx(d_prime(logits, targets).item(), abs=1e-6)
        rows = [row for row in records if row["selection"] == selection]
        assert [float(r["average_precision"]) for r in rows] == pytest.approx(precisions, rel=1e-5)
        assert [float(row["AUC"]) for row in rows] == pytest.approx(areas, rel=1e-5)
        assert [int(row["clips"]) for row in rows] == targets.sum(dim=0).tolist()
    valid = [record for record in brain.log.read() if record["stage"] == "valid"]
    assert {"mAP", "AUC", "d_prime"} < valid[0].keys()


def test_one_hot_targets_and_binary_cross_entropy_give_an_accuracy(tmp_path):
    one_hot = torch.eye(NUM_CLASSES)
    brain = classification_brain(
        tmp_path, num_epochs=20, lr=0.003, schedule=WarmupCosine(120, warmup_steps=10), **BCE
    )
    sets = [Clips(size, target=lambda index: one_hot[index % NUM_CLASSES]) for size in (24, 12)]
    fit(brain, *sets)
    assert brain.log.read()[-1]["accuracy"] > 0.9
    values = brain.evaluate(sets[1], **TEST_OPTIONS)
    logits, targets = read_predictions(tmp_path / "predictions.csv", "last")
    assert targets.tolist() == [index % NUM_CLASSES for index in range(12)]
    assert round(accuracy(logits, targets).item(), 6) == values["last"]


@pytest.mark.parametrize("loss", [BCE["loss"], torch.nn.functional.cross_entropy])
def test_mixed_targets_train_as_they_are(tmp_path, loss):
    def mixed(index):
        target = torch.eye(NUM_CLASSES)[index % NUM_CLASSES]
        return 0.7 * target + 0.3 * target.roll(1)

    seen = []

    def watched(logits, targets):
        seen.append((logits.detach(), targets))
        return loss(logits, targets)

    brain = classification_brain(tmp_path, num_epochs=1, loss=watched)
    fit(brain, Clips(4, target=mixed))
    logits, targets = seen[0]
    assert targets.sum(dim=1).tolist() == pytest.approx([1.0] * 4)
    record = brain.log.read()[0]
    assert record["loss"] == pytest.approx(loss(logits, targets).item())
    assert record["accuracy"] == accuracy(logits, targets.argmax(dim=1)).item()


# ---- class weights


@pytest.mark.parametrize("weights_of", ["balanced", [0.5, 2, 1.0]])
@pytest.mark.parametrize("with_indices", [True, False])
def test_classes_weigh_in_the_training_loss(tmp_path, weights_of, with_indices):
    kept = {}

    def forward(outputs, batch, stage):
        kept[stage] = outputs.detach(), batch.targets
        return original(outputs, batch, stage)

    options = {} if with_indices else BCE
    target = (lambda i: torch.tensor(i % 3)) if with_indices else (lambda i: torch.eye(3)[i % 3])
    brain = classification_brain(tmp_path, class_weights=weights_of, num_epochs=1, **options)
    original, brain.compute_objectives = brain.compute_objectives, forward
    fit(brain, Clips(7, target=target), Clips(5, target=target), batch_size=7)
    # Of seven clips, three are of the first class and two of each other.
    weights = torch.tensor([7 / 9, 7 / 6, 7 / 6] if weights_of == "balanced" else weights_of)
    logits, targets = kept[Stage.TRAIN]
    if with_indices:
        clips = -logits.log_softmax(dim=1)[torch.arange(7), targets] * weights[targets]
    else:
        terms = targets * logits.sigmoid().log() + (1 - targets) * (-logits).sigmoid().log()
        clips = -(terms * weights).mean(dim=1)
    assert losses(brain)[1] == pytest.approx(clips.mean().item(), rel=1e-5)
    # Not in evaluation: there, losses stay comparable.
    outputs = brain._outputs
    expected = brain.hparams.loss(outputs["logits"], outputs["targets"]).item()
    assert losses(brain, "valid")[1] == pytest.approx(expected)


@pytest.mark.parametrize("given", ["even", [1.0, 2.0]])
def test_class_weights_that_do_not_fit_are_refused(tmp_path, given):
    brain = classification_brain(tmp_path, class_weights=given)
    with pytest.raises(ValueError, match="give balanced, or a list of 3 numbers"):
        fit(brain, Clips(4))


def test_the_loss_with_class_weights_is_the_same_however_it_is_accumulated(tmp_path):
    trained = []
    for batch_size, accumulation in ((6, 1), (2, 3)):
        brain = classification_brain(
            tmp_path / str(batch_size),
            run_opts={"grad_accumulation_factor": accumulation},
            class_weights=[0.1, 5.0, 1.0],
            opt_class=partial(torch.optim.SGD, lr=0.1),
            lr=0.1,
            num_epochs=1,
        )
        trained.append(weights(fit(brain, Clips(12), batch_size=batch_size)))
    for name, value in trained[0].items():
        torch.testing.assert_close(trained[1][name], value, rtol=1e-3, atol=1e-5)


def test_the_model_is_told_the_clips_lengths(tmp_path):
    class Shorter(Clips):
        def __getitem__(self, key):
            clip = super().__getitem__(key)
            return {**clip, "waveform": clip["waveform"][: 5500 - 160 * key.index]}

    seen = []
    brain = classification_brain(tmp_path, num_epochs=1)
    brain.modules.model.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    train = Shorter(3)
    fit(brain, train, Shorter(3))
    assert [32 - key.index for key in train.asked] == seen[0].tolist()
    assert seen[1].tolist() == [32, 31, 30]
