"""Recognition of any length: what padding, neighbours and windows change, which is nothing."""

import pytest
import torch

from ssast_recipes.model.builders import ast_encoder
from ssast_recipes.model.heads import TokenHead
from ssast_recipes.model.recognition import RecognitionModel, WindowLayout

LENGTHS = [37, 64, 63, 20, 5, 2, 51, 1]  # within the encoder's own 64 frames
LONG = [300, 64, 65, 96, 97, 200, 131, 3]  # and above them


def make(device, target_length=64, patch_size=(16, 2), **options):
    torch.manual_seed(0)
    encoder = ast_encoder(
        "tiny", depth=2, embed_dim=32, num_heads=2, num_mel_bins=16,
        target_length=target_length, patch_size=patch_size,
    )  # fmt: skip
    return RecognitionModel(encoder, TokenHead(32, num_tokens=7), **options).to(device).eval()


@pytest.mark.parametrize("lengths", [LENGTHS, LONG], ids=["short", "windows"])
@pytest.mark.parametrize("patch_size", [(16, 2), (8, 2)], ids=["frames", "pooled patches"])
def test_a_batch_of_eight_is_eight_batches_of_one(device, lengths, patch_size):
    model = make(device, patch_size=patch_size, pool_rows=patch_size[0] < 16)
    num_frames = torch.tensor(lengths, device=device)
    clips = [torch.randn(length, 16, device=device) for length in lengths]
    batch = torch.full((8, max(lengths), 16), 7.0, device=device)  # padding of any value
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    with torch.no_grad():
        together = model(batch, num_frames)
        columns = model.num_columns(num_frames).tolist()
        for number, clip in enumerate(clips):
            alone = model(clip.unsqueeze(0), num_frames[number : number + 1])
            assert alone.shape == (1, columns[number], 7)
            torch.testing.assert_close(
                together[number, : columns[number]], alone[0], rtol=0, atol=1e-4
            )


def test_columns_are_whole_patches_and_one_at_least(device):
    frames = torch.tensor([0, 1, 2, 3, 4, 129], device=device)
    assert make(device).num_columns(frames).tolist() == [1, 1, 1, 1, 2, 64]


def test_a_recording_in_windows_is_told_of_by_the_window_whose_middle_is_nearest(device):
    model = make(device)  # windows of 32 columns, a new one every 16
    clip = torch.randn(1, 128, 16, device=device)
    with torch.no_grad():
        whole = model(clip, torch.tensor([128], device=device))[0]
        windows = [
            model(clip[:, 2 * start : 2 * start + 64], torch.tensor([64], device=device))[0]
            for start in (0, 16, 32)
        ]
    expected = torch.cat([windows[0][:24], windows[1][8:24], windows[2][8:]])
    torch.testing.assert_close(whole, expected, rtol=0, atol=1e-5)


def test_every_window_of_a_layout_is_used_and_holds_its_columns():
    layout = WindowLayout(8, 4)
    for total in range(1, 40):
        own = torch.tensor([total])
        windows = layout.window_of(torch.arange(total), own)[0]
        assert set(windows.tolist()) == set(range(int(layout.count(own))))
        inside = torch.arange(total) - layout.hop * windows
        assert 0 <= inside.min() and inside.max() < layout.length


def test_a_shorter_clip_has_the_first_positions(device):
    """Not their middle, as an encoder that is built shorter has."""
    model = make(device)
    with torch.no_grad():
        model.encoder.position_embedding.zero_()
        model.encoder.position_embedding[:, 2 + 10 :] = 1.0  # behind the first ten columns
        clip, frames = torch.randn(1, 20, 16, device=device), torch.tensor([20], device=device)
        before = model(clip, frames)
        model.encoder.position_embedding[:, 2 + 10 :] = -1.0
        assert torch.equal(model(clip, frames), before)
        model.encoder.position_embedding[:, 2 + 9] = 1.0
        assert not torch.equal(model(clip, frames), before)


def test_a_patch_based_encoder_is_refused_in_a_line():
    with pytest.raises(ValueError, match=r"frame-based .* 8 x 2 make 2 \(patch_size: \[16, 2\]"):
        make("cpu", patch_size=(8, 2))


def test_an_encoder_takes_shorter_spectrograms_only_with_what_is_visible():
    encoder = make("cpu").encoder
    clip = torch.randn(2, 20, 16)
    with pytest.raises(ValueError, match="given to an encoder for .batch, 64 frames"):
        encoder(clip)
    visible = torch.ones(2, 10, dtype=torch.bool)
    assert encoder(clip, visible_patches=visible).patch_tokens.shape == (2, 10, 32)
    with pytest.raises(ValueError, match="given to an encoder for"):
        encoder(torch.randn(2, 66, 16), visible_patches=torch.ones(2, 33, dtype=torch.bool))


def test_a_frozen_encoder_gets_no_gradient_and_the_head_does(device):
    model = make(device, freeze_encoder=True)
    model(torch.randn(1, 20, 16, device=device), torch.tensor([20], device=device)).sum().backward()
    assert all(one.grad is None for one in model.encoder.parameters())
    assert model.head.linear.weight.grad.abs().sum() > 0
