import json
import logging
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from speechbrain import Stage

from ssast_recipes.brains import pretraining
from ssast_recipes.data.batches import ClipBatch, collate
from ssast_recipes.data.sampling import ClipKey
from ssast_recipes.model.masking import OfficialClusterMasker, RandomMasker
from ssast_recipes.model.patches import patchify, select_patches
from ssast_recipes.objectives.losses import constant_patches, info_nce_loss
from ssast_recipes.objectives.metrics import masked_patch_accuracy
from ssast_recipes.objectives.schedules import WarmupCosine, WarmupPlateau

from . import tiny
from .tiny import TARGET_LENGTH, Clips, fit, losses, pretraining_brain

NO_PICTURES = {"reconstruction": False}


def batch_of(indices, clips=None) -> ClipBatch:
    clips = clips or Clips(max(indices) + 1)
    keys = [ClipKey(1, index, place) for place, index in enumerate(indices)]
    return collate([clips[key] for key in keys]).to(tiny.DEVICE)


class WatchedMasker(RandomMasker):
    """Remembers what it masked."""

    def __call__(self, generator, grid_size):
        masked = super().__call__(generator, grid_size)
        self.__dict__.setdefault("seen", []).append((generator.step, generator.places, masked))
        return masked


def test_masks_are_drawn_from_the_step_and_the_place(tmp_path):
    masker = WatchedMasker(10)
    fit(pretraining_brain(tmp_path, masker=masker, num_steps=3), Clips(8))
    assert [step for step, _, _ in masker.seen] == [1, 2, 3]
    assert all(places.tolist() == [0, 1, 2, 3] for _, places, _ in masker.seen)
    rows = torch.cat([masked for _, _, masked in masker.seen])
    assert len({tuple(row) for row in rows.tolist()}) == 12  # all different


def test_validation_masks_a_clip_alike_every_time_and_in_whatever_batch(tmp_path):
    by_clip = []
    for name, size in (("small", 2), ("large", 5)):
        masker = WatchedMasker(10)
        brain = pretraining_brain(
            tmp_path / name, masker=masker, num_steps=2, valid_interval=1, **NO_PICTURES
        )
        fit(brain, Clips(8), Clips(5), batch_size=size)
        valid = [(places, masked) for step, places, masked in masker.seen if step == 0]
        rows = [
            (int(place), tuple(row.tolist()))
            for part in valid
            for place, row in zip(*part, strict=True)
        ]
        assert len(rows) == 10
        assert rows[:5] == rows[5:]
        by_clip.append(dict(rows))
    assert by_clip[0] == by_clip[1]
    assert len(set(by_clip[0].values())) == 5


def test_validation_is_the_mean_over_clips_however_they_are_batched(tmp_path):
    records = []
    for size in (1, 3, 5):
        brain = pretraining_brain(tmp_path / f"{size}")
        loader = brain.make_dataloader(Clips(5), Stage.VALID, batch_size=size)
        records.append(brain.evaluate_set(loader, Stage.VALID, enable=False))
    assert records[0].keys() == records[1].keys() == records[2].keys()
    for key, value in records[0].items():
        for record in records:
            assert record[key] == pytest.approx(value, rel=1e-5), key


