import ast
import inspect
import math
import multiprocessing
import textwrap
import time
from functools import partial

import pytest
import torch
from speechbrain import Stage
from speechbrain.utils.run_opts import RunOptions
from torch.utils._python_dispatch import TorchDispatchMode

from ssast_recipes.brains import BaseBrain, ClassificationBrain, MendedBrain, PretrainingBrain
from ssast_recipes.brains.logs import NonFiniteLossError
from ssast_recipes.model.augment import NoiseAndRoll, SpecAugment
from ssast_recipes.model.masking import OfficialClusterMasker
from ssast_recipes.objectives.losses import masked_reconstruction_loss
from ssast_recipes.objectives.metrics import mean_average_precision
from ssast_recipes.objectives.schedules import EpochDecay, WarmupCosine
from ssast_recipes.system.errors import explain

from .tiny import (
    Clips,
    classification_brain,
    fit,
    losses,
    pretraining_brain,
    tiny_encoder,
    weights,
)

BRAINS = [pretraining_brain, classification_brain]
AUGMENTED = {"spec_augment": SpecAugment(24, 16), "noise_and_roll": NoiseAndRoll()}


def ready(brain, num_clips=8, batch_size=4, **clips):
    """Readies the Brain to train, and returns batches to give to `fit_batch`."""
    loader = brain.make_dataloader(Clips(num_clips, **clips), Stage.TRAIN, batch_size=batch_size)
    brain.on_fit_start()
    brain.modules.train()
    iterator = iter(loader)
    return [next(iterator) for _ in range(num_clips // batch_size)]


# ---- loading


@pytest.mark.parametrize("make", BRAINS)
def test_loading_workers_are_forked_once_however_often_data_are_passed_over(
    make, tmp_path, monkeypatch
):
    forks = []
    start = multiprocessing.Process.start
    monkeypatch.setattr(
        multiprocessing.Process, "start", lambda self: (forks.append(self), start(self))
    )
    length = {"num_epochs": 3}
    if make is pretraining_brain:
        length = {"num_steps": 6, "valid_interval": 1}
    brain = make(tmp_path, **length)
    options = {"batch_size": 2, "num_workers": 1}
    brain.fit(
        getattr(brain.hparams, "epoch_counter", None),
        *(Clips(4), Clips(6)),
        train_loader_kwargs=options,
        valid_loader_kwargs=options,
    )
    assert len(losses(brain, "valid")) >= 3 and len(forks) == 2
    alone = fit(make(tmp_path / "alone", **length), Clips(4), Clips(6), batch_size=2)
    assert losses(brain) == losses(alone) and losses(brain, "valid") == losses(alone, "valid")


class Stuck(Clips):
    """A worker that never gives its second clip."""

    def __getitem__(self, key):
        if key.index == 1:
            time.sleep(600)
        return super().__getitem__(key)


def test_a_loading_worker_that_hangs_ends_the_run(tmp_path):
    brain = pretraining_brain(tmp_path)
    options = {"batch_size": 1, "num_workers": 1, "timeout": 1}
    with pytest.raises(RuntimeError, match="timed out after 1 s") as raised:
        brain.fit(None, Stuck(2), train_loader_kwargs=options)
    assert explain(raised.value).startswith(
        "DataLoader timed out after 1 seconds; the same command goes on from the last checkpoint"
    )
    assert brain.make_dataloader(Clips(2), Stage.VALID, num_workers=1).timeout > 0


# ---- clipping


def steps_by_gradient(brain, scale=1.0):
    """Makes a step of gradient descent at rate 1 and returns the gradients and the steps taken."""
    brain.on_fit_start()
    before, gradients = weights(brain), {}
    for name, parameter in brain.modules.named_parameters():
        if parameter.requires_grad:
            parameter.grad = scale * torch.randn_like(parameter)
            gradients[name] = parameter.grad.clone()
    brain.optimizers_step()
    after = weights(brain)
    return gradients, {name: before[name] - after[name] for name in gradients}


def norm(tensors):
    return math.sqrt(sum(float(tensor.double().square().sum()) for tensor in tensors.values()))


def descent(**options):
    return {
        "opt_class": partial(torch.optim.SGD, lr=1.0),
        "schedule": WarmupCosine(10**9),
        **options,
    }


@pytest.mark.parametrize("split", [False, True])
def test_gradients_of_all_groups_are_clipped_together(tmp_path, split):
    options = descent(lr=1.0, max_grad_norm=0.25, remove_vector_weight_decay=split)
    brain = classification_brain(tmp_path, **options)
    gradients, steps = steps_by_gradient(brain)
    assert len(brain.optimizer.param_groups) == (4 if split else 2)
    factor = 0.25 / norm(gradients)
    assert factor < 0.1
    for name, gradient in gradients.items():
        torch.testing.assert_close(steps[name], factor * gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("limit", [0, -1, -5.0])
def test_without_a_positive_limit_gradients_are_not_clipped(tmp_path, limit):
    brain = classification_brain(tmp_path, **descent(lr=1.0, max_grad_norm=limit))
    gradients, steps = steps_by_gradient(brain, scale=100.0)
    for name, gradient in gradients.items():
        torch.testing.assert_close(steps[name], gradient, rtol=1e-5, atol=1e-5)


def test_gradients_below_the_limit_are_left_alone(tmp_path):
    brain = classification_brain(tmp_path, **descent(lr=1.0, max_grad_norm=1e4))
    gradients, steps = steps_by_gradient(brain)
    for name, gradient in gradients.items():
        torch.testing.assert_close(steps[name], gradient, rtol=1e-5, atol=1e-6)


# ---- parameter groups


def test_vectors_are_spared_weight_decay_on_request(tmp_path):
    optimiser = partial(torch.optim.SGD, lr=1.0, weight_decay=0.5)
    brain = classification_brain(
        tmp_path, **descent(lr=1.0, opt_class=optimiser, remove_vector_weight_decay=True)
    )
    before = weights(brain)
    steps_by_gradient(brain, scale=0.0)
    for name, after in weights(brain).items():
        decayed = before[name].ndim > 1 and not name.endswith("mask_token")
        torch.testing.assert_close(after, before[name] * (0.5 if decayed else 1.0))


def rates(brain, train):
    """The learning rates of all groups at every step of a training."""
    seen = []
    make = brain.init_optimizers

    def init_optimizers():
        make()
        step = brain.optimizer.step

        def watched(*args, **kwargs):
            seen.append([group["lr"] for group in brain.optimizer.param_groups])
            return step(*args, **kwargs)

        brain.optimizer.step = watched

    brain.init_optimizers = init_optimizers
    fit(brain, train)
    return seen


def test_every_group_follows_the_schedule_from_its_own_learning_rate(tmp_path):
    brain = classification_brain(
        tmp_path,
        lr=0.001,
        head_lr_factor=10,
        num_epochs=4,
        schedule=EpochDecay(decay=0.5, first_epoch=2, warmup_steps=4, stairs=2),
    )
    factors = [0, 0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]  # four epochs of two steps
    expected = [[0.001 * factor, 0.01 * factor] for factor in factors]
    seen = rates(brain, Clips(8))
    assert seen == [pytest.approx(pair) for pair in expected]
    logged = [record["learning_rate"] for record in brain.log.read() if record["stage"] == "train"]
    assert logged == [pytest.approx(body) for body, _ in expected]


# ---- waiting for the device

_WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique"}


class CountWaits(TorchDispatchMode):
    """Counts operations for whose result the processor would have to wait on a GPU."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        boolean_index = name in ("index", "index_put_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if name in _WAITS or boolean_index:
            self.seen.append(name)
        return function(*args, **(kwargs or {}))


def tagging_brain(folder, **options):
    return classification_brain(
        folder,
        loss=torch.nn.functional.binary_cross_entropy_with_logits,
        metric=mean_average_precision,
        metric_name="mAP",
        class_weights=[1.0, 2.0, 3.0],
        **options,
    )


@pytest.mark.parametrize("make", [*BRAINS, tagging_brain])
def test_between_logging_steps_nothing_waits_for_the_device(tmp_path, monkeypatch, device, make):
    options = {"masker": OfficialClusterMasker(10)} if make is pretraining_brain else AUGMENTED
    several = {"target": lambda index: torch.eye(3)[index % 3]} if make is tagging_brain else {}
    brain = make(
        tmp_path,
        run_opts={"device": str(device)},
        opt_class=partial(torch.optim.Adam, lr=0.01, fused=True),  # as on a GPU
        log_interval=3,
        max_grad_norm=1.0,
        **options,
    )
    batches = ready(brain, num_clips=24, **several)
    if device.type == "cuda":
        batches = [batch.pin_memory() for batch in batches]
    read = []
    for name in ("cpu", "tolist", "numpy"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda self, *a, f=original: read.append(f) or f(self, *a)
        )
    waits = []
    for batch in batches:
        brain.step += 1
        read.clear()
        logs = brain.step % 3 == 0
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default" if logs or brain.step == 1 else "error")
        with CountWaits() as counted:
            brain.fit_batch(batch)
        waits.append(bool(counted.seen or read))
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("default")
    assert waits == [False, False, True, False, False, True]


# ---- losses that are not finite


def loss_that_fails_at(number, value):
    calls = []

    def loss(predictions, targets):
        calls.append(None)
        return masked_reconstruction_loss(predictions, targets) * (
            value if len(calls) == number else 1.0
        )

    return loss


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_training_at_the_next_look(tmp_path, value):
    brain = pretraining_brain(
        tmp_path, reconstruction_loss=loss_that_fails_at(5, value), log_interval=4, num_steps=20
    )
    with pytest.raises(NonFiniteLossError, match=r"not finite at step 5, 6, 7, 8; .*learning rate"):
        fit(brain, Clips(14))
    assert brain.optimizer_step == 8
    assert list(losses(brain)) == [4]


def test_an_unusable_clip_is_told_by_its_step(tmp_path):
    brain = classification_brain(tmp_path, log_interval=100)
    with pytest.raises(NonFiniteLossError, match=r"step 3, 4;"):
        brain.fit(
            [1], Clips(16, spoiled=[9]), train_loader_kwargs={"batch_size": 4, "shuffle": False}
        )


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    brain = pretraining_brain(
        tmp_path,
        reconstruction_loss=loss_that_fails_at(3, float("nan")),
        log_interval=100,
        checkpoint_interval=2,
    )
    with pytest.raises(NonFiniteLossError):
        fit(brain, Clips(16))
    steps = [checkpoint.meta["step"] for checkpoint in brain.checkpointer.list_checkpoints()]
    assert steps == [2]


# ---- data


def test_every_epoch_has_an_order_of_its_own_and_every_clip_once(tmp_path):
    orders = {}
    for number, seed in enumerate((1, 1, 2)):
        train = Clips(10)
        fit(classification_brain(tmp_path / f"{number}", num_epochs=3, seed=seed), train)
        asked = [(key.epoch, key.index) for key in train.asked]
        assert [epoch for epoch, _ in asked] == [1] * 10 + [2] * 10 + [3] * 10
        order = [[index for epoch, index in asked if epoch == number] for number in (1, 2, 3)]
        assert all(sorted(indices) == list(range(10)) for indices in order)
        assert len({tuple(indices) for indices in order}) == 3
        assert orders.setdefault(seed, order) == order
    assert orders[1] != orders[2]


def test_a_pretraining_run_shows_every_clip_once_an_epoch_in_full_batches(tmp_path):
    train = Clips(10)
    brain = fit(pretraining_brain(tmp_path, num_steps=5), train)
    assert [key.epoch for key in train.asked] == [1] * 10 + [2] * 10
    assert sorted(key.index for key in train.asked[:10]) == list(range(10))
    assert [key.place for key in train.asked] == [0, 1, 2, 3] * 5
    epochs = [record["epoch"] for record in brain.log.read() if record["stage"] == "train"]
    assert epochs == [1, 1, 2, 2, 2]  # of a batch's last clip


# ---- accumulation


@pytest.mark.parametrize("make", BRAINS)
def test_two_accumulated_batches_equal_one_of_twice_the_size(tmp_path, make):
    options = {"opt_class": partial(torch.optim.SGD, lr=0.02), "lr": 0.02}
    if make is classification_brain:
        options |= {"noise_and_roll": NoiseAndRoll(), "schedule": WarmupCosine(10**9)}
    brains, places = [], []
    for factor in (1, 2):
        brain = make(tmp_path / f"{factor}", grad_accumulation_factor=factor, **options)
        train = Clips(16)
        brains.append(fit(brain, train, batch_size=8 // factor))
        places.append([key.place for key in train.asked][:16])
    assert places == [list(range(8)) * 2] * 2
    assert brains[0].optimizer_step == brains[1].optimizer_step > 3
    assert list(losses(brains[0])) == list(losses(brains[1]))
    for step, loss in losses(brains[0]).items():
        assert losses(brains[1])[step] == pytest.approx(loss, rel=1e-4), step
    whole, accumulated = map(weights, brains)
    for name in whole:
        torch.testing.assert_close(accumulated[name], whole[name], rtol=1e-3, atol=1e-5)


# ---- precision


@pytest.mark.parametrize("make", BRAINS)
def test_bfloat16_is_for_the_network_and_not_for_losses_and_weights(tmp_path, make):
    brains, seen = {}, []
    for precision in ("fp32", "bf16"):
        brain = make(tmp_path / precision, precision=precision)
        batch = ready(brain)[0]
        hook = brain.modules.model.encoder.blocks[0].mlp.fc1.register_forward_hook(
            lambda module, inputs, output: seen.append(output.dtype)
        )
        brain.step = 1
        loss = brain.fit_batch(batch)
        hook.remove()
        assert loss.dtype == torch.float32
        assert {value.dtype for value in weights(brain).values()} == {torch.float32}
        brains[precision] = brain
    assert seen == [torch.float32, torch.bfloat16]
    first, second = (losses(brain)[1] for brain in brains.values())
    assert first != second and second == pytest.approx(first, rel=0.02)


# ---- evaluation


@pytest.mark.parametrize("make", BRAINS)
def test_evaluating_without_a_checkpoint_is_an_error(tmp_path, make):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/save: no checkpoint to evaluate"):
        make(tmp_path).evaluate(Clips(4))


@pytest.mark.parametrize("make", BRAINS)
def test_evaluating_only_gives_what_training_gave(tmp_path, make):
    brain = fit(make(tmp_path), Clips(16), Clips(7))
    options = {"test_loader_kwargs": {"batch_size": 4}}
    values = brain.evaluate(Clips(7), **options)
    again = make(tmp_path, run_opts={"test_only": True})
    fit(again, Clips(16), Clips(7))
    assert again.optimizer_step == 0
    assert again.evaluate(Clips(7), **options) == values


def test_evaluation_leaves_no_trace_in_training(tmp_path):
    options = {"reconstruction": False}  # nothing to draw
    alone = fit(pretraining_brain(tmp_path / "alone", **options), Clips(10))
    watched = pretraining_brain(tmp_path / "watched", valid_interval=1, **options)
    fit(watched, Clips(10), Clips(5))
    assert losses(watched) == losses(alone)
    assert len(losses(watched, "valid")) == 6


@pytest.mark.parametrize("make", BRAINS)
def test_debugging_runs_a_few_batches_to_the_end(tmp_path, make):
    brain = make(tmp_path, run_opts={"debug": True})
    train, test = Clips(20), Clips(20)
    fit(brain, train, Clips(20))
    brain.evaluate(test, test_loader_kwargs={"batch_size": 4})
    assert len({key.index for key in test.asked}) == 8  # two batches
    assert brain.checkpointer.checkpoints_dir != tmp_path / "save"


@pytest.mark.parametrize("make", BRAINS)
def test_debugging_leaves_the_records_of_the_run_alone(tmp_path, make):
    brain = make(tmp_path)
    fit(brain, Clips(20), Clips(20))
    brain.evaluate(Clips(20), test_loader_kwargs={"batch_size": 4})
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    assert tmp_path / "results.json" in before and tmp_path / "metrics.jsonl" in before
    brain = make(tmp_path, run_opts={"debug": True})
    fit(brain, Clips(20), Clips(20))
    brain.evaluate(Clips(20), test_loader_kwargs={"batch_size": 4})
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_debugging_does_not_train_on(tmp_path):
    brain = pretraining_brain(tmp_path, run_opts={"debug": True, "debug_batches": 3})
    assert fit(brain, Clips(20)).optimizer_step == 3


@pytest.mark.parametrize("make", BRAINS)
def test_a_step_limit_of_the_command_line_is_a_string_and_stops_training(tmp_path, make):
    brain = make(tmp_path, run_opts={"optimizer_step_limit": "3"})
    assert fit(brain, Clips(32), Clips(4)).optimizer_step == 3


def test_wall_clock_seconds_go_on_where_they_stopped(tmp_path):
    brain = classification_brain(tmp_path)
    brain.position._seconds_before = 1000.0
    fit(brain, Clips(4))
    again = classification_brain(tmp_path)
    again.on_fit_start()
    assert 1000 < again.position.seconds < 1060


def test_geometry_is_part_of_the_saved_weights(tmp_path):
    fit(pretraining_brain(tmp_path), Clips(8))
    saved = pretraining_brain(tmp_path).checkpointer.find_checkpoint().paramfiles["model"]
    assert torch.load(saved)["encoder._extra_state"] == tiny_encoder().geometry()


def test_a_gradient_that_is_not_finite_spoils_no_checkpoint(tmp_path):
    brain = pretraining_brain(tmp_path, num_steps=6, checkpoint_interval=2, log_interval=100)
    spoil = brain.modules.model.encoder.norm.weight
    spoil.register_hook(lambda grad: grad * float("nan") if brain.optimizer_step == 3 else grad)
    with pytest.raises(NonFiniteLossError, match="weights are not finite after step 4"):
        fit(brain, Clips(8))
    saved = brain.checkpointer.find_checkpoint()
    assert saved.meta["step"] == 2
    weights = torch.load(saved.path / "model.ckpt", weights_only=True)
    assert all(value.isfinite().all() for value in weights.values() if torch.is_tensor(value))


def test_other_learning_rates_or_batches_are_refused_on_resuming(tmp_path):
    fit(pretraining_brain(tmp_path, num_steps=2), Clips(8))
    with pytest.raises(ValueError, match=r"learning rates \[0.01\], not \[0.5\]"):
        fit(pretraining_brain(tmp_path, num_steps=4, lr=0.5), Clips(8))
    with pytest.raises(ValueError, match="seed was 1, not 2"):
        fit(pretraining_brain(tmp_path, num_steps=4, seed=2), Clips(8))
    with pytest.raises(ValueError, match="clips_per_step was 4, not 8"):
        brain = pretraining_brain(tmp_path, num_steps=4)
        brain.fit([1], Clips(8), train_loader_kwargs={"batch_size": 8})


@pytest.mark.parametrize("option", ["ckpt_interval_minutes", "ckpt_interval_steps"])
def test_run_options_without_effect_are_refused(tmp_path, option):
    with pytest.raises(ValueError, match=f"{option} has no effect here; use checkpoint_interval"):
        pretraining_brain(tmp_path, run_opts={option: 5})


def test_accumulated_steps_leave_no_clip_of_an_epoch_out(tmp_path):
    weights = []
    for name, batch_size, accumulation in (("one", 4, 1), ("two", 2, 2)):
        run_opts = {"grad_accumulation_factor": accumulation}
        brain = classification_brain(tmp_path / name, run_opts=run_opts, num_epochs=1, **descent())
        loader = {"batch_size": batch_size}
        brain.fit(brain.hparams.epoch_counter, Clips(11), train_loader_kwargs=loader)
        assert brain.optimizer_step == 3
        weights.append([value.clone() for value in brain.modules.model.parameters()])
    for one, two in zip(*weights, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def attributes(kind, context):
    """Those of `self` that a class's own code reads or sets."""
    nodes = ast.walk(ast.parse(textwrap.dedent(inspect.getsource(kind))))
    of_self = (
        node
        for node in nodes
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self"
    )
    return {node.attr for node in of_self if isinstance(node.ctx, context)}


@pytest.mark.parametrize("kind", [MendedBrain, BaseBrain, PretrainingBrain, ClassificationBrain])
def test_a_brain_uses_what_it_or_a_class_below_it_defines(kind):
    bases = kind.__mro__[:-1]
    defined = {*dir(kind), *RunOptions().keys()}
    defined |= {name for base in bases for name in attributes(base, ast.Store)}
    assert attributes(kind, ast.Load) - defined == set()
