"""Encoders of spectrograms out of distilled DeiT, an encoder of pictures."""

from dataclasses import replace
from math import isqrt

from ssast_recipes.weights.formats.foreign import ImportedModel


def grey_encoder(model: ImportedModel) -> ImportedModel:
    """Makes an encoder of spectrograms out of an encoder of square pictures in colour.

    As AST begins (Gong et al., Interspeech 2021, section 2.2): a spectrogram is a picture whose
    channels hold the same, so the projection's channels are summed up. The grid is told, so that
    position embeddings can be cut or stretched to another one.

    Arguments
    ---------
    model : ImportedModel
        The encoder, its patch projection [width, channels, side, side].

    Returns
    -------
    ImportedModel
        The same with a projection of one channel [width, 1, side, side].

    Raises
    ------
    ValueError
        If the position embeddings are not those of a square.

    Example
    -------
    >>> import torch
    >>> weights = {
    ...     "encoder.patch_embedding.projection.weight": torch.ones(192, 3, 16, 16),
    ...     "encoder.position_embedding": torch.zeros(1, 2 + 14 * 14, 192),
    ... }
    >>> encoder = grey_encoder(ImportedModel("DeiT", weights, {}, []))
    >>> encoder.geometry["grid_size"], encoder.weights[next(iter(weights))][0, 0, 0, 0]
    ([14, 14], tensor(3.))
    """
    side = isqrt(model.num_patches)
    if side**2 != model.num_patches:
        raise ValueError(f"{model.num_patches} position embeddings are not those of a square")
    name = "encoder.patch_embedding.projection.weight"
    kernel = model.weights[name].sum(dim=1, keepdim=True)
    geometry = {**model.geometry, "grid_size": [side, side]}
    return replace(model, weights={**model.weights, name: kernel}, geometry=geometry)
