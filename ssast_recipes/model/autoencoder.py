"""Masked autoencoding: the encoder sees visible patches only, a shallow decoder sees all."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ssast_recipes.model.encoder import (
    NUM_PREFIX_TOKENS,
    AudioSpectrogramTransformer,
    EncoderOutput,
)
from ssast_recipes.model.grid import make_positions
from ssast_recipes.model.heads import PatchPredictionHead
from ssast_recipes.model.masked_patches import MaskedPatchModel
from ssast_recipes.model.patches import remaining_patches, select_patches
from ssast_recipes.model.transformer import TransformerBlock, draw_weights


class PatchDecoder(nn.Module):
    """Puts mask tokens where patches were dropped, and runs blocks over the whole grid.

    Arguments
    ---------
    encoder_dim : int
        Width of the tokens that come in; a linear layer fits them where it is another than
        `embed_dim`.
    grid_size : tuple[int, int]
        Patch rows (frequency) and patch columns (time).
    embed_dim : int
        Width of the decoder's own tokens.
    depth : int
        Number of blocks. Without any, nor a norm, the tokens that came in go out, at their places.
    num_heads : int
        Number of attention heads; divides `embed_dim`.
    positions : str
        "learned" or "sinusoidal": the decoder's own, not the encoder's.

    Raises
    ------
    ValueError
        If `num_heads` does not divide `embed_dim`, or there are no such positions.

    Example
    -------
    >>> decoder = PatchDecoder(192, (8, 64), embed_dim=96, depth=2, num_heads=3)
    >>> kept = torch.arange(112).expand(2, -1)
    >>> output = EncoderOutput(torch.zeros(2, 112, 192), torch.zeros(2, 2, 192))
    >>> decoder(output, kept).patch_tokens.shape
    torch.Size([2, 512, 96])
    """

    def __init__(
        self,
        encoder_dim: int,
        grid_size: tuple[int, int],
        embed_dim: int,
        depth: int = 2,
        num_heads: int = 12,
        positions: str = "learned",
    ):
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"decoder_dim {embed_dim} cannot be shared by {num_heads} heads")
        self.embed_dim, self.num_heads = embed_dim, num_heads
        self.num_patches = grid_size[0] * grid_size[1]
        is_alike = encoder_dim == embed_dim
        self.projection = nn.Identity() if is_alike else nn.Linear(encoder_dim, embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.position_embedding = make_positions(positions, grid_size, embed_dim, NUM_PREFIX_TOKENS)
        self.blocks = nn.ModuleList(TransformerBlock(embed_dim, num_heads) for _ in range(depth))
        # What comes in went through the encoder's norm.
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6) if depth else nn.Identity()
        fresh = (self.mask_token, self.position_embedding)
        draw_weights(self, [parameter for parameter in fresh if parameter.requires_grad])

    def forward(
        self, encoded: EncoderOutput, kept_patches: Tensor, visible_patches: Tensor | None = None
    ) -> EncoderOutput:
        """Decodes what the encoder made of the kept patches.

        Arguments
        ---------
        encoded : EncoderOutput
            Patch tokens [batch, kept, encoder's width] and prefix tokens.
        kept_patches : Tensor
            Where these stand in the grid, [batch, kept], int64.
        visible_patches : Tensor, optional
            Which patches are attended to, [batch, patches] bool; by default all.

        Returns
        -------
        EncoderOutput
            Patch tokens [batch, patches, width] of the whole grid, and prefix tokens.
        """
        kept = self.projection(encoded.patch_tokens)
        prefix = self.projection(encoded.prefix_tokens)
        where = kept_patches.unsqueeze(2).expand_as(kept)
        tokens = self.mask_token.to(kept.dtype).expand(len(kept), self.num_patches, -1)
        tokens = torch.cat([prefix, tokens.scatter(1, where, kept)], dim=1)
        tokens = tokens + self.position_embedding  # [batch, 2 + patches, width]
        visible = visible_patches
        if visible is not None:  # the prefix tokens always are: [batch, 2 + patches]
            visible = pad(visible, (NUM_PREFIX_TOKENS, 0), value=True)
        for block in self.blocks:
            tokens = block(tokens, visible)
        prefix, tokens = self.norm(tokens).tensor_split([NUM_PREFIX_TOKENS], dim=1)
        return EncoderOutput(tokens, prefix)


def decoder_width(encoder: AudioSpectrogramTransformer, decoder_dim: int | None = None) -> int:
    """Returns how wide a decoder is, and the heads that read it: as given, or as the encoder.

    Example
    -------
    >>> from ssast_recipes.model.builders import ast_encoder
    >>> encoder = ast_encoder("tiny", depth=1)
    >>> decoder_width(encoder), decoder_width(encoder, 96)
    (192, 96)
    """
    return decoder_dim or encoder.embed_dim


class MaskedAutoencoder(MaskedPatchModel):
    """Predicts masked patches from the rest, which alone the encoder sees.

    As MAE-AST (Baade, Peng and Harwath, Interspeech 2022): masked patches are dropped before the
    encoder, which is what makes it quick; a shallow decoder sees the encoder's tokens and, at
    their places, mask tokens; the heads read the decoder. Used in place of `MaskedPatchModel`,
    with the same heads and maskers. The encoder's own mask token has no part in it and keeps its
    value.

    Arguments
    ---------
    encoder : AudioSpectrogramTransformer
        The encoder, built without overlap between patches.
    contrastive_head : nn.Module, optional
        Tokens of the decoder's width to the predictions that find each masked patch.
    reconstruction_head : nn.Module, optional
        Tokens of the decoder's width to the predictions that redraw each masked patch.
    decoder_depth : int
        Number of the decoder's blocks.
    decoder_dim : int, optional
        Width of the decoder's tokens; by default the encoder's.
    decoder_heads : int, optional
        Number of the decoder's attention heads; by default the encoder's.
    decoder_positions : str
        "learned" or "sinusoidal".
    padding : str
        "released" or "masked", as of `MaskedPatchModel`; the decoder does not see it, either.

    Raises
    ------
    ValueError
        If patches overlap, no head is given, the padding is unknown, or a `PatchPredictionHead` is
        of another width than the decoder.

    Example
    -------
    >>> from ssast_recipes.model.builders import ast_encoder
    >>> encoder = ast_encoder("tiny", depth=1, target_length=128, positions="sinusoidal")
    >>> model = MaskedAutoencoder(encoder, reconstruction_head=PatchPredictionHead(192, 256))
    >>> predictions = model(torch.zeros(2, 128, 128), torch.tensor([[0, 5], [1, 2]]))
    >>> predictions.contrastive, predictions.reconstruction.shape
    (None, torch.Size([2, 2, 256]))
    """

    def __init__(
        self,
        encoder: AudioSpectrogramTransformer,
        contrastive_head: nn.Module | None = None,
        reconstruction_head: nn.Module | None = None,
        decoder_depth: int = 2,
        decoder_dim: int | None = None,
        decoder_heads: int | None = None,
        decoder_positions: str = "learned",
        padding: str = "released",
    ):
        super().__init__(encoder, contrastive_head, reconstruction_head, padding)
        self.decoder = PatchDecoder(
            encoder.embed_dim,
            encoder.grid_size,
            decoder_width(encoder, decoder_dim),
            decoder_depth,
            decoder_heads or encoder.num_heads,
            decoder_positions,
        )
        for head in (contrastive_head, reconstruction_head):
            width = head.hidden.in_features if isinstance(head, PatchPredictionHead) else None
            if width not in (None, self.decoder.embed_dim):
                raise ValueError(
                    f"a head is {width} wide and the decoder, which it reads, "
                    f"{self.decoder.embed_dim}; give the heads embed_dim: {self.decoder.embed_dim}"
                )
        # It gets no gradient, for which DistributedDataParallel would wait.
        encoder.mask_token.requires_grad_(False)

    def masked_tokens(
        self, spectrograms: Tensor, masked_indices: Tensor, visible_patches: Tensor | None = None
    ) -> Tensor:
        """Makes the tokens that the heads read, [batch, masked, width], at the masked patches."""
        decoded = self.decode(spectrograms, masked_indices, visible_patches)
        return select_patches(decoded.patch_tokens, masked_indices)

    def decode(
        self, spectrograms: Tensor, masked_indices: Tensor, visible_patches: Tensor | None = None
    ) -> EncoderOutput:
        """Encodes what is not masked, and decodes the whole grid.

        Arguments
        ---------
        spectrograms : Tensor
            Standardised spectrograms, [batch, frames, mel bins].
        masked_indices : Tensor
            Patches to hide, [batch, masked], int64.
        visible_patches : Tensor, optional
            Which patches are no padding, [batch, patches] bool; by default all.

        Returns
        -------
        EncoderOutput
            The decoder's patch tokens [batch, patches, width] and prefix tokens [batch, 2, width].
        """
        kept = remaining_patches(masked_indices, self.encoder.num_patches)
        encoded = self.encoder(spectrograms, kept_patches=kept, visible_patches=visible_patches)
        return self.decoder(encoded, kept, visible_patches)
