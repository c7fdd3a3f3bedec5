"""The one table of model sizes."""

from collections.abc import Mapping
from typing import Any

from ssast_recipes.model.encoder import AudioSpectrogramTransformer

# The sizes of the SSAST paper, which are DeiT's: width, blocks, heads.
SIZES = {
    "tiny": {"embed_dim": 192, "depth": 12, "num_heads": 3},
    "small": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "base": {"embed_dim": 768, "depth": 12, "num_heads": 12},
}


def ast_encoder(
    size: str = "base",
    embed_dim: int | None = None,
    depth: int | None = None,
    num_heads: int | None = None,
    **options: Any,
) -> AudioSpectrogramTransformer:
    """Builds an encoder of a named size; what is given besides replaces that size's value.

    Arguments
    ---------
    size : str
        "tiny" (5.5 M parameters), "small" (21.6 M) or "base" (85.7 M). The published 6, 23 and
        89 M count both prediction heads and two unused ImageNet classifiers too.
    embed_dim, depth, num_heads : int, optional
        Another width, number of blocks or number of heads than the size's.
    **options
        Passed to `AudioSpectrogramTransformer`: num_mel_bins, target_length, patch_size, …

    Returns
    -------
    AudioSpectrogramTransformer
        The encoder, with fresh weights.

    Raises
    ------
    ValueError
        If the size is unknown.

    Example
    -------
    >>> encoder = ast_encoder("tiny", depth=2, target_length=128)
    >>> encoder.embed_dim, len(encoder.blocks), encoder.grid_size
    (192, 2, (8, 8))
    """
    if size not in SIZES:
        raise ValueError(f"size is one of {', '.join(SIZES)}, not {size!r}")
    overrides = {"embed_dim": embed_dim, "depth": depth, "num_heads": num_heads}
    chosen = {key: value for key, value in overrides.items() if value is not None}
    return AudioSpectrogramTransformer(**{**SIZES[size], **chosen}, **options)


def size_name(geometry: Mapping[str, Any]) -> str | None:
    """Names the size that a geometry has in the table.

    Arguments
    ---------
    geometry : mapping
        `embed_dim`, `depth` and `num_heads` at least.

    Returns
    -------
    str or None
        "tiny", "small" or "base"; None for any other geometry.

    Example
    -------
    >>> size_name({"embed_dim": 384, "depth": 12, "num_heads": 6})
    'small'
    """
    named = (name for name, size in SIZES.items() if size.items() <= geometry.items())
    return next(named, None)


def size_options(geometry: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of `ast_encoder` that make an encoder as wide and deep as another.

    Arguments
    ---------
    geometry : mapping
        `embed_dim`, `depth` and `num_heads` at least.

    Returns
    -------
    dict
        `size` and, None where the size says it, the three.

    Example
    -------
    >>> size_options({"embed_dim": 384, "depth": 12, "num_heads": 6})
    {'size': 'small', 'embed_dim': None, 'depth': None, 'num_heads': None}
    """
    size = size_name(geometry)
    numbers = {key: None if size else geometry[key] for key in ("embed_dim", "depth", "num_heads")}
    return {"size": size or "base", **numbers}
