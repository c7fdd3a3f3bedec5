"""The weighted sum of hidden states against its formula, and what padding must not change."""

import pytest
import torch

from ssast_recipes.model.classifiers import ClassificationModel, WeightedSumModel
from ssast_recipes.model.encoder import AudioSpectrogramTransformer
from ssast_recipes.model.grid import mean_within, patches_within
from ssast_recipes.model.heads import ProjectionHead

FRAMES = 96
LENGTHS = [96, 50, 33, 16, 96, 7, 80, 95]


def small_model(device, target_length=FRAMES, **options) -> WeightedSumModel:
    torch.manual_seed(1)
    stride = options.pop("patch_stride", (16, 10))
    encoder = AudioSpectrogramTransformer(
        32, depth=3, num_heads=4, target_length=target_length, patch_stride=stride
    )
    for parameter in encoder.parameters():  # fresh biases and norms would hide mistakes
        torch.nn.init.normal_(parameter, std=0.2)
    model = WeightedSumModel(encoder, ProjectionHead(32, num_classes=5), **options)
    torch.nn.init.normal_(model.layer_scores)
    return model.to(device)


def clips(device, lengths=LENGTHS, frames=FRAMES):
    """Spectrograms that are zero behind the clips' ends, and the clips' lengths."""
    spectrograms = torch.randn(len(lengths), frames, 128, device=device)
    num_frames = torch.tensor(lengths, device=device)
    past_end = torch.arange(frames, device=device) >= num_frames.unsqueeze(1)
    return spectrograms.masked_fill(past_end.unsqueeze(2), 0.0), num_frames


def patches_of(model, num_frames):
    return patches_within(num_frames, model.encoder.grid_size, model.encoder.patch_stride)


def test_released_is_superbs_formula_over_all_tokens(device):
    """Sum of the layers, linear, mean over time, linear: in the order that SUPERB writes it."""
    model = small_model(device, padding="released").double()
    spectrograms = clips(device)[0].double()
    states = model.encoder(spectrograms, return_hidden_states=True).hidden_states
    exponentials = model.layer_scores.exp()
    weights = exponentials / exponentials.sum()
    summed = sum(weight * state for weight, state in zip(weights, states, strict=True))
    assert summed.shape == (8, 2 + 8 * 9, 32)
    head = model.classifier
    projected = summed @ head.projection.weight.T + head.projection.bias
    expected = projected.mean(dim=1) @ head.linear.weight.T + head.linear.bias
    torch.testing.assert_close(model(spectrograms), expected)


def test_masked_is_superbs_formula_over_the_clips_patches(device):
    model = small_model(device).double()
    spectrograms, num_frames = clips(device)
    spectrograms = spectrograms.double()
    within = patches_of(model, num_frames)
    states = model.encoder(
        spectrograms, return_hidden_states=True, visible_patches=within
    ).hidden_states
    weights = model.layer_scores.softmax(dim=0)
    summed = sum(weight * state for weight, state in zip(weights, states, strict=True))
    head = model.classifier
    for clip, logits in enumerate(model(spectrograms, num_frames)):
        own = summed[clip, 2:][within[clip]]
        projected = own @ head.projection.weight.T + head.projection.bias
        expected = projected.mean(dim=0) @ head.linear.weight.T + head.linear.bias
        torch.testing.assert_close(logits, expected)


def test_a_fresh_model_weighs_the_layers_alike(device):
    encoder = AudioSpectrogramTransformer(32, depth=3, num_heads=4, target_length=32).to(device)
    model = WeightedSumModel(encoder, torch.nn.Identity(), padding="released").to(device)
    spectrograms = torch.randn(2, 32, 128, device=device)
    states = encoder(spectrograms, return_hidden_states=True).hidden_states
    expected = torch.stack(states).mean(dim=(0, 2))
    torch.testing.assert_close(model(spectrograms), expected)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_clip_is_classified_alike_in_every_batch(device, batch_size):
    model = small_model(device)
    spectrograms, num_frames = clips(device)
    together = model(spectrograms, num_frames)
    parts = zip(spectrograms.split(batch_size), num_frames.split(batch_size), strict=True)
    apart = torch.cat([model(*part) for part in parts])
    torch.testing.assert_close(apart, together, rtol=1e-4, atol=1e-5)
    others = spectrograms.flip(0), num_frames.flip(0)
    torch.testing.assert_close(model(*others).flip(0), together, rtol=1e-4, atol=1e-5)


def test_padding_leaves_no_trace(device):
    """Patches that hold nothing of the clip may hold anything else."""
    model = small_model(device, patch_stride=(16, 16)).double()
    num_frames = torch.tensor([48, 16], device=device)  # whole patches
    spectrograms = torch.randn(2, FRAMES, 128, device=device, dtype=torch.float64)
    changed = spectrograms.clone()
    for clip, length in enumerate(num_frames.tolist()):
        changed[clip, length:] = 1e3
    torch.testing.assert_close(model(changed, num_frames), model(spectrograms, num_frames))
    released = small_model(device, patch_stride=(16, 16), padding="released").double()
    assert not torch.allclose(released(changed, num_frames), released(spectrograms, num_frames))


