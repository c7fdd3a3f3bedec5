"""Masked patch modeling: one pass and two, and what no prediction may have seen."""

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ssast_recipes.model.builders import ast_encoder
from ssast_recipes.model.encoder import AudioSpectrogramTransformer
from ssast_recipes.model.filterbank import LogMelFilterbank
from ssast_recipes.model.front_end import SpectrogramFrontEnd
from ssast_recipes.model.heads import PatchPredictionHead
from ssast_recipes.model.masked_patches import MaskedPatchModel
from ssast_recipes.model.masking import ClusterMasker, OfficialClusterMasker, RandomMasker
from ssast_recipes.model.patches import patchify, select_patches, unpatchify
from ssast_recipes.model.randomness import ClipGenerator
from ssast_recipes.objectives.losses import (
    constant_patches,
    info_nce_loss,
    masked_reconstruction_loss,
)
from ssast_recipes.objectives.metrics import masked_patch_accuracy


def small_model(device, contrastive=True, reconstruction=True, **options) -> MaskedPatchModel:
    torch.manual_seed(1)
    encoder = AudioSpectrogramTransformer(
        32, depth=2, num_heads=4, target_length=64, patch_size=(16, 16), **options
    )
    heads = [PatchPredictionHead(32, 256) for _ in range(2)]
    model = MaskedPatchModel(
        encoder, heads[0] if contrastive else None, heads[1] if reconstruction else None
    )
    return model.to(device)


def random_masks(device, num_masked=20, batch=2) -> torch.Tensor:
    return torch.stack([torch.randperm(32)[:num_masked] for _ in range(batch)]).to(device)


def test_predictions_come_in_the_order_of_the_indices(device):
    model = small_model(device)
    spectrograms, masked = torch.randn(2, 64, 128, device=device), random_masks(device)
    predictions = model(spectrograms, masked)
    tokens = model.encoder(spectrograms, masked).patch_tokens
    for clip in range(2):
        expected = model.contrastive_head(tokens[clip, masked[clip]])
        torch.testing.assert_close(predictions.contrastive[clip], expected)
        expected = model.reconstruction_head(tokens[clip, masked[clip]])
        torch.testing.assert_close(predictions.reconstruction[clip], expected)


def test_two_passes_with_one_mask_are_one_pass(device):
    model = small_model(device)
    spectrograms, masked = torch.randn(2, 64, 128, device=device), random_masks(device)
    once = model(spectrograms, masked)
    twice = model(spectrograms, masked, masked)
    assert torch.equal(once.contrastive, twice.contrastive)
    assert torch.equal(once.reconstruction, twice.reconstruction)


def test_two_passes_with_two_masks_are_two_models(device):
    model = small_model(device)
    spectrograms = torch.randn(2, 64, 128, device=device)
    masked, others = random_masks(device), random_masks(device, num_masked=7)
    predictions = model(spectrograms, masked, others)
    assert torch.equal(predictions.contrastive, model(spectrograms, masked).contrastive)
    assert torch.equal(predictions.reconstruction, model(spectrograms, others).reconstruction)
    assert predictions.reconstruction.shape == (2, 7, 256)


def test_predictions_do_not_know_what_they_predict(device):
    model = small_model(device)
    spectrograms, masked = torch.randn(2, 64, 128, device=device), random_masks(device)
    patches = patchify(spectrograms, (16, 16))
    noise = 1e3 * torch.randn(2, 20, 256, device=device)
    changed = patches.scatter(1, masked.unsqueeze(2).expand(-1, -1, 256), noise)
    before = model(spectrograms, masked)
    after = model(unpatchify(changed, (16, 16), (8, 4)), masked)
    assert torch.equal(before.contrastive, after.contrastive)
    assert torch.equal(before.reconstruction, after.reconstruction)


@pytest.mark.parametrize("two_passes", [False, True])
def test_every_weight_is_trained(two_passes, device):
    """DistributedDataParallel waits for the gradient of every weight."""
    model = small_model(device)
    spectrograms, masked = torch.randn(2, 64, 128, device=device), random_masks(device)
    masks = [masked, random_masks(device)] if two_passes else [masked]
    patches = patchify(spectrograms, (16, 16))
    predictions = model(spectrograms, *masks)
    targets, redrawn = (select_patches(patches, indices) for indices in (masks[0], masks[-1]))
    loss = info_nce_loss(predictions.contrastive, targets)
    (loss + 10 * masked_reconstruction_loss(predictions.reconstruction, redrawn)).backward()
    idle = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert idle == []
    # A bias of the predictions shifts all similarities of one softmax over targets apart, so it
    # has a gradient on the paper's axis.
    assert model.contrastive_head.output.bias.grad.norm() > 1e-6


@pytest.mark.parametrize("left_out", ["contrastive", "reconstruction"])
def test_leaving_a_head_out_leaves_its_objective_out(left_out, device):
    model = small_model(device, **{left_out: False})
    spectrograms, masked = torch.randn(2, 64, 128, device=device), random_masks(device)
    predictions = model(spectrograms, masked)._asdict()
    assert predictions.pop(left_out) is None
    (kept,) = predictions.values()
    assert kept.shape == (2, 20, 256)
    assert not [name for name, _ in model.named_parameters() if name.startswith(left_out)]


def test_overlapping_patches_are_refused():
    with pytest.raises(ValueError, match=r"\(16, 16\) with patch_stride \(16, 8\).* leaks"):
        small_model("cpu", patch_stride=(16, 8))


def test_a_model_without_heads_is_refused():
    with pytest.raises(ValueError, match="contrastive_head, a reconstruction_head or both"):
        small_model("cpu", contrastive=False, reconstruction=False)


# ---- on a GPU that is pretended: shapes and devices are followed, nothing is computed


class OnlyOnTheDevice(TorchDispatchMode):
    """Raises where a tensor is made elsewhere than on the GPU, to which it would be copied.

    Single numbers may be: they travel with the kernels.
    """

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and tensor.ndim and tensor.device.type != "cuda":
                raise AssertionError(f"{function} makes a tensor on {tensor.device}")
        return made


@pytest.mark.parametrize("masker", [RandomMasker(20), ClusterMasker(20), OfficialClusterMasker(20)])
def test_from_samples_to_losses_all_is_made_on_the_device(masker):
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device("cuda"):
            encoder = ast_encoder("tiny", depth=1, target_length=128)
            heads = [PatchPredictionHead(192, patch_area=256) for _ in range(2)]
            model = MaskedPatchModel(encoder, *heads)
            front_end = SpectrogramFrontEnd(LogMelFilterbank(), 128, mean=-4.0, std=4.0)
        waveforms = torch.zeros(3, 20000, dtype=torch.int16, device="cuda")
        lengths, places = torch.full((3,), 16000, device="cuda"), torch.arange(3, device="cuda")
        with OnlyOnTheDevice():
            spectrograms = front_end(waveforms, lengths)
            masked = masker(ClipGenerator(1, 7, places), encoder.grid_size)
            predictions = model(spectrograms, masked)
            targets = select_patches(patchify(spectrograms, encoder.patch_size), masked)
            included = ~constant_patches(targets)
            choice = {"softmax_over": "predictions", "included": included}
            loss = info_nce_loss(predictions.contrastive, targets, **choice)
            masked_patch_accuracy(predictions.contrastive, targets, **choice)
            loss = loss + masked_reconstruction_loss(predictions.reconstruction, targets)
            with pytest.raises(DataDependentOutputException):
                loss.item()
            with pytest.raises(AssertionError, match="makes a tensor on cpu"):
                targets.mean() + torch.zeros(3)
