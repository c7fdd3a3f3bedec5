"""What `pretraining_step.py --against` alternates our step with: the same step, but slower."""

import argparse
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from released_step import draw_cluster_mask, released_step
from step_bench import ADAM, Bench, make_model
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ssast_recipes.data.batches import ClipBatch
from ssast_recipes.model.randomness import ClipGenerator

AGAINST = (
    *("released", "two-passes", "explicit-attention", "python-masks", "unfused-adam", "eager"),
    "fp32",
)


def compare(bench: Bench, batch: ClipBatch) -> dict[str, Any]:
    """Alternates ours with something slower, step by step; medians.

    "released" is the whole released procedure, in 32-bit whatever the precision of ours, of a
    `MaskedPatchModel` whatever our objective; the others are ours with one change taken back.
    """
    options = bench.options
    released = bench.plain
    if options.against == "released" and options.objective != "masked-patches":
        ssast = argparse.Namespace(**{**vars(options), "objective": "masked-patches"})
        released = make_model(ssast).to(bench.device)
    with torch.no_grad():
        there = batch.to(bench.device)
        spectrograms = bench.plain_front_end(there.waveforms, there.num_samples)
    adam = torch.optim.Adam(released.parameters(), **ADAM)

    def without(change: str) -> None:
        eager = {"model": bench.plain, "front_end": bench.plain_front_end}
        before = {
            "explicit-attention": lambda: sdpa_kernel(SDPBackend.MATH),
            "python-masks": lambda: changed(bench, masker=PythonMasker(options.masked)),
            "unfused-adam": lambda: changed(bench, optimiser=adam),
            "eager": lambda: changed(bench, **eager),
            "fp32": lambda: changed(options, precision="fp32"),
        }
        with before[change]():
            bench.step(batch)

    others: dict[str, Callable[[], Any]] = {
        "released": lambda: released_step(released, adam, spectrograms, options.masked),
        "two-passes": lambda: bench.step(batch, two_passes=True),
    }
    other = others.get(options.against, lambda: without(options.against))
    ours, theirs = [], []
    for _ in range(1 + options.steps):
        ours.append(bench.clock(lambda: bench.step(batch)))
        theirs.append(bench.clock(other))
    ours_median, other_median = (statistics.median(seconds[1:]) for seconds in (ours, theirs))
    return {
        "against": options.against,
        "ours_seconds": ours_median,
        "other_seconds": other_median,
        "ours_over_other": ours_median / other_median,
    }


@contextmanager
def changed(thing: Any, **values: Any) -> Iterator[None]:
    """Gives an object other attributes for a while."""
    before = {name: getattr(thing, name) for name in values}
    vars(thing).update(values)
    yield
    vars(thing).update(before)


class PythonMasker:
    """Draws every clip's mask in Python, as the released code does.

    Arguments
    ---------
    num_masked : int
        Patches of a clip.
    """

    def __init__(self, num_masked: int):
        self.num_masked = num_masked

    def __call__(self, generator: ClipGenerator, grid_size: tuple[int, int]) -> Tensor:
        """Draws masks, [batch, masked]."""
        rows, columns = grid_size
        masks = [
            draw_cluster_mask(rows * columns, self.num_masked, columns)
            for _ in range(generator.batch_size)
        ]
        return torch.tensor(masks, device=generator.device)