@pytest.mark.parametrize("two_passes", [False, True])
def test_validation_tells_which_frequencies_are_masked(tmp_path, two_passes):
    masker = WatchedMasker(10)
    brain = pretraining_brain(tmp_path, masker=masker, two_passes=two_passes, num_steps=1)
    fit(brain, Clips(4), Clips(5))
    (record,) = (record for record in brain.log.read() if record["stage"] == "valid")
    masked = [masked for step, _, masked in masker.seen if step == 0]
    masked = torch.cat(masked[:: 1 + two_passes])  # of two passes, the contrastive one's
    rows = (masked // 2).flatten().bincount(minlength=8)  # of 8 x 2 patches
    shares = record["masked_share_by_row"]
    assert shares == pytest.approx((rows / (5 * 2)).tolist(), abs=1e-6)
    assert len(set(shares)) > 1
    assert sum(shares) / 8 == pytest.approx(10 / 16, abs=1e-6)
    assert f"masked_share_by_row [{shares[0]:.4g} " in (tmp_path / "train_log.txt").read_text()


def test_the_loss_joins_the_objectives_by_their_weight(tmp_path):
    brain = fit(pretraining_brain(tmp_path, reconstruction_weight=3), Clips(8))
    for record in brain.log.read():
        joined = record["contrastive_loss"] + 3 * record["reconstruction_loss"]
        assert record["loss"] == pytest.approx(joined, rel=1e-6)


def test_the_objectives_are_what_the_losses_say_of_the_masked_patches(tmp_path):
    brain = pretraining_brain(tmp_path)
    batch = batch_of([3, 1, 2])
    outputs = brain.compute_forward(batch, Stage.TRAIN)
    brain.compute_objectives(outputs, batch, Stage.TRAIN)
    spectrograms = brain.modules.front_end(batch.waveforms, batch.num_samples)
    patches = patchify(spectrograms, (16, 16))
    (masked,) = outputs.masked
    targets = select_patches(patches, masked)
    predictions = brain.modules.model(spectrograms, masked)
    expected = info_nce_loss(predictions.contrastive, targets, "predictions")
    torch.testing.assert_close(brain.metrics["contrastive_loss"], expected)
    squares = (predictions.reconstruction - targets).square().mean()
    torch.testing.assert_close(brain.metrics["reconstruction_loss"], squares)
    found = masked_patch_accuracy(predictions.contrastive, targets, "predictions")
    assert brain.metrics["masked_patch_accuracy"] == found


def test_two_passes_mask_anew_for_each_objective(tmp_path):
    brain = pretraining_brain(tmp_path, two_passes=True)
    batch = batch_of([0, 1, 2, 3])
    outputs = brain.compute_forward(batch, Stage.TRAIN)
    first, second = outputs.masked
    assert not (first == second).all(dim=1).any()
    patches = patchify(outputs.spectrograms, (16, 16))
    assert torch.equal(outputs.targets[0], select_patches(patches, first))
    assert torch.equal(outputs.targets[1], select_patches(patches, second))
    model = brain.modules.model
    alone = [model(outputs.spectrograms, masked) for masked in (first, second)]
    torch.testing.assert_close(outputs.predictions.contrastive, alone[0].contrastive)
    torch.testing.assert_close(outputs.predictions.reconstruction, alone[1].reconstruction)
    brain.compute_objectives(outputs, batch, Stage.TRAIN)
    squares = (alone[1].reconstruction - outputs.targets[1]).square().mean()
    torch.testing.assert_close(brain.metrics["reconstruction_loss"], squares)


def test_one_pass_has_one_mask(tmp_path):
    outputs = pretraining_brain(tmp_path).compute_forward(batch_of([0, 1]), Stage.TRAIN)
    assert len(outputs.masked) == len(outputs.targets) == 1


class HalfSilent(Clips):
    """The second half of every clip is missing, so the spectrogram is padded."""

    def __getitem__(self, key):
        clip = super().__getitem__(key)
        return {**clip, "waveform": clip["waveform"][: 16 * 160]}


@pytest.mark.parametrize("exclude", [False, True])
def test_constant_patches_are_counted_and_left_out_on_request(tmp_path, exclude):
    brain = pretraining_brain(tmp_path, exclude_constant_patches=exclude)
    batch = batch_of([0, 1, 2, 3], HalfSilent(4))
    outputs = brain.compute_forward(batch, Stage.TRAIN)
    brain.compute_objectives(outputs, batch, Stage.TRAIN)
    constant = constant_patches(outputs.targets[0])
    assert 0.2 < constant.float().mean() < 0.8
    assert brain.metrics["constant_patches"] == constant.float().mean()
    predictions, targets = outputs.predictions.contrastive, outputs.targets[0]
    by_hand = []  # every clip by itself, its constant patches thrown away
    for clip in range(4):
        kept = ~constant[clip] if exclude else torch.ones_like(constant[clip])
        similarities = targets[clip][kept] @ predictions[clip][kept].T  # [target, prediction]
        own = [-row.log_softmax(0)[i] for i, row in enumerate(similarities)]
        by_hand.append(torch.stack(own).mean())
    expected = torch.stack(by_hand).mean()
    torch.testing.assert_close(brain.metrics["contrastive_loss"], expected, rtol=1e-4, atol=1e-5)
    squares = (outputs.predictions.reconstruction - targets).square().mean()
    torch.testing.assert_close(brain.metrics["reconstruction_loss"], squares)


def test_silence_alone_gives_no_infinite_loss(tmp_path):
    class Silent(Clips):
        def __getitem__(self, key):
            return {**super().__getitem__(key), "waveform": torch.zeros(5500)}

    brain = pretraining_brain(tmp_path, exclude_constant_patches=True, num_steps=2)
    fit(brain, Silent(8))
    assert all(math.isfinite(loss) for loss in losses(brain).values())


# ---- validation and selection


def test_validates_saves_and_stops_by_steps(tmp_path):
    brain = pretraining_brain(
        tmp_path, num_steps=11, valid_interval=4, checkpoint_interval=3, **NO_PICTURES
    )
    brain.hparams.checkpoints_to_keep = 20
    fit(brain, Clips(8), Clips(4))
    assert brain.optimizer_step == 11
    assert list(losses(brain, "valid")) == [4, 8, 11]
    saved = sorted(ckpt.meta["step"] for ckpt in brain.checkpointer.list_checkpoints())
    assert saved == [3, 4, 6, 8, 9, 11]
    judged = [c.meta["step"] for c in brain.checkpointer.find_checkpoints(max_key="valid_score")]
    assert sorted(judged) == [4, 8, 11]


def test_a_finished_run_does_nothing_more(tmp_path):
    first = fit(pretraining_brain(tmp_path), Clips(8))
    train = Clips(8)
    again = fit(pretraining_brain(tmp_path), train)
    assert train.asked == [] and again.optimizer_step == 6
    assert losses(again) == losses(first)


def test_the_schedule_is_told_of_the_score_of_every_validation(tmp_path):
    class Recorded(WarmupPlateau):
        seen = []

        def observe(self, score, step):
            self.seen.append((step, score))
            super().observe(score, step)

    brain = pretraining_brain(
        tmp_path,
        schedule=Recorded(warmup_steps=0, patience=-1),  # halves every time but the first
        valid_interval=2,
        lr=0.01,
        **NO_PICTURES,
    )
    fit(brain, Clips(8), Clips(4))
    records = brain.log.read()
    valid = {r["step"]: r["valid_score"] for r in records if r["stage"] == "valid"}
    assert dict(Recorded.seen) == valid and list(valid) == [2, 4, 6]
    rates = [record["learning_rate"] for record in records if record["stage"] == "train"]
    factors = [rate / 0.01 for rate in rates]
    assert factors == pytest.approx([1, 1, *[factors[2]] * 2, *[factors[4]] * 2])
    assert factors[4] == factors[2] / 2


def test_the_accuracy_decides_where_there_is_one(tmp_path):
    brain = fit(pretraining_brain(tmp_path), Clips(8), Clips(4))
    (record,) = [record for record in brain.log.read() if record["stage"] == "valid"]
    assert record["valid_score"] == record["masked_patch_accuracy"]
    values = brain.evaluate(Clips(4))
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["metric"] == "masked_patch_accuracy"
    assert results["value"] == values
    assert values["last"] == pytest.approx(record["valid_score"])


def test_without_the_contrastive_head_the_squared_error_decides(tmp_path):
    brain = pretraining_brain(tmp_path, contrastive=False, valid_interval=3)
    fit(brain, Clips(8), Clips(4))
    records = [record for record in brain.log.read() if record["stage"] != "embeddings"]
    assert {record["stage"] for record in records} == {"train", "valid"}
    for record in records:
        assert "contrastive_loss" not in record and "masked_patch_accuracy" not in record
        assert record["loss"] == pytest.approx(10 * record["reconstruction_loss"])
        if record["stage"] == "valid":
            assert record["valid_score"] == -record["reconstruction_loss"]
    best = brain.checkpointer.find_checkpoint(max_key="valid_score").meta
    assert best["valid_score"] == max(
        record["valid_score"] for record in brain.log.read() if record["stage"] == "valid"
    )
    values = brain.evaluate(Clips(4))
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["metric"] == "reconstruction_loss" and results["value"] == values
    assert values["best"] == pytest.approx(-best["valid_score"])


def test_evaluation_is_of_the_best_checkpoint_and_tells_of_the_last(tmp_path):
    brain = pretraining_brain(tmp_path, contrastive=False)
    brain.on_fit_start()
    for step in (1, 2):
        brain.optimizer_step = step
        with torch.no_grad():
            brain.modules.model.reconstruction_head.output.bias.fill_(100.0 * (step - 1))
        brain.save({"step": step, "valid_score": -step}, end_of_epoch=False)
    values = brain.evaluate(Clips(4))
    assert values["best"] < 100 < 1000 < values["last"]  # whose bias is 100
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["steps"] == {"last": 2, "best": 1}
    assert results["value"] == values
    assert results["metrics"]["best"]["reconstruction_loss"] == values["best"]


@pytest.mark.pictures
def test_a_picture_is_drawn_at_every_validation(tmp_path):
    brain = pretraining_brain(tmp_path, num_steps=2, valid_interval=1)
    fit(brain, Clips(8), Clips(4))
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == ["reconstruction_00000001.png", "reconstruction_00000002.png"]


@pytest.mark.pictures
@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("two_passes", [False, True])
def test_the_picture_shows_what_was_found(tmp_path, monkeypatch, exclude, two_passes):
    seen = []
    draw = pretraining.draw_reconstructions

    def watch(*args, found, filterbank):
        seen.append((args, found))
        return draw(*args, found=found, filterbank=filterbank)

    monkeypatch.setattr(pretraining, "draw_reconstructions", watch)
    options = {"exclude_constant_patches": exclude, "two_passes": two_passes}
    brain = pretraining_brain(tmp_path, num_steps=1, softmax_over="targets", **options)
    fit(brain, Clips(8), HalfSilent(4))
    (((_, redrawn_at, _, _, _), (masked, found)),) = seen
    assert torch.equal(redrawn_at, masked) != two_passes
    (record,) = (record for record in brain.log.read() if record["stage"] == "valid")
    assert found.isnan().any() == exclude
    shares = found.nanmean(dim=1)  # one batch: all four clips
    assert shares.mean().item() == pytest.approx(record["masked_patch_accuracy"], abs=1e-6)


@pytest.mark.pictures
def test_without_reconstruction_the_picture_shows_what_was_found(tmp_path):
    fit(pretraining_brain(tmp_path, reconstruction=False, num_steps=1), Clips(8), Clips(4))
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["found_00000001.png"]


def test_pretraining_learns(tmp_path):
    brain = fit(pretraining_brain(tmp_path, num_steps=40, lr=0.003), Clips(8))
    values = list(losses(brain).values())
    assert sum(values[-5:]) < 0.7 * sum(values[:5])
    assert TARGET_LENGTH == brain.hparams.encoder.target_length


# ---- maskers that do not fit are found before training


def bare_mask(generator, grid_size, num_masked, dtype=torch.int64):
    indices = torch.arange(num_masked, dtype=dtype, device=generator.device)
    return indices.expand(generator.batch_size, -1)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"num_masked": 17}, "index 16"),
        ({"num_masked": 0}, r"the shape \[2, 0\] for 2 clips"),
        ({"num_masked": 4, "dtype": torch.int32}, "a tensor of torch.int32"),
    ],
)
def test_what_a_masker_of_ones_own_returns_is_checked(tmp_path, options, fault):
    masker = partial(bare_mask, **options)
    promised = (
        r"masker bare_mask has to return \[batch, masked\] int64, .* from 0 to 15; it returned"
    )
    with pytest.raises(ValueError, match=f"{promised} {fault}$"):
        pretraining_brain(tmp_path, masker=masker)


