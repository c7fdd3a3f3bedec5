import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from ssast_recipes.objectives.probing import (
    PENALTIES,
    effective_rank,
    embedding_spread,
    linear_scores,
    nearest_neighbour_scores,
)


@pytest.fixture
def embeddings():
    """Three noisy classes 6 wide, 30 known and 40 asked, with dimensions of other scales."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(3, 6, generator=generator)
    labels = torch.arange(70) % 3
    noise = 1.5 * torch.randn(70, 6, generator=generator)
    values = (centres[labels] + noise) * torch.tensor([1.0, 10.0, 0.1, 3.0, 1.0, 100.0]) + 7
    targets = torch.nn.functional.one_hot(labels, 3)
    return values[:30], targets[:30], values[30:]


def test_the_nearest_neighbours_are_scikit_learns(embeddings):
    known, targets, asked = embeddings
    scaler = StandardScaler().fit(known)
    nearest = KNeighborsClassifier(1, metric="cosine")
    nearest.fit(scaler.transform(known), targets.argmax(dim=1))
    expected = nearest.predict(scaler.transform(asked))
    found = nearest_neighbour_scores(known, targets, asked, num_neighbours=1).argmax(dim=1)
    assert found.tolist() == expected.tolist()
    assert len(set(found.tolist())) == 3


def test_neighbours_vote_by_how_near_they_are():
    known = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    targets = torch.tensor([[1, 0], [0, 1], [1, 1], [0, 0]])
    scores = nearest_neighbour_scores(known, targets, torch.tensor([[1.0, 0.0]]), 4)
    # Cosines 1, 0, -1, 0 become weights 2, 1, 0, 1.
    torch.testing.assert_close(scores, torch.tensor([[2.0, 1.0]], dtype=torch.float64))


def test_more_neighbours_than_clips_are_all_clips():
    scores = nearest_neighbour_scores(torch.eye(2), torch.eye(2), torch.eye(2), num_neighbours=5)
    assert scores.argmax(dim=1).tolist() == [0, 1]


def test_the_linear_probe_is_ridge_regression_chosen_by_leaving_one_out(embeddings):
    known, targets, asked = embeddings
    scaler = StandardScaler().fit(known)
    inputs, truth = scaler.transform(known), targets.double().numpy()
    # scikit-learn's penalty is not divided by the number of clips.
    models = [Ridge(alpha=penalty * len(known)) for penalty in PENALTIES]
    errors = [
        ((cross_val_predict(model, inputs, truth, cv=LeaveOneOut()) - truth) ** 2).mean()
        for model in models
    ]
    best = models[errors.index(min(errors))].fit(inputs, truth)
    assert 0 < errors.index(min(errors)) < len(PENALTIES) - 1  # the choice decides something
    expected = torch.from_numpy(best.predict(scaler.transform(asked)))
    torch.testing.assert_close(linear_scores(known, targets, asked), expected)


def test_validation_chooses_the_penalty(embeddings):
    known, targets, asked = embeddings
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(30) % 3
    valid = known + 20 * torch.randn(30, 6, generator=generator)  # which asks for a strong penalty
    scaler = StandardScaler().fit(known)
    inputs, truth = scaler.transform(known), targets.double().numpy()
    models = [Ridge(alpha=p * len(known)).fit(inputs, truth) for p in PENALTIES]
    judged, wanted = scaler.transform(valid), torch.eye(3)[labels].double().numpy()
    errors = [((model.predict(judged) - wanted) ** 2).mean() for model in models]
    best = models[errors.index(min(errors))]
    found = linear_scores(known, targets, asked, (valid, torch.eye(3)[labels]))
    expected = torch.from_numpy(best.predict(scaler.transform(asked)))
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, linear_scores(known, targets, asked))


def test_the_linear_probe_bears_more_dimensions_than_clips_and_constant_ones():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(12) % 2
    values = torch.randn(12, 50, generator=generator)
    values[:, 0] += 5 * labels
    values[:, 1] = 3.0
    scores = linear_scores(values[:8], torch.nn.functional.one_hot(labels[:8], 2), values[8:])
    assert scores.isfinite().all()


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_the_effective_rank_counts_equal_directions(rank):
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(40, 8, generator=generator, dtype=torch.float64)).Q
    centred = basis - basis.mean(dim=0)
    basis = torch.linalg.qr(centred).Q[:, :rank]  # orthonormal, of mean zero
    embeddings = basis @ torch.eye(rank, 20, dtype=torch.float64) + 4
    assert effective_rank(embeddings).item() == pytest.approx(rank, rel=1e-9)


def test_alike_embeddings_have_neither_rank_nor_spread():
    alike = torch.full((10, 4), 0.3)
    assert effective_rank(alike) == 0 and embedding_spread(alike) < 1e-7
    assert embedding_spread(torch.zeros(3, 4)) == 0
    generator = torch.Generator().manual_seed(0)
    rounding = alike + 1e-8 * torch.randn(10, 4, generator=generator)
    assert effective_rank(rounding) == 0


def test_spread_is_the_deviation_over_the_length():
    embeddings = torch.tensor([[3.0, 0.0], [5.0, 0.0]])  # 4 +- 1
    assert embedding_spread(embeddings).item() == pytest.approx((1 / 17) ** 0.5)
