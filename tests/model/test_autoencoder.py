"""The masked autoencoder against its definition, and against `MaskedPatchModel`."""

import pytest
import torch

from ssast_recipes.model.autoencoder import MaskedAutoencoder
from ssast_recipes.model.encoder import AudioSpectrogramTransformer
from ssast_recipes.model.grid import sinusoidal_positions
from ssast_recipes.model.heads import PatchPredictionHead
from ssast_recipes.model.masked_patches import MaskedPatchModel
from ssast_recipes.model.patches import (
    patchify,
    remaining_patches,
    select_patches,
    standardise_patches,
    unpatchify,
)
from ssast_recipes.objectives.losses import info_nce_loss, masked_reconstruction_loss


def autoencoder(device, width=32, positions="learned", **options) -> MaskedAutoencoder:
    torch.manual_seed(1)
    encoder = AudioSpectrogramTransformer(
        32, depth=2, num_heads=4, target_length=64, positions=positions
    )
    heads = [PatchPredictionHead(width, 256) for _ in range(2)]
    options = {"decoder_dim": width, "decoder_positions": positions} | options
    model = MaskedAutoencoder(encoder, *heads, **options).to(device)
    for parameter in model.parameters():  # fresh biases and norms would hide mistakes
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def random_masks(device, num_masked=20, batch=2) -> torch.Tensor:
    return torch.stack([torch.randperm(32)[:num_masked] for _ in range(batch)]).to(device)


def test_with_nothing_dropped_and_no_blocks_it_is_the_model_of_masked_patches(device):
    model = autoencoder(device, decoder_depth=0).double()
    torch.nn.init.zeros_(model.decoder.position_embedding)
    plain = MaskedPatchModel(model.encoder, model.contrastive_head, model.reconstruction_head)
    spectrograms = torch.randn(2, 64, 128, device=device, dtype=torch.float64)
    nothing = torch.empty(2, 0, dtype=torch.int64, device=device)
    decoded, encoded = model.decode(spectrograms, nothing), plain.encoder(spectrograms, nothing)
    assert torch.equal(decoded.patch_tokens, encoded.patch_tokens)
    assert torch.equal(decoded.prefix_tokens, encoded.prefix_tokens)


def test_dropped_patches_are_as_if_not_attended_to(device):
    encoder = autoencoder(device).double().encoder
    spectrograms = torch.randn(2, 64, 128, device=device, dtype=torch.float64)
    kept = random_masks(device, num_masked=9)
    visible = torch.zeros(2, 32, dtype=torch.bool, device=device).scatter(1, kept, True)
    expected = encoder(spectrograms, visible_patches=visible)
    found = encoder(spectrograms, kept_patches=kept, return_hidden_states=True)
    torch.testing.assert_close(found.patch_tokens, select_patches(expected.patch_tokens, kept))
    torch.testing.assert_close(found.prefix_tokens, expected.prefix_tokens)
    assert {state.shape for state in found.hidden_states} == {(2, 11, 32)}
    # Both at once: of the kept ones, some are padding.
    both = encoder(
        spectrograms, visible_patches=visible, kept_patches=kept.new_tensor([range(32)] * 2)
    )
    torch.testing.assert_close(both.patch_tokens, expected.patch_tokens)


@pytest.mark.parametrize("width", [32, 16])
def test_gathers_and_scatters_are_naive_loops(device, width):
    model = autoencoder(device, width=width, decoder_depth=1).double()
    spectrograms = torch.randn(2, 64, 128, device=device, dtype=torch.float64)
    masked, decoder = random_masks(device), model.decoder
    predictions = model(spectrograms, masked)
    for clip in range(2):
        kept = [place for place in range(32) if place not in masked[clip].tolist()]
        indices = torch.tensor([kept], device=device)
        encoded = model.encoder(spectrograms[clip : clip + 1], kept_patches=indices)
        tokens = list(decoder.projection(encoded.prefix_tokens)[0])
        for place in range(32):
            token = decoder.mask_token[0, 0]
            if place in kept:
                token = decoder.projection(encoded.patch_tokens[0, kept.index(place)])
            tokens.append(token)
        tokens = torch.stack(tokens).unsqueeze(0) + decoder.position_embedding
        tokens = decoder.norm(decoder.blocks[0](tokens))[0, 2:]
        heads = (model.contrastive_head, model.reconstruction_head)
        for head, found in zip(heads, predictions, strict=True):
            torch.testing.assert_close(found[clip], head(tokens[masked[clip]]))


