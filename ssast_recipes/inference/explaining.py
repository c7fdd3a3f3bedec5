"""Why a classifier decided so: which patches of a recording spoke for a class."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ssast_recipes.inference.classifying import AudioClassifier
from ssast_recipes.model.attribution import attribute_patches, delete_patches
from ssast_recipes.model.grid import patches_within

NUM_RANDOM = 10  # orders of deletion, for comparison


class Explanation(NamedTuple):
    """What spoke for a class in a recording's first window."""

    label: str
    score: float  # the class's probability
    spectrogram: Tensor  # standardised, [frames, mel bins], of the recording alone
    attributions: Tensor  # of patches, [rows from the lowest, columns]; zero behind the end
    deleted: Tensor  # the score without the patches that spoke most for it, [shares] from 0 to 1
    deleted_at_random: Tensor  # the mean of several orders, [shares]

    @property
    def is_confirmed(self) -> bool:
        """Whether the score falls faster than without random patches: less area below it."""
        return bool(self.deleted.mean() < self.deleted_at_random.mean())


def explain_class(
    classifier: AudioClassifier,
    audio: Any,
    sample_rate: int | None = None,
    label: str | None = None,
    seed: int = 0,
    num_random: int = NUM_RANDOM,
) -> Explanation:
    """Tells which patches spoke for a class, and checks it by deleting them.

    Arguments
    ---------
    classifier : AudioClassifier
        That decided.
    audio, sample_rate
        One recording, as `AudioClassifier.classify` takes it; its first window is explained.
    label : str, optional
        The class; by default the likeliest.
    seed : int
        Of the random orders.
    num_random : int
        How many there are: most of the time goes to them.

    Returns
    -------
    Explanation

    Raises
    ------
    ValueError
        If there is no such class, or the audio is none.

    Example
    -------
    >>> from ssast_recipes.model.builders import ast_encoder
    >>> from ssast_recipes.model.classifiers import ClassificationModel
    >>> from ssast_recipes.model.heads import ClassificationHead
    >>> from ssast_recipes.weights.formats.config import FrontEndConfig
    >>> from ssast_recipes.weights.formats.folder import save_model
    >>> encoder = ast_encoder("tiny", depth=1, target_length=64)
    >>> model = ClassificationModel(encoder, ClassificationHead(192, 2))
    >>> front_end = FrontEndConfig(16000, 128, 25.0, 10.0, 20.0, 0.0, 64, -4.27, 4.57, True)
    >>> folder = getfixture("tmp_path") / "model"
    >>> _ = save_model(folder, model, front_end, ["dog", "rain"])
    >>> classifier = AudioClassifier.from_pretrained(folder, device="cpu")
    >>> found = explain_class(classifier, torch.randn(8000), 16000, label="rain")
    >>> found.label, tuple(found.spectrogram.shape), tuple(found.attributions.shape)
    ('rain', (48, 128), (8, 4))
    """
    labels, model = list(classifier.labels), classifier.model
    if label is not None and label not in labels:
        raise ValueError(f"there is no class {label!r}; there are {', '.join(labels)}")
    seen: list[tuple[Tensor, Tensor]] = []

    def keep(spectrograms: Tensor, num_frames: Tensor) -> Tensor:
        seen.append((spectrograms[:1], num_frames[:1]))
        return torch.zeros(len(spectrograms), 1)

    classifier.apply_to_windows([audio], sample_rate, keep, classifier.heard_seconds)
    spectrogram, num_frames = seen[0]
    is_single = classifier.config.label_kind == "single"
    with torch.no_grad():
        logits = model(spectrogram, num_frames)
    index = int(logits.argmax()) if label is None else labels.index(label)

    def probability(logits: Tensor) -> Tensor:
        return (logits.softmax(dim=1) if is_single else logits.sigmoid())[:, index]

    def evidence(logits: Tensor) -> Tensor:  # which does not saturate
        return logits.log_softmax(dim=1)[:, index] if is_single else logits[:, index]

    encoder = model.encoder
    within = patches_within(num_frames, encoder.grid_size, encoder.patch_stride)[0].cpu()
    found = attribute_patches(model, spectrogram, num_frames, evidence).cpu() * within
    own = within.nonzero().flatten()
    generator = torch.Generator().manual_seed(seed)
    drawn = [own[torch.randperm(len(own), generator=generator)] for _ in range(num_random)]
    orders = torch.stack([own[found[own].argsort(descending=True, stable=True)], *drawn])
    scores = delete_patches(model, spectrogram, num_frames, probability, orders).cpu()
    return Explanation(
        labels[index],
        float(probability(logits)[0]),
        spectrogram[0, : int(num_frames)].cpu(),
        found.view(encoder.grid_size),
        scores[0],
        scores[1:].mean(dim=0),
    )


def spread_attributions(
    explanation: Explanation, patch_size: tuple[int, int], patch_stride: tuple[int, int]
) -> Tensor:
    """Spreads patches' attributions over the spectrogram that they cover.

    Arguments
    ---------
    explanation : Explanation
        Of a recording.
    patch_size, patch_stride : tuple[int, int]
        Mel bins and frames, of the encoder.

    Returns
    -------
    Tensor
        [frames, mel bins], where patches overlap their mean.
    """
    shape = explanation.spectrogram.shape
    sums, counts = torch.zeros(shape), torch.zeros(shape)
    for row, of_row in enumerate(explanation.attributions):
        bins = slice(row * patch_stride[0], row * patch_stride[0] + patch_size[0])
        for column, value in enumerate(of_row.tolist()):
            frames = slice(column * patch_stride[1], column * patch_stride[1] + patch_size[1])
            sums[frames, bins] += value
            counts[frames, bins] += 1
    return sums / counts.clamp(min=1)
