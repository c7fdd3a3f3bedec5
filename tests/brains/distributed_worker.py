"""One of the processes of test_distributed.py: fine-tunes a tiny Brain and stops on a bad loss.

torchrun … tests/brains/distributed_worker.py FOLDER [compiled|stopped]
"""

import os
import signal
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import speechbrain.utils.distributed
import torch
from speechbrain.utils.distributed import ddp_barrier, ddp_init_group
from speechbrain.utils.run_opts import RunOptions
from torch._dynamo.backends.debugging import aot_eager
from torch.nn.parallel import DistributedDataParallel

from ssast_recipes.brains.checkpointer import AtomicCheckpointer
from ssast_recipes.brains.logs import NonFiniteLossError
from ssast_recipes.data.class_weights import class_balanced_weights
from ssast_recipes.model.augment import NoiseAndRoll, SpeechSpecAugment
from ssast_recipes.objectives.metrics import d_prime, mean_average_precision
from ssast_recipes.objectives.schedules import EpochDecay
from ssast_recipes.runs.command_line import leave_together, run_experiment
from tests.brains.spoken import Spoken, recognition_brain
from tests.brains.spoken import evaluate as evaluate_spoken
from tests.brains.spoken import fit as fit_spoken
from tests.brains.tiny import Clips, classification_brain, fit, losses, pretraining_brain, weights

GLOBAL_BATCH_SIZE = 4


def fine_tune(folder: Path, world_size: int = 1):
    """Fine-tunes for two epochs of two and a half batches and evaluates on seven clips.

    Returns the Brain, what it asked of the training and of the test set, and the values.
    """
    brain = classification_brain(
        folder,
        run_opts={"distributed_backend": "gloo"},
        opt_class=partial(torch.optim.SGD, lr=0.05),
        lr=0.05,
        schedule=EpochDecay(first_epoch=1),
        noise_and_roll=NoiseAndRoll(),
        checkpoint_interval=2,
        max_grad_norm=1.0,
    )
    size = GLOBAL_BATCH_SIZE // world_size
    train, test = Clips(10), Clips(7)
    fit(brain, train, Clips(5), batch_size=size)
    values = brain.evaluate(test, test_loader_kwargs={"batch_size": size})
    return brain, train.asked, test.asked, values


def tag(folder: Path, world_size: int = 1):
    """Trains on several labels a clip, drawn by weights and by steps, and evaluates.

    Returns what it asked of the training set, the values and what results.json says of them.
    """

    def several(index):
        return torch.tensor([index % 2 == 0, index % 3 == 0, index % 4 < 2]).float()

    brain = classification_brain(
        folder,
        run_opts={"distributed_backend": "gloo"},
        opt_class=partial(torch.optim.SGD, lr=0.05),
        lr=0.05,
        loss=torch.nn.functional.binary_cross_entropy_with_logits,
        metric=mean_average_precision,
        metric_name="mAP",
        further_metrics={"d_prime": d_prime},
        sample_weights=class_balanced_weights,
        class_weights="balanced",
        num_steps=5,
        valid_interval=2,
    )
    size = GLOBAL_BATCH_SIZE // world_size
    train = Clips(10, target=several)
    fit(brain, train, Clips(7, target=several), batch_size=size)
    values = brain.evaluate(Clips(9, target=several), test_loader_kwargs={"batch_size": size})
    valid = [record for record in brain.log.read() if record["stage"] == "valid"]
    return [tuple(key) for key in train.asked], values, valid


def recognise(folder: Path, world_size: int = 1):
    """Trains a recogniser on batches by length, accumulated where one process makes the step.

    Returns what it asked of the training set, its weights, values and what it recognised.
    """
    brain = recognition_brain(
        folder,
        run_opts={"distributed_backend": "gloo"},
        opt_class=partial(torch.optim.SGD, lr=0.05),
        depth=1,
        num_steps=4,
        valid_interval=2,
        grad_accumulation_factor=2 // world_size,
        spec_augment=SpeechSpecAugment(),
    )
    train = Spoken(9)
    fit_spoken(brain, train, Spoken(5, seed=1), seconds=4.0)
    values = evaluate_spoken(brain, Spoken(7, seed=2), seconds=4.0)
    valid = [record for record in brain.log.read() if record["stage"] == "valid"]
    return [tuple(key) for key in train.asked], weights(brain), values, valid


class BrokenHere(AtomicCheckpointer):
    """A checkpointer that cannot read the checkpoints of a step, on this process."""

    step = None

    def load_checkpoint(self, checkpoint):
        super().load_checkpoint(checkpoint)
        if checkpoint.meta["step"] == self.step:
            raise EOFError("half a file")


def recovered_step(folder: Path, rank: int) -> int:
    """The step that a process goes on from when the other one cannot read the newest checkpoint."""
    model = torch.nn.Linear(1, 1)
    checkpointer = BrokenHere(folder, {"model": model})
    for step in (1, 2, 3):
        model.weight.data.fill_(step)
        saved = checkpointer.save_checkpoint(meta={"step": step})
        if saved is not None:  # as earlier versions left them, which parsing alone judges
            (saved.path / "SHA256SUMS").unlink()
    ddp_barrier()
    checkpointer.step = 3 if rank == 1 else None
    found = checkpointer.recover_if_possible().meta["step"]
    assert model.weight.item() == found
    return found


