"""SpeechBrain's Brain, mended where a training stands on it: data, modules, optimiser, place."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import speechbrain as sb
import torch
from speechbrain import Stage
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from ssast_recipes.brains import optimising
from ssast_recipes.brains.evaluation import without_ddp
from ssast_recipes.brains.loading import make_loader
from ssast_recipes.brains.resuming import TrainingPosition
from ssast_recipes.data.lengths import LengthBatches, LengthEvaluationBatches
from ssast_recipes.data.sampling import EvaluationBatches, TrainingBatches

# SpeechBrain's run options that belong to what is replaced here: better refused than ignored.
_REFUSED_OPTIONS = {
    "ckpt_interval_minutes": "use checkpoint_interval, in steps",
    "ckpt_interval_steps": "use checkpoint_interval",
    "skip_nonfinite_grads": "set max_grad_norm; a loss that is not finite ends the run",
    "profile_training": "run torch.profiler around train.py",
}


class MendedBrain(sb.Brain):
    """What there is before a training begins; `BaseBrain` trains with it.

    Differences from SpeechBrain's: batches are a function of (seed, epoch, position), shared out
    over processes, those to evaluate, too; gradients of all parameter groups are clipped together,
    and not at all if `max_grad_norm` is 0 or below; learning rates follow `hparams.schedule`, group
    by group; its place in training is a `TrainingPosition`.

    Needed in `hparams`: `seed`, `schedule`; in `modules`: `front_end` and `model`.
    """

    #: What may be left out of `hparams`, and what it is then.
    optional: dict[str, Any] = {
        "num_steps": None,  # steps to train; None: `epoch_counter` counts epochs
        "sample_weights": None,  # labels of all clips to weights: draw by them, with replacement
    }

    def __init__(self, *args: Any, **kwargs: Any):
        self.position = TrainingPosition()  # first: SpeechBrain's constructor sets its counters
        super().__init__(*args, **kwargs)
        self.hparams = SimpleNamespace(**{**self.optional, **vars(self.hparams)})
        for option in _REFUSED_OPTIONS:
            if getattr(self, option):
                raise ValueError(f"{option} has no effect here; {_REFUSED_OPTIONS[option]}")
        self.by_steps = self.hparams.num_steps is not None
        self.schedule = self.hparams.schedule
        self.position.parts["schedule"] = self.schedule
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("brain", self.position)  # in the Brain's own place

    @property
    def step(self) -> int:
        """Batches of this process: of the epoch or, counting steps, of all."""
        return self.position.step

    @step.setter
    def step(self, value: int) -> None:
        self.position.step = value

    @property
    def optimizer_step(self) -> int:
        """Steps of the whole training."""
        return self.position.optimizer_step

    @optimizer_step.setter
    def optimizer_step(self, value: int) -> None:
        self.position.optimizer_step = value

    @property
    def world_size(self) -> int:
        """The number of processes."""
        return torch.distributed.get_world_size() if self.distributed_launch else 1

    # ---- data

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
            `batch_size`, `shuffle` and `shard_spread` (training only; see `TrainingBatches`), or
            `max_batch_seconds` for batches by length; and options of torch's DataLoader.

        Returns
        -------
        DataLoader
            Yields `ClipBatch`.
        """
        options = {"pin_memory": self.device_type == "cuda", **loader_kwargs}
        batch_size, shuffle = options.pop("batch_size", 1), options.pop("shuffle", True)
        rank = self.rank if self.distributed_launch else 0
        share = {"rank": rank, "world_size": self.world_size}
        if "max_batch_seconds" in options:
            batches = self._batches_by_length(dataset, stage, options, {"shuffle": shuffle}, share)
        elif stage == Stage.TRAIN:
            weigh = self.hparams.sample_weights
            batches = TrainingBatches(
                len(dataset),
                batch_size,
                seed=self.hparams.seed,
                shuffle=shuffle,
                accumulation=self.grad_accumulation_factor,
                continuous=self.by_steps,
                shards=getattr(dataset, "shards", None),
                spread=options.pop("shard_spread", 10_000),
                weights=None if weigh is None else weigh(dataset.labels),
                **share,
            )
        else:
            batches = EvaluationBatches(len(dataset), batch_size, **share)
        if stage == Stage.TRAIN:
            self.train_sampler = batches
            self.position.count_in(batches, getattr(dataset, "digest", None))
        return make_loader(dataset, batches, self._least_samples(), **options)

    def _batches_by_length(
        self,
        dataset: Dataset,
        stage: Stage,
        options: dict[str, Any],
        order: dict[str, Any],
        share: dict[str, int],
    ) -> Sampler:
        """Batches bounded in seconds, as `max_batch_seconds`, taken out of the options, says."""
        most = options.pop("max_batch_seconds")
        if stage != Stage.TRAIN:
            return LengthEvaluationBatches(dataset.durations, most, **share)
        return LengthBatches(
            *(dataset.durations, most, self.hparams.seed),
            accumulation=self.grad_accumulation_factor,
            continuous=self.by_steps,
            **order,
            **share,
        )

    def _least_samples(self) -> int:
        """What waveforms are padded to: a compiled front end is compiled anew for every length."""
        if not self.compile:
            return 0
        return self.front_end.filterbank.num_samples(self.front_end.target_length)

    # ---- modules and optimiser

    @property
    def model(self) -> nn.Module:
        """The model itself, unwrapped of what distributes and compiles it."""
        model = getattr(self.modules.model, "module", self.modules.model)
        return getattr(model, "_orig_mod", model)

    @property
    def front_end(self) -> nn.Module:
        """The front end itself, not compiled: for clips of many lengths."""
        return getattr(self.modules.front_end, "_orig_mod", self.modules.front_end)

    def modules_of(self, stage: Stage) -> SimpleNamespace:
        """The modules to call, by name: for evaluation, without what distributes them."""
        modules = dict(self.modules.items())
        if stage != Stage.TRAIN:
            modules = {name: without_ddp(module) for name, module in modules.items()}
        return SimpleNamespace(**modules)

    def on_fit_start(self) -> None:
        """Prepares modules and optimiser, and recovers the newest checkpoint."""
        super().on_fit_start()
        folder = Path(self.checkpointer.checkpoints_dir)
        optimising.check_learning_rates(self.optimizer, self.learning_rates, folder)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns the optimiser's parameter groups.

        An `lr_factor` in a group is the group's learning rate over the optimiser's.
        """
        return [{"params": [p for p in self.modules.parameters() if p.requires_grad]}]

    def init_optimizers(self) -> None:
        """Makes the optimiser of `parameter_groups`."""
        self.optimizer = optimising.make_optimizer(
            self.opt_class,
            self.parameter_groups(),
            self.device_type,
            spare_vectors=self.remove_vector_weight_decay,
        )
        self.learning_rates = optimising.learning_rates(self.optimizer)
        self.optimizers_dict = {"opt_class": self.optimizer}
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("optimizer", self.optimizer)

    def optimizers_step(self) -> Tensor | None:
        """Sets the scheduled learning rates, clips the gradients of all groups, steps.

        Returns the gradients' norm, [] on the device, where they are clipped.
        """
        factor = self.schedule.factor(step=self.optimizer_step, epoch=self.position.epoch)
        norm = optimising.make_step(self.optimizer, self.scaler, factor, self.max_grad_norm)
        self.optimizer_step += 1
        return norm
