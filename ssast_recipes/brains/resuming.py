"""How a Brain keeps its place in training, and finds it again."""

import time
from pathlib import Path
from typing import Any

import torch
import yaml
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)

from ssast_recipes.brains.logs import NonFiniteLossError

_END = "...\n"  # of a YAML document


@register_checkpoint_hooks
class Resumption:
    """The part of `BaseBrain` that saves checkpoints, and goes on exactly from them.

    Its own state is the position in training, what has been seen of validation, and the clock;
    weights, optimiser and weight average are recoverables of the checkpointer.
    """

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of this training, those before a resume included."""
        return self._seconds_before + time.perf_counter() - self._start

    def save(self, scores: dict[str, Any], end_of_epoch: bool) -> None:
        """Saves a checkpoint and keeps the newest and the best `checkpoints_to_keep`.

        Arguments
        ---------
        scores : dict
            What validation gave, among it `valid_score`; empty without one.
        end_of_epoch : bool
            Whether the next epoch is to follow.

        Raises
        ------
        NonFiniteLossError
            If the loss or a weight is not finite.
        """
        self.log_training()
        # A gradient may spoil the weights though the loss before it was finite.
        weights = [parameter.detach() for parameter in self.modules.parameters()]
        if not torch.stack([values.isfinite().all() for values in weights]).all():
            raise NonFiniteLossError(
                f"the weights are not finite after step {self.optimizer_step} and not saved; lower "
                "the learning rate, set max_grad_norm, or check the data"
            )
        self.checkpointer.save_checkpoint(
            meta={"step": self.optimizer_step, "epoch": self.epoch, **scores},
            end_of_epoch=end_of_epoch,
        )
        self.checkpointer.delete_checkpoints(
            num_to_keep=self.hparams.checkpoints_to_keep, max_keys=["valid_score"]
        )

    def _check_learning_rates(self) -> None:
        """Refuses to resume with other learning rates: the optimiser's own state would win."""
        found = [group["initial_lr"] for group in self.optimizer.param_groups]
        if found != self._learning_rates:
            raise ValueError(
                f"{self.checkpointer.checkpoints_dir} was trained with learning rates {found}, not "
                f"{self._learning_rates}; give those, or choose another output_folder"
            )

    def _units(self) -> dict[str, int]:
        """What a position in training counts in; a resumed run needs the same."""
        if self.train_sampler is None:  # evaluating
            return {}
        return {
            "seed": self.hparams.seed,
            "clips_per_step": self.train_sampler.clips_per_step,
            "num_clips": self.train_sampler.num_clips,
            "train_clips": self.train_clips,
            "clips_per_epoch": self.train_sampler.clips_per_epoch,
            "shard_spread": self.train_sampler.spread,
        }

    @property
    def _clips_per_batch(self) -> int:
        return 1 if self.train_sampler is None else self.train_sampler.clips_per_batch

    @mark_as_saver
    def _save(self, path: str) -> None:
        state = {
            "clips": self.step * self._clips_per_batch,  # of this epoch, or of all
            "optimizer_step": self.optimizer_step,
            "seconds": self.seconds,
            "units": self._units(),
            "schedule": getattr(self.schedule, "state_dict", dict)(),
            "stopping": self.stopping.state_dict(),
            "rejected": self.rejected.state_dict(),
        }
        with open(path, "w", encoding="utf-8") as file:
            yaml.safe_dump(state, file, explicit_end=True)

    @mark_as_loader
    def _recover(self, path: str, end_of_epoch: bool) -> None:
        text = Path(path).read_text(encoding="utf-8")
        if not text.endswith(_END):  # half of a YAML text may be YAML, too
            raise EOFError(f"{path} is cut off")
        state = yaml.safe_load(text)
        units = self._units()
        for key, value in units.items():
            before = state["units"].get(key, value)
            if before != value and key in ("num_clips", "train_clips"):
                raise ValueError(
                    f"{path}: training began with other clips than the {units['num_clips']} of now "
                    f"({key} was {before}, is {value}); bring those back, or choose another "
                    "output_folder"
                )
            if before != value:
                raise ValueError(
                    f"{key} was {before}, not {value} (clips_per_step = batch_size x processes x "
                    "grad_accumulation_factor; an epoch leaves out what the processes cannot "
                    "share evenly); training would not go on exactly"
                )
        # Checkpoints stand between steps, so that other processes' batches end there, too.
        self.step = state["clips"] // self._clips_per_batch
        self.optimizer_step = state["optimizer_step"]
        self._seconds_before, self._start = state["seconds"], time.perf_counter()
        if state["schedule"]:
            self.schedule.load_state_dict(state["schedule"])
        self.stopping.load_state_dict(state["stopping"])
        self.rejected.load_state_dict(state["rejected"])