def test_padding_to_any_length_is_as_none(device):
    """A clip as long as the input gives what a longer input, its rest masked, gives."""
    short = small_model(device, target_length=32, patch_stride=(16, 16)).double()
    long = small_model(device, target_length=FRAMES, patch_stride=(16, 16)).double()
    state = {
        name: value for name, value in short.state_dict().items() if isinstance(value, torch.Tensor)
    }
    prefix, patches = state.pop("encoder.position_embedding").split([2, 8 * 2], dim=1)
    long.load_state_dict(state, strict=False)
    with torch.no_grad():
        positions = long.encoder.position_embedding
        positions[:, :2] = prefix
        positions[:, 2:].unflatten(1, (8, 6))[:, :, :2] = patches.unflatten(1, (8, 2))
    spectrograms = torch.randn(3, 32, 128, device=device, dtype=torch.float64)
    padded = torch.nn.functional.pad(spectrograms, (0, 0, 0, FRAMES - 32), value=7.0)
    num_frames = torch.full((3,), 32, device=device)
    expected = unmasked_formula(short, spectrograms)
    torch.testing.assert_close(long(padded, num_frames), expected)


def unmasked_formula(model, spectrograms):
    """Logits of whole clips, without any mask."""
    states = model.encoder(spectrograms, return_hidden_states=True).hidden_states
    layers = torch.stack([state[:, 2:].mean(dim=1) for state in states])
    return model.classifier(torch.einsum("l,lbw->bw", model.layer_scores.softmax(0), layers))


def test_clips_too_short_for_a_frame_give_finite_logits(device):
    model = small_model(device)
    spectrograms, num_frames = clips(device, lengths=[0, 1])
    logits = model(spectrograms, num_frames)
    logits.sum().backward()
    assert logits.isfinite().all()
    assert model.encoder.class_token.grad.isfinite().all()


@pytest.mark.parametrize("padding", ["masked", "released"])
def test_fine_tuning_trains_all_that_logits_depend_on(device, padding):
    """DistributedDataParallel waits for the gradient of every weight that wants one."""
    model = small_model(device, padding=padding)
    model(*clips(device)).square().sum().backward()
    idle = {name for name, weight in model.named_parameters() if weight.grad is None}
    assert idle == {"encoder.mask_token", "encoder.norm.weight", "encoder.norm.bias"}
    assert idle == {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert model.layer_scores.grad.abs().min() > 0


@pytest.mark.parametrize("padding", ["masked", "released"])
def test_a_frozen_encoder_keeps_nothing_for_a_backward_pass(device, padding):
    model = small_model(device, padding=padding, freeze_encoder=True)
    spectrograms, num_frames = clips(device)
    spectrograms.requires_grad_()  # even so
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: saved.append(tensor.numel()) or tensor, lambda tensor: tensor
    ):
        logits = model(spectrograms, num_frames)
    assert max(saved) <= 256 * 32  # the head's own weights; a hidden state has 8 x 74 x 32
    logits.square().sum().backward()
    trained = {name for name, weight in model.named_parameters() if weight.grad is not None}
    head = {f"classifier.{name}" for name, _ in model.classifier.named_parameters()}
    assert trained == {"layer_scores"} | head
    assert trained == {name for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("padding", ["masked", "released"])
def test_freezing_changes_no_logits(device, padding):
    batch = clips(device)
    expected = small_model(device, padding=padding)(*batch)
    frozen = small_model(device, padding=padding, freeze_encoder=True)
    assert torch.equal(frozen(*batch), expected)


def test_bf16_autocast_keeps_sum_and_mean_in_32_bit(device):
    model = small_model(device)
    batch = clips(device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        embeddings = model.embed(*batch)
        within = patches_of(model, batch[1])
        states = model.encoder(batch[0], None, True, within).hidden_states
    assert embeddings.dtype == torch.float32
    layers = torch.stack([mean_within(state[:, 2:].double(), within) for state in states])
    weights = model.layer_scores.double().softmax(dim=0)
    expected = torch.einsum("l,lbw->bw", weights, layers)
    torch.testing.assert_close(embeddings.double(), expected, rtol=1e-5, atol=1e-5)


def test_activation_checkpointing_sees_the_mask(device):
    plain, thrifty = small_model(device), small_model(device)
    thrifty.encoder.activation_checkpointing = True
    batch = clips(device)
    for model in (plain, thrifty):
        model(*batch).square().sum().backward()
    for (name, expected), parameter in zip(
        plain.named_parameters(), thrifty.parameters(), strict=True
    ):
        torch.testing.assert_close(parameter.grad, expected.grad, msg=name)


def test_masking_needs_lengths():
    with pytest.raises(ValueError, match="needs num_frames, the clips' lengths"):
        small_model("cpu")(torch.zeros(1, FRAMES, 128))


def test_unknown_padding_is_refused():
    with pytest.raises(ValueError, match="padding is masked or released, not 'cut'"):
        small_model("cpu", padding="cut")


def test_both_kinds_of_model_are_called_alike(device):
    """A Brain gives lengths to either; only a model that masks padding uses them."""
    model = small_model(device)
    spectrograms, num_frames = clips(device)
    pooled = ClassificationModel(model.encoder, model.classifier)
    assert torch.equal(pooled(spectrograms, num_frames), pooled(spectrograms))
