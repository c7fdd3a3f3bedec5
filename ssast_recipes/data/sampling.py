"""Which clips make which batch: the same global batches on any number of processes."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor
from torch.utils.data import Sampler

from ssast_recipes.data.orders import check_weights, epoch_draws, epoch_order, shard_order


class ClipKey(NamedTuple):
    """Asks a `ClipDataset` for a clip: in which epoch, which one, at which place of the batch.

    The place counts through the global batch, all processes and accumulated batches included.
    `draw` counts how often the epoch has shown the clip before: 0 unless clips are drawn with
    replacement, when (epoch, index, draw) is what tells two random crops of a clip apart.
    """

    epoch: int
    index: int
    place: int
    draw: int = 0


class TrainingBatches(Sampler[list[ClipKey]]):
    """Batches of a training set in an order drawn from (seed, epoch).

    A global batch is `accumulation * world_size * batch_size` consecutive clips of the order, so
    that its clips, and their places in it, do not depend on how it is shared out. Every batch is
    a function of its number: continuing after a kill takes `start_at`, nothing stored.

    Arguments
    ---------
    num_clips : int
        Size of the training set.
    batch_size : int
        Clips in a batch of one process.
    seed : int
        Seed of the order.
    shuffle : bool
        Whether to draw a new order each epoch, or keep the manifest's.
    rank, world_size : int
        This process and the number of processes.
    accumulation : int
        Batches whose gradients are accumulated to one step.
    continuous : bool
        False: an epoch ends with a smaller batch, shared evenly (up to `world_size - 1` clips are
        left out). True: batches never end and run across the ends of epochs, so that each epoch
        shows every clip exactly once and all batches are full.
    weights : Tensor, optional
        How often to show each clip, relatively, [num_clips]: an epoch draws `num_clips` clips
        with replacement, in place of an order of all.
    shards : Tensor, optional
        In which shard each clip is, [num_clips]: the order then reads these nearly from end to
        end; see `shard_order`.
    spread : int
        By how many clips that order is mixed.

    Raises
    ------
    ValueError
        If there are no clips, less than one would fall to each process, or the weights are not
        one a clip, finite, none negative and some positive.

    Example
    -------
    >>> batches = TrainingBatches(num_clips=5, batch_size=2, shuffle=False)
    >>> [[key.index for key in batch] for batch in batches]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        num_clips: int,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        accumulation: int = 1,
        continuous: bool = False,
        weights: Tensor | None = None,
        shards: Tensor | None = None,
        spread: int = 10_000,
    ):
        if batch_size < 1 or num_clips < world_size:
            raise ValueError(
                f"{num_clips} clips cannot be shared by {world_size} processes in batches of "
                f"{batch_size}"
            )
        if weights is not None:
            check_weights(weights, num_clips, shuffle)
        self.weights, self.shards, self.spread = weights, shards, spread
        self.num_clips, self.batch_size = num_clips, batch_size
        self.seed, self.shuffle = seed, shuffle
        self.rank, self.world_size = rank, world_size
        self.accumulation, self.continuous = accumulation, continuous
        self.epoch, self.first_batch = 1, 0

    def start_at(self, epoch: int, batch: int) -> None:
        """Makes the next iteration begin at a batch (from 0) of an epoch (from 1).

        With `continuous`, batches are counted from the first epoch on.
        """
        self.epoch, self.first_batch = epoch, batch

    @property
    def clips_per_batch(self) -> int:
        """Clips of a batch, over all processes."""
        return self.world_size * self.batch_size

    @property
    def clips_per_step(self) -> int:
        """Clips of a whole step, over all processes and accumulated batches."""
        return self.accumulation * self.clips_per_batch

    @property
    def clips_per_epoch(self) -> int:
        """Clips that an epoch shows, over all processes."""
        return self.num_clips - (0 if self.continuous else self.num_clips % self.world_size)

    def epoch_of(self, number: int) -> int:
        """Returns the epoch of a batch, counted as in `start_at`, at the batch's end.

        Example
        -------
        >>> batches = TrainingBatches(num_clips=5, batch_size=2, continuous=True)
        >>> [batches.epoch_of(number) for number in range(4)]
        [1, 1, 2, 2]
        """
        if not self.continuous:
            return self.epoch
        return 1 + ((number + 1) * self.clips_per_batch - 1) // self.num_clips

    def step_of(self, number: int) -> tuple[int, bool]:
        """Returns what a batch (counted from 0) is of its step.

        Arguments
        ---------
        number : int
            The batch, counted as in `start_at`.

        Returns
        -------
        tuple[int, bool]
            How many clips this process has in the whole step, fewer at an epoch's end; and
            whether the batch is the step's last.

        Example
        -------
        >>> batches = TrainingBatches(num_clips=10, batch_size=4, accumulation=2)
        >>> [batches.step_of(number) for number in range(3)]
        [(8, False), (8, True), (2, True)]
        """
        place = number % self.accumulation
        clips = self.accumulation * self.batch_size
        if not self.continuous:
            before = (number - place) * self.batch_size
            clips = min(clips, self.num_clips // self.world_size - before)
        return clips, (place + 1) * self.batch_size >= clips

    def __len__(self) -> int:
        if self.continuous:
            raise TypeError("continuous batches have no end")
        return -(-self.clips_per_epoch // self.clips_per_batch) - self.first_batch

    def __iter__(self) -> Iterator[list[ClipKey]]:
        batch = self.first_batch
        while self.continuous or batch < self.first_batch + len(self):
            yield self._batch(batch)
            batch += 1

    def _batch(self, number: int) -> list[ClipKey]:
        share = self.clips_per_batch
        begin = number * share
        size = self.batch_size
        if not self.continuous:
            size = min(size, (self.num_clips - begin) // self.world_size)
        first = begin + self.rank * size
        place = number % self.accumulation * share + self.rank * size
        return [self._key(first + offset, place + offset) for offset in range(size)]

    def _key(self, position: int, place: int) -> ClipKey:
        epoch = self.epoch
        if self.continuous:
            passes, position = divmod(position, self.num_clips)
            epoch = 1 + passes
        if not self.shuffle:
            return ClipKey(epoch, position, place)
        if self.weights is not None:
            indices, draws = epoch_draws(self.weights, self.seed, epoch)
            return ClipKey(epoch, int(indices[position]), place, int(draws[position]))
        if self.shards is not None:
            order = shard_order(self.shards, self.spread, self.seed, epoch)
        else:
            order = epoch_order(self.num_clips, self.seed, epoch)
        return ClipKey(epoch, int(order[position]), place)


class EvaluationBatches(Sampler[list[ClipKey]]):
    """Batches of one process's share of a validation or test set, every clip exactly once.

    Arguments
    ---------
    num_clips : int
        Size of the whole set.
    batch_size : int
        Clips in a batch.
    rank, world_size : int
        This process and the number of processes.

    Raises
    ------
    ValueError
        If a process would be left without clips.

    Example
    -------
    >>> [[key.index for key in batch] for batch in EvaluationBatches(5, 2, rank=0, world_size=2)]
    [[0, 2], [4]]
    """

    def __init__(self, num_clips: int, batch_size: int, rank: int = 0, world_size: int = 1):
        if batch_size < 1 or num_clips < world_size:
            raise ValueError(
                f"{num_clips} clips cannot be shared by {world_size} processes in batches of "
                f"{batch_size}"
            )
        share = range(rank, num_clips, world_size)
        keys = [ClipKey(epoch=0, index=index, place=index) for index in share]
        self.batches = [keys[i : i + batch_size] for i in range(0, len(keys), batch_size)]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[ClipKey]]:
        return iter(self.batches)
