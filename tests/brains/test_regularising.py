"""Fine-tuning's options: label smoothing, drop path, layer-wise rates, head warm-up."""

from functools import partial

import pytest
import torch

from ssast_recipes.model.drop_path import draw_branch_scales
from ssast_recipes.model.placement import place_at_random
from ssast_recipes.model.randomness import ClipGenerator
from ssast_recipes.objectives.schedules import WarmupCosine

from .tiny import NUM_CLASSES, Clips, Killed, classification_brain, fit, kill_at, losses, weights

DEEP = {"depth": 2}


class ShortClips(Clips):
    """As `Clips`, but 13 frames long."""

    def __getitem__(self, key):
        clip = super().__getitem__(key)
        return {**clip, "waveform": clip["waveform"][:2320]}


def test_a_loss_is_of_smoothed_labels_in_training_alone(tmp_path):
    seen = []

    def loss(logits, targets):
        seen.append((logits.detach(), targets))
        return torch.nn.functional.cross_entropy(logits, targets)

    brain = classification_brain(tmp_path, num_epochs=1, loss=loss, label_smoothing=0.3)
    fit(brain, Clips(4), Clips(2))
    (logits, trained), (_, evaluated) = seen
    assert trained.shape == (4, NUM_CLASSES)
    labels = trained.argmax(dim=1)
    expected = torch.full((4, NUM_CLASSES), 0.1)
    expected[torch.arange(4), labels] = 0.8
    torch.testing.assert_close(trained, expected)
    torch.testing.assert_close(evaluated, torch.tensor([0, 1]))
    torch.testing.assert_close(
        losses(brain)[1],
        torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.3).item(),
    )


def test_a_groups_rate_falls_with_depth(tmp_path):
    brain = classification_brain(
        tmp_path, encoder=DEEP, lr=0.01, layer_decay=0.5, head_lr_factor=4, num_epochs=1
    )
    fit(brain, Clips(4))
    encoder = brain.model.encoder
    expected = {encoder.patch_embedding.projection.weight: 0.01 / 8}
    expected |= {encoder.position_embedding: 0.01 / 8, encoder.class_token: 0.01 / 8}
    expected |= dict.fromkeys(encoder.blocks[0].parameters(), 0.01 / 4)
    expected |= dict.fromkeys(encoder.blocks[1].parameters(), 0.01 / 2)
    expected |= dict.fromkeys(encoder.norm.parameters(), 0.01)
    expected |= dict.fromkeys(brain.model.classifier.parameters(), 0.04)
    rates = {p: g["initial_lr"] for g in brain.optimizer.param_groups for p in g["params"]}
    for parameter, rate in expected.items():
        assert rates[parameter] == pytest.approx(rate)
    wanted = {p for p in brain.model.parameters() if p.requires_grad}
    grouped = [p for group in brain.optimizer.param_groups for p in group["params"]]
    assert set(grouped) == wanted and len(grouped) == len(wanted)


def test_without_decay_the_groups_are_as_ever(tmp_path):
    brain = fit(classification_brain(tmp_path, encoder=DEEP, num_epochs=1), Clips(4))
    head = len(list(brain.model.classifier.parameters()))
    assert [len(group["params"]) for group in brain.optimizer.param_groups][1:] == [head]


def test_layers_of_which_none_trains_make_no_group(tmp_path):
    brain = classification_brain(tmp_path, freeze_encoder=True, layer_decay=0.5, num_epochs=1)
    fit(brain, Clips(4))
    assert len(brain.optimizer.param_groups) == 1


def test_the_head_warms_up_alone(tmp_path):
    decaying = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.5)
    options = {"head_warmup_steps": 2, "opt_class": decaying, "num_epochs": 1}
    before = weights(classification_brain(tmp_path / "start", **options))
    brain = classification_brain(tmp_path / "run", **options)
    kept = {}
    step = brain.on_step_end
    brain.on_step_end = lambda: (kept.update({brain.optimizer_step: weights(brain)}), step())
    fit(brain, Clips(16))
    for number in (1, 2, 3):
        for name, value in kept[number].items():
            held = ".encoder." in name and (number <= 2 or name.endswith("mask_token"))
            assert torch.equal(value, before[name]) == held, (number, name)
    # What was held back begins as the head did: its first step is Adam's first.
    state = brain.optimizer.state[brain.model.encoder.class_token]
    assert state["step"].item() == 2  # of four


