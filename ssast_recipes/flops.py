"""How many floating-point operations the encoder and its heads take."""

from collections.abc import Mapping
from typing import Any

from ssast_recipes.encoder import NUM_PREFIX_TOKENS

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
