"""What SpeechBrain's Brain needs mended, once, under both of our Brains."""

import logging
import math
import time
from collections.abc import Sequence
from typing import Any

import speechbrain as sb
import torch
import yaml
from speechbrain import Stage
from speechbrain.utils.checkpoints import (
    Checkpoint,
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.distributed import if_main_process
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ssast_recipes.brains.window import LossWindow, NonFiniteLossError
from ssast_recipes.data.batches import ClipBatch, collate
from ssast_recipes.data.sampling import EvaluationBatches, TrainingBatches
from ssast_recipes.results import write_results

logger = logging.getLogger(__name__)

# SpeechBrain's run options that belong to what is replaced here: better refused than ignored.
_REFUSED_OPTIONS = {
    "ckpt_interval_minutes": "use checkpoint_interval, in steps",
    "ckpt_interval_steps": "use checkpoint_interval",
    "skip_nonfinite_grads": "set max_grad_norm; a loss that is not finite ends the run",
    "profile_training": "run torch.profiler around train.py",
}


@register_checkpoint_hooks
class BaseBrain(sb.Brain):
    """A Brain that does not wait for the device, resumes exactly and evaluates on all processes.

    Differences from SpeechBrain's: losses stay on the device and are read, reduced over processes
    and checked for finiteness every `log_interval` steps; gradients of all parameter groups are
    clipped together, and not at all if `max_grad_norm` is 0 or below; learning rates follow
    `hparams.schedule`, group by group; batches are a function of (seed, epoch, position), shared
    out over processes; evaluating without a checkpoint is an error.

    Sub-classes implement `compute_forward`, `compute_objectives` (which leaves a batch's metrics
    in `self.metrics`, a dict of scalar tensors), `evaluate_batch` and `summarise`.

    Needed in `hparams`: `seed`, `schedule`, `log_interval`, `training_log`, `checkpoints_to_keep`
    and what `results.json` records.
    """

    #: Whether training runs across the ends of epochs; see `TrainingBatches`.
    continuous = False
    #: What the progress bar shows of what is logged.
    shown_metrics = (
        "loss",
        "accuracy",
        "masked_patch_accuracy",
        "learning_rate",
        "clips_per_second",
    )

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        for option in _REFUSED_OPTIONS:
            if getattr(self, option):
                raise ValueError(f"{option} has no effect here; {_REFUSED_OPTIONS[option]}")
        self.schedule = self.hparams.schedule
        self.log = self.hparams.training_log
        self.epoch = 1
        if self.optimizer_step_limit is not None:
            # The command line leaves it a string.
            self.optimizer_step_limit = int(self.optimizer_step_limit)
        self._seconds_before, self._start = 0.0, time.perf_counter()
        self.metrics: dict[str, Tensor] = {}
        self.window = LossWindow(self.world_size)
        self._bar = tqdm(disable=True)

    @property
    def world_size(self) -> int:
        """The number of processes."""
        return torch.distributed.get_world_size() if self.distributed_launch else 1

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of this training, those before a resume included."""
        return self._seconds_before + time.perf_counter() - self._start

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
            Training batches are shuffled; others are in order, each clip once over all processes.
        ckpt_prefix : str, optional
            Unused; SpeechBrain passes it.
        **loader_kwargs
            `batch_size`, `shuffle` (training only), and options of torch's DataLoader.

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
            batches = self.train_sampler = TrainingBatches(
                len(dataset),
                batch_size,
                seed=self.hparams.seed,
                shuffle=shuffle,
                accumulation=self.grad_accumulation_factor,
                continuous=self.continuous,
                **shared,
            )
        else:
            batches = EvaluationBatches(len(dataset), batch_size, **shared)
        options.setdefault("pin_memory", self.device_type == "cuda")
        return DataLoader(dataset, batch_sampler=batches, collate_fn=collate, **options)

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
        self.optimizer = self.opt_class(groups)
        for group in self.optimizer.param_groups:
            group["initial_lr"] = group["lr"] = group["lr"] * group.pop("lr_factor", 1)
        self._learning_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.optimizers_dict = {"opt_class": self.optimizer}
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("optimizer", self.optimizer)

    def fit_batch(self, batch: ClipBatch) -> Tensor:
        """Makes one forward and backward pass, and a step if enough gradients are accumulated."""
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

    def on_fit_batch_end(
        self, batch: ClipBatch, outputs: Any, loss: Tensor, should_step: bool
    ) -> None:
        """After a step: logs if it is time, then calls `on_step_end`."""
        if should_step:
            self._bar.update()
            if self.optimizer_step % self.hparams.log_interval == 0:
                self.log_training()
            self.on_step_end()

    def on_step_end(self) -> None:
        """Called after every optimiser step."""

    # Logging

    def log_training(self) -> None:
        """Reads the losses since the last time from the device, checks them and writes them down.

        Raises
        ------
        NonFiniteLossError
            If one of them is not finite.
        """
        if not self.window.rows:
            return
        record = {
            "step": self.optimizer_step,
            "epoch": self.epoch,
            **self.window.read(),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
        }
        self.avg_train_loss = record["loss"]
        self.log.write("train", record)
        self._bar.set_postfix(
            {key: f"{record[key]:.3g}" for key in self.shown_metrics if key in record},
            refresh=False,
        )

    # Training loop

    def on_fit_start(self) -> None:
        """Prepares modules and optimiser, and recovers the newest checkpoint."""
        super().on_fit_start()
        self._check_learning_rates()
        self.log.rewind(self.optimizer_step)

    def _check_learning_rates(self) -> None:
        """Refuses to resume with other learning rates: the optimiser's own state would win."""
        found = [group["initial_lr"] for group in self.optimizer.param_groups]
        if found != self._learning_rates:
            raise ValueError(
                f"{self.checkpointer.checkpoints_dir} was trained with learning rates {found}, not "
                f"{self._learning_rates}; give those, or choose another output_folder"
            )

    def _fit_train(self, train_set: DataLoader, epoch: int, enable: bool) -> None:
        self.epoch = epoch
        self.on_stage_start(Stage.TRAIN, epoch)
        self.modules.train()
        self.zero_grad(set_to_none=True)
        self.train_sampler.start_at(epoch, self.step)
        self.window.start()
        with self.progress_bar(train_set, enable) as self._bar:
            if not self._optimizer_step_limit_exceeded:
                for batch in train_set:
                    self.step += 1
                    self.fit_batch(batch)
                    debugged = self.debug and self.step == self.debug_batches
                    if debugged or self._optimizer_step_limit_exceeded:
                        break
            self.log_training()
        self.zero_grad(set_to_none=True)
        self.on_stage_end(Stage.TRAIN, self.avg_train_loss, epoch)
        self.step = 0

    def progress_bar(self, train_set: DataLoader, enable: bool) -> tqdm:
        """Returns the bar that counts an epoch's optimiser steps."""
        steps = -(-len(train_set) // self.grad_accumulation_factor)
        return tqdm(total=steps, desc=f"epoch {self.epoch}", disable=not enable, dynamic_ncols=True)

    # Evaluation

    def evaluate_batch(self, batch: ClipBatch, stage: Stage) -> Any:
        """Returns what `summarise` needs of a batch, on the device."""
        raise NotImplementedError

    def summarise(self, outputs: list[Any], stage: Stage) -> dict[str, float]:
        """Makes metrics of the outputs of `evaluate_batch`, gathered over all processes."""
        raise NotImplementedError

    def evaluate_set(self, loader: DataLoader, stage: Stage, enable: bool) -> dict[str, float]:
        """Evaluates on this process's batches and returns the metrics over those of all."""
        self.modules.eval()
        bar = tqdm(loader, desc=stage.name.lower(), disable=not enable, leave=False)
        with torch.no_grad():
            outputs = []
            for batch in bar:
                outputs.append(self.evaluate_batch(batch.to(self.device), stage))
                if self.debug and len(outputs) == self.debug_batches:
                    break
            metrics = self.summarise(outputs, stage)
        if not math.isfinite(metrics["loss"]):
            raise NonFiniteLossError(
                f"the {stage.name.lower()} loss is not finite after step {self.optimizer_step}; "
                "lower the learning rate, set max_grad_norm, or check the data"
            )
        return metrics

    def on_evaluate_start(
        self, max_key: str | None = None, min_key: str | None = None
    ) -> Checkpoint:
        """Loads the checkpoint to evaluate and returns it.

        Raises
        ------
        FileNotFoundError
            If there is none: random weights would be evaluated.
        """
        found = self.checkpointer.recover_if_possible(max_key=max_key, min_key=min_key)
        if found is None:
            raise FileNotFoundError(
                f"{self.checkpointer.checkpoints_dir}: no checkpoint to evaluate; train first"
            )
        return found

    def write_results(self, metric: str, values: dict[str, float], **details: Any) -> None:
        """Writes `results.json`, on the main process; see `ssast_recipes.results`."""
        if if_main_process():
            valid = [record for record in self.log.read() if record["stage"] == "valid"]
            # A kill between log line and checkpoint leaves the line of a step twice.
            history = list({record["step"]: record for record in valid}.values())
            path = write_results(
                self.hparams, metric, values, {**details, "history": history}, self.device
            )
            told = ", ".join(f"{name} checkpoint {value:.4g}" for name, value in values.items())
            logger.info("%s: %s; written to %s", metric, told, path)

    # Checkpoints

    def save(self, meta: dict[str, Any], end_of_epoch: bool) -> None:
        """Saves a checkpoint and keeps the newest and the best `checkpoints_to_keep`."""
        self.log_training()
        # A gradient may spoil the weights though the loss before it was finite.
        weights = [parameter.detach() for parameter in self.modules.parameters()]
        if not torch.stack([values.isfinite().all() for values in weights]).all():
            raise NonFiniteLossError(
                f"the weights are not finite after step {self.optimizer_step} and not saved; lower "
                "the learning rate, set max_grad_norm, or check the data"
            )
        self.checkpointer.save_checkpoint(meta=meta, end_of_epoch=end_of_epoch)
        self.checkpointer.delete_checkpoints(
            num_to_keep=self.hparams.checkpoints_to_keep, max_keys=["valid_score"]
        )

    def _units(self) -> dict[str, int]:
        """What a position in training counts in; a resumed run needs the same."""
        if self.train_sampler is None:  # evaluating
            return {}
        return {"seed": self.hparams.seed, "clips_per_step": self.train_sampler.clips_per_step}

    @mark_as_saver
    def _save(self, path: str) -> None:
        state = {
            "step": self.step,
            "optimizer_step": self.optimizer_step,
            "seconds": self.seconds,
            "units": self._units(),
            "schedule": getattr(self.schedule, "state_dict", dict)(),
        }
        with open(path, "w", encoding="utf-8") as file:
            yaml.safe_dump(state, file)

    @mark_as_loader
    def _recover(self, path: str, end_of_epoch: bool) -> None:
        with open(path, encoding="utf-8") as file:
            state = yaml.safe_load(file)
        for key, value in self._units().items():
            if state["units"].get(key, value) != value:
                raise ValueError(
                    f"{key} was {state['units'][key]}, not {value} (clips_per_step = batch_size x "
                    "processes x grad_accumulation_factor); training would not go on exactly"
                )
        self.step, self.optimizer_step = state["step"], state["optimizer_step"]
        self._seconds_before, self._start = state["seconds"], time.perf_counter()
        if state["schedule"]:
            self.schedule.load_state_dict(state["schedule"])


def _split_vectors(group: dict[str, Any]) -> Sequence[dict[str, Any]]:
    matrices = [parameter for parameter in group["params"] if parameter.ndim > 1]
    vectors = [parameter for parameter in group["params"] if parameter.ndim <= 1]
    return {**group, "params": matrices}, {**group, "params": vectors, "weight_decay": 0.0}
