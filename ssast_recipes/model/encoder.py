"""The Audio Spectrogram Transformer (Gong et al., Interspeech 2021), shaped like ViT and DeiT."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint

from ssast_recipes.model.grid import make_positions
from ssast_recipes.model.patches import PatchEmbedding, compute_grid_size, select_patches
from ssast_recipes.model.transformer import TransformerBlock, draw_weights

# The class token and DeiT's distillation token, which AST keeps.
NUM_PREFIX_TOKENS = 2
# Under this name a state dict of a model with an `encoder` holds the encoder's geometry.
EXTRA_STATE = "encoder._extra_state"


class EncoderOutput(NamedTuple):
    """What the encoder makes of a batch of spectrograms.

    `patch_tokens` [batch, patches, width] and `prefix_tokens` [batch, 2, width] come after the
    final norm; `hidden_states`, one [batch, 2 + patches, width] a block, come before it and are
    empty unless asked for.
    """

    patch_tokens: Tensor
    prefix_tokens: Tensor
    hidden_states: tuple[Tensor, ...] = ()


class AudioSpectrogramTransformer(nn.Module):
    """Encodes spectrograms as one token a patch, some of them masked if so told.

    Arguments
    ---------
    embed_dim : int
        Width of a token.
    depth : int
        Number of transformer blocks.
    num_heads : int
        Number of attention heads; divides `embed_dim`.
    num_mel_bins : int
        Height of the spectrograms in mel bins.
    target_length : int
        Length of the spectrograms in frames.
    patch_size : tuple[int, int]
        Height (mel bins) and length (frames) of a patch.
    patch_stride : tuple[int, int], optional
        Mel bins and frames from one patch to the next; by default the patch size. Patches
        overlap in fine-tuning only: overlap would leak masked values into their neighbours.
    mlp_ratio : float
        Width of the feed-forward networks over the width of a token.
    activation_checkpointing : bool
        Recompute each block's activations in the backward pass: less memory, a third more time.
    positions : str
        "learned", or "sinusoidal": fixed, and zero for the prefix tokens.

    Raises
    ------
    ValueError
        If `num_heads` does not divide `embed_dim`, a patch does not fit the spectrogram, or there
        are no such positions.

    Example
    -------
    >>> encoder = AudioSpectrogramTransformer(192, depth=2, num_heads=3, target_length=512)
    >>> encoder(torch.zeros(2, 512, 128)).patch_tokens.shape
    torch.Size([2, 256, 192])
    """

    def __init__(
        self,
        embed_dim: int,
        depth: int,
        num_heads: int,
        num_mel_bins: int = 128,
        target_length: int = 1024,
        patch_size: tuple[int, int] = (16, 16),
        patch_stride: tuple[int, int] | None = None,
        mlp_ratio: float = 4.0,
        activation_checkpointing: bool = False,
        positions: str = "learned",
    ):
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim {embed_dim} cannot be shared by {num_heads} heads")
        self.embed_dim, self.num_heads = embed_dim, num_heads
        self.num_mel_bins, self.target_length = num_mel_bins, target_length
        self.patch_size = tuple(patch_size)
        self.patch_stride = tuple(patch_stride or patch_size)
        self.grid_size = compute_grid_size(
            num_mel_bins, target_length, self.patch_size, self.patch_stride
        )
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        self.patch_area = self.patch_size[0] * self.patch_size[1]
        self.activation_checkpointing = activation_checkpointing

        self.patch_embedding = PatchEmbedding(embed_dim, self.patch_size, self.patch_stride)
        self.class_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.distillation_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.position_embedding = make_positions(
            positions, self.grid_size, embed_dim, NUM_PREFIX_TOKENS
        )
        self.blocks = nn.ModuleList(
            TransformerBlock(embed_dim, num_heads, mlp_ratio) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.initialise()

    def initialise(self) -> None:
        """Draws fresh weights as `draw_weights` does; the patch projection is as torch makes it."""
        tokens = [self.class_token, self.distillation_token, self.mask_token]
        if self.position_embedding.requires_grad:
            tokens.append(self.position_embedding)
        draw_weights(self, tokens)

    def forward(
        self,
        spectrograms: Tensor,
        masked_indices: Tensor | None = None,
        return_hidden_states: bool = False,
        visible_patches: Tensor | None = None,
        kept_patches: Tensor | None = None,
        branch_scales: Tensor | None = None,
    ) -> EncoderOutput:
        """Encodes a batch of spectrograms.

        Arguments
        ---------
        spectrograms : Tensor
            Standardised spectrograms, [batch, frames, mel bins]; with `visible_patches`, of fewer
            frames than the encoder was built for, too.
        masked_indices : Tensor, optional
            Patches to hide behind the mask token, [batch, masked], int64.
        return_hidden_states : bool
            Whether to keep what each block puts out.
        visible_patches : Tensor, optional
            Which patches are attended to, [batch, patches] bool, such as `patches_within` a clip;
            by default all, with faster kernels. The tokens of the others are of no use. Of shorter
            spectrograms, those of their own grid, which has fewer columns.
        kept_patches : Tensor, optional
            The patches that go through the blocks, [batch, kept], int64, each at its own position;
            the others are dropped, and cost nothing. By default all are kept.
        branch_scales : Tensor, optional
            What the two branches of each block are multiplied by, [batch, blocks, 2], such as
            `draw_branch_scales` gives for stochastic depth; by default by 1.

        Returns
        -------
        EncoderOutput
            Patch tokens [batch, patches, width], or [batch, kept, width] in the order of
            `kept_patches`; prefix tokens [batch, 2, width]; hidden states.

        Raises
        ------
        ValueError
            If the spectrograms are not of the size that the encoder was built for.
        """
        most = self.target_length
        length = most if visible_patches is None else min(most, spectrograms.shape[1])
        if spectrograms.shape[1:] != (length, self.num_mel_bins):
            raise ValueError(
                f"spectrograms of shape {tuple(spectrograms.shape)} given to an encoder for "
                f"[batch, {self.target_length} frames, {self.num_mel_bins} mel bins]"
            )
        tokens = self.patch_embedding(spectrograms)  # [batch, patches, width]
        if masked_indices is not None:
            tokens = self._mask(tokens, masked_indices)
        prefix = torch.cat([self.class_token, self.distillation_token], dim=1)
        tokens = torch.cat([prefix.to(tokens.dtype).expand(len(tokens), -1, -1), tokens], dim=1)
        tokens = tokens + self._positions(spectrograms.shape[1])  # [batch, 2 + patches, width]
        visible = visible_patches
        if kept_patches is not None:
            prefix, tokens = tokens.tensor_split([NUM_PREFIX_TOKENS], dim=1)
            tokens = torch.cat([prefix, select_patches(tokens, kept_patches)], dim=1)
            visible = None if visible is None else visible.gather(1, kept_patches)
        if visible is not None:  # the prefix tokens always are: [batch, 2 + patches]
            visible = pad(visible, (NUM_PREFIX_TOKENS, 0), value=True)

        hidden_states = []
        for index, block in enumerate(self.blocks):
            scales = None if branch_scales is None else branch_scales[:, index]  # [batch, 2]
            if self.activation_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, visible, scales, use_reentrant=False)
            else:
                tokens = block(tokens, visible, scales)
            if return_hidden_states:
                hidden_states.append(tokens)
        tokens = self.norm(tokens)
        return EncoderOutput(
            patch_tokens=tokens[:, NUM_PREFIX_TOKENS:],
            prefix_tokens=tokens[:, :NUM_PREFIX_TOKENS],
            hidden_states=tuple(hidden_states),
        )

    def _positions(self, num_frames: int) -> Tensor:
        """Those of the columns that so many frames have, [1, 2 + patches, width]."""
        if num_frames == self.target_length:
            return self.position_embedding
        columns = 1 + (num_frames - self.patch_size[1]) // self.patch_stride[1]
        prefix, patches = self.position_embedding.tensor_split([NUM_PREFIX_TOKENS], dim=1)
        patches = patches.unflatten(1, self.grid_size)[:, :, :columns]
        return torch.cat([prefix, patches.flatten(1, 2)], dim=1)

    def _mask(self, tokens: Tensor, masked_indices: Tensor) -> Tensor:
        is_masked = torch.zeros(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        is_masked = is_masked.scatter(1, masked_indices, True)
        return torch.where(is_masked.unsqueeze(2), self.mask_token.to(tokens.dtype), tokens)

    def geometry(self) -> dict[str, Any]:
        """Returns what weights must agree on to fit this encoder, in plain Python."""
        return {
            "embed_dim": self.embed_dim,
            "depth": len(self.blocks),
            "num_heads": self.num_heads,
            "patch_size": list(self.patch_size),
            "grid_size": list(self.grid_size),
        }

    def get_extra_state(self) -> dict[str, Any]:
        """Puts the geometry into the state dict: shapes alone tell neither heads nor grid."""
        return self.geometry()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Raises a ValueError if weights of another geometry are being loaded."""
        check_geometry(state, self.geometry())


def check_geometry(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raises a ValueError that names every difference between two geometries.

    Arguments
    ---------
    found : dict
        The geometry of the weights, as of `AudioSpectrogramTransformer.geometry`.
    wanted : dict
        The geometry of the encoder that they are for; only what both tell is compared.

    Raises
    ------
    ValueError
        If a value differs.

    Example
    -------
    >>> check_geometry({"embed_dim": 768, "depth": 12}, {"embed_dim": 192})
    Traceback (most recent call last):
    ValueError: weights of another geometry: embed_dim is 768 there, 192 here
    """
    differences = [
        f"{key} is {found[key]} there, {value} here"
        for key, value in wanted.items()
        if found.get(key, value) != value
    ]
    if differences:
        raise ValueError(f"weights of another geometry: {', '.join(differences)}")
