import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from speechbrain.utils.checkpoints import Checkpointer

from ssast_recipes.augment import NoiseAndRoll, SpecAugment
from ssast_recipes.data.synthetic import make_esc50
from ssast_recipes.schedules import EpochDecay, WarmupPlateau

from .tiny import Clips, Killed, classification_brain, fit, kill_at, pretraining_brain, weights

RECIPE = Path(__file__).parents[2] / "recipes" / "ESC50"


def exact(brain):
    """Everything that a run wrote down and that is no matter of time."""
    return [
        {key: value for key, value in record.items() if key != "clips_per_second"}
        for record in brain.log.read()
    ]


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


# ---- the recipe, killed

STEPS = 60
OPTIONS = {
    "size": "tiny",
    "depth": 1,
    "embed_dim": 32,
    "num_heads": 2,
    "target_length": 64,
    "num_masked_patches": 20,
    "max_duration": 0.5,
    "batch_size": 4,
    "num_steps": STEPS,
    "log_interval": 1,
    "checkpoint_interval": 3,
    "valid_interval": STEPS,
    "lr": 0.01,
    "warmup_steps": 8,
    "schedule": "{stairs: 2}",
}


class Run:
    """A process that pretrains by the recipe, in a folder."""

    def __init__(self, corpus: Path, folder: Path, num_workers: int):
        self.folder, self.log = folder, folder / "metrics.jsonl"
        options = OPTIONS | {
            "data_folder": corpus,
            "manifest_folder": corpus.parent / "manifests",
            "output_folder": folder,
            "num_workers": num_workers,
        }
        arguments = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        self.command = [
            sys.executable,
            str(RECIPE / "train.py"),
            str(RECIPE / "hparams" / "pretrain_patch.yaml"),
            "--noprogressbar",
            *arguments,
        ]

    def start(self) -> subprocess.Popen:
        self.folder.mkdir(exist_ok=True)
        with open(self.folder / "output.txt", "a") as output:
            return subprocess.Popen(
                self.command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,  # the loading workers die with it
            )

    def finish(self) -> None:
        process = self.start()
        assert process.wait(timeout=100) == 0, (self.folder / "output.txt").read_text()[-3000:]

    def kill_after(self, step: int) -> int:
        """Kills the run when it has written down a step; returns the step it had come to."""
        process = self.start()
        deadline = time.monotonic() + 100
        while self.last_step() < step:
            assert process.poll() is None, (self.folder / "output.txt").read_text()[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        return self.last_step()

    def last_step(self) -> int:
        records = self.records()
        return records[-1]["step"] if records else 0

    def records(self) -> list[dict]:
        if not self.log.exists():
            return []
        lines = self.log.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("}\n")]

    def exact(self) -> list[dict]:
        """What was written down, but for speed."""
        drop = "clips_per_second"
        return [{k: v for k, v in record.items() if k != drop} for record in self.records()]

    def newest(self):
        return Checkpointer(self.folder / "save").find_checkpoint()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("esc50") / "corpus"
    return make_esc50(folder, 2, num_classes=4, duration=0.7, sample_rate=16000)


@pytest.fixture(scope="module")
def whole(corpus) -> Run:
    """A run left alone, without loading workers."""
    run = Run(corpus, corpus.parent / "whole", num_workers=0)
    run.finish()
    assert [r["step"] for r in run.records() if r["stage"] == "train"] == list(range(1, STEPS + 1))
    return run


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_run_killed_three_times_ends_as_one_left_alone(corpus, whole, num_workers):
    run = Run(corpus, corpus.parent / f"killed{num_workers}", num_workers)
    draw = random.Random(num_workers)
    steps = [draw.randint(first, first + 6) for first in (4, 12, 20)]
    for step in steps:
        reached = run.kill_after(step)
        assert step <= reached < STEPS
        # What a kill while saving leaves: it would be the newest.
        partial = run.folder / "save" / f"partial-CKPT+2999+{step}"
        partial.mkdir()
        (partial / "CKPT.yaml").write_text("end-of-epoch: false\nunixtime: 1.0e+11\nstep: 99\n")
    run.finish()
    assert run.exact() == whole.exact()
    assert not list((run.folder / "save").glob("partial*"))
    first, second = (torch.load(each.newest().paramfiles["model"]) for each in (run, whole))
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]) if torch.is_tensor(value) else value == second[name]
    # It was resumed each time, and not started anew.
    log = (run.folder / "log.txt").read_text()
    assert log.count("going on after step") == len(steps)
    results = [json.loads((each.folder / "results.json").read_text()) for each in (run, whole)]
    for key in ("value", "metrics", "steps", "history"):
        assert results[0][key] == results[1][key], key
