"""Accuracies against naive loops over clips and patches; ranking against scikit-learn."""

import math
from statistics import NormalDist

import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from ssast_recipes.objectives.metrics import (
    accuracy,
    d_prime,
    masked_patch_accuracy,
    mean_average_precision,
    mean_roc_auc,
    recalls,
)
from ssast_recipes.objectives.ranking import average_precisions, roc_aucs

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


def test_accuracy_and_recall_of_one_hot_and_of_mixed_targets(device):
    logits = torch.randn(50, 7, device=device)
    labels = torch.randint(7, (50,), device=device)
    one_hot = torch.nn.functional.one_hot(labels, 7).float()
    mixed = 0.6 * one_hot + 0.4 * one_hot.roll(1, dims=0)
    for targets in (one_hot, mixed):
        assert accuracy(logits, targets) == accuracy(logits, labels)
        assert torch.equal(recalls(logits, targets), recalls(logits, labels))


def test_recall_is_the_accuracy_among_a_classs_clips(device):
    logits = torch.randn(60, 5, device=device)
    labels = torch.randint(4, (60,), device=device)
    found = recalls(logits, labels)
    for number in range(4):
        own = labels == number
        assert found[number].item() == pytest.approx(accuracy(logits[own], labels[own]).item())
    assert found[4].isnan()


# ---- ranking, against scikit-learn


def scores_and_labels(device, kind):
    """Scores [clips, classes] of some kind, and labels of which every class has some."""
    scores = torch.randn(400, 12, device=device)
    if kind == "few values":
        scores = scores.round()
    elif kind == "all equal":
        scores = torch.zeros_like(scores)
    elif kind == "one value apart":  # ties at the very top and the very bottom
        scores = scores.clamp(-0.5, 0.5)
    labels = torch.rand(400, 12, device=device) < torch.linspace(0.01, 0.9, 12, device=device)
    labels[0], labels[1] = True, False
    return scores, labels.float()


KINDS = ["different", "few values", "all equal", "one value apart"]


@pytest.mark.parametrize("kind", KINDS)
def test_average_precision_is_scikit_learns(kind, device):
    scores, labels = scores_and_labels(device, kind)
    expected = average_precision_score(labels.cpu().numpy(), scores.cpu().numpy(), average=None)
    assert average_precisions(scores, labels).cpu().numpy() == pytest.approx(expected, rel=1e-12)
    found = mean_average_precision(scores, labels).item()
    assert found == pytest.approx(expected.mean(), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_area_under_the_roc_curve_is_scikit_learns(kind, device):
    scores, labels = scores_and_labels(device, kind)
    expected = roc_auc_score(labels.cpu().numpy(), scores.cpu().numpy(), average=None)
    assert roc_aucs(scores, labels).cpu().numpy() == pytest.approx(expected, rel=1e-12)
    area = expected.mean()
    assert mean_roc_auc(scores, labels).item() == pytest.approx(area, rel=1e-12)
    # Normal scores, d' standard deviations apart, have that area.
    separation = d_prime(scores, labels).item()
    assert NormalDist().cdf(separation / math.sqrt(2)) == pytest.approx(area)


def test_classes_without_positives_are_left_out(device):
    scores, labels = scores_and_labels(device, "few values")
    labels[:, [2, 5]] = 0
    kept = [number for number in range(12) if number not in (2, 5)]
    precisions = average_precisions(scores, labels)
    assert precisions.isnan().nonzero().flatten().tolist() == [2, 5]
    for metric in (mean_average_precision, mean_roc_auc, d_prime):
        expected = metric(scores[:, kept], labels[:, kept])
        assert metric(scores, labels).item() == pytest.approx(expected.item(), rel=1e-12)
    assert mean_average_precision(scores, torch.zeros_like(labels)) == 0


def test_average_precision_by_hand(device):
    scores = torch.tensor([[4.0], [3.0], [3.0], [2.0], [1.0]], device=device)
    labels = torch.tensor([[1], [0], [1], [0], [1]], device=device)
    # A third of the recall each at the first clip, the tie's end and the last clip.
    expected = (1 + 2 / 3 + 3 / 5) / 3
    assert mean_average_precision(scores, labels).item() == pytest.approx(expected)
    # Of six pairs, one is a tie, two are the wrong way round.
    assert mean_roc_auc(scores, labels).item() == pytest.approx(3.5 / 6)


def test_a_perfect_order_is_one_and_infinitely_far_apart(device):
    scores = torch.arange(4.0, device=device).unsqueeze(1)
    labels = scores >= 2
    assert mean_average_precision(scores, labels) == mean_roc_auc(scores, labels) == 1
    assert d_prime(scores, labels) == math.inf and d_prime(-scores, labels) == -math.inf


def test_very_certain_logits_keep_their_order(device):
    scores = torch.tensor([[40.0], [30.0], [20.0]], device=device)  # 1, 1, 1 - 2e-9 as probability
    assert mean_average_precision(scores, torch.tensor([[1], [0], [0]], device=device)) == 1


def test_class_indices_are_one_hot_targets(device):
    scores = torch.randn(30, 4, device=device)
    labels = torch.arange(30, device=device) % 4
    one_hot = torch.nn.functional.one_hot(labels, 4)
    for metric in (average_precisions, roc_aucs):
        assert torch.equal(metric(scores, labels), metric(scores, one_hot))
