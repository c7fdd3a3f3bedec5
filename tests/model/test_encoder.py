"""The encoder against its definition, and what masking must not let through."""

import math

import pytest
import torch
from torch.nn import functional as F

from ssast_recipes.model.encoder import AudioSpectrogramTransformer
from ssast_recipes.model.patches import patchify, unpatchify
from ssast_recipes.model.transformer import FeedForward, SelfAttention, TransformerBlock

GRID = (8, 4)  # of the encoder below


def small_encoder(device, **options) -> AudioSpectrogramTransformer:
    torch.manual_seed(1)
    options = {"embed_dim": 32, "depth": 2, "num_heads": 4, "target_length": 64} | options
    encoder = AudioSpectrogramTransformer(**options).to(device)
    for parameter in encoder.parameters():  # fresh biases and norms would hide mistakes
        torch.nn.init.normal_(parameter, std=0.2)
    return encoder


def layer_norm(values, norm, eps):
    centred = values - values.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1, keepdim=True)
    return centred / (variance + eps).sqrt() * norm.weight + norm.bias


def test_attention_is_softmax_of_scaled_products_by_head(device):
    attention = SelfAttention(12, num_heads=3).to(device).double()
    tokens = torch.randn(2, 7, 12, device=device, dtype=torch.float64)
    query, key, value = F.linear(tokens, attention.qkv.weight, attention.qkv.bias).split(12, dim=2)
    heads = []
    for head in range(3):
        part = slice(4 * head, 4 * head + 4)
        scores = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(4)
        heads.append(scores.softmax(dim=2) @ value[..., part])
    expected = attention.projection(torch.cat(heads, dim=2))
    torch.testing.assert_close(attention(tokens), expected)


def test_feed_forward_has_the_exact_gelu(device):
    network = FeedForward(12, hidden_dim=48).to(device).double()
    tokens = torch.randn(2, 7, 12, device=device, dtype=torch.float64)
    hidden = network.fc1(tokens)
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    torch.testing.assert_close(network(tokens), network.fc2(hidden), rtol=1e-12, atol=1e-12)


def test_a_block_normalises_before_and_adds_after(device):
    block = TransformerBlock(12, num_heads=3).to(device).double()
    # So faint that the norms' epsilon decides.
    tokens = 1e-3 * torch.randn(2, 7, 12, device=device, dtype=torch.float64)
    attended = tokens + block.attention(layer_norm(tokens, block.norm1, eps=1e-6))
    expected = attended + block.mlp(layer_norm(attended, block.norm2, eps=1e-6))
    torch.testing.assert_close(block(tokens), expected, rtol=1e-10, atol=1e-12)


def test_without_blocks_tokens_are_what_goes_in(device):
    """Prefix tokens first, the mask token in place of the embedding, then the positions."""
    encoder = small_encoder(device, depth=0).double()
    spectrograms = torch.randn(2, 64, 128, device=device, dtype=torch.float64)
    masked = torch.tensor([[0, 5, 31], [2, 3, 30]], device=device)
    output = encoder(spectrograms, masked)
    tokens = encoder.patch_embedding(spectrograms)
    for clip, places in enumerate(masked.tolist()):
        tokens[clip, places] = encoder.mask_token
    prefix, positions = encoder.position_embedding.split([2, 32], dim=1)
    tokens = layer_norm(tokens + positions, encoder.norm, eps=1e-6)
    torch.testing.assert_close(output.patch_tokens, tokens)
    prefix_tokens = torch.cat([encoder.class_token, encoder.distillation_token], dim=1) + prefix
    prefix_tokens = layer_norm(prefix_tokens, encoder.norm, eps=1e-6).expand(2, -1, -1)
    torch.testing.assert_close(output.prefix_tokens, prefix_tokens)


def test_hidden_states_are_the_outputs_of_the_blocks(device):
    encoder = small_encoder(device, depth=3)
    spectrograms = torch.randn(2, 64, 128, device=device)
    output = encoder(spectrograms, return_hidden_states=True)
    assert len(output.hidden_states) == 3
    for block, before, after in zip(
        encoder.blocks[1:], output.hidden_states, output.hidden_states[1:], strict=False
    ):
        assert torch.equal(block(before), after)
    tokens = torch.cat([output.prefix_tokens, output.patch_tokens], dim=1)
    assert torch.equal(encoder.norm(output.hidden_states[-1]), tokens)
    plain = encoder(spectrograms)
    assert plain.hidden_states == ()
    assert torch.equal(plain.patch_tokens, output.patch_tokens)


