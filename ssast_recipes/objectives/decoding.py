"""From what CTC's classes score at every moment to the tokens that were said."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class TimedToken(NamedTuple):
    """A token, and the columns at which it is heard, the last one excluded."""

    token: int
    begin: int
    end: int


def greedy_tokens(classes: Sequence[int], blank: int = 0) -> list[TimedToken]:
    """Joins the likeliest classes of all moments to tokens: repetitions are one, blanks none.

    Arguments
    ---------
    classes : sequence of int
        The likeliest class at each column of a clip.
    blank : int
        The class that is no token.

    Returns
    -------
    list of TimedToken
        In order. Two equal tokens in a row have a blank between them.

    Example
    -------
    >>> [token.token for token in greedy_tokens([0, 3, 3, 0, 3, 5, 5, 0])]
    [3, 3, 5]
    """
    found: list[TimedToken] = []
    before = blank
    for place, one in enumerate(classes):
        if one == blank:
            pass
        elif one == before:
            found[-1] = found[-1]._replace(end=place + 1)
        else:
            found.append(TimedToken(one, place, place + 1))
        before = one
    return found


def columns_needed(targets: Tensor, num_targets: Tensor) -> Tensor:
    """Counts the columns that CTC needs for transcripts: one a token, one between equal ones.

    A transcript with more of them than its clip has can be told by no path: its loss is infinite.

    Arguments
    ---------
    targets : Tensor
        Tokens, [batch, tokens], padded behind `num_targets`.
    num_targets : Tensor
        How many there are, [batch].

    Returns
    -------
    Tensor
        [batch].

    Example
    -------
    >>> columns_needed(torch.tensor([[3, 3, 5], [4, 0, 0]]), torch.tensor([3, 1]))
    tensor([4, 1])
    """
    places = torch.arange(max(targets.shape[1] - 1, 0), device=targets.device)
    repeated = targets[:, 1:] == targets[:, :-1]
    repeated = repeated & (places + 1 < num_targets.unsqueeze(1))
    return num_targets + repeated.sum(dim=1)
