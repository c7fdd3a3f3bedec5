"""Probes on the same embeddings as scikit-learn's, and metrics by hand."""

import numpy
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from ssast_recipes.evaluation import probes
from ssast_recipes.evaluation.attentive import AttentiveProbe, _judge
from ssast_recipes.evaluation.logistic import STRENGTHS, hold_out
from ssast_recipes.evaluation.probes import METRICS, PROBES, Labelled
from ssast_recipes.objectives.probing import PENALTIES


def labelled(count: int, seed: int, width: int = 12, noise: float = 3.0) -> Labelled:
    centres = torch.randn(3, width, generator=torch.Generator().manual_seed(7))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    values = centres[labels] + noise * torch.randn(count, width, generator=generator)
    return Labelled(values, torch.nn.functional.one_hot(labels, 3))


@pytest.mark.parametrize("num_known", [9, 60])  # fewer than the width, and more
def test_the_penalty_is_chosen_on_validation_clips_as_scikit_learn_would(num_known):
    known, asked, valid = labelled(num_known, 0), labelled(40, 1), labelled(120, 2)
    scaler = StandardScaler().fit(known.embeddings)
    mean = known.targets.double().mean(dim=0).numpy()
    truth = known.targets.double().numpy() - mean
    best, expected = float("inf"), None
    for penalty in PENALTIES:
        model = Ridge(alpha=penalty * num_known, fit_intercept=False)
        model.fit(scaler.transform(known.embeddings), truth)
        judged = model.predict(scaler.transform(valid.embeddings)) + mean
        error = ((judged - valid.targets.double().numpy()) ** 2).mean()
        if error < best:
            best = error
            expected = model.predict(scaler.transform(asked.embeddings)) + mean
    found = PROBES["linear"](known, asked.embeddings, valid)
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-6, atol=1e-8)


def test_few_validation_clips_choose_nothing():
    known, asked = labelled(30, 0), labelled(20, 1)
    few, many = (labelled(count, 5, noise=30.0) for count in (99, 100))
    alone = PROBES["linear"](known, asked.embeddings, None)
    assert torch.equal(PROBES["linear"](known, asked.embeddings, few), alone)
    assert not torch.equal(PROBES["linear"](known, asked.embeddings, many), alone)


def test_five_neighbours_vote_as_scikit_learns_weighted_by_cosine():
    known, asked = labelled(60, 0), labelled(40, 1)
    scaler = StandardScaler().fit(known.embeddings)
    # scikit-learn's cosine distance is one less the cosine.
    nearest = KNeighborsClassifier(5, metric="cosine", weights=lambda distances: 2 - distances)
    nearest.fit(scaler.transform(known.embeddings), known.targets.argmax(dim=1))
    expected = nearest.predict_proba(scaler.transform(asked.embeddings))
    found = PROBES["knn"](known, asked.embeddings, None)
    found = found / found.sum(dim=1, keepdim=True)
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-5, atol=1e-6)


def test_many_clips_are_asked_in_parts(monkeypatch):
    known, asked = labelled(60, 0), labelled(40, 1)
    whole = PROBES["knn"](known, asked.embeddings, None)
    monkeypatch.setattr("ssast_recipes.objectives.probing._AT_ONCE", 7)
    torch.testing.assert_close(PROBES["knn"](known, asked.embeddings, None), whole)


def test_d_prime_is_averaged_over_classes_and_not_made_of_the_mean_area():
    data = labelled(60, 3)
    scores = data.embeddings[:, :3]
    areas = roc_auc_score(data.targets, scores, average=None)
    expected = (2**0.5 * torch.special.ndtri(torch.from_numpy(areas))).mean()
    torch.testing.assert_close(METRICS["d_prime"](scores, data.targets), expected)
    torch.testing.assert_close(float(METRICS["aucroc"](scores, data.targets)), float(areas.mean()))


def test_octaves_are_one_chroma():
    targets = torch.eye(36)[[0, 12, 13, 5]]
    scores = torch.eye(36)[[24, 12, 1, 6]]
    assert probes.METRICS["chroma_acc"](scores, targets) == 0.75
    assert probes.METRICS["pitch_acc"](scores, targets) == 0.25


