"""Weights and inputs of the reference cases, given by formulas instead of files."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

SAMPLE_RATE = 16000
# LayerNorm weights stand around 1.
_NORM_WEIGHTS = ("norm.weight", "norm1.weight", "norm2.weight", "mlp_head.0.weight")


def seed_of(name: str) -> int:
    """Seed of a parameter's name: its bytes, weighted by their places.

    Example
    -------
    >>> seed_of("ab"), seed_of("module.ab")
    (293, 293)
    """
    encoded = name.removeprefix("module.").encode()
    return sum((place + 1) * byte for place, byte in enumerate(encoded)) % 1000


def noise(count: int, seed: int) -> np.ndarray:
    """Numbers in (-0.5, 0.5) from a hash of 32-bit integers, in 64-bit."""
    word = 2**32 - 1
    x = (np.arange(count, dtype=np.uint64) + np.uint64(7919 * seed)) & word
    x = x * 2654435761 & word
    x ^= x >> 16
    x = x * 73244475 & word
    x ^= x >> 16
    return (x + 0.5) / 2**32 - 0.5


def weight(name: str, shape: tuple[int, ...], kind: str) -> Tensor:
    """The tensor of a released parameter's name; `kind` is hash or sin."""
    count, seed = math.prod(shape), seed_of(name)
    is_norm = name.endswith(_NORM_WEIGHTS)
    if kind == "hash":
        values = noise(count, seed) * (0.4 if is_norm else 0.2)
    else:
        values = 0.02 * np.sin(0.7 * np.arange(count) + seed)
    return torch.from_numpy((values + is_norm).astype(np.float32)).reshape(shape)


def released_checkpoint(
    embed_dim: int,
    depth: int,
    patch_size: tuple[int, int],
    kind: str,
    input_size: tuple[int, int] = (128, 1024),
) -> dict[str, Tensor]:
    """A state dict as the released pretraining code writes it.

    Arguments
    ---------
    embed_dim, depth : int
        Width of a token and number of blocks.
    patch_size : tuple[int, int]
        Mel bins and frames of a patch.
    kind : str
        The weights' formula, hash or sin.
    input_size : tuple[int, int]
        Mel bins and frames of a spectrogram.
    """
    rows, columns = (size // patch for size, patch in zip(input_size, patch_size, strict=True))
    tensors = {
        "v.cls_token": (1, 1, embed_dim),
        "v.dist_token": (1, 1, embed_dim),
        "v.pos_embed": (1, 2 + rows * columns, embed_dim),
        "v.patch_embed.proj.weight": (embed_dim, 1, *patch_size),
        "v.patch_embed.proj.bias": (embed_dim,),
        "mask_embed": (1, 1, embed_dim),
    }
    linears = {"v.head": (1000, embed_dim), "v.head_dist": (1000, embed_dim)}
    for head in ("cpredlayer", "gpredlayer"):
        linears[f"{head}.0"] = (embed_dim, embed_dim)
        linears[f"{head}.2"] = (math.prod(patch_size), embed_dim)
    norms = ["v.norm"]
    for block in (f"v.blocks.{i}" for i in range(depth)):
        norms += [f"{block}.norm1", f"{block}.norm2"]
        linears[f"{block}.attn.qkv"] = (3 * embed_dim, embed_dim)
        linears[f"{block}.attn.proj"] = (embed_dim, embed_dim)
        linears[f"{block}.mlp.fc1"] = (4 * embed_dim, embed_dim)
        linears[f"{block}.mlp.fc2"] = (embed_dim, 4 * embed_dim)
    for name, shape in linears.items():
        tensors |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        tensors |= {f"{name}.weight": (embed_dim,), f"{name}.bias": (embed_dim,)}
    filled = {f"module.{name}": weight(name, shape, kind) for name, shape in tensors.items()}
    sizes = dict(zip(("p_input_fdim", "p_input_tdim"), input_size, strict=True))
    return filled | {f"module.{name}": torch.tensor(size) for name, size in sizes.items()}


def released_classifier(embed_dim: int, num_classes: int, kind: str) -> dict[str, Tensor]:
    """The classifier's part of a state dict as the released fine-tuning code writes it."""
    shapes = {
        "mlp_head.0.weight": (embed_dim,),
        "mlp_head.0.bias": (embed_dim,),
        "mlp_head.1.weight": (num_classes, embed_dim),
        "mlp_head.1.bias": (num_classes,),
    }
    return {f"module.{name}": weight(name, shape, kind) for name, shape in shapes.items()}


def spectrograms(frames: int, batch: int = 2, num_mel_bins: int = 128) -> Tensor:
    """The input of the cases, [batch, frames, mel bins]."""
    b, t, f = np.ogrid[:batch, :frames, :num_mel_bins]
    values = np.sin(0.013 * t * (b + 1)) * np.cos(0.11 * f) + 0.3 * np.sin(0.5 * (t + f) + b)
    return torch.from_numpy(values.astype(np.float32))


def masked_indices(num_masked: int, batch: int = 2) -> Tensor:
    """The masks of the cases, [batch, masked] of 512 patches."""
    b, k = np.ogrid[:batch, :num_masked]
    return torch.from_numpy((7 * k + 3 * b) % 512).sort(dim=1).values


def waveform(seconds: float, quantise: Callable[[np.ndarray], np.ndarray] | None = None) -> Tensor:
    """The waveform of the cases at 16 kHz, [samples], perhaps by way of 16-bit integers."""
    n = np.arange(round(seconds * SAMPLE_RATE), dtype=np.float64)
    values = (
        0.4 * np.sin(2 * np.pi * 440 * n / SAMPLE_RATE)
        + 0.2 * np.sin(2 * np.pi * (1000 + 0.05 * n / SAMPLE_RATE * 4000) * n / SAMPLE_RATE)
        + 0.05 * np.sin(12.9898 * n) * np.cos(0.0007 * n)
    )
    if quantise is not None:
        values = np.clip(np.rint(quantise(values)), -32768, 32767) / 32768
    return torch.from_numpy(values.astype(np.float32))


# The product that is rounded to 16 bits, by when it is rounded to 32 bits: the formula leaves that
# open. It decides 1 sample in 2000, and of values near the log floor the second digit.
QUANTISATIONS: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda values: values.astype(np.float32) * np.float32(32767),
    lambda values: values.astype(np.float32).astype(np.float64) * 32767,
    lambda values: values * 32767,
)


def mix(first: Tensor, second: Tensor, share: float) -> Tensor:
    """`share` of the first waveform and the rest of the second, in the first's length."""
    first, second = first - first.mean(), second - second.mean()
    second = pad(second, (0, len(first) - len(second)))  # negative: cut
    mixture = share * first + (1 - share) * second
    return mixture - mixture.mean()
