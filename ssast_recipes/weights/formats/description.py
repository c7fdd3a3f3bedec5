"""Models of this toolkit as plain numbers, and back."""

import dataclasses
from collections.abc import Sequence

import torch
from torch import nn

from ssast_recipes.model.autoencoder import MaskedAutoencoder
from ssast_recipes.model.classifiers import ClassificationModel, WeightedSumModel
from ssast_recipes.model.encoder import AudioSpectrogramTransformer
from ssast_recipes.model.front_end import SpectrogramFrontEnd
from ssast_recipes.model.heads import (
    ClassificationHead,
    PatchPredictionHead,
    ProjectionHead,
    TokenHead,
)
from ssast_recipes.model.masked_patches import MaskedPatchModel
from ssast_recipes.model.recognition import RecognitionModel
from ssast_recipes.weights.formats.config import (
    Architecture,
    ClassifierConfig,
    DecoderConfig,
    FrontEndConfig,
    HeadsConfig,
    ModelConfig,
    RecognitionConfig,
    check_labels,
)


def build_model(config: ModelConfig) -> nn.Module:
    """Builds the model that a configuration describes, with fresh weights.

    Raises
    ------
    ValueError
        If its numbers do not go together.
    """
    encoder = AudioSpectrogramTransformer(**dataclasses.asdict(config.architecture))
    if config.kind == "encoder":
        return encoder
    if config.kind == "recognition":
        head = TokenHead(encoder.embed_dim, config.recognition.num_tokens)
        return RecognitionModel(encoder, head, pool_rows=config.recognition.pool_rows)
    if config.kind == "pretraining":
        decoder, padding = config.decoder, config.padding or "released"
        width = encoder.embed_dim if decoder is None else decoder.embed_dim
        heads = [
            PatchPredictionHead(width, encoder.patch_area) if has_head else None
            for has_head in (config.heads.contrastive, config.heads.reconstruction)
        ]
        if decoder is None:
            return MaskedPatchModel(encoder, *heads, padding=padding)
        numbers = (decoder.depth, width, decoder.num_heads)
        return MaskedAutoencoder(encoder, *heads, *numbers, padding=padding)
    classifier, num_classes = config.classifier, len(config.labels)
    if classifier.head == "ClassificationHead":
        head = ClassificationHead(encoder.embed_dim, num_classes)
    else:
        head = ProjectionHead(encoder.embed_dim, num_classes, classifier.hidden_dim)
    if classifier.model == "ClassificationModel":
        padding = classifier.padding or "released"
        return ClassificationModel(encoder, head, classifier.pooling, padding=padding)
    return WeightedSumModel(encoder, head, padding=classifier.padding)


def describe_architecture(encoder: AudioSpectrogramTransformer) -> Architecture:
    """Tells an encoder's numbers, as `config.json` has them."""
    return Architecture(
        embed_dim=encoder.embed_dim,
        depth=len(encoder.blocks),
        num_heads=encoder.num_heads,
        num_mel_bins=encoder.num_mel_bins,
        target_length=encoder.target_length,
        patch_size=encoder.patch_size,
        patch_stride=encoder.patch_stride,
    )


