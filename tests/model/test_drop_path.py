"""Stochastic depth: what is drawn, and what an encoder makes of it."""

import pytest
import torch

from ssast_recipes.model.drop_path import draw_branch_scales
from ssast_recipes.model.encoder import AudioSpectrogramTransformer
from ssast_recipes.model.randomness import ClipGenerator


def draw(batch, depth, rate, device="cpu", first=0):
    places = torch.arange(first, first + batch, device=device)
    return draw_branch_scales(ClipGenerator(3, 5, places), depth, rate)


def test_branches_are_dropped_ever_more_often_and_their_mean_stays(device):
    scales = draw(20_000, 3, 0.4, device)
    for block, rate in enumerate((0.0, 0.2, 0.4)):
        of_block = scales[:, block]  # [batch, 2]
        kept = of_block > 0
        torch.testing.assert_close(of_block[kept], torch.full_like(of_block[kept], 1 / (1 - rate)))
        assert kept.float().mean(dim=0).tolist() == pytest.approx([1 - rate] * 2, abs=0.02)
    # The two branches are drawn for themselves.
    both = (scales[:, 2] > 0).all(dim=1).float().mean().item()
    assert both == pytest.approx(0.36, abs=0.02)


def test_a_clip_draws_the_same_in_any_batch():
    assert torch.equal(draw(8, 4, 0.5)[5:6], draw(1, 4, 0.5, first=5))


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_no_probability_is_refused(rate):
    with pytest.raises(ValueError, match=f"drop_path is {rate}; give a probability"):
        draw(1, 2, rate)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_an_encoder_scales_the_branches_of_each_clip(device, checkpointing):
    torch.manual_seed(0)
    encoder = AudioSpectrogramTransformer(
        16, 3, 2, target_length=32, activation_checkpointing=checkpointing
    ).to(device)
    spectrograms = torch.randn(4, 32, 128, device=device)
    scales = draw(4, 3, 0.6, device)
    assert (scales == 0).any()
    found = encoder(spectrograms, branch_scales=scales).patch_tokens
    for clip, own in enumerate(scales.tolist()):
        prefix = torch.cat([encoder.class_token, encoder.distillation_token], dim=1)
        tokens = encoder.patch_embedding(spectrograms[clip : clip + 1])
        tokens = torch.cat([prefix, tokens], dim=1) + encoder.position_embedding
        for block, (of_attention, of_mlp) in zip(encoder.blocks, own, strict=True):
            tokens = tokens + of_attention * block.attention(block.norm1(tokens))
            tokens = tokens + of_mlp * block.mlp(block.norm2(tokens))
        expected = encoder.norm(tokens)[:, 2:]
        torch.testing.assert_close(found[clip : clip + 1], expected, rtol=1e-4, atol=1e-5)