def stops_together(folder: Path, rank: int) -> str:
    """What a process raises when the loss of the other one is not finite."""
    poison = float("nan") if rank == 1 else 1.0
    brain = pretraining_brain(
        folder,
        run_opts={"distributed_backend": "gloo"},
        contrastive=False,
        reconstruction_loss=lambda predictions, targets: poison * predictions.square().mean(),
        log_interval=2,
    )
    try:
        fit(brain, Clips(8))
    except NonFiniteLossError as error:
        return str(error)
    return ""


def evaluate_with_buffers(folder: Path, world_size: int = 1) -> tuple[dict, list, list[bool]]:
    """Trains and evaluates a model that has a buffer, with a batch more on the first process.

    Returns the values, the losses of validation, and of every forward pass of
    DistributedDataParallel whether it was one of training.
    """
    passes, forward = [], DistributedDataParallel.forward

    def watched(module, *args, **kwargs):
        passes.append(module.training)
        return forward(module, *args, **kwargs)

    brain = classification_brain(
        folder,
        run_opts={"distributed_backend": "gloo"},
        opt_class=partial(torch.optim.SGD, lr=0.05),
    )
    brain.model.register_buffer("mean", torch.ones(3))
    size = 2 // world_size
    DistributedDataParallel.forward = watched
    try:
        fit(brain, Clips(4), Clips(5), batch_size=size)  # to validate on: three clips, and two
        values = brain.evaluate(Clips(5), test_loader_kwargs={"batch_size": size})
    finally:
        DistributedDataParallel.forward = forward
    valid = [record["loss"] for record in brain.log.read() if record["stage"] == "valid"]
    return values, valid, passes


def compile_with_checkpointing(folder: Path, world_size: int = 1, **run_opts: bool) -> list:
    """Pretrains a model that computes its blocks again in the backward pass.

    Returns the losses of training and of validation (on the main process), and how many graphs
    were compiled: as always, but for making kernels, which takes a minute.
    """
    compiled, compile_one = [], torch.compile

    def backend(graph, inputs):
        compiled.append(graph)
        return aot_eager(graph, inputs)

    def compile_quickly(module, mode=None, **options):
        return compile_one(module, backend=backend, **options)

    torch.compile = compile_quickly
    try:
        brain = pretraining_brain(
            folder,
            run_opts={"distributed_backend": "gloo", **run_opts},
            encoder={"depth": 2, "activation_checkpointing": True},
            opt_class=partial(torch.optim.SGD, lr=0.05),
            valid_interval=3,
        )
        fit(brain, Clips(8), Clips(8), batch_size=GLOBAL_BATCH_SIZE // world_size)
    finally:
        torch.compile = compile_one
    return [losses(brain), losses(brain, "valid"), len(compiled)]


def stop_at_step_three(folder: Path, rank: int, seconds: int) -> None:
    """Pretrains as a recipe does, with so many seconds for a collective; one process stops."""
    between = SimpleNamespace(
        timedelta=lambda **given: timedelta(seconds=min(seconds, *given.values()))
    )
    speechbrain.utils.distributed.datetime = between
    ddp_init_group(RunOptions(distributed_backend="gloo"))
    brain = pretraining_brain(folder, run_opts={"distributed_backend": "gloo"}, num_steps=1000)
    begin = brain.on_fit_batch_start

    def watched(*arguments):
        if rank == 1 and brain.optimizer_step == 2:
            os.kill(os.getpid(), signal.SIGSTOP)
        begin(*arguments)

    brain.on_fit_batch_start = watched
    fit(brain, Clips(8), batch_size=2)


def main(folder: Path, rank: int) -> None:
    """Tells what this process has seen of all the above."""
    brain, asked, tested, values = fine_tune(folder / "two", world_size=2)
    told = {
        "asked": [tuple(key) for key in asked],
        "tested": [key.index for key in tested],
        "values": values,
        "weights": weights(brain),
        "tagged": tag(folder / "tagged", world_size=2),
        "with_buffers": evaluate_with_buffers(folder / "buffers", world_size=2),
        "recognised": recognise(folder / "spoken", world_size=2),
        "recovered": recovered_step(folder / "broken", rank),
        "error": stops_together(folder / "poisoned", rank),
    }
    torch.save(told, folder / f"rank{rank}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    if sys.argv[2:] == ["stopped"]:
        run_experiment(lambda arguments: stop_at_step_three(folder, rank, seconds=20))
    ddp_init_group(RunOptions(distributed_backend="gloo"))
    if sys.argv[2:] == ["compiled"]:
        told = compile_with_checkpointing(folder / "two", world_size=2, compile=True)
        torch.save(told, folder / f"rank{rank}.pt")
    else:
        main(folder, rank)
    leave_together()
