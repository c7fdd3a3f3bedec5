import shutil
from functools import partial

import pytest
import torch
import yaml
from speechbrain import Stage
from speechbrain.utils.checkpoints import Checkpointer

from ssast_recipes.brains.rejection import RejectedClips
from ssast_recipes.brains.resuming import TrainingPosition
from ssast_recipes.brains.selection import EarlyStopping
from ssast_recipes.data.sampling import TrainingBatches
from ssast_recipes.model.augment import NoiseAndRoll, SpecAugment
from ssast_recipes.objectives.schedules import EpochDecay, WarmupPlateau

from .tiny import (
    Clips,
    Killed,
    classification_brain,
    exact,
    fit,
    kill_at,
    pretraining_brain,
    weights,
)


def killed(make, folder, step, *sets, **options):
    """Trains anew, killed when about to make a step."""
    brain = make(folder, **options)
    kill_at(brain, step)
    with pytest.raises(Killed):
        fit(brain, *sets)


def assert_same(resumed, whole):
    assert exact(resumed) == exact(whole)
    expected = weights(whole)
    for name, value in weights(resumed).items():
        assert torch.equal(value, expected[name]), name
    assert resumed.optimizer_step == whole.optimizer_step


# Of three epochs of three batches, the last of a single clip; or of one step, if accumulated.
@pytest.mark.parametrize("step", [2, 4, 6, 9])
@pytest.mark.parametrize("interval", [0, 1, 2])
def test_fine_tuning_goes_on_as_if_it_had_not_been_killed(tmp_path, step, interval):
    def make(folder):
        return classification_brain(
            folder,
            num_epochs=3,
            checkpoint_interval=interval,
            log_interval=2,
            max_grad_norm=1.0,
            head_lr_factor=3,
            schedule=EpochDecay(first_epoch=1, warmup_steps=2, stairs=1),
            spec_augment=SpecAugment(24, 16),
            noise_and_roll=NoiseAndRoll(),
        )

    sets = Clips(9), Clips(5)
    whole = fit(make(tmp_path / "whole"), *sets)
    killed(make, tmp_path / "killed", step, *sets)
    train = Clips(9)
    resumed = fit(make(tmp_path / "killed"), train, sets[1])
    assert_same(resumed, whole)
    saved = (step - 1) // interval * interval if interval else 0
    saved = max(saved, (step - 1) // 3 * 3)  # and after every epoch
    clips = [4, 4, 1] * 3
    assert len(train.asked) == sum(clips[saved:])  # it did not start anew


@pytest.mark.parametrize("make", [pretraining_brain, classification_brain])
def test_accumulated_batches_are_resumed_at_a_step(tmp_path, make):
    options = {"grad_accumulation_factor": 2, "checkpoint_interval": 1}
    whole = fit(make(tmp_path / "whole", **options), Clips(16))
    killed(make, tmp_path / "killed", 4, Clips(16), **options)
    train = Clips(16)
    assert_same(fit(make(tmp_path / "killed", **options), train), whole)
    assert train.asked[0].place == 0
    assert len(train.asked) == 8 * (whole.optimizer_step - 3)


@pytest.mark.parametrize("step", [4, 5, 7, 12])
def test_pretraining_goes_on_with_its_schedule(tmp_path, step):
    def make(folder):
        return pretraining_brain(
            folder,
            reconstruction=False,  # nothing to draw
            num_steps=12,
            valid_interval=2,
            checkpoint_interval=3,
            log_interval=5,
            schedule=WarmupPlateau(warmup_steps=0, patience=0, threshold=0.5),
        )

    sets = Clips(10), Clips(3)
    whole = fit(make(tmp_path / "whole"), *sets)
    rates = [r["learning_rate"] for r in whole.log.read() if r["stage"] == "train"]
    assert len(set(rates)) > 2  # halved before and after the kills
    killed(make, tmp_path / "killed", step, *sets)
    assert_same(fit(make(tmp_path / "killed"), *sets), whole)


@pytest.mark.parametrize("changed", ["fewer", "other labels"])
def test_other_training_clips_are_refused(tmp_path, changed):
    def make():
        return pretraining_brain(tmp_path, num_steps=8, checkpoint_interval=2)

    class Listed(Clips):
        digest = "as it was"

    killed(lambda folder, **options: make(), tmp_path, 5, Listed(9), Clips(5))
    others = Listed(8 if changed == "fewer" else 9)
    others.digest = "as it was" if changed == "fewer" else "another"
    key = "num_clips was 9, is 8" if changed == "fewer" else "train_clips was as it was, is another"
    with pytest.raises(ValueError, match=f"began with other clips .*{key}"):
        fit(make(), others, Clips(5))
    assert fit(make(), Listed(9), Clips(5)).optimizer_step == 8


def test_another_order_is_refused(tmp_path):
    """`--train_dataloader_opts "{shuffle: False}"` is no key that says what a run computes."""
    killed(pretraining_brain, tmp_path, 5, Clips(9), num_steps=8, checkpoint_interval=2)
    brain = pretraining_brain(tmp_path, num_steps=8, checkpoint_interval=2)
    loader = brain.make_dataloader(Clips(9), Stage.TRAIN, batch_size=4, shuffle=False)
    with pytest.raises(ValueError, match="shuffle was True, not False"):
        brain.fit(None, loader)


def test_an_epoch_cut_short_by_a_limit_is_gone_on_with(tmp_path):
    whole = fit(classification_brain(tmp_path / "whole", num_epochs=3), Clips(24), Clips(5))
    limited = classification_brain(
        tmp_path / "limited", num_epochs=3, run_opts={"optimizer_step_limit": 9}
    )
    fit(limited, Clips(24), Clips(5))
    assert limited.optimizer_step == 9
    resumed = fit(classification_brain(tmp_path / "limited", num_epochs=3), Clips(24), Clips(5))
    assert resumed.optimizer_step == whole.optimizer_step == 18
    expected = weights(whole)
    for name, value in weights(resumed).items():
        assert torch.equal(value, expected[name]), name


def test_several_kills_add_up_to_nothing(tmp_path):
    def make(folder):
        return pretraining_brain(folder, checkpoint_interval=2, num_steps=12)

    whole = fit(make(tmp_path / "whole"), Clips(10))
    for step in (3, 4, 8, 11):
        killed(make, tmp_path / "killed", step, Clips(10))
    assert_same(fit(make(tmp_path / "killed"), Clips(10)), whole)


def test_a_run_whose_newest_checkpoint_broke_goes_on_from_the_one_before(tmp_path):
    def make(folder):
        return pretraining_brain(folder, checkpoint_interval=2, num_steps=8, checkpoints_to_keep=2)

    whole = fit(make(tmp_path / "whole"), Clips(10))
    killed(make, tmp_path / "killed", 7, Clips(10))
    newest = Checkpointer(tmp_path / "killed" / "save").find_checkpoint()
    assert newest.meta["step"] == 6
    newest.paramfiles["optimizer"].write_bytes(b"PK")
    train = Clips(10)
    assert_same(fit(make(tmp_path / "killed"), train), whole)
    assert len(train.asked) == 4 * 4  # steps 5 to 8


def test_a_validation_after_the_checkpoint_of_its_step_is_told_once(tmp_path):
    """The epoch's own checkpoint is lost; the one before it was saved at the same step."""

    def make(folder):
        return classification_brain(
            folder, num_epochs=2, checkpoint_interval=3, checkpoints_to_keep=3
        )

    sets = Clips(9), Clips(5)
    whole = exact(fit(make(tmp_path), *sets))
    checkpointer = Checkpointer(tmp_path / "save")
    newest = checkpointer.find_checkpoint()
    (before,) = [
        one
        for one in checkpointer.list_checkpoints()
        if one.meta["step"] == newest.meta["step"] and one.path != newest.path
    ]
    shutil.rmtree(newest.path)
    resumed = fit(make(tmp_path), *sets)
    assert exact(resumed) == whole
    assert not before.meta["end-of-epoch"]


def test_the_same_global_batches_go_on_in_other_shares(tmp_path):
    """As when a run of two processes goes on with one, of twice the batch or accumulating."""

    def make(folder, accumulation=1):
        options = {"grad_accumulation_factor": accumulation}
        options["opt_class"] = partial(torch.optim.SGD, lr=0.05)  # Adam blows rounding up
        return pretraining_brain(folder, num_steps=8, checkpoint_interval=3, **options)

    whole = fit(make(tmp_path / "whole"), Clips(10), batch_size=4)
    killed(make, tmp_path / "killed", 5, Clips(10))
    train = Clips(10)
    resumed = fit(make(tmp_path / "killed", accumulation=2), train, batch_size=2)
    assert len(train.asked) == 4 * 5  # steps 4 to 8
    assert resumed.optimizer_step == 8
    for name, value in weights(resumed).items():
        torch.testing.assert_close(value, weights(whole)[name], rtol=1e-4, atol=1e-5)


def test_other_global_batches_are_refused(tmp_path):
    killed(
        lambda folder: pretraining_brain(folder, num_steps=8, checkpoint_interval=3),
        tmp_path,
        5,
        Clips(10),
    )
    with pytest.raises(ValueError, match="clips_per_step was 4, not 2 .*would not go on exactly"):
        fit(pretraining_brain(tmp_path, num_steps=8), Clips(10), batch_size=2)


WRITTEN_BEFORE = """\
clips: 12
optimizer_step: 3
rejected:
  dog: not audio
schedule:
  best: 0.5
  num_bad: 1
  plateau_factor: 0.5
seconds: 1000.5
stopping:
  best: 0.5
  num_bad: 1
units:
  clips_per_epoch: 10
  clips_per_step: 4
  num_clips: 10
  seed: 1
  shard_spread: 10000
  train_clips: null
...
"""


def test_what_a_checkpoint_holds_of_the_place_is_read_and_written_as_ever(tmp_path):
    """`brain.ckpt`, as runs have it that began before there was a `TrainingPosition`."""
    schedule, stopping = WarmupPlateau(warmup_steps=0), EarlyStopping(patience=3)
    rejected = RejectedClips(tmp_path, most=0.5)
    position = TrainingPosition(schedule=schedule, stopping=stopping, rejected=rejected)
    position.count_in(TrainingBatches(10, 4, seed=1, continuous=True), train_clips=None)
    file = tmp_path / "brain.ckpt"
    file.write_text(WRITTEN_BEFORE)
    position.load(file, end_of_epoch=False)
    assert (position.step, position.optimizer_step) == (3, 3)
    assert 1000.5 < position.seconds < 1060
    assert (schedule.plateau_factor, stopping.num_bad) == (0.5, 1)
    position.save(file)
    before, after = (yaml.safe_load(text) for text in (WRITTEN_BEFORE, file.read_text()))
    assert after.pop("seconds") > before.pop("seconds")
    assert after["units"].pop("shuffle") is True  # earlier ones do not tell
    assert after == before


def test_rejected_training_clips_do_not_count_where_nothing_is_trained(tmp_path):
    before, after = (RejectedClips(tmp_path, most=0.01) for _ in range(2))
    before.add((f"clip{number}", "no audio") for number in range(50))
    before.check(num_clips=10_000)
    after.load_state_dict(before.state_dict())
    after.check(num_clips=1000, is_training=False)
    after.add((f"test{number}", "no audio") for number in range(11))
    with pytest.raises(ValueError, match="11 clip.s. cannot be read, of 1000"):
        after.check(num_clips=1000, is_training=False)


@pytest.mark.parametrize("step", [3, 8, 11])
def test_a_scaler_of_gradients_goes_on_where_it_was(tmp_path, step):
    """As SpeechBrain makes one for fp16 on a GPU; 16 bits themselves are the GPU's."""

    def make(folder):
        brain = pretraining_brain(
            folder,
            num_steps=12,
            checkpoint_interval=2,
            max_grad_norm=1.0,
            run_opts={"device": "cpu"},
        )
        # So large at first that steps are left out until it is halved; then it grows again.
        brain.scaler = torch.GradScaler("cpu", init_scale=2.0**126, growth_interval=3)
        brain.checkpointer.add_recoverable("scaler", brain.scaler, optional_load=True)
        return brain

    whole = fit(make(tmp_path / "whole"), Clips(8))
    killed(make, tmp_path / "killed", step, Clips(8))
    resumed = make(tmp_path / "killed")
    fit(resumed, Clips(8))
    assert_same(resumed, whole)
    assert resumed.scaler.state_dict() == whole.scaler.state_dict()
    norms = ["gradient_norm" in record for record in exact(whole) if record["stage"] == "train"]
    assert not norms[0] and norms[-1]
