"""The objectives against naive loops, closed forms and numerical gradients."""

import math

import pytest
import torch

from ssast_recipes.objectives.losses import (
    constant_patches,
    info_nce_loss,
    masked_reconstruction_loss,
    similarity_matrix,
    smooth_targets,
)

AXES = ["targets", "predictions"]


def naive_info_nce(predictions, targets, softmax_over, included=None) -> torch.Tensor:
    """Clip by clip and patch by patch, in 64-bit; patches left out are dropped beforehand."""
    terms = []
    for clip in range(len(predictions)):
        keep = slice(None) if included is None else included[clip]
        predicted, true = predictions[clip, keep].double(), targets[clip, keep].double()
        for i in range(len(predicted)):
            if softmax_over == "targets":
                similarities = torch.stack([predicted[i] @ target for target in true])
            else:
                similarities = torch.stack([prediction @ true[i] for prediction in predicted])
            terms.append(similarities.logsumexp(0) - similarities[i])
    return torch.stack(terms).mean()


@pytest.mark.parametrize("softmax_over", AXES)
def test_info_nce_equals_a_naive_loop(softmax_over, device):
    predictions, targets = torch.randn(2, 3, 6, 5, device=device)
    expected = naive_info_nce(predictions, targets, softmax_over)
    loss = info_nce_loss(predictions, targets, softmax_over)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_axes_differ_and_swap_with_the_arguments(device):
    predictions, targets = torch.randn(2, 3, 6, 5, device=device)
    over_targets = info_nce_loss(predictions, targets, "targets")
    over_predictions = info_nce_loss(predictions, targets, "predictions")
    assert abs(over_targets - over_predictions) > 1e-2
    torch.testing.assert_close(info_nce_loss(targets, predictions, "predictions"), over_targets)


def test_info_nce_takes_the_papers_axis_by_default(device):
    predictions, targets = torch.randn(2, 3, 6, 5, device=device)
    assert info_nce_loss(predictions, targets) == info_nce_loss(predictions, targets, "targets")


@pytest.mark.parametrize("softmax_over", AXES)
@pytest.mark.parametrize("num_masked", [1, 100, 400])
def test_zero_predictions_are_at_chance(num_masked, softmax_over, device):
    targets = torch.randn(2, num_masked, 256, device=device)
    loss = info_nce_loss(torch.zeros_like(targets), targets, softmax_over)
    assert loss.item() == pytest.approx(math.log(num_masked), rel=1e-6)


def test_negatives_come_from_the_same_clip_only(device):
    predictions, targets = torch.randn(2, 3, 6, 5, device=device)
    by_clip = [
        info_nce_loss(predictions[clip : clip + 1], targets[clip : clip + 1]) for clip in range(3)
    ]
    torch.testing.assert_close(info_nce_loss(predictions, targets), torch.stack(by_clip).mean())


@pytest.mark.parametrize("softmax_over", AXES)
def test_leaving_patches_out_is_dropping_them(softmax_over, device):
    predictions, targets = torch.randn(2, 3, 6, 5, device=device)
    included = torch.tensor(
        [[1, 1, 0, 1, 0, 1], [0, 0, 0, 0, 1, 0], [1, 1, 1, 1, 1, 1]], device=device
    ).bool()
    clips = [slice(clip, clip + 1) for clip in range(3)]
    # A clip counts as one, however many of its patches are left: else batches would matter.
    expected = sum(
        naive_info_nce(predictions[clip], targets[clip], softmax_over, included[clip]) / 3
        for clip in clips
    )
    predictions.requires_grad_()
    loss = info_nce_loss(predictions, targets, softmax_over, included)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    loss.backward()
    assert not predictions.grad[~included].any()
    everything = torch.ones_like(included)
    torch.testing.assert_close(
        info_nce_loss(predictions, targets, softmax_over, everything),
        info_nce_loss(predictions, targets, softmax_over),
    )


@pytest.mark.parametrize("softmax_over", AXES)
def test_clips_without_included_patches_count_as_zero(softmax_over, device):
    predictions, targets = torch.randn(2, 2, 6, 5, device=device)
    included = torch.tensor([[True] * 6, [False] * 6], device=device)
    predictions.requires_grad_()
    loss = info_nce_loss(predictions, targets, softmax_over, included)
    alone = info_nce_loss(predictions[:1], targets[:1], softmax_over)
    torch.testing.assert_close(loss, alone / 2)
    nothing = info_nce_loss(predictions, targets, softmax_over, torch.zeros_like(included))
    nothing.backward()
    assert nothing == 0 and not predictions.grad.any()