def test_logistic_regression_is_scikit_learns_with_the_penalty_of_validation():
    known, asked, valid = labelled(60, 0), labelled(40, 1), labelled(120, 2)
    scaler = StandardScaler().fit(known.embeddings.double())

    def fit(strength, vectors):
        model = LogisticRegression(C=strength, max_iter=300)
        model.fit(scaler.transform(known.embeddings), known.targets.argmax(dim=1))
        return model.predict_log_proba(scaler.transform(vectors))

    truth = valid.targets.argmax(dim=1).numpy()
    shares = [(fit(c, valid.embeddings).argmax(axis=1) == truth).mean() for c in STRENGTHS]
    expected = fit(STRENGTHS[int(numpy.argmax(shares))], asked.embeddings)
    found = PROBES["logistic"](known, asked.embeddings, valid)
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-3, atol=1e-4)
    assert len(set(shares)) > 1


def test_logistic_regression_of_several_labels_and_of_one_class():
    targets = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]]).repeat(10, 1)
    vectors = targets.float() + 0.1 * torch.randn(40, 3)
    scores = PROBES["logistic"](Labelled(vectors, targets), vectors, None)
    assert ((scores > 0) == targets.bool())[:, :2].all() and (scores[:, 2] == -1e9).all()
    one = torch.tensor([[0, 1]]).repeat(4, 1)
    scores = PROBES["logistic"](Labelled(vectors[:4], one), vectors[:5], None)
    assert scores.argmax(dim=1).tolist() == [1] * 5


def test_held_out_clips_are_of_every_class_and_leave_some():
    targets = torch.eye(3)[[0] * 10 + [1] * 5 + [2]]
    held = hold_out(targets)
    assert targets[held].sum(dim=0).tolist() == [2, 1, 0]
    assert torch.equal(hold_out(targets), held) and not torch.equal(hold_out(targets, seed=1), held)


def test_attention_finds_the_moment_and_the_layer_that_tell(monkeypatch):
    """The class stands at one moment of one layer; the mean over all hardly shows it."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(240) % 2
    steps = torch.randn(240, 3, 12, 8, generator=generator)
    places = torch.randint(12, (240,), generator=generator)
    steps[range(240), 1, places, 0] = 8.0  # here it is
    steps[range(240), 1, places, 1] = 8.0 * (2 * labels - 1)
    targets = torch.nn.functional.one_hot(labels, 2)
    monkeypatch.setattr("ssast_recipes.evaluation.attentive.RATES", (1e-2,))
    known, asked = Labelled(steps[:200].half(), targets[:200]), steps[200:].half()
    found = PROBES["attentive"](known, asked, None)
    assert (found.argmax(dim=1) == labels[200:]).float().mean() > 0.9


def test_without_clips_to_judge_by_no_step_is_better_than_the_first():
    nothing = torch.zeros(0, 2, 12, 4), torch.zeros(0, 3)
    assert _judge(None, nothing, None, None) == 0.0


def test_the_attentive_probe_at_first_is_a_mean():
    steps = torch.randn(2, 3, 12, 8)
    probe = AttentiveProbe(3, 8, num_classes=4)
    torch.testing.assert_close(probe(steps), probe.classifier(steps.mean(dim=(1, 2))))


def test_the_attentive_probe_draws_from_its_own_seed(monkeypatch):
    monkeypatch.setattr("ssast_recipes.evaluation.attentive.STEPS", 5)
    monkeypatch.setattr("ssast_recipes.evaluation.attentive.EPOCHS", 1)
    steps, targets = torch.randn(20, 2, 3, 4), torch.eye(2)[torch.arange(20) % 2]
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(PROBES["attentive"](Labelled(steps, targets), steps, None))
    assert torch.equal(*found)
    several = torch.cat([targets, 1 - targets[:, :1], targets[:, 1:]], dim=1)
    assert PROBES["attentive"](Labelled(steps, several), steps, None).shape == (20, 4)
