"""What runs take: time and disk, estimated before they begin."""

import time
from collections.abc import Mapping
from typing import Any

import torch

from ssast_recipes.model.builders import ast_encoder
from ssast_recipes.model.encoder import NUM_PREFIX_TOKENS
from ssast_recipes.reporting.tables.experiments import expected_settings
from ssast_recipes.reporting.tables.plan import Plan
from ssast_recipes.runs.jobs import Job, Preparation
from ssast_recipes.system.machine import choose_device
from ssast_recipes.system.words import format_seconds

# Of the rate of matrix products, what training gets of it: a cautious guess.
_EFFICIENCY = 0.3
_START_SECONDS = 15  # of a process: imports, reading manifests, testing


def describe_costs(plan: Plan) -> str:
    """Says how much there is to do, and estimates time and disk of what is not finished.

    Arguments
    ---------
    plan : Plan
        The runs.

    Returns
    -------
    str
        A line.
    """
    waiting = [job for job in plan.jobs if not job.finished]
    line = f"{len(plan.jobs)} runs, {len(plan.jobs) - len(waiting)} of them finished"
    runs = [job for job in waiting if not isinstance(job, Preparation)]
    if not runs:
        return line
    rate = _EFFICIENCY * measure_rate()
    costs = [_cost(job, plan.train_clips[job.folder]) for job in runs]
    operations, disk = map(sum, zip(*costs, strict=True))
    seconds = operations / rate + _START_SECONDS * len(runs)
    kind = choose_device(None).type
    return (
        f"{line}; the others take about {format_seconds(seconds)} here, one after the other "
        f"({operations / 1e15:.3g} PFLOP at {rate / 1e12:.2g} TFLOP/s on {kind}, in 32-bit), and "
        f"{disk / 1e9:.2g} GB of disk"
    )


def _cost(job: Job, train_clips: int) -> tuple[float, float]:
    """Floating-point operations, and bytes that stay."""
    experiment = f"{job.train.parent.name}/{job.hparams_file.removesuffix('.yaml')}"
    settings = expected_settings(experiment, job.options)
    names = ("size", "embed_dim", "depth", "num_heads", "target_length", "patch_size")
    with torch.device("meta"):
        encoder = ast_encoder(
            **{name: settings[name] for name in names}, patch_stride=settings.get("patch_stride")
        )
    geometry = encoder.geometry()
    masked = settings.get("num_masked_patches")
    if masked is None:
        rows, columns = geometry["grid_size"]
        area = settings["patch_size"][0] * settings["patch_size"][1]
        a_clip = 3 * encoder_flops(geometry["depth"], geometry["embed_dim"], rows * columns, area)
    else:
        heads = sum(bool(settings[f"{name}_head"]) for name in ("contrastive", "reconstruction"))
        a_clip = pretraining_flops(geometry, masked, heads, 1 + bool(settings["two_passes"]))
    clips = settings["batch_size"] * settings.get("grad_accumulation_factor", 1)
    unit, count = job.length
    shown = count * clips if unit == "step" else count * train_clips
    weights = sum(parameter.numel() for parameter in encoder.parameters())
    # Newest and best checkpoint, each with Adam's two moments; the model.
    return a_clip * shown, (2 * 3 + 1) * 4 * weights


def measure_rate(size: int = 1024, repeats: int = 5) -> float:
    """Measures how many floating-point operations a second matrix products do here, in 32-bit."""
    device = choose_device(None)
    matrix = torch.randn(size, size, device=device)
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        (matrix @ matrix)[0, 0].item()  # waits for the device
        seconds.append(time.perf_counter() - begin)
    return 2 * size**3 / min(seconds)


MLP_RATIO = 4


def encoder_flops(depth: int, embed_dim: int, num_patches: int, patch_area: int = 256) -> float:
    """Counts a clip's forward pass through the encoder.

    Two operations a weight and token: 12 width² weights a block (4 in attention, 8 in the MLP), and
    the patch projection; and 4 tokens² width of attention a block. Norms, softmax and GELU, less
    than a hundredth of it, do not count.

    Arguments
    ---------
    depth, embed_dim : int
        Blocks, and their width.
    num_patches : int
        Of a clip; the prefix tokens are added.
    patch_area : int
        Values of a patch.

    Returns
    -------
    float
        Operations, multiplications and additions each.

    Example
    -------
    >>> round(encoder_flops(depth=12, embed_dim=768, num_patches=512) / 1e9, 1)
    97.3
    """
    tokens = num_patches + NUM_PREFIX_TOKENS
    weights = (4 + 2 * MLP_RATIO) * embed_dim**2
    blocks = depth * (2 * weights * tokens + 4 * tokens**2 * embed_dim)
    return blocks + 2 * patch_area * embed_dim * num_patches


def head_flops(embed_dim: int, num_masked: int, patch_area: int = 256) -> float:
    """Counts a clip's forward pass through one prediction head, at its masked patches.

    Example
    -------
    >>> round(head_flops(embed_dim=768, num_masked=400) / 1e9, 2)
    0.63
    """
    return 2 * num_masked * embed_dim * (embed_dim + patch_area)


def pretraining_flops(
    geometry: Mapping[str, Any], num_masked: int, num_heads: int = 2, num_passes: int = 1
) -> float:
    """Counts a clip's forward and backward pass in pretraining; backward takes twice forward.

    Arguments
    ---------
    geometry : mapping
        `depth`, `embed_dim`, `grid_size`, `patch_size`, as of `AudioSpectrogramTransformer`.
    num_masked : int
        Masked patches.
    num_heads : int
        Prediction heads, 1 or 2.
    num_passes : int
        Passes through the encoder.

    Returns
    -------
    float
        Operations.

    Example
    -------
    >>> base = {"depth": 12, "embed_dim": 768, "grid_size": (8, 64), "patch_size": (16, 16)}
    >>> round(pretraining_flops(base, num_masked=400) / 1e9)
    296
    """
    (rows, columns), (height, length) = geometry["grid_size"], geometry["patch_size"]
    depth, width, area = geometry["depth"], geometry["embed_dim"], height * length
    forward = num_passes * encoder_flops(depth, width, rows * columns, area)
    return 3 * (forward + num_heads * head_flops(width, num_masked, area))
