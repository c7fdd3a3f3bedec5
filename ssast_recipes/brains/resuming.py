"""A Brain's place in training: what a checkpoint keeps of it, and what a user is told of it."""

import time
from pathlib import Path
from typing import Any

import yaml
from speechbrain.utils.checkpoints import (
    Checkpointer,
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)

from ssast_recipes.data.sampling import TrainingBatches

_END = "...\n"  # of a YAML document


@register_checkpoint_hooks
class TrainingPosition:
    """Where a training stands, to go on from there exactly.

    A recoverable of the checkpointer: steps, wall-clock seconds, and the small states that change
    with them. Weights, optimiser and weight average are recoverables of their own.

    Arguments
    ---------
    **parts
        What goes on from the same place and may have a `state_dict`, by name.

    Example
    -------
    >>> from ssast_recipes.brains.selection import EarlyStopping
    >>> position = TrainingPosition(stopping=EarlyStopping(patience=2))
    >>> position.optimizer_step = 7
    >>> file = getfixture("tmp_path") / "brain.ckpt"
    >>> position.save(file)
    >>> resumed = TrainingPosition(stopping=EarlyStopping(patience=2))
    >>> resumed.load(file, end_of_epoch=False)
    >>> resumed.optimizer_step
    7
    """

    def __init__(self, **parts: Any):
        self.parts = parts
        self.step = 0  # batches of this process, of the epoch or, counting steps, of all
        self.optimizer_step = 0
        self.epoch = 1
        self._units: dict[str, Any] = {}  # what steps count in; none without training
        self._clips_per_batch = 1
        self._seconds_before, self._start = 0.0, time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of this training, those before a resume included."""
        return self._seconds_before + time.perf_counter() - self._start

    def count_in(self, batches: TrainingBatches, train_clips: str | None) -> None:
        """Says what steps count in; a resumed run needs the same.

        Arguments
        ---------
        batches : TrainingBatches
            This process's.
        train_clips : str, optional
            What tells the training clips from others.
        """
        self._clips_per_batch = batches.clips_per_batch
        self._units = {
            "seed": batches.seed,
            "shuffle": batches.shuffle,
            "clips_per_step": batches.clips_per_step,
            "num_clips": batches.num_clips,
            "train_clips": train_clips,
            "clips_per_epoch": batches.clips_per_epoch,
            "shard_spread": batches.spread,
        }

    @mark_as_saver
    def save(self, path: str | Path) -> None:
        """Writes the position as YAML; the checkpointer calls it."""
        state = {
            "clips": self.step * self._clips_per_batch,  # of this epoch, or of all
            "optimizer_step": self.optimizer_step,
            "seconds": self.seconds,
            "units": self._units,
            **{name: getattr(part, "state_dict", dict)() for name, part in self.parts.items()},
        }
        with open(path, "w", encoding="utf-8") as file:
            yaml.safe_dump(state, file, explicit_end=True)

    @mark_as_loader
    def load(self, path: str | Path, end_of_epoch: bool) -> None:
        """Goes on from what `save` wrote; the checkpointer calls it.

        Raises
        ------
        EOFError
            If the file is cut off.
        ValueError
            If other clips, or others in a step, are trained on now.
        """
        text = Path(path).read_text(encoding="utf-8")
        if not text.endswith(_END):  # half of a YAML text may be YAML, too
            raise EOFError(f"{path} is cut off")
        state = yaml.safe_load(text)
        self._check_units(state["units"], path)
        # Checkpoints stand between steps, so that other processes' batches end there, too.
        self.step = state["clips"] // self._clips_per_batch
        self.optimizer_step = state["optimizer_step"]
        self._seconds_before, self._start = state["seconds"], time.perf_counter()
        for name, part in self.parts.items():
            if hasattr(part, "load_state_dict"):
                part.load_state_dict(state[name])

    def _check_units(self, units: dict[str, Any], path: str | Path) -> None:
        for key, value in self._units.items():
            before = units.get(key, value)
            if before != value and key in ("num_clips", "train_clips"):
                raise ValueError(
                    f"{path}: training began with other clips than the {self._units['num_clips']} "
                    f"of now ({key} was {before}, is {value}); bring those back, or choose another "
                    "output_folder"
                )
            if before != value:
                raise ValueError(
                    f"{key} was {before}, not {value} (clips_per_step = batch_size x processes x "
                    "grad_accumulation_factor; an epoch leaves out what the processes cannot "
                    "share evenly); training would not go on exactly"
                )


def describe_interruption(step: int, checkpointer: Checkpointer | None = None) -> str:
    """Says after which step a run was interrupted, and what is saved.

    Example
    -------
    >>> describe_interruption(0)
    'interrupted before training; give the same command again'
    """
    if not step:
        return "interrupted before training; give the same command again"
    saved = None if checkpointer is None else checkpointer.find_checkpoint()
    if saved is None:
        return f"interrupted after step {step}, before the first checkpoint; nothing is saved"
    last = saved.meta["step"]
    return (
        f"interrupted after step {max(step, last)}; the last checkpoint is of step {last}, in "
        f"{saved.path.parent}; the same command goes on from there"
    )
