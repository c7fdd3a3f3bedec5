import logging
from functools import partial

import pytest
import torch

from ssast_recipes.brains.selection import EarlyStopping
from ssast_recipes.data.class_weights import class_balanced_weights
from ssast_recipes.data.orders import epoch_draws
from ssast_recipes.objectives.schedules import WarmupPlateau

from .test_resume import assert_same, killed
from .tiny import Clips, classification_brain, fit, losses, pretraining_brain

TEST_OPTIONS = {"test_loader_kwargs": {"batch_size": 4}}


def by_steps(folder, **options):
    return classification_brain(
        folder, **{"num_steps": 11, "valid_interval": 4, "checkpoint_interval": 3, **options}
    )


# ---- steps


def test_fine_tuning_by_steps_validates_and_saves_by_steps(tmp_path):
    brain = by_steps(tmp_path, checkpoints_to_keep=20)
    train = Clips(10)
    fit(brain, train, Clips(4))
    assert list(losses(brain)) == list(range(1, 12))
    assert list(losses(brain, "valid")) == [4, 8, 11]
    saved = {found.meta["step"]: found.meta for found in brain.checkpointer.list_checkpoints()}
    assert sorted(saved) == [3, 4, 6, 8, 9, 11]
    assert [step for step in sorted(saved) if "valid_score" in saved[step]] == [4, 8, 11]
    assert {step: meta["epoch"] for step, meta in saved.items()} == {
        step: 1 + (4 * step - 1) // 10 for step in saved
    }
    assert [key.epoch for key in train.asked] == [1 + number // 10 for number in range(44)]


def test_the_best_by_validation_accuracy_is_evaluated(tmp_path):
    brain = fit(by_steps(tmp_path), Clips(8), Clips(6))
    values = brain.evaluate(Clips(6), **TEST_OPTIONS)
    valid = {r["step"]: r["accuracy"] for r in brain.log.read() if r["stage"] == "valid"}
    assert values == {"last": valid[11], "best": max(valid.values())}


@pytest.mark.parametrize("make", [by_steps, partial(pretraining_brain, num_steps=5)])
def test_an_interval_of_zero_saves_after_the_last_step_alone(tmp_path, make):
    brain = fit(make(tmp_path, checkpoint_interval=0, checkpoints_to_keep=9), Clips(8))
    steps = [found.meta["step"] for found in brain.checkpointer.list_checkpoints()]
    assert steps == [brain.optimizer_step]


@pytest.mark.parametrize("step", [2, 5, 7, 11])
def test_fine_tuning_by_steps_goes_on_as_if_it_had_not_been_killed(tmp_path, step):
    def make(folder):
        return by_steps(
            folder,
            grad_accumulation_factor=2,
            max_grad_norm=1.0,
            schedule=WarmupPlateau(warmup_steps=0, patience=0),
            patience=9,
        )

    sets = Clips(9), Clips(5)
    whole = fit(make(tmp_path / "whole"), *sets)
    assert whole.stopping.best > 0
    killed(make, tmp_path / "killed", step, *sets)
    resumed = fit(make(tmp_path / "killed"), *sets)
    assert_same(resumed, whole)
    assert resumed.stopping.state_dict() == whole.stopping.state_dict()


# ---- what validation decides


def scored(brain, scores):
    """Makes validations give some scores, one after the other."""
    scores = iter(scores)
    brain.score = lambda metrics: next(scores)
    return brain


@pytest.mark.parametrize("counting", ["epochs", "steps"])
def test_a_plateau_lowers_the_learning_rate_of_fine_tuning(tmp_path, counting):
    options = {"num_steps": 8, "valid_interval": 2} if counting == "steps" else {"num_epochs": 4}
    brain = classification_brain(
        tmp_path, schedule=WarmupPlateau(warmup_steps=0, patience=0), **options
    )
    fit(scored(brain, [0.5, 0.4, 0.6, 0.1]), Clips(8), Clips(4))
    rates = [record["learning_rate"] for record in brain.log.read() if record["stage"] == "train"]
    assert rates == pytest.approx([0.01] * 4 + [0.005] * 4)


@pytest.mark.parametrize("counting", ["epochs", "steps"])
def test_training_ends_when_patience_does(tmp_path, counting):
    options = {"num_steps": 40, "valid_interval": 2} if counting == "steps" else {"num_epochs": 20}

    def make():
        return classification_brain(tmp_path, patience=2, **options)

    scores = [0.1, 0.3, 0.2, 0.4, 0.4, 0.3, 0.9, 0.9]
    brain = fit(scored(make(), scores), Clips(8), Clips(4))
    assert brain.optimizer_step == 12  # six validations, two steps each
    assert [r["valid_score"] for r in brain.log.read() if r["stage"] == "valid"] == scores[:6]
    train = Clips(8)
    again = fit(make(), train, Clips(4))
    assert train.asked == [] and again.log.read() == brain.log.read()


@pytest.mark.parametrize("step", [3, 6, 8, 11])
def test_patience_goes_on_after_a_kill(tmp_path, step):
    def make(folder):
        # Nothing is ever better than the first epoch.
        brain = classification_brain(folder, patience=5, num_epochs=20)
        brain.score = lambda metrics: -brain.optimizer_step
        return brain

    killed(make, tmp_path, step, Clips(8), Clips(4))
    assert fit(make(tmp_path), Clips(8), Clips(4)).optimizer_step == 12


def test_patience_counts_from_one():
    with pytest.raises(ValueError, match="patience is 0; give 1 validation or more"):
        EarlyStopping(0)


# ---- drawing clips


@pytest.mark.parametrize("options", [{"num_epochs": 3}, {"num_steps": 6}])
def test_clips_are_drawn_by_their_weights_anew_every_epoch(tmp_path, options):
    brain = classification_brain(tmp_path, sample_weights=class_balanced_weights, **options)
    train = Clips(8)
    fit(brain, train)
    weights = class_balanced_weights(train.labels)
    draws = [epoch_draws(weights, 1, epoch) for epoch in (1, 2, 3)]
    expected = [
        pair for columns in draws for pair in zip(*[c.tolist() for c in columns], strict=True)
    ]
    found = [(key.index, key.draw) for key in train.asked]
    assert found == expected[: len(found)] and len(found) == 24
    assert len({tuple(indices.tolist()) for indices, _ in draws}) == 3


@pytest.mark.parametrize("step", [2, 5])
def test_drawn_clips_go_on_after_a_kill(tmp_path, step):
    def make(folder):
        return classification_brain(
            folder, sample_weights=class_balanced_weights, num_epochs=3, checkpoint_interval=1
        )

    whole = fit(make(tmp_path / "whole"), Clips(10), Clips(4))
    killed(make, tmp_path / "killed", step, Clips(10), Clips(4))
    assert_same(fit(make(tmp_path / "killed"), Clips(10), Clips(4)), whole)


def test_the_loss_of_a_step_is_the_mean_over_its_clips_however_they_are_accumulated(tmp_path):
    # 5 clips: batches of 2, 2 and 1, or of 4 and 1; no learning, so that only the mean differs.
    logged = []
    for batch_size, accumulation in ((2, 2), (4, 1)):
        brain = classification_brain(
            tmp_path / str(batch_size),
            run_opts={"grad_accumulation_factor": accumulation},
            opt_class=partial(torch.optim.SGD, lr=0.0),
            lr=0.0,
            num_epochs=1,
            log_interval=100,  # the epoch's end is the only line
        )
        fit(brain, Clips(5), batch_size=batch_size)
        logged.append(losses(brain)[2])
    assert logged[0] == pytest.approx(logged[1], rel=1e-5)


# ---- what is told at the start


@pytest.mark.parametrize(
    ("by_epochs", "valid", "told"),
    [
        (True, Clips(3), "10 clips, 3 to validate on; 3 steps an epoch of 4 clips"),
        (False, None, "10 clips; 6 steps (2.4 epochs) of 4 clips"),
    ],
)
def test_both_brains_tell_what_is_to_run(tmp_path, caplog, by_epochs, valid, told):
    brain = (classification_brain if by_epochs else pretraining_brain)(tmp_path)
    with caplog.at_level(logging.INFO):
        fit(brain, Clips(10), valid)
    count = sum(parameter.numel() for parameter in brain.modules.parameters())
    lines = [
        message for message in caplog.messages if "parameters" in message or "clips" in message
    ]
    assert f", fp32; {count:,} parameters" in lines[0]
    assert lines[1] == told
    assert caplog.messages.count(f"Output folder: {tmp_path}") == 1
