"""The Brain under both of ours: a training from its first batch to its results."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from speechbrain import Stage
from speechbrain.utils.distributed import if_main_process
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from ssast_recipes.brains.loading import begin, fork_workers
from ssast_recipes.brains.logs import (
    LossWindow,
    peak_memory,
    tell_length,
    tell_model,
    tell_warmup,
)
from ssast_recipes.brains.measuring import MeasuringBrain
from ssast_recipes.brains.optimising import check_weights
from ssast_recipes.brains.selection import EarlyStopping
from ssast_recipes.data.batches import ClipBatch
from ssast_recipes.system.interruption import raise_if_interrupted, telling_interrupts

logger = logging.getLogger(__name__)


class BaseBrain(MeasuringBrain):
    """A Brain that does not wait for the device and resumes exactly.

    By epochs: validates and saves after each. With `hparams.num_steps`, by steps: runs across the
    ends of epochs, validates every `valid_interval` steps and after the last. Either way, saves
    every `checkpoint_interval` steps, too.

    Losses stay on the device and are read, reduced over processes and checked for finiteness every
    `log_interval` steps.

    Sub-classes implement `compute_forward`, `compute_objectives` (which leaves a batch's metrics in
    `self.metrics`, a dict of scalar tensors) and what stands at the end of `MeasuringBrain`.

    Needed in `hparams` besides what `MeasuringBrain` needs: `log_interval`, `checkpoint_interval`
    (0 for none) and `checkpoints_to_keep`. `optional` lists what may be left out.
    """

    optional = MeasuringBrain.optional | {
        "valid_interval": 0,  # with num_steps, validate so often; 0: after the last step only
        "patience": None,  # validations without a new best that end training; None: none do
    }

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        limits = [self.optimizer_step_limit, self.hparams.num_steps]  # the command line's: a string
        limits.append(self.debug_batches if self.debug and self.by_steps else None)
        self.last_step = min((int(limit) for limit in limits if limit is not None), default=None)
        if self.by_steps:
            tell_warmup(self.schedule, int(self.hparams.num_steps))
        self.stopping = EarlyStopping(self.hparams.patience)
        self.position.parts["stopping"] = self.stopping
        self.metrics: dict[str, Tensor] = {}
        self.window = LossWindow(self.world_size)
        self.valid_loader: DataLoader | None = None
        self._bar = tqdm(disable=True)

    # ---- training

    def fit(
        self,
        epoch_counter: Iterable[int],
        train_set: Any,
        valid_set: Any = None,
        progressbar: bool | None = None,
        train_loader_kwargs: dict[str, Any] | None = None,
        valid_loader_kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Trains; arguments as SpeechBrain's, `epoch_counter` being unused if steps are counted."""
        if self.test_only:
            return
        with telling_interrupts(self._describe_interruption):
            self.valid_loader = self._as_loader(valid_set, Stage.VALID, valid_loader_kwargs)
            if self.valid_loader is not None and self.valid_loader.persistent_workers:
                fork_workers(self.valid_loader)  # now, while no other thread is at work
            loader = self._as_loader(train_set, Stage.TRAIN, train_loader_kwargs)
            self.on_fit_start()
            if not self.by_steps and hasattr(epoch_counter, "limit"):
                steps = -(-len(loader) // self.grad_accumulation_factor)
                tell_warmup(self.schedule, steps * epoch_counter.limit)
            enable = not self.noprogressbar if progressbar is None else progressbar
            for epoch in [1] if self.by_steps else epoch_counter:
                if self.is_finished:
                    break
                self.fit_epoch(loader, epoch, enable and if_main_process())
                if self.debug and epoch == self.debug_epochs:
                    break

    def fit_epoch(self, loader: DataLoader, epoch: int, enable: bool) -> None:
        """Trains for an epoch, validates and saves; counting steps, trains to the last of them."""
        self.position.epoch = epoch
        self.on_stage_start(Stage.TRAIN, epoch)
        self.modules.train()
        self.zero_grad(set_to_none=True)
        self.train_sampler.start_at(epoch, self.step)
        self.window.start()
        end = None if self.by_steps else self.step + len(loader)
        is_debugged = False
        with self._progress_bar(loader, enable) as self._bar:
            for batch in begin(loader):
                raise_if_interrupted()
                self.step += 1
                self.fit_batch(batch)
                is_debugged = self.debug and self.step == self.debug_batches
                if is_debugged or self.is_finished:
                    break
            self.log_training()
        self.zero_grad(set_to_none=True)
        self.on_stage_end(Stage.TRAIN, self.avg_train_loss, epoch)
        # A limit of steps may cut an epoch short: then the next run goes on within it.
        has_ended = self.by_steps or self.step == end
        if has_ended or is_debugged:
            self.step = 0
        if not self.by_steps:
            if self.average is not None and has_ended:
                self.average.observe(self.model, epoch)
            self.save({} if self.valid_loader is None else self.validate(enable), has_ended)

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
            self.window.add_norm(self.optimizers_step())
        self.on_fit_batch_end(batch, outputs, loss, should_step)
        return loss.detach()

    def on_fit_batch_start(self, batch: ClipBatch, should_step: bool) -> None:
        """Counts the epochs whose ends batches run across."""
        if self.by_steps:
            self.position.epoch = self.train_sampler.epoch_of(self.step - 1)

    def on_fit_batch_end(
        self, batch: ClipBatch, outputs: Any, loss: Tensor, should_step: bool
    ) -> None:
        """After a step: logs if it is time, then calls `on_step_end`."""
        if should_step:
            self._bar.update()
            if self.is_time(self.hparams.log_interval):
                self.log_training()
            self.on_step_end()

    def on_step_end(self) -> None:
        """Validates and saves when it is time."""
        last = self.by_steps and self.is_finished
        validates = self.by_steps and self.valid_loader is not None
        if validates and (last or self.is_time(self.hparams.valid_interval)):
            self.save(self.validate(), end_of_epoch=False)
        elif last or self.is_time(self.hparams.checkpoint_interval):
            self.save({}, end_of_epoch=False)

    def is_time(self, interval: int) -> bool:
        """Whether an interval, in steps, has passed; never if it is 0."""
        return interval > 0 and self.optimizer_step % interval == 0

    @property
    def is_finished(self) -> bool:
        """Whether the last step was made, or patience is at its end."""
        at_limit = self.last_step is not None and self.optimizer_step >= self.last_step
        return at_limit or self.stopping.is_due

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
        place = {"step": self.optimizer_step, "epoch": self.position.epoch}
        rate = self.optimizer.param_groups[0]["lr"]
        read = {**self.window.read(), **peak_memory(self.device)}
        record = {**place, **read, "learning_rate": rate}
        self.avg_train_loss = record["loss"]
        self.log.write("train", record)
        shown = ("loss", self.metric_name, "learning_rate", "clips_per_second")
        told = {key: f"{record[key]:.3g}" for key in shown if key in record}
        self._bar.set_postfix(told, refresh=False)

    def save(self, scores: Mapping[str, Any], end_of_epoch: bool) -> None:
        """Saves a checkpoint and keeps the newest and the best `checkpoints_to_keep`.

        Arguments
        ---------
        scores : mapping
            What validation gave, among it `valid_score`; empty without one.
        end_of_epoch : bool
            Whether the next epoch is to follow.

        Raises
        ------
        NonFiniteLossError
            If the loss or a weight is not finite.
        """
        self.log_training()
        check_weights(self.modules, self.optimizer_step)
        meta = {"step": self.optimizer_step, "epoch": self.position.epoch, **scores}
        self.checkpointer.save_checkpoint(meta=meta, end_of_epoch=end_of_epoch)
        self.checkpointer.delete_checkpoints(
            num_to_keep=self.hparams.checkpoints_to_keep, max_keys=["valid_score"]
        )

    # ---- measuring

    def validate(self, enable: bool = False) -> dict[str, float]:
        """Measures the validation set, logs it, tells the schedule and counts the patience.

        Returns the metrics and, as `valid_score`, what selects the best.
        """
        step, epoch = self.optimizer_step, self.position.epoch
        self.log_training()
        self.on_stage_start(Stage.VALID, epoch)
        scores = self.evaluate_set(self.valid_loader, Stage.VALID, enable)
        self.modules.train()
        scores["valid_score"] = self.score(scores)
        if hasattr(self.schedule, "observe"):
            self.schedule.observe(scores["valid_score"], step=step)
        self.stopping.observe(scores["valid_score"])
        self.log.write("valid", {"step": step, "epoch": epoch, **scores})
        if self.stopping.is_due:
            logger.info("No new best in %d validations: training ends", self.stopping.patience)
        self.on_stage_end(Stage.VALID, scores["loss"], epoch)
        self.window.start()
        return scores

    # ---- steps on the way

    def on_fit_start(self) -> None:
        """Makes ready to train, from the newest checkpoint, and tells what is to run."""
        super().on_fit_start()
        within_epoch = not self.by_steps and self.position.step > 0
        self.log.rewind(self.optimizer_step, validates_again=within_epoch)
        if self.train_sampler is not None:
            num_valid = None if self.valid_loader is None else len(self.valid_loader.dataset)
            tell_model(self.modules, self.device, self.precision, self.world_size)
            num_steps = self.last_step if self.by_steps else None
            tell_length(self.train_sampler, num_steps, num_valid, done=self.optimizer_step)
            logger.info("Output folder: %s", self.hparams.output_folder)

    def _as_loader(
        self, data: Any, stage: Stage, options: dict[str, Any] | None
    ) -> DataLoader | None:
        if data is None or isinstance(data, DataLoader):
            return data
        return self.make_dataloader(data, stage, **(options or {}))

    def _progress_bar(self, loader: DataLoader, enable: bool) -> tqdm:
        """Counts optimiser steps, in a terminal: of the epoch, or of the whole run."""
        options = {"disable": None if enable else True, "dynamic_ncols": True}
        if self.by_steps:
            done = self.optimizer_step
            return tqdm(total=self.last_step, initial=done, desc="training", **options)
        steps = -(-len(loader) // self.grad_accumulation_factor)
        return tqdm(total=steps, desc=f"epoch {self.position.epoch}", **options)
