"""Which patches spoke for a score: integrated gradients on patch tokens, checked by deleting them.

Sundararajan, Taly, Yan: *Axiomatic attribution for deep networks*, ICML 2017. A patch that is away
has the token of a patch that is at the mean everywhere: standardised, zero.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

NUM_STEPS = 32  # on the way from no patch to all
_AT_ONCE = 16  # spectrograms of a batch


def attribute_patches(
    model: nn.Module,
    spectrograms: Tensor,
    num_frames: Tensor,
    score: Callable[[Tensor], Tensor],
    num_steps: int = NUM_STEPS,
) -> Tensor:
    """Integrates a score's gradient over patch tokens that come in, all together, bit by bit.

    Arguments
    ---------
    model : nn.Module
        With an `encoder`; (spectrograms, num_frames) to logits [batch, classes].
    spectrograms : Tensor
        One standardised spectrogram, [1, frames, mel bins].
    num_frames : Tensor
        Its length without padding, [1].
    score : callable
        Logits to what is explained, [batch].
    num_steps : int
        How many gradients are averaged: the middles of as many parts of the way.

    Returns
    -------
    Tensor
        [patches]; their sum is the score less that without any patch, but for the steps' width.

    Example
    -------
    >>> from ssast_recipes.model.builders import ast_encoder
    >>> from ssast_recipes.model.classifiers import ClassificationModel
    >>> encoder = ast_encoder("tiny", depth=1, target_length=32)
    >>> model = ClassificationModel(encoder, nn.Linear(192, 3)).eval()
    >>> of_first = lambda logits: logits[:, 0]
    >>> attribute_patches(model, torch.randn(1, 32, 128), torch.tensor([32]), of_first).shape
    torch.Size([16])
    """
    tokens, absent = _find_tokens(model.encoder, spectrograms)
    gradient = torch.zeros_like(tokens)
    places = (torch.arange(num_steps, device=tokens.device) + 0.5) / num_steps
    for some in places.split(_AT_ONCE):
        on_the_way = absent + some.view(-1, 1, 1) * (tokens - absent)  # [some, patches, width]
        on_the_way.requires_grad_()
        with torch.enable_grad(), _given_tokens(model.encoder, on_the_way):
            inputs = spectrograms.expand(len(some), -1, -1)
            total = score(model(inputs, num_frames.expand(len(some)))).sum()
            gradient += torch.autograd.grad(total, on_the_way)[0].sum(dim=0, keepdim=True)
    return ((tokens - absent) * gradient / num_steps).sum(dim=2)[0]


@torch.no_grad()
def delete_patches(
    model: nn.Module,
    spectrograms: Tensor,
    num_frames: Tensor,
    score: Callable[[Tensor], Tensor],
    orders: Tensor,
    num_points: int = 11,
) -> Tensor:
    """Scores a spectrogram while its patches are taken away, in given orders.

    Arguments
    ---------
    model, spectrograms, num_frames, score
        As for `attribute_patches`.
    orders : Tensor
        Which patches go, first to last, [orders, deleted] int64.
    num_points : int
        At how many shares of them, evenly from none to all, it is scored.

    Returns
    -------
    Tensor
        [orders, num_points].
    """
    tokens, absent = _find_tokens(model.encoder, spectrograms)
    counts = torch.linspace(0, orders.shape[1], num_points).round().long().tolist()
    scores = []
    for order in orders:
        given = tokens.repeat(num_points, 1, 1)
        for point, count in enumerate(counts):
            given[point, order[:count]] = absent[0, order[:count]]
        found = []
        for some in given.split(_AT_ONCE):
            inputs = spectrograms.expand(len(some), -1, -1)
            with _given_tokens(model.encoder, some):
                found.append(score(model(inputs, num_frames.expand(len(some)))))
        scores.append(torch.cat(found))
    return torch.stack(scores)


def _find_tokens(encoder: nn.Module, spectrograms: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens of patches as they are, and of patches at the mean, [1, patches, width] each."""
    with torch.no_grad():
        return (
            encoder.patch_embedding(spectrograms),
            encoder.patch_embedding(torch.zeros_like(spectrograms)),
        )


@contextmanager
def _given_tokens(encoder: nn.Module, tokens: Tensor) -> Iterator[None]:
    """Puts tokens in the place of what the encoder's patch embedding makes."""
    handle = encoder.patch_embedding.register_forward_hook(lambda *_: tokens)
    try:
        yield
    finally:
        handle.remove()