def test_paths_are_dropped_by_the_step_and_the_place(tmp_path):
    brain = classification_brain(
        tmp_path, encoder=DEEP, drop_path=0.6, seed=7, num_epochs=1, batch_size=4
    )
    seen, forward = [], type(brain.model.encoder).forward

    def watch(spectrograms, **options):
        seen.append(options["branch_scales"])
        return forward(brain.model.encoder, spectrograms, **options)

    brain.model.encoder.forward = watch
    fit(brain, Clips(8), Clips(2))
    expected = [
        draw_branch_scales(ClipGenerator(7, step, torch.arange(4)), 2, 0.6) for step in (1, 2)
    ]
    assert torch.equal(seen[0], expected[0]) and torch.equal(seen[1], expected[1])
    assert seen[2] is None  # validation


@pytest.mark.parametrize("padding", ["masked", "released"])
def test_clips_are_placed_anywhere_in_training_alone(tmp_path, padding):
    brain = classification_brain(tmp_path, num_epochs=1, placement="random", seed=7)
    brain.model.padding = padding
    seen, forward = [], type(brain.model.encoder).forward

    def watch(spectrograms, visible_patches, **options):
        seen.append((spectrograms, visible_patches))
        return forward(brain.model.encoder, spectrograms, visible_patches=visible_patches)

    brain.model.encoder.forward = watch
    clips = ShortClips(4)
    fit(brain, clips, clips)
    (placed, visible), (as_they_are, first) = seen
    frames = 13  # of 2,320 samples: most of one column of 16 frames
    generator = ClipGenerator(7, 1, torch.arange(4))
    order = [key.index for key in clips.asked[:4]]
    expected, starts = place_at_random(as_they_are[order], torch.full((4,), frames), generator)
    torch.testing.assert_close(placed, expected)
    assert len(set(starts.tolist())) > 1
    if padding == "masked":
        for clip, start in enumerate(starts.tolist()):
            columns = [start < 16, start + frames > 16]
            assert visible[clip].tolist() == columns * 8
        assert first.tolist() == [[True, False] * 8] * 4
    else:
        assert visible is None and first is None


def test_a_killed_training_with_all_options_goes_on_exactly(tmp_path):
    options = {
        "encoder": DEEP,
        "num_steps": 8,
        "checkpoint_interval": 3,
        "label_smoothing": 0.1,
        "placement": "random",
        "layer_decay": 0.7,
        "drop_path": 0.3,
        "head_warmup_steps": 4,
        "schedule": WarmupCosine(8, warmup_steps=2),
        "opt_class": partial(torch.optim.AdamW, lr=0.01, weight_decay=0.05),
    }
    whole = fit(classification_brain(tmp_path / "whole", **options), Clips(12))
    brain = classification_brain(tmp_path / "killed", **options)
    kill_at(brain, 6)  # the checkpoint is of step 3, before the encoder began
    with pytest.raises(Killed):
        fit(brain, Clips(12))
    resumed = fit(classification_brain(tmp_path / "killed", **options), Clips(12))
    assert losses(resumed) == losses(whole)
    for name, value in weights(whole).items():
        assert torch.equal(weights(resumed)[name], value), name


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("placement", "end"),
        ("label_smoothing", 1),
        ("drop_path", -0.1),
        ("layer_decay", 0),
        ("head_warmup_steps", -1),
    ],
)
def test_values_out_of_range_are_refused(tmp_path, option, value):
    with pytest.raises(ValueError, match=f"{option} is {value}; give "):
        classification_brain(tmp_path, **{option: value})
