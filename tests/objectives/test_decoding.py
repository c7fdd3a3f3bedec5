import pytest
import torch

from ssast_recipes.objectives.decoding import columns_needed, greedy_tokens

# Columns of classes, blank 0, and what CTC reads in them.
TABLE = [
    ([], []),
    ([0, 0, 0], []),
    ([1], [(1, 0, 1)]),
    ([1, 1, 1], [(1, 0, 3)]),
    ([1, 0, 1], [(1, 0, 1), (1, 2, 3)]),
    ([1, 2, 1], [(1, 0, 1), (2, 1, 2), (1, 2, 3)]),
    ([0, 2, 2, 0, 0, 2, 3, 3, 0], [(2, 1, 3), (2, 5, 6), (3, 6, 8)]),
    ([4, 4, 0, 4, 4, 5, 0, 5], [(4, 0, 2), (4, 3, 5), (5, 5, 6), (5, 7, 8)]),
]


@pytest.mark.parametrize(("classes", "tokens"), TABLE)
def test_greedy_decoding_is_as_the_table_says(classes, tokens):
    assert [tuple(one) for one in greedy_tokens(classes)] == tokens


def test_columns_needed_are_where_ctc_has_its_last_path():
    """Torch's loss is finite with so many columns, and infinite with one less."""
    targets = torch.tensor([[1, 1, 2, 2, 2], [1, 2, 1, 0, 0], [3, 3, 3, 0, 0], [0, 0, 0, 0, 0]])
    counts = torch.tensor([5, 3, 3, 0])
    needed = columns_needed(targets, counts)
    assert needed.tolist() == [8, 3, 5, 0]
    scores = torch.zeros(10, 3, 4).log_softmax(dim=2)

    def losses(columns):
        loss = torch.nn.functional.ctc_loss
        return loss(scores, targets[:3], columns[:3], counts[:3], reduction="none").isfinite()

    assert losses(needed).all() and not losses(needed - 1).any()
