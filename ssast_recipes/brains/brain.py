"""What SpeechBrain's Brain needs mended, once, under both of our Brains."""

import inspect
import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import speechbrain as sb
import torch
from speechbrain import Stage
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ssast_recipes.brains.evaluation import Evaluation
from ssast_recipes.brains.logs import LossWindow, TrainingLog
from ssast_recipes.brains.loop import Training
from ssast_recipes.brains.rejection import RejectedClips
from ssast_recipes.brains.resuming import Resumption
from ssast_recipes.data.batches import ClipBatch, collate
from ssast_recipes.data.sampling import EvaluationBatches, TrainingBatches

_MOST_SECONDS_WITHOUT_DATA = 900
# SpeechBrain's run options that belong to what is replaced here: better refused than ignored.
_REFUSED_OPTIONS = {
    "ckpt_interval_minutes": "use checkpoint_interval, in steps",
    "ckpt_interval_steps": "use checkpoint_interval",
    "skip_nonfinite_grads": "set max_grad_norm; a loss that is not finite ends the run",
    "profile_training": "run torch.profiler around train.py",
}


class BaseBrain(Training, Evaluation, Resumption, sb.Brain):
    """A Brain that does not wait for the device, resumes exactly and evaluates on all processes.

    Differences from SpeechBrain's: losses stay on the device and are read, reduced over processes
    and checked for finiteness every `log_interval` steps; gradients of all parameter groups are
    clipped together, and not at all if `max_grad_norm` is 0 or below; learning rates follow
    `hparams.schedule`, group by group; batches are a function of (seed, epoch, position), shared
    out over processes; evaluating without a checkpoint is an error.

    Made of `Training` (the loop, by epochs or by steps), `Evaluation` and `Resumption`; here are
    data, optimisation and logging. Sub-classes implement `compute_forward`, `compute_objectives`
    (which leaves a batch's metrics in `self.metrics`, a dict of scalar tensors) and what
    `Evaluation` asks for.

    Needed in `hparams`: `seed`, `schedule`, `log_interval`, `checkpoint_interval` (0 for none),
    `training_log`, `checkpoints_to_keep` and what `results.json` records. `optional` lists what
    may be left out.
    """

    #: What may be left out of `hparams`, and what it is then.
    optional: dict[str, Any] = {
        "num_steps": None,  # steps to train; None: `epoch_counter` counts epochs
        "valid_interval": 0,  # with num_steps, validate so often; 0: after the last step only
        "patience": None,  # validations without a new best that end training; None: none do
        "average_epochs": None,  # [first, last]: their mean weights are evaluated, too
        "sample_weights": None,  # labels of all clips to weights: draw by them, with replacement
        "max_rejected": 0.01,  # share of the clips that may turn out to be unreadable
    }

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.hparams = SimpleNamespace(**{**self.optional, **vars(self.hparams)})
        for option in _REFUSED_OPTIONS:
            if getattr(self, option):
                raise ValueError(f"{option} has no effect here; {_REFUSED_OPTIONS[option]}")
        self.schedule = self.hparams.schedule
        self.log = self.hparams.training_log
        if self.debug and self.checkpointer is not None:
            # Where SpeechBrain then keeps checkpoints: the run's own records stay as they are.
            record = Path(self.hparams.output_folder) / "hyperparams.yaml"
            self.hparams.output_folder = str(self.checkpointer.checkpoints_dir)
            if record.exists():
                shutil.copy(record, self.hparams.output_folder)
            self.log = TrainingLog(self.hparams.output_folder, tensorboard=False)
        self.epoch = 1
        self.train_clips: str | None = None
        self.rejected = RejectedClips(self.hparams.output_folder, self.hparams.max_rejected)
        if self.optimizer_step_limit is not None:
            # The command line leaves it a string.
            self.optimizer_step_limit = int(self.optimizer_step_limit)
        self._seconds_before, self._start = 0.0, time.perf_counter()
        self.metrics: dict[str, Tensor] = {}
        self.window = LossWindow(self.world_size)
        self.plan_training()

    @property
    def model(self) -> nn.Module:
        """The model itself, unwrapped of what distributes and compiles it."""
        model = getattr(self.modules.model, "module", self.modules.model)
        return getattr(model, "_orig_mod", model)

    @property
    def front_end(self) -> nn.Module:
        """The front end itself, not compiled: for clips of many lengths."""
        return getattr(self.modules.front_end, "_orig_mod", self.modules.front_end)

    @property
    def world_size(self) -> int:
        """The number of processes."""
        return torch.distributed.get_world_size() if self.distributed_launch else 1

    # Data

    def make_dataloader(
        self,
        dataset: Dataset,
        stage: Stage,
        ckpt_prefix: str | None = None,
        **loader_kwargs: Any,
    ) -> DataLoader:
        """Makes the loader of this process's share of a data set.

        Nothing of it needs saving: `TrainingBatches` are a function of their number.

        Arguments
        ---------
        dataset : Dataset
            Clips, asked for by `ClipKey`.
        stage : Stage
            Training batches are shuffled, or drawn by `sample_weights`; others are in order, each
            clip once over all processes.
        ckpt_prefix : str, optional
            Unused; SpeechBrain passes it.
        **loader_kwargs
            `batch_size`, `shuffle` and `shard_spread` (training only; see `TrainingBatches`), and
            options of torch's DataLoader.

        Returns
        -------
        DataLoader
            Yields `ClipBatch`.
        """
        options = dict(loader_kwargs)
        rank = self.rank if self.distributed_launch else 0
        shared = {"rank": rank, "world_size": self.world_size}
        batch_size = options.pop("batch_size", 1)
        shuffle = options.pop("shuffle", True)
        if stage == Stage.TRAIN:
            self.train_clips = getattr(dataset, "digest", None)
            weigh = self.hparams.sample_weights
            batches = self.train_sampler = TrainingBatches(
                len(dataset),
                batch_size,
                seed=self.hparams.seed,
                shuffle=shuffle,
                accumulation=self.grad_accumulation_factor,
                continuous=self.continuous,
                shards=getattr(dataset, "shards", None),
                spread=options.pop("shard_spread", 10_000),
                weights=None if weigh is None else weigh(dataset.labels),
                **shared,
            )
        else:
            batches = EvaluationBatches(len(dataset), batch_size, **shared)
        options.setdefault("pin_memory", self.device_type == "cuda")
        if options.get("num_workers"):
            # Before 3.12, a fork of Python may hang for ever if another thread, of torch's
            # collectives for instance, comes or goes at that moment: one fork, not one a pass, and
            # an error in the end, from which the same command goes on.
            options.setdefault("persistent_workers", True)
            options.setdefault("timeout", _MOST_SECONDS_WITHOUT_DATA)
        together = partial(collate, least_samples=self._least_samples())
        return DataLoader(dataset, batch_sampler=batches, collate_fn=together, **options)

    def _least_samples(self) -> int:
        """What waveforms are padded to: a compiled front end is compiled anew for every length."""
        if not self.compile:
            return 0
        return self.front_end.filterbank.num_samples(self.front_end.target_length)

    # Optimisation

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns the optimiser's parameter groups.

        An `lr_factor` in a group is the group's learning rate over the optimiser's.
        """
        return [{"params": [p for p in self.modules.parameters() if p.requires_grad]}]

    def init_optimizers(self) -> None:
        """Makes the optimiser of `parameter_groups` and remembers each group's learning rate."""
        groups = self.parameter_groups()
        if self.remove_vector_weight_decay:
            groups = [part for group in groups for part in _split_vectors(group)]
        self.optimizer = self.opt_class(groups, **self._fused())
        for group in self.optimizer.param_groups:
            group["initial_lr"] = group["lr"] = group["lr"] * group.pop("lr_factor", 1)
        self._learning_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.optimizers_dict = {"opt_class": self.optimizer}
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("optimizer", self.optimizer)

    def _fused(self) -> dict[str, bool]:
        """On a GPU, one kernel a step in place of several a parameter, if the optimiser has it."""
        given = getattr(self.opt_class, "keywords", {})  # of a partial
        chosen = {"fused", "foreach", "capturable", "differentiable"} & {*given}
        has_it = "fused" in inspect.signature(self.opt_class).parameters
        return {"fused": True} if self.device_type == "cuda" and has_it and not chosen else {}

    def fit_batch(self, batch: ClipBatch) -> Tensor:
        """Makes one forward and backward pass, and a step if enough gradients are accumulated."""
        self.rejected.add(batch.rejected)
        batch = batch.to(self.device)
        clips_of_step, should_step = self.train_sampler.step_of(self.step - 1)
        self.on_fit_batch_start(batch, should_step)
        with self.no_sync(not should_step):
            with self.training_ctx:
                outputs = self.compute_forward(batch, Stage.TRAIN)
                loss = self.compute_objectives(outputs, batch, Stage.TRAIN)
            # Weighed by clips, a step's gradient is that of one large batch, the epoch's last too.
            self.scaler.scale(loss * (len(batch) / clips_of_step)).backward()
        self.window.add({"loss": loss, **self.metrics}, self.optimizer_step + 1, len(batch))
        if should_step:
            self.optimizers_step()
        self.on_fit_batch_end(batch, outputs, loss, should_step)
        return loss.detach()

    def optimizers_step(self) -> None:
        """Sets the scheduled learning rates, clips the gradients of all groups, steps."""
        factor = self.schedule.factor(step=self.optimizer_step, epoch=self.epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        if self.max_grad_norm > 0:
            self.scaler.unscale_(self.optimizer)
            parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer_step += 1

    def on_fit_batch_start(self, batch: ClipBatch, should_step: bool) -> None:
        """Counts the epochs whose ends batches run across."""
        if self.continuous:
            batches = self.train_sampler
            self.epoch = 1 + (self.step * batches.clips_per_batch - 1) // batches.num_clips

    def on_fit_batch_end(
        self, batch: ClipBatch, outputs: Any, loss: Tensor, should_step: bool
    ) -> None:
        """After a step: logs if it is time, then calls `on_step_end`."""
        if should_step:
            self._bar.update()
            if self.optimizer_step % self.hparams.log_interval == 0:
                self.log_training()
            self.on_step_end()

    # Logging

    def log_training(self) -> None:
        """Reads the losses since the last time from the device, checks them and writes them down.

        Raises
        ------
        NonFiniteLossError
            If one of them is not finite.
        ValueError
            If too many clips could not be read.
        """
        if not self.window.rows:
            return
        self.rejected.check(self.train_sampler.num_clips)
        record = {
            "step": self.optimizer_step,
            "epoch": self.epoch,
            **self.window.read(),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
        }
        self.avg_train_loss = record["loss"]
        self.log.write("train", record)
        shown = ("loss", self.metric_name, "learning_rate", "clips_per_second")
        self._bar.set_postfix(
            {key: f"{record[key]:.3g}" for key in shown if key in record}, refresh=False
        )


def _split_vectors(group: dict[str, Any]) -> Sequence[dict[str, Any]]:
    matrices = [parameter for parameter in group["params"] if parameter.ndim > 1]
    vectors = [parameter for parameter in group["params"] if parameter.ndim <= 1]
    return {**group, "params": matrices}, {**group, "params": vectors, "weight_decay": 0.0}
