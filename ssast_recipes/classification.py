"""Classifying spectrograms with an encoder and a head."""

import torch
from torch import Tensor, nn

from ssast_recipes.encoder import AudioSpectrogramTransformer


class ClassificationModel(nn.Module):
    """Encoder, pooling and classifier behind one forward.

    Arguments
    ---------
    encoder : AudioSpectrogramTransformer
        The encoder.
    classifier : nn.Module
        Embeddings [batch, width] to logits [batch, classes].
    pooling : str
        "mean" averages the patch tokens (SSAST); "prefix" averages the two prefix tokens, as
        supervised AST does.
    freeze_encoder : bool
        Train the classifier alone: a linear probe.

    Raises
    ------
    ValueError
        If the pooling is unknown.

    Example
    -------
    >>> from ssast_recipes.builders import ast_encoder
    >>> from ssast_recipes.heads import ClassificationHead
    >>> encoder = ast_encoder("tiny", depth=1, target_length=128)
    >>> model = ClassificationModel(encoder, ClassificationHead(192, num_classes=10))
    >>> model(torch.zeros(2, 128, 128)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        encoder: AudioSpectrogramTransformer,
        classifier: nn.Module,
        pooling: str = "mean",
        freeze_encoder: bool = False,
    ):
        super().__init__()
        if pooling not in ("mean", "prefix"):
            raise ValueError(f"pooling is mean or prefix, not {pooling!r}")
        self.encoder = encoder
        self.classifier = classifier
        self.pooling = pooling
        self.freeze_encoder = freeze_encoder
        keep_from_training(encoder, freeze_encoder)

    def embed(self, spectrograms: Tensor) -> Tensor:
        """Maps spectrograms [batch, frames, mel bins] to clip embeddings [batch, width]."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_encoder):
            output = self.encoder(spectrograms)
        tokens = output.patch_tokens if self.pooling == "mean" else output.prefix_tokens
        return tokens.mean(dim=1)

    def forward(self, spectrograms: Tensor, num_frames: Tensor | None = None) -> Tensor:
        """Maps spectrograms [batch, frames, mel bins] to logits [batch, classes].

        The clips' lengths [batch] are for models that mask padding: here it is like sound.
        """
        return self.classifier(self.embed(spectrograms))


def keep_from_training(encoder: AudioSpectrogramTransformer, whole: bool) -> None:
    """Takes the gradient from an encoder's mask token, or from the whole encoder.

    A classifier's clips are not masked: their mask token gets no gradient, and
    DistributedDataParallel would wait for one.

    Arguments
    ---------
    encoder : AudioSpectrogramTransformer
        The encoder; changed in place.
    whole : bool
        Freeze all of it.

    Example
    -------
    >>> from ssast_recipes.builders import ast_encoder
    >>> encoder = ast_encoder("tiny", depth=1, target_length=128)
    >>> keep_from_training(encoder, whole=False)
    >>> [name for name, weight in encoder.named_parameters() if not weight.requires_grad]
    ['mask_token']
    """
    encoder.mask_token.requires_grad_(False)
    if whole:
        encoder.requires_grad_(False)