def test_masked_values_leave_no_trace(device):
    encoder = small_encoder(device)
    spectrograms = torch.randn(2, 64, 128, device=device)
    masked = torch.stack([torch.randperm(32)[:20] for _ in range(2)]).to(device)
    patches = patchify(spectrograms, (16, 16))
    changed = patches.scatter(
        1, masked.unsqueeze(2).expand(-1, -1, 256), 1e3 * torch.randn(2, 20, 256, device=device)
    )
    before = encoder(spectrograms, masked)
    after = encoder(unpatchify(changed, (16, 16), GRID), masked)
    assert torch.equal(before.patch_tokens, after.patch_tokens)
    assert torch.equal(before.prefix_tokens, after.prefix_tokens)


def test_gradients_reach_every_visible_patch_and_no_masked_one(device):
    encoder = small_encoder(device)
    spectrograms = torch.randn(1, 64, 128, device=device, requires_grad=True)
    masked = torch.tensor([[0, 7, 8, 20]], device=device)
    encoder(spectrograms, masked).patch_tokens.square().sum().backward()
    touched = patchify(spectrograms.grad, (16, 16))[0].abs().amax(dim=1) > 0
    expected = torch.ones(32, dtype=torch.bool, device=device)
    expected[masked[0]] = False
    assert torch.equal(touched, expected)


def test_the_order_of_the_masked_indices_does_not_matter(device):
    encoder = small_encoder(device)
    spectrograms = torch.randn(2, 64, 128, device=device)
    masked = torch.tensor([[3, 9, 27], [0, 1, 2]], device=device)
    in_order = encoder(spectrograms, masked).patch_tokens
    assert torch.equal(encoder(spectrograms, masked.flip(1)).patch_tokens, in_order)


def test_a_clip_is_encoded_alike_in_every_batch(device):
    encoder = small_encoder(device)
    spectrograms = torch.randn(3, 64, 128, device=device)
    masked = torch.stack([torch.randperm(32)[:20] for _ in range(3)]).to(device)
    together = encoder(spectrograms, masked).patch_tokens[1:2]
    alone = encoder(spectrograms[1:2], masked[1:2]).patch_tokens
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_attention_to_visible_tokens_is_as_if_the_others_were_not_there(device):
    attention = SelfAttention(12, num_heads=3).to(device).double()
    tokens = torch.randn(3, 7, 12, device=device, dtype=torch.float64)
    visible = torch.rand(3, 7, device=device) < 0.6
    visible[:, 0] = True
    attended = attention(tokens, visible)
    assert not torch.allclose(attended, attention(tokens))
    for clip in range(3):
        there = visible[clip]
        expected = attention(tokens[clip, there].unsqueeze(0))[0]
        torch.testing.assert_close(attended[clip, there], expected)
    torch.testing.assert_close(attention(tokens, visible | True), attention(tokens))


def test_prefix_tokens_and_visible_patches_alone_are_attended_to(device):
    encoder = small_encoder(device, depth=3).double()
    spectrograms = torch.randn(2, 64, 128, device=device, dtype=torch.float64)
    visible = torch.rand(2, 32, device=device) < 0.5
    patches = patchify(spectrograms, (16, 16))
    changed = torch.where(visible.unsqueeze(2), patches, 1e3)
    before = encoder(spectrograms, visible_patches=visible)
    after = encoder(unpatchify(changed, (16, 16), GRID), visible_patches=visible)
    torch.testing.assert_close(before.patch_tokens[visible], after.patch_tokens[visible])
    torch.testing.assert_close(before.prefix_tokens, after.prefix_tokens)
    assert not torch.allclose(before.patch_tokens[~visible], after.patch_tokens[~visible])
    plain = encoder(spectrograms)
    torch.testing.assert_close(
        encoder(spectrograms, visible_patches=visible | True).patch_tokens, plain.patch_tokens
    )
    with torch.no_grad():
        encoder.class_token.neg_()
    moved = encoder(spectrograms, visible_patches=visible)
    assert not torch.allclose(moved.patch_tokens, before.patch_tokens)


