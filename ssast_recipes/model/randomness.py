"""Random numbers that belong to a clip, not to a process.

A draw is a function of the seed, the training step and the clip's place in the global batch.
However a batch is split over processes, and wherever training is resumed, every clip sees the same
numbers.
"""

import math

import torch
from torch import Tensor

# Words of 32 bits live in int64, because torch's unsigned types lack arithmetic.
_WORD = 0xFFFFFFFF
_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)


def philox(counter: tuple[Tensor, ...], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Turns counters into random words: the Philox-4x32-10 generator.

    For one key this is a bijection on 128-bit counters: different counters never give the same four
    words. Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
    SC 2011, where it passes all of TestU01's BigCrush.

    Arguments
    ---------
    counter : tuple of 4 Tensors
        int64 tensors of shapes that broadcast, with values in [0, 2**32).
    key : tuple of 2 ints
        Values in [0, 2**32).

    Returns
    -------
    words : tuple of 4 Tensors
        int64, of the counter's broadcast shape, with values in [0, 2**32).

    Example
    -------
    >>> zero = torch.zeros(1, dtype=torch.int64)
    >>> [hex(word) for word in philox((zero, zero, zero, zero), key=(0, 0))]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    first, second, third, fourth = counter
    for round_number in range(_ROUNDS):
        first_key = (key[0] + round_number * _KEY_STEPS[0]) & _WORD
        second_key = (key[1] + round_number * _KEY_STEPS[1]) & _WORD
        # A product may wrap in int64, yet its 64 bits are those of the unsigned product.
        first_product, third_product = first * _MULTIPLIERS[0], third * _MULTIPLIERS[1]
        first = (third_product >> 32 & _WORD) ^ second ^ first_key
        second = third_product & _WORD
        third = (first_product >> 32 & _WORD) ^ fourth ^ second_key
        fourth = first_product & _WORD
    return first, second, third, fourth


class ClipGenerator:
    """Random numbers that are a function of (seed, step, place): a stream for every clip.

    The numbers are the same on every device and in whatever batch the clip stands. Drawing never
    waits for the device.

    Arguments
    ---------
    seed : int
        The experiment's seed, in [0, 2**64).
    step : int
        The training step, in [0, 2**32).
    places : Tensor
        [batch] int64: the clips' places in the global batch, in [0, 2**32), on the device that the
        draws shall live on.

    Raises
    ------
    ValueError
        If the seed or the step is out of its range, or `places` is not a vector of int64.

    Example
    -------
    >>> whole = ClipGenerator(seed=1, step=7, places=torch.arange(8)).uniform(3)
    >>> part = ClipGenerator(seed=1, step=7, places=torch.tensor([5])).uniform(3)
    >>> whole.shape, torch.equal(whole[5:6], part)
    (torch.Size([8, 3]), True)
    """

    def __init__(self, seed: int, step: int, places: Tensor):
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed must be in [0, 2**64), not {seed}")
        if not 0 <= step < 2**32:
            raise ValueError(f"step must be in [0, 2**32), not {step}")
        if places.dtype != torch.int64 or places.ndim != 1:
            raise ValueError(
                f"places must be int64 of shape [batch], not {places.dtype} of {list(places.shape)}"
            )
        self.seed = seed
        self.step = step
        self.places = places
        self.num_draws = 0

    @property
    def batch_size(self) -> int:
        """The number of clips."""
        return len(self.places)

    @property
    def device(self) -> torch.device:
        """Where the draws live."""
        return self.places.device

    def uniform(self, *shape: int) -> Tensor:
        """Draws fresh numbers, uniform in [0, 1); successive calls are independent.

        Arguments
        ---------
        *shape : int
            The shape of one clip's draw; empty for one number a clip.

        Returns
        -------
        numbers : Tensor
            [batch, *shape] float32, multiples of 2**-24.

        Example
        -------
        >>> generator = ClipGenerator(seed=1, step=7, places=torch.arange(8))
        >>> generator.uniform(2, 3).shape, generator.uniform().shape
        (torch.Size([8, 2, 3]), torch.Size([8]))
        """
        count = math.prod(shape)
        blocks = torch.arange((count + 3) // 4, device=self.device)  # a block is four words
        draw, step = (torch.full_like(blocks, number) for number in (self.num_draws, self.step))
        self.num_draws += 1
        places = self.places[:, None]
        words = philox((blocks, draw, places, step), (self.seed & _WORD, self.seed >> 32))
        words = torch.stack(words, dim=-1).flatten(1)[:, :count]  # [batch, count]
        # 24 bits are what float32 holds exactly; more could round up to 1.
        return ((words >> 8).float() * 2**-24).reshape(self.batch_size, *shape)

    def __repr__(self) -> str:
        return (
            f"ClipGenerator(seed={self.seed}, step={self.step}, batch_size={self.batch_size}, "
            f"device='{self.device}', num_draws={self.num_draws})"
        )
