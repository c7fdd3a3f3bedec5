"""Accuracies against naive loops over clips and patches."""

import pytest
import torch

from ssast_recipes.metrics import accuracy, masked_patch_accuracy

DEFINITIONS = ["targets", "predictions", "released"]


def naive_accuracy(predictions, targets, softmax_over, included=None) -> float:
    """Clip by clip and patch by patch; patches left out are dropped beforehand."""
    found = []
    for clip in range(len(predictions)):
        keep = slice(None) if included is None else included[clip]
        predicted, true = predictions[clip, keep], targets[clip, keep]
        similarities = [[(p @ t).item() for t in true] for p in predicted]
        count = len(similarities)
        shares = [  # of target j's softmax, what falls to prediction i
            torch.tensor([similarities[i][j] for i in range(count)]).softmax(0)
            for j in range(count)
        ]
        for i in range(count):
            if softmax_over == "targets":
                scores = similarities[i]
            elif softmax_over == "predictions":
                scores = [similarities[j][i] for j in range(count)]
            else:
                scores = [shares[j][i].item() for j in range(count)]
            found.append(scores.index(max(scores)) == i)
    return sum(found) / len(found)


def noisy_pair(device, noise=2.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions of which some are nearest to their target."""
    targets = torch.randn(4, 24, 8, device=device)
    scales = torch.rand(4, 24, 1, device=device) + 0.5
    return scales * targets + noise * torch.randn_like(targets), targets


@pytest.mark.parametrize("softmax_over", DEFINITIONS)
def test_masked_patch_accuracy_equals_a_naive_loop(softmax_over, device):
    predictions, targets = noisy_pair(device)
    expected = naive_accuracy(predictions, targets, softmax_over)
    assert 0.1 < expected < 0.9
    found = masked_patch_accuracy(predictions, targets, softmax_over)
    assert found.item() == pytest.approx(expected)


def test_the_three_definitions_differ(device):
    shares = {masked_patch_accuracy(*noisy_pair(device), over).item() for over in DEFINITIONS}
    assert len(shares) == 3


def test_the_papers_retrieval_is_the_default(device):
    pair = noisy_pair(device)
    assert masked_patch_accuracy(*pair) == masked_patch_accuracy(*pair, "targets")


@pytest.mark.parametrize("softmax_over", DEFINITIONS)
def test_leaving_patches_out_is_dropping_them(softmax_over, device):
    predictions, targets = noisy_pair(device)
    included = torch.rand(4, 24, device=device) < 0.6
    # A clip counts as one, however many of its patches are left: else batches would matter.
    clips = [slice(clip, clip + 1) for clip in range(4)]
    expected = sum(
        naive_accuracy(predictions[clip], targets[clip], softmax_over, included[clip]) / 4
        for clip in clips
    )
    assert 0.1 < expected < 0.9
    found = masked_patch_accuracy(predictions, targets, softmax_over, included)
    assert found.item() == pytest.approx(expected)
    everything = masked_patch_accuracy(
        predictions, targets, softmax_over, torch.ones_like(included)
    )
    torch.testing.assert_close(
        everything, masked_patch_accuracy(predictions, targets, softmax_over)
    )


@pytest.mark.parametrize("softmax_over", DEFINITIONS)
def test_nothing_included_is_nothing_found(softmax_over, device):
    predictions, targets = noisy_pair(device)
    included = torch.zeros(4, 24, dtype=torch.bool, device=device)
    assert masked_patch_accuracy(predictions, targets, softmax_over, included) == 0


@pytest.mark.parametrize("softmax_over", DEFINITIONS)
def test_perfect_predictions_are_all_found(softmax_over, device):
    targets = torch.eye(16, device=device).expand(2, -1, -1)
    assert masked_patch_accuracy(10 * targets, targets, softmax_over) == 1
    assert masked_patch_accuracy(10 * targets.roll(1, dims=1), targets, softmax_over) == 0


@pytest.mark.parametrize("softmax_over", DEFINITIONS)
def test_accuracy_is_that_of_32_bit_under_autocast(softmax_over, device):
    pair = noisy_pair(device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        found = masked_patch_accuracy(*pair, softmax_over)
    assert found == masked_patch_accuracy(*pair, softmax_over)


def test_unknown_definitions_are_refused():
    with pytest.raises(ValueError, match="targets, predictions or released, not 'rows'"):
        masked_patch_accuracy(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), "rows")


def test_accuracy_counts_the_highest_logits(device):
    logits = torch.randn(50, 7, device=device)
    labels = torch.randint(7, (50,), device=device)
    rows = zip(logits.tolist(), labels.tolist(), strict=True)
    expected = sum(row.index(max(row)) == label for row, label in rows) / 50
    assert accuracy(logits, labels).item() == pytest.approx(expected)
    assert accuracy(logits, logits.argmax(dim=1)) == 1
