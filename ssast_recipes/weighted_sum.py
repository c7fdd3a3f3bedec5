"""Classifying by a learned weighted sum of the encoder's hidden states, as SUPERB does."""

import torch
from torch import Tensor, nn

from ssast_recipes.classification import keep_from_training
from ssast_recipes.encoder import NUM_PREFIX_TOKENS, AudioSpectrogramTransformer
from ssast_recipes.padding import mean_within, patches_within


class WeightedSumModel(nn.Module):
    """Encoder, weighted sum of its blocks' outputs, mean over tokens, and classifier.

    The outputs are taken before the encoder's final norm; their weights are a softmax of learned
    numbers, equal at first (Yang et al., SUPERB, Interspeech 2021). What is done with the padding
    behind a clip's end:

    * "masked": the attention does not see it, and the mean is over the clip's own patches. A clip's
      logits depend neither on its padding nor on the clips beside it.
    * "released", as the released SSAST runs did: it is like sound, and the prefix tokens count in
      the mean.

    Arguments
    ---------
    encoder : AudioSpectrogramTransformer
        The encoder.
    classifier : nn.Module
        Embeddings [batch, width] to logits [batch, classes], such as a `ProjectionHead`.
    padding : str
        "masked" or "released".
    freeze_encoder : bool
        Train the layers' weights and the classifier alone, as SUPERB proper does; no activations
        are kept for a backward pass through the encoder.

    Raises
    ------
    ValueError
        If `padding` is unknown.

    Example
    -------
    >>> from ssast_recipes.builders import ast_encoder
    >>> from ssast_recipes.heads import ProjectionHead
    >>> encoder = ast_encoder("tiny", depth=2, target_length=128)
    >>> model = WeightedSumModel(encoder, ProjectionHead(192, num_classes=12))
    >>> model(torch.zeros(2, 128, 128), num_frames=torch.tensor([128, 98])).shape
    torch.Size([2, 12])
    """

    def __init__(
        self,
        encoder: AudioSpectrogramTransformer,
        classifier: nn.Module,
        padding: str = "masked",
        freeze_encoder: bool = False,
    ):
        super().__init__()
        if padding not in ("masked", "released"):
            raise ValueError(f"padding is masked or released, not {padding!r}")
        self.encoder = encoder
        self.classifier = classifier
        self.padding = padding
        self.freeze_encoder = freeze_encoder
        self.layer_scores = nn.Parameter(torch.zeros(len(encoder.blocks)))
        keep_from_training(encoder, freeze_encoder)
        # It comes after what is summed, so it gets no gradient either.
        encoder.norm.requires_grad_(False)

    def embed(self, spectrograms: Tensor, num_frames: Tensor | None = None) -> Tensor:
        """Makes clip embeddings.

        Arguments
        ---------
        spectrograms : Tensor
            Standardised spectrograms, [batch, frames, mel bins].
        num_frames : Tensor, optional
            The clips' lengths in frames, [batch] integers; longer ones are cut at `frames`.

        Returns
        -------
        Tensor
            [batch, width], in 32-bit under autocast too.

        Raises
        ------
        ValueError
            If padding is to be masked, but the lengths are missing.
        """
        within = None
        if self.padding == "masked":
            if num_frames is None:
                raise ValueError("masking padding needs num_frames, the clips' lengths")
            grid_size, patch_stride = self.encoder.grid_size, self.encoder.patch_stride
            within = patches_within(num_frames, grid_size, patch_stride)  # [batch, patches]
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_encoder):
            output = self.encoder(spectrograms, return_hidden_states=True, visible_patches=within)
            # Sum and mean commute; after the mean, the layers are small.
            layers = torch.stack([_mean(state, within) for state in output.hidden_states], dim=1)
        weights = self.layer_scores.softmax(dim=0)  # [layers]
        return (weights.unsqueeze(1) * layers).sum(dim=1)  # [batch, layers, width] -> width

    def forward(self, spectrograms: Tensor, num_frames: Tensor | None = None) -> Tensor:
        """Maps spectrograms [batch, frames, mel bins] and lengths to logits [batch, classes]."""
        return self.classifier(self.embed(spectrograms, num_frames))


def _mean(tokens: Tensor, within: Tensor | None) -> Tensor:
    """The mean of all tokens [batch, 2 + patches, width], or of the patches within the clip."""
    if within is None:
        return tokens.mean(dim=1)
    return mean_within(tokens[:, NUM_PREFIX_TOKENS:], within)