def test_what_a_masker_of_ones_own_raises_is_said_to_be_its_own(tmp_path):
    def mask(generator, grid_size):
        raise ValueError(f"{grid_size} is no grid of mine")

    with pytest.raises(ValueError, match=r"masker mask: \(8, 2\) is no grid of mine"):
        pretraining_brain(tmp_path, masker=mask)


def test_more_masked_patches_than_there_are(tmp_path):
    with pytest.raises(ValueError, match=r"at most 16 .*=17.*target_length is 32, patch_size \(16"):
        pretraining_brain(tmp_path, masker=RandomMasker(17))


def test_the_share_of_masked_patches_is_told(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        pretraining_brain(tmp_path, masker=RandomMasker(4))
    assert "Masking 4 of 16 patches (25 %)" in caplog.text


@pytest.mark.parametrize(
    ("masker", "encoder", "level"),
    [
        (RandomMasker(10), {}, None),
        (OfficialClusterMasker(12, (3, 4, 5)), {}, "WARNING"),
        (OfficialClusterMasker(100), {"target_length": 256}, "INFO"),
    ],
)
@pytest.mark.parametrize("is_main", [True, False])
def test_degenerate_masks_are_told_once(
    tmp_path, caplog, monkeypatch, masker, encoder, level, is_main
):
    monkeypatch.setattr(pretraining, "if_main_process", lambda: is_main)
    with caplog.at_level(logging.INFO):
        fit(pretraining_brain(tmp_path, encoder=encoder, masker=masker, num_steps=0), Clips(4))
    told = [record for record in caplog.records if "of the time" in record.message]
    assert [record.levelname for record in told] == [level] * (is_main and level is not None)
    if told and level == "WARNING":
        assert "20 distinct masks in 4,000 draws; " in told[0].message
        assert told[0].message.endswith("mask others (masker, num_masked_patches)")


def short_clips(batch):
    """The batch with clips of 5, 12, 20 and all 32 frames."""
    samples = torch.tensor([1040, 2160, 3440, tiny.CLIP_SAMPLES], device=tiny.DEVICE)
    return replace(batch, num_samples=samples)


@pytest.mark.parametrize("placement", ["start", "random"])
def test_padding_is_no_target(tmp_path, placement):
    brain = pretraining_brain(
        tmp_path, encoder={"patch_size": (128, 2)}, masker=RandomMasker(12), placement=placement
    )
    brain.masks_padding = True
    batch = short_clips(batch_of([3, 1, 2, 0]))
    outputs = brain.compute_forward(batch, Stage.TRAIN)
    loss = brain.compute_objectives(outputs, batch, Stage.TRAIN)
    (masked,) = outputs.masked
    own = outputs.included(0)
    frames = {"start": [3, 6, 10, 16]}.get(placement)
    if frames:
        assert outputs.visible_patches.sum(dim=1).tolist() == frames
    spectrograms = outputs.spectrograms
    silent = spectrograms.amin(dim=2) == spectrograms.amax(dim=2)  # the frames of padding
    is_padding = silent.unflatten(1, (16, 2)).all(dim=2)
    assert torch.equal(outputs.visible_patches, ~is_padding)
    joined = 0.0
    for clip in range(4):
        kept = own[clip]
        assert 0 < kept.sum() < outputs.visible_patches[clip].sum()
        assert torch.equal(kept, ~is_padding[clip, masked[clip]])
        found = [values[clip : clip + 1, kept] for values in outputs.predictions]
        targets = outputs.targets[0][clip : clip + 1, kept]
        joined += info_nce_loss(found[0], targets, softmax_over="predictions")
        joined += 10 * torch.nn.functional.mse_loss(found[1], targets)
    torch.testing.assert_close(loss, joined / 4)


def test_clips_stand_elsewhere_in_each_step_and_not_in_validation(tmp_path):
    brain = pretraining_brain(tmp_path, placement="random")
    batch = short_clips(batch_of([3, 1, 2, 0]))
    steps = []
    for step, stage in ((0, Stage.TRAIN), (1, Stage.TRAIN), (0, Stage.VALID), (1, Stage.VALID)):
        brain.optimizer_step = step
        steps.append(brain.compute_forward(batch, stage).spectrograms)
    assert not torch.equal(steps[0], steps[1])
    assert torch.equal(steps[2], steps[3])


def test_a_cosine_without_an_end_ends_with_the_run(tmp_path):
    schedule = WarmupCosine(warmup_steps=2)
    fit(pretraining_brain(tmp_path, schedule=schedule, num_steps=6), Clips(8))
    assert schedule.num_steps == 6 and schedule.factor(6) == 0


def test_an_unknown_placement_is_refused(tmp_path):
    with pytest.raises(ValueError, match="placement is start or random, not 'end'"):
        pretraining_brain(tmp_path, placement="end")


class Substituted(Clips):
    """One clip of every pass is another's stand-in, as a `ClipDataset` tells it."""

    def __getitem__(self, key):
        bad = ("=bad", "/data/bad.wav: not readable as audio")
        rejected = [bad] if key.index == 1 else []
        return {**super().__getitem__(key), "rejected": rejected}


def test_clips_that_validation_cannot_read_are_counted_and_listed(tmp_path):
    brain = pretraining_brain(tmp_path, max_rejected=0.2, num_steps=2)
    fit(brain, Clips(8), Substituted(4))
    listed = (tmp_path / "rejected_in_training.csv").read_text()
    assert "\n'=bad,/data/bad.wav: not readable as audio" in listed  # no formula of a spreadsheet
    with pytest.raises(ValueError, match=r"1 clip\(s\) cannot be read, of 8 at most 0.1 \(max_rej"):
        fit(pretraining_brain(tmp_path / "2", max_rejected=0.1), Clips(8), Substituted(4))


def test_nor_where_nothing_is_trained(tmp_path):
    fit(pretraining_brain(tmp_path, num_steps=2), Clips(8), Clips(4))
    brain = pretraining_brain(tmp_path, num_steps=2)
    with pytest.raises(ValueError, match="1 clip.s. cannot be read, of 4 at most 0.01"):
        brain.evaluate(Substituted(4))
    assert (tmp_path / "rejected_in_training.csv").exists()