def test_remaining_patches_are_the_others_in_order(device):
    masked = random_masks(device, batch=5)
    remaining = remaining_patches(masked, 32)
    for clip in range(5):
        expected = sorted(set(range(32)) - set(masked[clip].tolist()))
        assert remaining[clip].tolist() == expected


def test_predictions_do_not_know_what_they_predict(device):
    model = autoencoder(device)
    spectrograms, masked = torch.randn(2, 64, 128, device=device), random_masks(device)
    noise = 1e3 * torch.randn(2, 20, 256, device=device)
    where = masked.unsqueeze(2).expand(-1, -1, 256)
    changed = patchify(spectrograms, (16, 16)).scatter(1, where, noise)
    before, after = (
        model(spectrograms, masked),
        model(unpatchify(changed, (16, 16), (8, 4)), masked),
    )
    assert torch.equal(before.contrastive, after.contrastive)
    assert torch.equal(before.reconstruction, after.reconstruction)


@pytest.mark.parametrize("width", [32, 16])
@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_every_weight_that_is_not_fixed_is_trained(device, width, positions):
    """DistributedDataParallel waits for the gradient of every weight."""
    model = autoencoder(device, width=width, positions=positions)
    spectrograms, masked = torch.randn(2, 64, 128, device=device), random_masks(device)
    targets = select_patches(standardise_patches(patchify(spectrograms, (16, 16))), masked)
    predictions = model(spectrograms, masked)
    loss = info_nce_loss(predictions.contrastive, targets)
    (loss + masked_reconstruction_loss(predictions.reconstruction, targets)).backward()
    idle = {name for name, weight in model.named_parameters() if weight.grad is None}
    fixed = {"encoder.position_embedding", "decoder.position_embedding"}
    assert idle == {"encoder.mask_token"} | (fixed if positions == "sinusoidal" else set())
    assert not any(dict(model.named_parameters())[name].requires_grad for name in idle)


def test_heads_of_another_width_than_the_decoder_are_refused():
    with pytest.raises(ValueError, match="a head is 32 wide .* give the heads embed_dim: 16"):
        autoencoder("cpu", decoder_dim=16)


def test_sinusoidal_positions_are_sines_and_cosines_of_row_and_column():
    positions = sinusoidal_positions((3, 4), embed_dim=8)[0]
    for row in range(3):
        for column in range(4):
            waves = []
            for place in (row, column):
                angles = torch.tensor([place, place / 100.0])
                waves += [*angles.sin(), *angles.cos()]
            torch.testing.assert_close(positions[4 * row + column], torch.stack(waves))
    with pytest.raises(ValueError, match="a multiple of 4, not 6"):
        sinusoidal_positions((3, 4), embed_dim=6)
    with pytest.raises(ValueError, match="learned or sinusoidal, not 'round'"):
        autoencoder("cpu", positions="round")


def test_a_constant_patch_becomes_zeros_and_others_are_standardised():
    patches = torch.randn(2, 5, 250) * 3 + 7
    patches[0, 1] = 0.467  # whose mean over 250 values rounds
    standardised = standardise_patches(patches)
    assert not standardised[0, 1].any()
    double = patches[1].double()
    variance = double.var(dim=1, correction=0, keepdim=True)
    expected = (double - double.mean(dim=1, keepdim=True)) / (variance + 1e-4).sqrt()
    torch.testing.assert_close(standardised[1].double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("drops", [True, False])
def test_padding_is_not_attended_to(device, drops):
    model = autoencoder(device, decoder_depth=1)
    if not drops:
        model = MaskedPatchModel(model.encoder, model.contrastive_head, model.reconstruction_head)
    visible = torch.arange(32, device=device).expand(2, -1) % 4 < 3  # the last of four columns
    spectrograms = torch.randn(2, 64, 128, device=device)
    changed = spectrograms.clone()
    changed[:, 48:] = 1e3
    masked = torch.tensor([[0, 5, 7, 11], [1, 3, 4, 31]], device=device)
    before, after = (model(one, masked, visible_patches=visible) for one in (spectrograms, changed))
    own = visible.gather(1, masked)
    assert own.sum() == 4
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one[own], other[own])
    seen = model(changed, masked)
    assert not torch.allclose(seen.contrastive[own], after.contrastive[own])
    whole = torch.ones_like(visible)
    torch.testing.assert_close(model(changed, masked, visible_patches=whole), seen)


def test_unknown_padding_is_refused():
    with pytest.raises(ValueError, match="padding is masked or released, not 'none'"):
        autoencoder("cpu", padding="none")