def test_attention_gets_no_mask_unless_one_is_asked_for(device, monkeypatch):
    """Without one, the fused kernels that take none can be chosen."""
    masks, attend = [], F.scaled_dot_product_attention

    def spy(*arguments, attn_mask=None, **options):
        masks.append(attn_mask)
        return attend(*arguments, attn_mask=attn_mask, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    encoder = small_encoder(device)
    spectrograms = torch.randn(2, 64, 128, device=device)
    encoder(spectrograms, return_hidden_states=True)
    assert masks == [None, None]
    encoder(spectrograms, visible_patches=torch.ones(2, 32, dtype=torch.bool, device=device))
    assert masks[2].shape == (2, 1, 1, 34) and masks[2].dtype == torch.bool


def test_activation_checkpointing_changes_no_gradient(device):
    plain = small_encoder(device)
    thrifty = small_encoder(device, activation_checkpointing=True)
    thrifty.load_state_dict(plain.state_dict())
    spectrograms = torch.randn(2, 64, 128, device=device)
    masked = torch.tensor([[3, 9], [0, 1]], device=device)
    recomputed = []
    thrifty.blocks[0].register_forward_pre_hook(lambda *_: recomputed.append(1))
    for encoder in (plain, thrifty):
        encoder(spectrograms, masked).patch_tokens.square().sum().backward()
    assert len(recomputed) == 2
    for (name, expected), parameter in zip(
        plain.named_parameters(), thrifty.parameters(), strict=True
    ):
        torch.testing.assert_close(parameter.grad, expected.grad, msg=name)


def test_bf16_autocast_keeps_the_residual_stream_in_32_bit(device):
    encoder = small_encoder(device)
    spectrograms = torch.randn(2, 64, 128, device=device)
    masked = torch.tensor([[3, 9], [0, 1]], device=device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        output = encoder(spectrograms, masked, return_hidden_states=True)
    assert {state.dtype for state in output.hidden_states} == {torch.float32}
    exact = encoder(spectrograms, masked).patch_tokens
    error = (output.patch_tokens.float() - exact).norm() / exact.norm()
    assert 1e-4 < error < 3e-2


def test_fresh_weights_are_drawn_as_documented():
    encoder = AudioSpectrogramTransformer(96, depth=2, num_heads=3, target_length=512)
    for name, parameter in encoder.named_parameters():
        if name.endswith("bias") and "patch_embedding" not in name:
            assert not parameter.any(), name
        elif "norm" in name:
            assert (parameter == 1).all(), name
        elif "patch_embedding" not in name:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.25), name


@pytest.mark.parametrize("shape", [(2, 63, 128), (2, 64, 127), (2, 128, 64), (64, 128)])
def test_spectrograms_of_another_size_are_refused(shape):
    with pytest.raises(ValueError, match="64 frames, 128 mel bins"):
        small_encoder("cpu")(torch.zeros(shape))


def test_heads_that_do_not_share_the_width_are_refused():
    with pytest.raises(ValueError, match="embed_dim 32 cannot be shared by 5 heads"):
        small_encoder("cpu", num_heads=5)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_heads": 2}, "num_heads is 4 there, 2 here"),
        ({"patch_stride": (16, 12)}, r"grid_size is \[8, 4\] there, \[8, 5\] here"),
        # The same shapes, other patches: 8 x 4 and 4 x 8 of 256 values.
        ({"patch_size": (32, 8)}, r"patch_size is \[16, 16\] there, \[32, 8\] here"),
    ],
)
def test_weights_of_another_geometry_are_refused(options, message, tmp_path):
    torch.save(small_encoder("cpu").state_dict(), tmp_path / "weights.pt")
    weights = torch.load(tmp_path / "weights.pt", weights_only=True)
    with pytest.raises(ValueError, match=message):
        small_encoder("cpu", **options).load_state_dict(weights, strict=False)
