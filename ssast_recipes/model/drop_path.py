"""Stochastic depth: which clips skip which branches of which blocks."""

import torch
from torch import Tensor

from ssast_recipes.model.randomness import ClipGenerator


def draw_branch_scales(generator: ClipGenerator, depth: int, rate: float) -> Tensor:
    """Draws which branches of an encoder's blocks are dropped (Huang et al., ECCV 2016).

    A block adds two branches to its tokens, attention and feed-forward. Of each clip, each is
    dropped with a probability that rises linearly from 0 in the first block to `rate` in the last;
    what is kept is divided by the probability of keeping it, so that its mean stays.

    Arguments
    ---------
    generator : ClipGenerator
        The clips' random numbers.
    depth : int
        Number of blocks.
    rate : float
        The last block's probability, in [0, 1).

    Returns
    -------
    Tensor
        What the branches are to be multiplied by, [batch, blocks, 2].

    Raises
    ------
    ValueError
        If the rate is out of its range.

    Example
    -------
    >>> generator = ClipGenerator(seed=1, step=0, places=torch.arange(2))
    >>> draw_branch_scales(generator, depth=2, rate=0.5)
    tensor([[[1., 1.],
             [2., 2.]],
    <BLANKLINE>
            [[1., 1.],
             [0., 0.]]])
    """
    if not 0 <= rate < 1:
        raise ValueError(f"drop_path is {rate}; give a probability from 0 to below 1")
    rates = torch.linspace(0, rate, depth, device=generator.device).unsqueeze(1)  # [blocks, 1]
    return (generator.uniform(depth, 2) >= rates) / (1 - rates)
