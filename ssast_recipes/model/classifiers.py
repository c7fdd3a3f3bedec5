"""Classifying spectrograms with an encoder and a head."""

import torch
from torch import Tensor, nn

from ssast_recipes.model.encoder import NUM_PREFIX_TOKENS, AudioSpectrogramTransformer
from ssast_recipes.model.grid import check_padding, mean_within, patches_within


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
    padding : str
        What is done with the padding behind a clip's end. "released": it is like sound. "masked":
        the attention does not see it, and the mean is over the clip's own patches.

    Raises
    ------
    ValueError
        If the pooling or the padding is unknown.

    Example
    -------
    >>> from ssast_recipes.model.builders import ast_encoder
    >>> from ssast_recipes.model.heads import ClassificationHead
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
        padding: str = "released",
    ):
        super().__init__()
        check_padding(padding)
        if pooling not in ("mean", "prefix"):
            raise ValueError(f"pooling is mean or prefix, not {pooling!r}")
        self.encoder = encoder
        self.classifier = classifier
        self.pooling, self.padding = pooling, padding
        self.freeze_encoder = freeze_encoder
        keep_from_training(encoder, freeze_encoder)

    def embed(
        self,
        spectrograms: Tensor,
        num_frames: Tensor | None = None,
        branch_scales: Tensor | None = None,
        starts: Tensor | None = None,
    ) -> Tensor:
        """Makes clip embeddings; arguments as of `WeightedSumModel.embed`.

        Returns
        -------
        Tensor
            [batch, width].

        Raises
        ------
        ValueError
            If padding is to be masked, but the lengths are missing.
        """
        within = _own_patches(self, num_frames, starts)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_encoder):
            output = self.encoder(spectrograms, visible_patches=within, branch_scales=branch_scales)
        if self.pooling == "prefix":
            return output.prefix_tokens.mean(dim=1)
        if within is None:
            return output.patch_tokens.mean(dim=1)
        return mean_within(output.patch_tokens, within)

    def forward(
        self,
        spectrograms: Tensor,
        num_frames: Tensor | None = None,
        branch_scales: Tensor | None = None,
        starts: Tensor | None = None,
    ) -> Tensor:
        """Maps spectrograms [batch, frames, mel bins] to logits [batch, classes].

        The clips' lengths in frames, [batch], are needed where padding is masked.
        """
        return self.classifier(self.embed(spectrograms, num_frames, branch_scales, starts))


def _own_patches(
    model: nn.Module, num_frames: Tensor | None, starts: Tensor | None
) -> Tensor | None:
    """The patches within the clips, [batch, patches] bool, if a model masks the padding."""
    if model.padding != "masked":
        return None
    if num_frames is None:
        raise ValueError("masking padding needs num_frames, the clips' lengths")
    encoder = model.encoder
    return patches_within(num_frames, encoder.grid_size, encoder.patch_stride, starts)


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
    >>> from ssast_recipes.model.builders import ast_encoder
    >>> encoder = ast_encoder("tiny", depth=1, target_length=128)
    >>> keep_from_training(encoder, whole=False)
    >>> [name for name, weight in encoder.named_parameters() if not weight.requires_grad]
    ['mask_token']
    """
    encoder.mask_token.requires_grad_(False)
    if whole:
        encoder.requires_grad_(False)


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
    >>> from ssast_recipes.model.builders import ast_encoder
    >>> from ssast_recipes.model.heads import ProjectionHead
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
        check_padding(padding)
        self.encoder = encoder
        self.classifier = classifier
        self.padding = padding
        self.freeze_encoder = freeze_encoder
        self.layer_scores = nn.Parameter(torch.zeros(len(encoder.blocks)))
        keep_from_training(encoder, freeze_encoder)
        # It comes after what is summed, so it gets no gradient either.
        encoder.norm.requires_grad_(False)

    def embed(
        self,
        spectrograms: Tensor,
        num_frames: Tensor | None = None,
        branch_scales: Tensor | None = None,
        starts: Tensor | None = None,
    ) -> Tensor:
        """Makes clip embeddings.

        Arguments
        ---------
        spectrograms : Tensor
            Standardised spectrograms, [batch, frames, mel bins].
        num_frames : Tensor, optional
            The clips' lengths in frames, [batch] integers; longer ones are cut at `frames`.
        branch_scales : Tensor, optional
            For stochastic depth, [batch, blocks, 2]: see `draw_branch_scales`.
        starts : Tensor, optional
            The frames at which the clips begin, [batch] integers, where padding is masked; by
            default 0. See `place_at_random`.

        Returns
        -------
        Tensor
            [batch, width], in 32-bit under autocast too.

        Raises
        ------
        ValueError
            If padding is to be masked, but the lengths are missing.
        """
        within = _own_patches(self, num_frames, starts)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_encoder):
            output = self.encoder(
                spectrograms,
                return_hidden_states=True,
                visible_patches=within,
                branch_scales=branch_scales,
            )
            # Sum and mean commute; after the mean, the layers are small.
            layers = torch.stack([_mean(state, within) for state in output.hidden_states], dim=1)
        weights = self.layer_scores.softmax(dim=0)  # [layers]
        return (weights.unsqueeze(1) * layers).sum(dim=1)  # [batch, layers, width] -> width

    def forward(
        self,
        spectrograms: Tensor,
        num_frames: Tensor | None = None,
        branch_scales: Tensor | None = None,
        starts: Tensor | None = None,
    ) -> Tensor:
        """Maps spectrograms [batch, frames, mel bins] and lengths to logits [batch, classes]."""
        return self.classifier(self.embed(spectrograms, num_frames, branch_scales, starts))


def _mean(tokens: Tensor, within: Tensor | None) -> Tensor:
    """The mean of all tokens [batch, 2 + patches, width], or of the patches within the clip."""
    if within is None:
        return tokens.mean(dim=1)
    return mean_within(tokens[:, NUM_PREFIX_TOKENS:], within)
