"""How a Brain goes through training: by epochs or by steps."""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from speechbrain import Stage
from torch.utils.data import DataLoader
from tqdm import tqdm

from ssast_recipes.brains.logs import tell_start
from ssast_recipes.brains.selection import EarlyStopping, WeightAverage

logger = logging.getLogger(__name__)


class Training:
    """The part of `BaseBrain` that trains, validates and saves when it is time.

    By epochs: validates and saves after each. With `hparams.num_steps`, by steps: runs across the
    ends of epochs, validates every `valid_interval` steps and after the last. Either way,
    saves every `checkpoint_interval` steps, too.
    """

    def plan_training(self) -> None:
        """Reads from `hparams` how far to train and what to keep of it.

        Raises
        ------
        ValueError
            If weights are to be averaged over epochs where steps are counted.
        """
        self.continuous = self.hparams.num_steps is not None
        if self.continuous:
            limits = [int(self.hparams.num_steps), self.optimizer_step_limit]
            limits.append(self.debug_batches if self.debug else None)
            self.optimizer_step_limit = min(limit for limit in limits if limit is not None)
        self.stopping = EarlyStopping(self.hparams.patience)
        self.average: WeightAverage | None = None
        if self.hparams.average_epochs is not None:
            if self.continuous:
                raise ValueError("average_epochs counts epochs, num_steps steps; set one to null")
            epochs = self.hparams.average_epochs
            if not isinstance(epochs, list | tuple) or [type(one) for one in epochs] != [int, int]:
                raise ValueError(f"average_epochs is {epochs!r}; give [first, last], or null")
            self.average = WeightAverage(*epochs)
            self.checkpointer.add_recoverable("average", self.average)
        self._valid_loader: DataLoader | None = None
        self._bar = tqdm(disable=True)

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
        self._valid_loader = valid_set
        if valid_set is not None and not isinstance(valid_set, DataLoader):
            self._valid_loader = self.make_dataloader(
                valid_set, Stage.VALID, **(valid_loader_kwargs or {})
            )
            if self._valid_loader.persistent_workers:
                iter(self._valid_loader)  # forks now, while no other thread is at work
        epochs = self._unless_finished([1] if self.continuous else epoch_counter)
        options = train_loader_kwargs or {}
        super().fit(epochs, train_set, None, progressbar, train_loader_kwargs=options)

    def _unless_finished(self, epochs: Iterable[int]) -> Iterator[int]:
        for epoch in epochs:
            if self._optimizer_step_limit_exceeded:
                return
            yield epoch

    @property
    def _optimizer_step_limit_exceeded(self) -> bool:
        return super()._optimizer_step_limit_exceeded or self.stopping.is_due

    def on_fit_start(self) -> None:
        """Prepares modules and optimiser, recovers the newest checkpoint, tells what is to run."""
        super().on_fit_start()
        self._check_learning_rates()
        self.log.rewind(self.optimizer_step)
        if self.train_sampler is not None:
            num_steps = self.optimizer_step_limit if self.continuous else None
            valid = self._valid_loader
            tell_start(self, num_steps, None if valid is None else len(valid.dataset))

    def _fit_train(self, train_set: DataLoader, epoch: int, enable: bool) -> None:
        self.epoch = epoch
        self.on_stage_start(Stage.TRAIN, epoch)
        self.modules.train()
        self.zero_grad(set_to_none=True)
        self.train_sampler.start_at(epoch, self.step)
        self.window.start()
        batches_left = None if self.continuous else len(train_set)
        first = self.step
        debugged = False
        with self.progress_bar(train_set, enable) as self._bar:
            for batch in train_set:
                self.step += 1
                self.fit_batch(batch)
                debugged = self.debug and self.step == self.debug_batches
                if debugged or self._optimizer_step_limit_exceeded:
                    break
            self.log_training()
        self.zero_grad(set_to_none=True)
        self.on_stage_end(Stage.TRAIN, self.avg_train_loss, epoch)
        # A limit of steps may cut an epoch short: then the next run goes on within it.
        self._epoch_ended = self.continuous or self.step - first == batches_left
        if self._epoch_ended or debugged:
            self.step = 0

    def _fit_valid(self, valid_set: DataLoader | None, epoch: int, enable: bool) -> None:
        if self.continuous:
            return
        if self.average is not None and self._epoch_ended:
            self.average.observe(self.model, epoch)
        scores = {} if self._valid_loader is None else self.validate(enable)
        self.save(scores, end_of_epoch=self._epoch_ended)

    def on_step_end(self) -> None:
        """Validates and saves when it is time."""
        last = self.continuous and self._optimizer_step_limit_exceeded
        validates = self.continuous and self._valid_loader is not None
        if validates and (last or self._is_time(self.hparams.valid_interval)):
            self.save(self.validate(), end_of_epoch=False)
        elif last or self._is_time(self.hparams.checkpoint_interval):
            self.save({}, end_of_epoch=False)

    def _is_time(self, interval: int) -> bool:
        return interval > 0 and self.optimizer_step % interval == 0

    def validate(self, enable: bool = False) -> dict[str, float]:
        """Measures the validation set, logs it, tells the schedule and counts the patience.

        Arguments
        ---------
        enable : bool
            Whether to show a progress bar.

        Returns
        -------
        dict[str, float]
            The metrics and, as `valid_score`, what selects the best.
        """
        self.log_training()
        self.on_stage_start(Stage.VALID, self.epoch)
        scores = self.evaluate_set(self._valid_loader, Stage.VALID, enable)
        self.modules.train()
        scores["valid_score"] = self.score(scores)
        if hasattr(self.schedule, "observe"):
            self.schedule.observe(scores["valid_score"], step=self.optimizer_step)
        self.stopping.observe(scores["valid_score"])
        self.log.write("valid", {"step": self.optimizer_step, "epoch": self.epoch, **scores})
        if self.stopping.is_due:
            logger.info("No new best in %d validations: training ends", self.stopping.patience)
        self.on_stage_end(Stage.VALID, scores["loss"], self.epoch)
        self.window.start()
        return scores

    def progress_bar(self, train_set: DataLoader, enable: bool) -> tqdm:
        """Returns the bar that counts optimiser steps: of the epoch, or of the whole run."""
        options = {"disable": not enable, "dynamic_ncols": True}
        if self.continuous:
            total, done = self.optimizer_step_limit, self.optimizer_step
            return tqdm(total=total, initial=done, desc="training", **options)
        steps = -(-len(train_set) // self.grad_accumulation_factor)
        return tqdm(total=steps, desc=f"epoch {self.epoch}", **options)
