"""Masked spectrogram patch modeling: encoder and both heads behind one forward."""

from typing import NamedTuple

from torch import Tensor, nn

from ssast_recipes.model.encoder import AudioSpectrogramTransformer
from ssast_recipes.model.grid import check_padding
from ssast_recipes.model.patches import select_patches


class MaskedPatchPredictions(NamedTuple):
    """Predicted patches, [batch, masked, patch area], by objective; None without its head."""

    contrastive: Tensor | None
    reconstruction: Tensor | None


class MaskedPatchModel(nn.Module):
    """Predicts masked patches from the rest of the spectrogram.

    One module, so that it is one DistributedDataParallel unit and one compiled graph. Leaving a
    head out leaves its objective out.

    Arguments
    ---------
    encoder : AudioSpectrogramTransformer
        The encoder, built without overlap between patches.
    contrastive_head : nn.Module, optional
        Tokens to the predictions that find each masked patch among the others.
    reconstruction_head : nn.Module, optional
        Tokens to the predictions that redraw each masked patch.
    padding : str
        What is done with the padding of clips shorter than the spectrogram. "released": it is like
        sound. "masked": the attention does not see it; then `forward` needs `visible_patches`.

    Raises
    ------
    ValueError
        If patches overlap, no head is given, or the padding is unknown.

    Example
    -------
    >>> import torch
    >>> from ssast_recipes.model.builders import ast_encoder
    >>> from ssast_recipes.model.heads import PatchPredictionHead
    >>> encoder = ast_encoder("tiny", depth=1, target_length=128)
    >>> model = MaskedPatchModel(encoder, reconstruction_head=PatchPredictionHead(192, 256))
    >>> predictions = model(torch.zeros(2, 128, 128), torch.tensor([[0, 5], [1, 2]]))
    >>> predictions.contrastive, predictions.reconstruction.shape
    (None, torch.Size([2, 2, 256]))
    """

    def __init__(
        self,
        encoder: AudioSpectrogramTransformer,
        contrastive_head: nn.Module | None = None,
        reconstruction_head: nn.Module | None = None,
        padding: str = "released",
    ):
        super().__init__()
        check_padding(padding)
        if encoder.patch_stride != encoder.patch_size:
            raise ValueError(
                f"pretraining needs patches without overlap, not patch_size {encoder.patch_size} "
                f"with patch_stride {encoder.patch_stride}: overlap leaks masked values"
            )
        if contrastive_head is None and reconstruction_head is None:
            raise ValueError("pretraining needs a contrastive_head, a reconstruction_head or both")
        self.encoder = encoder
        self.contrastive_head = contrastive_head
        self.reconstruction_head = reconstruction_head
        self.padding = padding

    def forward(
        self,
        spectrograms: Tensor,
        *masked_indices: Tensor,
        visible_patches: Tensor | None = None,
    ) -> MaskedPatchPredictions:
        """Predicts the masked patches.

        Arguments
        ---------
        spectrograms : Tensor
            Standardised spectrograms, [batch, frames, mel bins].
        *masked_indices : Tensor
            Patches to hide and predict, [batch, masked], int64. Of one pass for both heads or, as
            in the released training code, of two: the encoder runs once with those of the
            contrastive head, and again with those of the reconstruction head.
        visible_patches : Tensor, optional
            Which patches are no padding, [batch, patches] bool; by default all.

        Returns
        -------
        MaskedPatchPredictions
            For each head, its predictions in the order of its indices.
        """
        passes = [
            self.masked_tokens(spectrograms, indices, visible_patches) for indices in masked_indices
        ]
        return MaskedPatchPredictions(
            None if self.contrastive_head is None else self.contrastive_head(passes[0]),
            None if self.reconstruction_head is None else self.reconstruction_head(passes[-1]),
        )

    def masked_tokens(
        self, spectrograms: Tensor, masked_indices: Tensor, visible_patches: Tensor | None = None
    ) -> Tensor:
        """Makes the tokens that the heads read, [batch, masked, width], at the masked patches."""
        encoded = self.encoder(spectrograms, masked_indices, visible_patches=visible_patches)
        return select_patches(encoded.patch_tokens, masked_indices)
