"""The released procedure of a pretraining step, as slow as it is: what ours is measured against.

From descriptions of that code, in words of our own: two passes, each with masks of its own that
Python draws clip by clip; losses clip by clip; attention by an explicit softmax; eager, 32-bit.
Weights are those of one of our models, so that both compute the same and can be compared. Features
are not part of it: there the loader's processes make them.
"""

import random
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ssast_recipes.model.encoder import NUM_PREFIX_TOKENS
from ssast_recipes.model.masked_patches import MaskedPatchModel
from ssast_recipes.model.patches import patchify
from ssast_recipes.model.transformer import TransformerBlock


def draw_cluster_mask(
    num_patches: int, num_masked: int, columns: int, factors: Sequence[int] = (3, 4, 5)
) -> list[int]:
    """Draws the masked patches of one clip, block by block."""
    covered: set[int] = set()
    factor = random.choice(list(factors))
    while len(covered) <= num_masked:
        start = random.randrange(num_patches)
        for row in range(factor):
            for column in range(factor):
                index = start + columns * row + column
                if 0 < index < num_patches:
                    covered.add(index)
    return sorted(covered)[:num_masked]


def attend_explicitly(block: TransformerBlock, tokens: Tensor) -> Tensor:
    """A block's output, the whole matrix of attention weights being made."""
    attention = block.attention
    heads = attention.qkv(block.norm1(tokens)).unflatten(2, (3, attention.num_heads, -1))
    query, key, value = heads.permute(2, 0, 3, 1, 4)
    weights = (query @ key.transpose(2, 3) * query.shape[3] ** -0.5).softmax(dim=3)
    attended = (weights @ value).transpose(1, 2).flatten(2)
    tokens = tokens + attention.projection(attended)
    return tokens + block.mlp(block.norm2(tokens))


def encode(
    model: MaskedPatchModel, spectrograms: Tensor, masked: Sequence[Sequence[int]]
) -> Tensor:
    """Patch tokens [batch, patches, width], the mask being written clip by clip."""
    encoder = model.encoder
    tokens = encoder.patch_embedding(spectrograms)
    keep = torch.ones_like(tokens[:, :, :1])
    for clip, indices in enumerate(masked):
        keep[clip, list(indices)] = 0
    tokens = tokens * keep + (1 - keep) * encoder.mask_token
    prefix = torch.cat([encoder.class_token, encoder.distillation_token], dim=1)
    tokens = torch.cat([prefix.expand(len(tokens), -1, -1), tokens], dim=1)
    tokens = tokens + encoder.position_embedding
    for block in encoder.blocks:
        tokens = attend_explicitly(block, tokens)
    return encoder.norm(tokens)[:, NUM_PREFIX_TOKENS:]


def released_losses(
    model: MaskedPatchModel, spectrograms: Tensor, masks: Sequence[Sequence[Sequence[int]]]
) -> tuple[Tensor, Tensor]:
    """InfoNCE and squared error, each of a pass of its own.

    Arguments
    ---------
    model : MaskedPatchModel
        With both heads.
    spectrograms : Tensor
        [batch, frames, mel bins].
    masks : two sequences of sequences of int
        Masked patches of every clip, for either objective.

    Returns
    -------
    tuple of two Tensors
        Scalars.
    """
    patches = patchify(spectrograms, model.encoder.patch_size)  # [batch, patches, patch area]
    first, second = masks
    tokens, info_nce = encode(model, spectrograms, first), []
    for clip, indices in enumerate(first):
        predictions = model.contrastive_head(tokens[clip, indices])
        similarities = patches[clip, indices] @ predictions.T  # a row a target
        correct = torch.arange(len(indices), device=similarities.device)
        info_nce.append(F.cross_entropy(similarities, correct))
    tokens, errors = encode(model, spectrograms, second), []
    for clip, indices in enumerate(second):
        predictions = model.reconstruction_head(tokens[clip, indices])
        errors.append(F.mse_loss(predictions, patches[clip, indices]))
    return torch.stack(info_nce).mean(), torch.stack(errors).mean()


def released_step(
    model: MaskedPatchModel,
    optimiser: torch.optim.Optimizer,
    spectrograms: Tensor,
    num_masked: int,
    reconstruction_weight: float = 10.0,
) -> Tensor:
    """Makes one step and returns its loss."""
    encoder = model.encoder
    masks = [
        [
            draw_cluster_mask(encoder.num_patches, num_masked, encoder.grid_size[1])
            for _ in range(len(spectrograms))
        ]
        for _ in range(2)
    ]
    info_nce, error = released_losses(model, spectrograms, masks)
    loss = info_nce + reconstruction_weight * error
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.detach()
