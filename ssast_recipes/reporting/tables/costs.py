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
    given = {name: settings[name] for name in names}
    if "num_mel_bins" in settings:
        given["num_mel_bins"] = settings["num_mel_bins"]
    with torch.device("meta"):
        encoder = ast_encoder(**given, patch_stride=settings.get("patch_stride"))
    geometry = encoder.geometry()
    masked = settings.get("num_masked_patches")
    if masked is None:
        rows, columns = geometry["grid_size"]
        area = settings["patch_size"][0] * settings["patch_size"][1]
        a_clip = 3 * encoder_flops(geometry["depth"], geometry["embed_dim"], rows * columns, area)
    else:
        heads = sum(bool(settings[f"{name}_head"]) for name in ("contrastive", "reconstruction"))
        decoder = None
        if "decoder_depth" in settings:  # of a masked autoencoder
            width = settings["decoder_dim"] or geometry["embed_dim"]
            decoder = {"depth": settings["decoder_depth"], "embed_dim": width}
        passes = 1 + bool(settings["two_passes"])
        a_clip = pretraining_flops(geometry, masked, heads, passes, decoder)
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


def block_flops(embed_dim: int, num_tokens: int) -> float:
    """Counts a clip's forward pass through one transformer block.

    Two operations a weight and token, of 12 width² weights (4 in attention, 8 in the MLP), and
    4 tokens² width of attention. Norms, softmax and GELU do not count: less than a hundredth of it.

    Example
    -------
    >>> round(block_flops(embed_dim=768, num_tokens=514) / 1e9, 2)
    8.09
    """
    weights = (4 + 2 * MLP_RATIO) * embed_dim**2
    return 2 * weights * num_tokens + 4 * num_tokens**2 * embed_dim


def encoder_flops(
    depth: int,
    embed_dim: int,
    num_patches: int,
    patch_area: int = 256,
    num_kept: int | None = None,
) -> float:
    """Counts a clip's forward pass through the encoder: the patch projection, and its blocks.

    Arguments
    ---------
    depth, embed_dim : int
        Blocks, and their width.
    num_patches : int
        Of a clip; the prefix tokens are added.
    patch_area : int
        Values of a patch.
    num_kept : int, optional
        Patches that go through the blocks; by default all.

    Returns
    -------
    float
        Operations, multiplications and additions each.

    Example
    -------
    >>> round(encoder_flops(depth=12, embed_dim=768, num_patches=512) / 1e9, 1)
    97.3
    >>> round(encoder_flops(depth=12, embed_dim=768, num_patches=512, num_kept=112) / 1e9, 1)
    20.0
    """
    kept = num_patches if num_kept is None else num_kept
    blocks = depth * block_flops(embed_dim, kept + NUM_PREFIX_TOKENS)
    return blocks + 2 * patch_area * embed_dim * num_patches


def decoder_flops(
    encoder_dim: int, embed_dim: int, depth: int, num_kept: int, num_patches: int
) -> float:
    """Counts a clip's forward pass through a masked autoencoder's decoder, `PatchDecoder`.

    Its blocks see all patches; where it is as wide as the encoder, nothing is projected.

    Example
    -------
    >>> round(decoder_flops(768, 768, depth=2, num_kept=112, num_patches=512) / 1e9, 1)
    16.2
    """
    projected = 0 if embed_dim == encoder_dim else num_kept + NUM_PREFIX_TOKENS
    blocks = depth * block_flops(embed_dim, num_patches + NUM_PREFIX_TOKENS)
    return blocks + 2 * projected * encoder_dim * embed_dim


def head_flops(embed_dim: int, num_masked: int, patch_area: int = 256) -> float:
    """Counts a clip's forward pass through one prediction head, at its masked patches.

    Example
    -------
    >>> round(head_flops(embed_dim=768, num_masked=400) / 1e9, 2)
    0.63
    """
    return 2 * num_masked * embed_dim * (embed_dim + patch_area)


def pretraining_flops(
    geometry: Mapping[str, Any],
    num_masked: int,
    num_heads: int = 2,
    num_passes: int = 1,
    decoder: Mapping[str, int] | None = None,
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
    decoder : mapping, optional
        `depth` and `embed_dim` of a masked autoencoder's decoder; its encoder sees the patches that
        are not masked. Without, the encoder sees all.

    Returns
    -------
    float
        Operations.

    Example
    -------
    >>> base = {"depth": 12, "embed_dim": 768, "grid_size": (8, 64), "patch_size": (16, 16)}
    >>> round(pretraining_flops(base, num_masked=400) / 1e9)
    296
    >>> decoder = {"depth": 2, "embed_dim": 768}
    >>> round(pretraining_flops(base, num_masked=400, decoder=decoder) / 1e9)
    112
    """
    (rows, columns), (height, length) = geometry["grid_size"], geometry["patch_size"]
    depth, width, area = geometry["depth"], geometry["embed_dim"], height * length
    patches = rows * columns
    if decoder is None:
        forward, read = encoder_flops(depth, width, patches, area), width
    else:
        kept, read = patches - num_masked, decoder["embed_dim"]
        forward = encoder_flops(depth, width, patches, area, kept)
        forward += decoder_flops(width, read, decoder["depth"], kept, patches)
    return 3 * (num_passes * forward + num_heads * head_flops(read, num_masked, area))
