"""What stands on the encoder: heads for pretraining, for classifying and for recognition."""

import torch
from torch import Tensor, nn


class PatchPredictionHead(nn.Module):
    """Predicts a patch from its token: two linear layers with a ReLU between.

    SSAST has two of these, one for each objective (paper, section 2.3).

    Arguments
    ---------
    embed_dim : int
        Width of a token.
    patch_area : int
        Number of values of a patch.

    Example
    -------
    >>> PatchPredictionHead(192, patch_area=256)(torch.zeros(2, 400, 192)).shape
    torch.Size([2, 400, 256])
    """

    def __init__(self, embed_dim: int, patch_area: int):
        super().__init__()
        self.hidden = nn.Linear(embed_dim, embed_dim)
        self.output = nn.Linear(embed_dim, patch_area)

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps tokens [batch, masked, width] to patches [batch, masked, patch area]."""
        return self.output(torch.relu(self.hidden(tokens)))


class ClassificationHead(nn.Module):
    """A layer norm and a linear layer.

    Arguments
    ---------
    embed_dim : int
        Width of an embedding.
    num_classes : int
        Number of classes.

    Raises
    ------
    ValueError
        If `num_classes` is not a whole number above 0.

    Example
    -------
    >>> ClassificationHead(192, num_classes=50)(torch.zeros(2, 192)).shape
    torch.Size([2, 50])
    """

    def __init__(self, embed_dim: int, num_classes: int):
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim, eps=1e-5)
        self.linear = nn.Linear(embed_dim, _checked(num_classes))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Maps embeddings [batch, width] to logits [batch, classes]."""
        return self.linear(self.norm(embeddings))


class ProjectionHead(nn.Module):
    """Two linear layers with nothing between: SUPERB's head for utterances.

    SUPERB has the mean over time between the two (Yang et al., SUPERB, Interspeech 2021). A mean
    and a linear layer commute, so here the mean, of fewer values, comes first.

    Arguments
    ---------
    embed_dim : int
        Width of an embedding.
    num_classes : int
        Number of classes.
    hidden_dim : int
        Width between the layers.

    Raises
    ------
    ValueError
        If `num_classes` is not a whole number above 0.

    Example
    -------
    >>> ProjectionHead(768, num_classes=12)(torch.zeros(2, 768)).shape
    torch.Size([2, 12])
    """

    def __init__(self, embed_dim: int, num_classes: int, hidden_dim: int = 256):
        super().__init__()
        self.projection = nn.Linear(embed_dim, hidden_dim)
        self.linear = nn.Linear(hidden_dim, _checked(num_classes))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Maps embeddings [batch, width] to logits [batch, classes]."""
        return self.linear(self.projection(embeddings))


class TokenHead(nn.Module):
    """A linear layer on each token: what CTC is asked of it, the blank included.

    Arguments
    ---------
    embed_dim : int
        Width of a token.
    num_tokens : int
        Number of classes, the blank included.

    Raises
    ------
    ValueError
        If `num_tokens` is not a whole number above 1.

    Example
    -------
    >>> TokenHead(192, num_tokens=29)(torch.zeros(2, 512, 192)).shape
    torch.Size([2, 512, 29])
    """

    def __init__(self, embed_dim: int, num_tokens: int):
        super().__init__()
        if isinstance(num_tokens, bool) or not isinstance(num_tokens, int) or num_tokens < 2:
            raise ValueError(f"num_tokens is a whole number above 1, not {num_tokens!r}")
        self.linear = nn.Linear(embed_dim, num_tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps tokens [batch, columns, width] to logits [batch, columns, num_tokens]."""
        return self.linear(tokens)


def _checked(num_classes: int) -> int:
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
        raise ValueError(f"num_classes is a whole number above 0, not {num_classes!r}")
    return num_classes