def test_reconstruction_is_the_mean_square_over_all_values(device):
    predictions, targets = torch.randn(2, 3, 6, 5, device=device)
    pairs = zip(predictions.flatten().tolist(), targets.flatten().tolist(), strict=True)
    expected = sum((predicted - true) ** 2 for predicted, true in pairs) / (3 * 6 * 5)
    loss = masked_reconstruction_loss(predictions, targets)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_reconstruction_without_some_patches_is_the_mean_of_each_clips_own(device):
    predictions, targets = torch.randn(2, 3, 6, 4, device=device)
    included = torch.tensor([[True] * 6, [False] * 6, [True, False, True, False, False, False]])
    errors = (predictions - targets).square()
    expected = (errors[0].mean() + errors[2, [0, 2]].mean()) / 3
    loss = masked_reconstruction_loss(predictions, targets, included.to(device))
    torch.testing.assert_close(loss, expected)
    whole = torch.ones(3, 6, dtype=torch.bool, device=device)
    torch.testing.assert_close(
        masked_reconstruction_loss(predictions, targets, whole),
        masked_reconstruction_loss(predictions, targets),
    )


@pytest.mark.parametrize("loss", [info_nce_loss, masked_reconstruction_loss])
def test_no_gradient_reaches_the_targets(loss, device):
    predictions, targets = torch.randn(2, 2, 6, 5, device=device).unbind()
    predictions.requires_grad_()
    targets = targets.clone().requires_grad_()
    loss(predictions, targets).backward()
    assert targets.grad is None
    assert predictions.grad.abs().sum() > 0


@pytest.mark.parametrize("softmax_over", AXES)
def test_info_nce_has_the_right_gradient(softmax_over, device):
    """By hand: similarities' gradient is (softmax - identity) / count."""
    predictions, targets = torch.randn(2, 2, 6, 5, device=device).unbind()
    predictions.requires_grad_()
    info_nce_loss(predictions, targets, softmax_over).backward()
    similarities = (predictions @ targets.transpose(1, 2)).detach()
    chosen = similarities.softmax(dim=2 if softmax_over == "targets" else 1)
    expected = (chosen - torch.eye(6, device=device)) @ targets / 12
    torch.testing.assert_close(predictions.grad, expected)


@pytest.mark.parametrize("loss", [info_nce_loss, masked_reconstruction_loss])
def test_losses_are_32_bit_under_bf16_autocast(loss, device):
    predictions, targets = torch.randn(2, 2, 64, 256, device=device).unbind()
    exact = loss(predictions, targets)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        assert torch.equal(loss(predictions, targets), exact)
        coarse = loss(predictions.bfloat16(), targets.bfloat16())
    assert coarse.dtype == torch.float32
    assert torch.equal(coarse, loss(predictions.bfloat16().float(), targets.bfloat16().float()))


def test_large_similarities_stay_finite(device):
    predictions, targets = 1e3 * torch.randn(2, 2, 6, 5, device=device)
    included = torch.tensor([[True] * 5 + [False], [False] * 6], device=device)
    for mask in (None, included):
        assert info_nce_loss(predictions, targets, included=mask).isfinite()


def test_unknown_axes_are_refused():
    with pytest.raises(ValueError, match="targets or predictions, not 'rows'"):
        info_nce_loss(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), softmax_over="rows")


def test_similarities_are_predictions_by_targets(device):
    predictions, targets = torch.randn(2, 2, 6, 5, device=device)
    similarities = similarity_matrix(predictions, targets)
    expected = predictions[1, 4] @ targets[1, 2]
    torch.testing.assert_close(similarities[1, 4, 2], expected)


def test_constant_patches_hold_one_value(device):
    patches = torch.randn(2, 5, 8, device=device)
    patches[0, 1] = 0.467
    patches[1, 4] = 0
    patches[1, 0, 1:] = patches[1, 0, 0]
    patches[1, 3] = 0.5
    patches[1, 3, 7] = 0.5001
    assert constant_patches(patches).nonzero().tolist() == [[0, 1], [1, 0], [1, 4]]


# ---- label smoothing


@pytest.mark.parametrize("weight", [None, torch.tensor([0.5, 1.0, 2.0, 3.0])])
def test_smoothed_indices_are_torchs_label_smoothing(weight):
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3, 3, 1])
    smoothed = smooth_targets(labels, 4, 0.1)
    options = {"weight": weight, "reduction": "none"}
    torch.testing.assert_close(
        torch.nn.functional.cross_entropy(logits, smoothed, **options),
        torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1, **options),
    )


def test_smoothed_labels_of_several_are_each_less_certain():
    smoothed = smooth_targets(torch.tensor([[1.0, 0.0, 1.0]]), 3, 0.3)
    assert smoothed.tolist() == [pytest.approx([0.85, 0.15, 0.85])]
