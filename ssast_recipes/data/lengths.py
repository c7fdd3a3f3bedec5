"""Batches of clips of like lengths, bounded in seconds: the same on any number of processes."""

from collections.abc import Iterator

from torch import Tensor
from torch.utils.data import Sampler

from ssast_recipes.data.orders import length_batches
from ssast_recipes.data.sampling import ClipKey


class LengthBatches(Sampler[list[ClipKey]]):
    """Batches of a training set by length, in an order drawn from (seed, epoch).

    An epoch's clips, sorted by lengths that are jittered anew each time, are cut into the batches
    of steps: as many clips as fit, a whole number for each process and accumulated batch. Steps
    then come in a random order. What the last cut leaves over, fewer clips than there are
    processes and accumulated batches, is left out, each epoch others. Every batch is a function of
    its number: continuing after a kill takes `start_at`, nothing stored.

    Arguments
    ---------
    durations : Tensor
        The clips' lengths in seconds, [clips] float64.
    max_seconds : float
        What a batch of one process takes at most: its longest clip times the number of clips.
    seed : int
        Seed of the order.
    shuffle : bool
        Whether to draw a new order each epoch, or go from the shortest to the longest.
    rank, world_size : int
        This process and the number of processes.
    accumulation : int
        Batches whose gradients are accumulated to one step.
    continuous : bool
        Whether batches run across the ends of epochs, and never end.

    Raises
    ------
    ValueError
        If a clip is longer than a batch may be, or there are fewer clips than batches of a step.

    Example
    -------
    >>> import torch
    >>> durations = torch.tensor([3.0, 1.0, 1.2, 2.9, 0.9], dtype=torch.float64)
    >>> batches = LengthBatches(durations, max_seconds=6.0, shuffle=False)
    >>> [[key.index for key in batch] for batch in batches]
    [[4, 1, 2], [3, 0]]
    """

    def __init__(
        self,
        durations: Tensor,
        max_seconds: float,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        accumulation: int = 1,
        continuous: bool = False,
    ):
        self.durations, self.max_seconds = durations, max_seconds
        self.seed, self.shuffle = seed, shuffle
        self.rank, self.world_size, self.accumulation = rank, world_size, accumulation
        self.continuous = continuous
        self.parts = world_size * accumulation
        self.num_clips = len(durations)
        _check(durations, max_seconds, self.parts)
        self.spread = 0  # of shards, which have no order of lengths
        self.epoch, self.first_batch = 1, 0
        self._ends: list[int] = []  # of epochs, in steps

    def start_at(self, epoch: int, batch: int) -> None:
        """Makes the next iteration begin at a batch (from 0) of an epoch (from 1).

        With `continuous`, batches are counted from the first epoch on.
        """
        self.epoch, self.first_batch = epoch, batch

    @property
    def clips_per_batch(self) -> int:
        """Clips of a batch over all processes, on average: one at least of each."""
        mean = self.num_clips / (self.parts * len(self._steps(1)))
        return self.world_size * max(1, round(mean))

    @property
    def clips_per_step(self) -> int:
        """Clips of a whole step, over all processes and accumulated batches, on average."""
        return self.accumulation * self.clips_per_batch

    @property
    def clips_per_epoch(self) -> int:
        """Clips that an epoch shows, over all processes."""
        return self.num_clips - self.num_clips % self.parts

    def epoch_of(self, number: int) -> int:
        """Returns the epoch of a batch, counted as in `start_at`."""
        return self._locate(number // self.accumulation)[0]

    def step_of(self, number: int) -> tuple[int, bool]:
        """As `TrainingBatches.step_of`: this process's clips in the step; whether it ends there."""
        step, place = divmod(number, self.accumulation)
        clips = len(self._step(step)[1]) // self.world_size
        return clips, place == self.accumulation - 1

    def __len__(self) -> int:
        if self.continuous:
            raise TypeError("continuous batches have no end")
        return self.accumulation * len(self._steps(self.epoch)) - self.first_batch

    def __iter__(self) -> Iterator[list[ClipKey]]:
        number = self.first_batch
        last = None if self.continuous else number + len(self)
        while number != last:
            yield self._batch(number)
            number += 1

    def _batch(self, number: int) -> list[ClipKey]:
        step, place = divmod(number, self.accumulation)
        epoch, clips = self._step(step)
        size = len(clips) // self.parts
        first = size * (place * self.world_size + self.rank)
        return [
            ClipKey(epoch, index, first + offset)
            for offset, index in enumerate(clips[first : first + size])
        ]

    def _step(self, step: int) -> tuple[int, list[int]]:
        """The epoch of a step, and its clips, those of all processes and accumulated batches."""
        epoch, step = self._locate(step)
        return epoch, self._steps(epoch)[step]

    def _locate(self, step: int) -> tuple[int, int]:
        """The epoch of a step, and its number in there."""
        if not self.continuous:
            return self.epoch, step
        while not self._ends or self._ends[-1] <= step:
            before = self._ends[-1] if self._ends else 0
            self._ends.append(before + len(self._steps(len(self._ends) + 1)))
        epoch = next(i for i, end in enumerate(self._ends) if step < end)
        return epoch + 1, step - (self._ends[epoch - 1] if epoch else 0)

    def _steps(self, epoch: int) -> list[list[int]]:
        options = (self.max_seconds, self.parts, self.seed, epoch if self.shuffle else 0)
        return length_batches(self.durations, *options)


class LengthEvaluationBatches(Sampler[list[ClipKey]]):
    """Batches by length of one process's share of a set to measure, every clip exactly once.

    Arguments
    ---------
    durations : Tensor
        The clips' lengths in seconds, [clips] float64.
    max_seconds : float
        What a batch takes at most: its longest clip times the number of clips.
    rank, world_size : int
        This process and the number of processes.

    Raises
    ------
    ValueError
        If a clip is longer than a batch may be, or a process would be left without clips.

    Example
    -------
    >>> import torch
    >>> durations = torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64)
    >>> batches = LengthEvaluationBatches(durations, max_seconds=4.0)
    >>> [[key.index for key in batch] for batch in batches]
    [[1, 2], [0]]
    """

    def __init__(self, durations: Tensor, max_seconds: float, rank: int = 0, world_size: int = 1):
        _check(durations, max_seconds, world_size)
        self.batches: list[list[ClipKey]] = []
        for index in durations.argsort(stable=True).tolist()[rank::world_size]:
            # In the order of lengths, the last clip is the longest.
            seconds = float(durations[index]) * (1 + len(self.batches[-1]) if self.batches else 1)
            if not self.batches or seconds > max_seconds:
                self.batches.append([])
            self.batches[-1].append(ClipKey(epoch=0, index=index, place=index))

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[ClipKey]]:
        return iter(self.batches)


def _check(durations: Tensor, max_seconds: float, parts: int) -> None:
    if len(durations) < parts:
        raise ValueError(
            f"{len(durations)} clips cannot be shared by {parts} processes and accumulated batches"
        )
    longest = float(durations.max())
    if longest > max_seconds:
        raise ValueError(
            f"max_batch_seconds is {max_seconds:g}, but a clip takes {longest:.2f} s; give more, "
            "or leave the clip out"
        )
