"""Pre-norm transformer blocks, as of ViT and DeiT."""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional as F


class SelfAttention(nn.Module):
    """Multi-head self-attention with fused kernels.

    Arguments
    ---------
    embed_dim : int
        Width of a token.
    num_heads : int
        Number of attention heads; divides `embed_dim`.

    Example
    -------
    >>> import torch
    >>> SelfAttention(192, num_heads=3)(torch.zeros(2, 514, 192)).shape
    torch.Size([2, 514, 192])
    """

    def __init__(self, embed_dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.projection = nn.Linear(embed_dim, embed_dim)

    def forward(self, tokens: Tensor, visible: Tensor | None = None) -> Tensor:
        """Maps tokens [batch, tokens, width] to tokens of the same shape.

        `visible` [batch, tokens] bool says which of them are attended to; by default all are.
        """
        # [batch, heads, queries, keys]; without a mask, kernels that take none can be chosen.
        mask = None if visible is None else visible[:, None, None, :]
        heads = self.qkv(tokens).unflatten(2, (3, self.num_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each [batch, heads, tokens, head width]
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.projection(attended.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """The two-layer network of a transformer block, with exact (erf) GELU.

    Arguments
    ---------
    embed_dim : int
        Width of a token.
    hidden_dim : int
        Width between the layers.

    Example
    -------
    >>> import torch
    >>> FeedForward(192, hidden_dim=768)(torch.zeros(2, 514, 192)).shape
    torch.Size([2, 514, 192])
    """

    def __init__(self, embed_dim: int, hidden_dim: int):
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, embed_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps tokens [batch, tokens, width] to tokens of the same shape."""
        return self.fc2(F.gelu(self.fc1(tokens)))


class TransformerBlock(nn.Module):
    """A pre-norm transformer block.

    Arguments
    ---------
    embed_dim : int
        Width of a token.
    num_heads : int
        Number of attention heads; divides `embed_dim`.
    mlp_ratio : float
        Width of the feed-forward network over the width of a token.

    Example
    -------
    >>> import torch
    >>> TransformerBlock(192, num_heads=3)(torch.zeros(2, 514, 192)).shape
    torch.Size([2, 514, 192])
    """

    def __init__(self, embed_dim: int, num_heads: int, mlp_ratio: float = 4.0):
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim, eps=1e-6)
        self.attention = SelfAttention(embed_dim, num_heads)
        self.norm2 = nn.LayerNorm(embed_dim, eps=1e-6)
        self.mlp = FeedForward(embed_dim, int(embed_dim * mlp_ratio))

    def forward(
        self, tokens: Tensor, visible: Tensor | None = None, scales: Tensor | None = None
    ) -> Tensor:
        """Maps tokens [batch, tokens, width] to tokens of the same shape.

        `visible` [batch, tokens] bool says which of them are attended to; by default all are.
        `scales` [batch, 2] multiply what attention and feed-forward network add, by default by 1.
        """
        if scales is None:
            tokens = tokens + self.attention(self.norm1(tokens), visible)
            return tokens + self.mlp(self.norm2(tokens))
        of_attention, of_mlp = scales.to(tokens.dtype)[:, :, None, None].unbind(dim=1)
        tokens = tokens + of_attention * self.attention(self.norm1(tokens), visible)
        return tokens + of_mlp * self.mlp(self.norm2(tokens))


def draw_weights(module: nn.Module, tokens: Iterable[nn.Parameter]) -> None:
    """Draws fresh weights of a transformer's linear layers, and of its tokens and positions.

    Weights come from a normal distribution of deviation 0.02, truncated at 2; linear biases are
    zero; what is learned in no linear layer and is not given stays as it is.

    Arguments
    ---------
    module : nn.Module
        What has the linear layers; changed in place.
    tokens : iterable of nn.Parameter
        Drawn after these.

    Example
    -------
    >>> linear = nn.Linear(64, 64)
    >>> draw_weights(linear, [])
    >>> linear.bias.any().item()
    False
    """
    for linear in (part for part in module.modules() if isinstance(part, nn.Linear)):
        nn.init.trunc_normal_(linear.weight, std=0.02)
        nn.init.zeros_(linear.bias)
    for parameter in tokens:
        nn.init.trunc_normal_(parameter, std=0.02)