def describe_model(
    model: nn.Module,
    front_end: FrontEndConfig,
    labels: Sequence[str],
    label_kind: str,
    tokenizer_sha256: str | None = None,
) -> ModelConfig:
    """Tells what `build_model` needs to build a model.

    Arguments
    ---------
    model, front_end, labels, label_kind
        As `save_model` takes them.
    tokenizer_sha256 : str, optional
        Checksum of a recogniser's tokenizer.

    Returns
    -------
    ModelConfig
        Without provenance and checksum.

    Raises
    ------
    ValueError
        If the model, or a head, is of another class than this toolkit's.
    """
    if isinstance(model, AudioSpectrogramTransformer):
        return ModelConfig("encoder", describe_architecture(model), front_end)
    name = type(model).__name__
    known = (MaskedPatchModel, MaskedAutoencoder, ClassificationModel, WeightedSumModel)
    known += (RecognitionModel,)
    if type(model) not in known:
        raise ValueError(f"a model folder cannot hold a {name}, a class of your own")
    architecture = describe_architecture(model.encoder)
    if isinstance(model, RecognitionModel):
        _refuse_foreign([model.head], (TokenHead,))
        if tokenizer_sha256 is None:
            raise ValueError("a recogniser needs its tokenizer, or nobody can read what it says")
        told = RecognitionConfig(
            model.head.linear.out_features, tokenizer_sha256, bool(model.pool_rows)
        )
        return ModelConfig("recognition", architecture, front_end, recognition=told)
    if isinstance(model, MaskedPatchModel):
        heads = (model.contrastive_head, model.reconstruction_head)
        config = HeadsConfig(*(head is not None for head in heads))
        used = [head for head in heads if head is not None]
        _refuse_foreign(used, (PatchPredictionHead,))
        decoder = None
        if isinstance(model, MaskedAutoencoder):
            own = model.decoder
            decoder = DecoderConfig(own.embed_dim, len(own.blocks), own.num_heads)
        return ModelConfig(
            *("pretraining", architecture, front_end, config, decoder),
            padding="masked" if model.padding == "masked" else None,
        )
    head = model.classifier
    _refuse_foreign([head], (ClassificationHead, ProjectionHead))
    classifier = ClassifierConfig(
        name,
        type(head).__name__,
        pooling=getattr(model, "pooling", None),
        # Left out where it is no news: folders that mask nothing stay readable to older versions.
        padding=None
        if (name, model.padding) == ("ClassificationModel", "released")
        else model.padding,
        hidden_dim=head.projection.out_features if isinstance(head, ProjectionHead) else None,
    )
    names = tuple(check_labels(labels, label_kind))
    if len(names) != head.linear.out_features:
        raise ValueError(f"{len(names)} labels for {head.linear.out_features} classes")
    return ModelConfig(
        *("classifier", architecture, front_end),
        classifier=classifier,
        labels=names,
        label_kind=label_kind,
    )


def _refuse_foreign(heads: Sequence[nn.Module], known: tuple[type, ...]) -> None:
    for head in heads:
        if type(head) not in known:
            name = type(head).__name__
            raise ValueError(f"a model folder cannot hold a {name}, a head of your own")


def describe_front_end(front_end: SpectrogramFrontEnd, sample_rate: int) -> FrontEndConfig:
    """Tells a front end's numbers.

    Arguments
    ---------
    front_end : SpectrogramFrontEnd
        The front end, of any lengths, frequencies and statistics.
    sample_rate : int
        Of its waveforms, in Hz.

    Returns
    -------
    FrontEndConfig
        Numbers that build the same front end.

    Raises
    ------
    ValueError
        If they would not.

    Example
    -------
    >>> from ssast_recipes.model.filterbank import LogMelFilterbank
    >>> front_end = SpectrogramFrontEnd(LogMelFilterbank(), target_length=128, mean=-4, std=3)
    >>> describe_front_end(front_end, sample_rate=16000).frame_length
    25.0
    """
    filterbank = front_end.filterbank
    config = FrontEndConfig(
        sample_rate=sample_rate,
        num_mel_bins=filterbank.num_mel_bins,
        frame_length=1000 * filterbank.samples_per_frame / sample_rate,
        frame_shift=1000 * filterbank.samples_per_shift / sample_rate,
        low_frequency=filterbank.low_frequency,
        high_frequency=filterbank.high_frequency,
        target_length=front_end.target_length,
        mean=float(front_end.mean),
        std=float(front_end.std),
        pad_before_standardising=front_end.padding_value == 0.0,
    )
    # The filterbank does not keep its sample rate: its filters tell whether it is this one.
    rebuilt = config.build().filterbank
    if not (
        rebuilt.samples_per_frame == filterbank.samples_per_frame
        and rebuilt.samples_per_shift == filterbank.samples_per_shift
        and torch.equal(rebuilt.filters, filterbank.filters.cpu())
    ):
        raise ValueError(
            f"the filterbank is not one of {config.num_mel_bins} mel bins for "
            f"sample_rate={sample_rate}: config.json cannot tell it"
        )
    return config
