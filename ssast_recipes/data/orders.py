"""In which order an epoch shows its clips: all once, shard by shard or not, or drawn by weights."""

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=2)
def epoch_order(num_clips: int, seed: int, epoch: int) -> Tensor:
    """Draws the order of an epoch.

    Arguments
    ---------
    num_clips : int
        How many clips to order.
    seed, epoch : int
        What the order is a function of.

    Returns
    -------
    Tensor
        A permutation, [num_clips], int64.

    Example
    -------
    >>> sorted(epoch_order(4, seed=1, epoch=3).tolist())
    [0, 1, 2, 3]
    """
    return torch.randperm(num_clips, generator=_generator(seed, epoch))


@lru_cache(maxsize=2)
def shard_order(shards: Tensor, spread: int, seed: int, epoch: int) -> Tensor:
    """Draws the order of an epoch that reads shards nearly from end to end.

    Shards follow each other in a random order. A clip comes up to `spread` clips later than its
    place in that sequence, at random, which mixes neighbours as a buffer would that is filled from
    the sequence and drawn from; but it takes no memory, and any place of the order is known at
    once. Clips with files of their own come anywhere.

    Arguments
    ---------
    shards : Tensor
        The number of each clip's shard, -1 without one, [num_clips]; clips stand in the order in
        which their shards hold them.
    spread : int
        How far clips are moved at most.
    seed, epoch : int
        What the order is a function of.

    Returns
    -------
    Tensor
        A permutation, [num_clips], int64.

    Example
    -------
    >>> shard_order(torch.tensor([0, 0, 0, 1, 1, 1]), spread=0, seed=0, epoch=1).tolist()
    [3, 4, 5, 0, 1, 2]
    """
    generator = _generator(seed, epoch)
    num_clips = len(shards)
    sharded = (shards >= 0).nonzero().squeeze(1)
    order_of_shards = torch.randperm(int(shards.max()) + 1, generator=generator)
    sequence = sharded[order_of_shards[shards[sharded]].argsort(stable=True)]
    draws = torch.rand(num_clips, generator=generator, dtype=torch.float64)
    places = num_clips * draws  # [num_clips], of files
    step = num_clips / max(1, len(sequence))  # between the clips of shards, if files come between
    places[sequence] = step * torch.arange(len(sequence)) + spread * draws[sequence]
    return places.argsort(stable=True)


@lru_cache(maxsize=2)
def epoch_draws(weights: Tensor, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
    """Draws the clips of an epoch with replacement, as many as there are.

    Arguments
    ---------
    weights : Tensor
        How probable each clip is, relatively, [num_clips].
    seed, epoch : int
        What the draw is a function of, besides the weights.

    Returns
    -------
    tuple[Tensor, Tensor]
        The clips, and how often each was drawn before, both [num_clips], int64.

    Example
    -------
    >>> weights = torch.tensor([1.0, 0.0, 0.0])
    >>> [column.tolist() for column in epoch_draws(weights, seed=1, epoch=1)]
    [[0, 0, 0], [0, 1, 2]]
    """
    count = len(weights)
    indices = torch.multinomial(
        weights.double(), count, replacement=True, generator=_generator(seed, epoch)
    )
    sorted_indices, positions = indices.sort(stable=True)
    begin = torch.searchsorted(sorted_indices, sorted_indices)  # of each clip's draws
    draws = torch.empty_like(indices)
    draws[positions] = torch.arange(count) - begin
    return indices, draws


_JITTER = 0.1  # by what share lengths are drawn out before they are sorted


@lru_cache(maxsize=4)
def length_batches(
    durations: Tensor, max_seconds: float, parts: int, seed: int, epoch: int
) -> list[list[int]]:
    """Cuts an epoch into steps of clips of like lengths, and draws the steps' order.

    Arguments
    ---------
    durations : Tensor
        The clips' lengths in seconds, [clips] float64, none above `max_seconds`.
    max_seconds : float
        What one of the parts of a step takes at most: its longest clip times the number of clips.
    parts : int
        Into how many equal parts each step is to be shared. Up to `parts` - 1 clips are left out.
    seed, epoch : int
        What the steps are a function of, besides these; in epoch 0 they are by length alone, from
        the shortest to the longest.

    Returns
    -------
    list of list of int
        The clips of each step, the shorter before the longer, by and large.

    Example
    -------
    >>> durations = torch.tensor([3.0, 1.0, 1.2, 2.9], dtype=torch.float64)
    >>> length_batches(durations, max_seconds=6.0, parts=1, seed=1, epoch=0)
    [[1, 2], [3, 0]]
    """
    generator = _generator(seed, epoch)
    jitter = 1 + _JITTER * torch.rand(len(durations), generator=generator, dtype=torch.float64)
    order = (durations * jitter if epoch else durations).argsort(stable=True)
    lengths, clips = durations[order].tolist(), order.tolist()
    steps: list[list[int]] = []
    longest = 0.0
    for begin in range(0, len(clips) - len(clips) % parts, parts):
        longest = max(longest, *lengths[begin : begin + parts])
        if not steps or (len(steps[-1]) // parts + 1) * longest > max_seconds:
            steps.append([])
            longest = max(lengths[begin : begin + parts])
        steps[-1] += clips[begin : begin + parts]
    if not epoch:
        return steps
    return [steps[i] for i in torch.randperm(len(steps), generator=generator).tolist()]


def check_weights(weights: Tensor, num_clips: int, shuffle: bool) -> None:
    """Refuses weights that cannot be drawn by.

    Arguments
    ---------
    weights : Tensor
        How probable each clip is, relatively.
    num_clips : int
        How many there are.
    shuffle : bool
        Whether clips come in a random order at all.

    Raises
    ------
    ValueError
        If they are not one a clip, finite, none negative and some positive, or nothing is drawn.

    Example
    -------
    >>> check_weights(torch.tensor([1.0, 0.0, 2.5]), num_clips=3, shuffle=True)
    """
    if not shuffle:
        raise ValueError("sample_weights draw clips at random; leave shuffle at True")
    if weights.shape != (num_clips,):
        raise ValueError(f"sample_weights are {tuple(weights.shape)}, not one of {num_clips} clips")
    if not weights.isfinite().all() or (weights < 0).any() or not (weights > 0).any():
        raise ValueError(
            "sample_weights must be finite, none of them negative and some positive; they are "
            f"{weights.min():g} to {weights.max():g}"
        )


def _generator(seed: int, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
