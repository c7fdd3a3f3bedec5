"""torch.compile: without graph breaks, the same results, and nothing compiled anew for long."""

import json
from functools import partial

import pytest
import torch

from ssast_recipes.brains.optimising import fused_option
from ssast_recipes.model.masking import ClusterMasker, OfficialClusterMasker, RandomMasker
from ssast_recipes.model.patches import patchify, select_patches
from ssast_recipes.model.randomness import ClipGenerator
from ssast_recipes.objectives.losses import info_nce_loss, masked_reconstruction_loss
from ssast_recipes.objectives.metrics import masked_patch_accuracy

from .tiny import Clips, classification_brain, fit, losses, pretraining_brain

FULL = {"compile": True, "compile_using_fullgraph": True}


@pytest.fixture
def quick(monkeypatch):
    """Traces as always, but without making kernels, which takes a minute; counts the graphs."""
    torch._dynamo.reset()
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(_compile, torch.compile, backend))
    yield compiled
    torch._dynamo.reset()


def _compile(original, backend, module, mode=None, **options):
    return original(module, backend=backend, **options)


@pytest.mark.parametrize("make", [pretraining_brain, classification_brain])
def test_compiled_training_is_whole_graphs_and_computes_the_same(tmp_path, quick, make):
    eager = fit(make(tmp_path / "eager"), Clips(8), Clips(4))
    assert not quick
    brain = fit(make(tmp_path / "compiled", run_opts=FULL), Clips(8), Clips(4))
    assert quick
    assert losses(brain) == pytest.approx(losses(eager), rel=1e-5)
    assert losses(brain, "valid") == pytest.approx(losses(eager, "valid"), rel=1e-5)


def test_nothing_is_compiled_anew_after_warming_up(tmp_path, quick):
    brain = pretraining_brain(tmp_path, run_opts=FULL, num_steps=20, valid_interval=4)
    counts = {}
    show = brain.on_stage_end

    def on_stage_end(*arguments):
        counts[brain.optimizer_step] = len(quick)
        show(*arguments)

    brain.on_stage_end = on_stage_end
    fit(brain, Clips(10), Clips(6))  # validation has a smaller batch
    assert counts[20] == counts[8] <= 8


class Lengths(Clips):
    """Clips of which each has a length of its own."""

    def __getitem__(self, key):
        clip = super().__getitem__(key)
        return {**clip, "waveform": clip["waveform"][: 5200 - 97 * key.index]}


@pytest.mark.parametrize("make", [partial(pretraining_brain, num_steps=20), classification_brain])
def test_clips_of_many_lengths_compile_no_more_than_those_of_one(tmp_path, quick, make):
    for number, clips in enumerate((Clips, Lengths)):
        torch._dynamo.reset()
        quick.clear()
        fit(make(tmp_path / str(number), run_opts=FULL), clips(12), clips(6), batch_size=2)
        assert len(quick) == 4  # front end and model, in training and in validation


def test_compiling_pads_and_changes_no_loss(tmp_path, quick):
    eager = fit(pretraining_brain(tmp_path / "eager"), Lengths(8), Lengths(4))
    brain = fit(pretraining_brain(tmp_path / "compiled", run_opts=FULL), Lengths(8), Lengths(4))
    assert losses(brain) == pytest.approx(losses(eager), rel=1e-5)
    assert losses(brain, "valid") == pytest.approx(losses(eager, "valid"), rel=1e-5)


def test_a_compiled_run_leaves_a_model_to_use(tmp_path, quick):
    brain = fit(pretraining_brain(tmp_path, run_opts=FULL), Clips(8), Clips(4))
    brain.evaluate(Clips(4), test_loader_kwargs={"batch_size": 4})
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["kind"] == "pretraining"


@pytest.mark.parametrize("masker", [RandomMasker(6), ClusterMasker(6), OfficialClusterMasker(6)])
def test_masks_targets_and_losses_could_be_compiled_whole(quick, masker):
    """They run eagerly: nothing of theirs takes long. But nothing of theirs breaks a graph."""

    def step(spectrograms, places, predictions):
        masked = masker(ClipGenerator(1, 7, places), (8, 2))
        targets = select_patches(patchify(spectrograms, (16, 16)), masked)
        loss = info_nce_loss(predictions, targets, "predictions")
        accuracy = masked_patch_accuracy(predictions, targets, "predictions")
        return masked, loss, accuracy, masked_reconstruction_loss(predictions, targets)

    arguments = torch.randn(3, 32, 128), torch.arange(3), torch.randn(3, 6, 256)
    found = torch.compile(step, fullgraph=True)(*arguments)
    assert len(quick) == 1
    for one, other in zip(found, step(*arguments), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("optimiser", "chosen"),
    [
        (torch.optim.Adam, {"fused": True}),
        (partial(torch.optim.AdamW, lr=0.1), {"fused": True}),
        (partial(torch.optim.Adam, fused=False), {}),
        (partial(torch.optim.Adam, foreach=True), {}),
        (torch.optim.Rprop, {}),
    ],
)
def test_the_optimiser_is_fused_on_a_gpu_where_it_can_be(optimiser, chosen):
    assert fused_option(optimiser, "cpu") == {}
    assert fused_option(optimiser, "cuda") == chosen
