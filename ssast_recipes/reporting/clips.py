"""The page's worst clips: what they sound like, and what the model took them for."""

import io
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import soundfile
from markupsafe import Markup
from torch import Tensor
from torch.nn import functional as F

from ssast_recipes.data.batches import as_float
from ssast_recipes.data.manifest import Clip
from ssast_recipes.data.pipelines import WaveformReader
from ssast_recipes.data.shards import UnreadableAudioError
from ssast_recipes.model.filterbank import LogMelFilterbank
from ssast_recipes.records.predictions import Predictions
from ssast_recipes.reporting.charts import picture_chart
from ssast_recipes.reporting.masking import mel
from ssast_recipes.reporting.rendering import data_uri, render

_MOST_SECONDS = 10.0  # of a clip, so that the page stays small
_SAMPLE_RATE = 16000  # Hz, of what is played and drawn
_SHOWN_CLASSES = 3
_KILOHERTZ = (0.5, 1, 2, 4, 8)


class BadClip(NamedTuple):
    """A test clip that the model is wrong about."""

    id: str
    labels: list[str]
    loss: float
    likeliest: list[tuple[str, float]]  # classes and their scores, the highest first


def worst_clips(predictions: Predictions, label_kind: str, count: int) -> list[BadClip]:
    """Finds the clips of the highest loss.

    Arguments
    ---------
    predictions : Predictions
        Of the test set.
    label_kind : str
        "single": classes exclude each other, the loss is cross-entropy; "multi": each is for
        itself, the loss is the mean binary cross-entropy over classes.
    count : int
        How many.

    Returns
    -------
    list[BadClip]
        The worst first.

    Example
    -------
    >>> import torch
    >>> logits = torch.tensor([[2.0, 1.0], [0.0, 9.0]])
    >>> one = Predictions("last", ["a", "b"], ["x", "y"], logits, torch.tensor([0, 0]))
    >>> [(clip.id, clip.labels, round(clip.loss, 2)) for clip in worst_clips(one, "single", 1)]
    [('b', ['x'], 9.0)]
    """
    logits, targets, names = predictions.logits, predictions.targets, predictions.classes
    if targets.ndim == 1:
        targets = F.one_hot(targets, len(names)).float()
    if label_kind == "single":
        losses, scores = -(targets * logits.log_softmax(dim=1)).sum(dim=1), logits.softmax(dim=1)
    else:
        losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=1)
        scores = logits.sigmoid()
    found = []
    for clip in losses.argsort(descending=True, stable=True)[:count].tolist():
        values, order = scores[clip].topk(min(_SHOWN_CLASSES, len(names)))
        labels = [names[label] for label in targets[clip].nonzero().flatten().tolist()]
        likeliest = [
            (names[i], score) for i, score in zip(order.tolist(), values.tolist(), strict=True)
        ]
        found.append(BadClip(predictions.ids[clip], labels, losses[clip].item(), likeliest))
    return found


def clips_section(
    bad: Sequence[BadClip],
    clips: Mapping[str, Clip],
    weights: str,
    explained: Mapping[str, str] = MappingProxyType({}),
) -> Markup:
    """Shows clips with labels, likeliest classes, spectrogram and a player.

    Arguments
    ---------
    bad : sequence of BadClip
        Which.
    clips : mapping of str to Clip
        By ID, where their audio is. A line tells of how many it is not at hand.
    weights : str
        Which weights are wrong about them.
    explained : mapping of str to str
        By ID, the address of a picture of what spoke for the likeliest class.

    Returns
    -------
    Markup
        A card a clip.
    """
    sounds = [sound_of(clips[one.id]) if one.id in clips else None for one in bad]
    cards = list(zip(bad, sounds, strict=True))
    missing = sounds.count(None)
    return render(
        "clips.html.jinja", cards=cards, missing=missing, weights=weights, explained=explained
    )


def sound_of(clip: Clip) -> dict[str, str] | None:
    """A clip's beginning to play, `address`, and its `spectrogram`; None if it cannot be read."""
    reader = WaveformReader(_SAMPLE_RATE, max_duration=_MOST_SECONDS)
    try:
        waveform = reader(clip.path, clip.start, clip.duration, epoch=0, clip_id=clip.id)
    except UnreadableAudioError:
        return None
    waveform = as_float(waveform)
    return {
        "address": data_uri(encode_audio(waveform), "audio/flac"),
        "spectrogram": draw_spectrogram(waveform, f"Spectrogram of {clip.id}"),
    }


def encode_audio(waveform: Tensor) -> bytes:
    """Writes [samples] as FLAC, which every browser plays: half as large as WAV, and exact."""
    file = io.BytesIO()
    soundfile.write(file, waveform.numpy(), _SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def draw_spectrogram(waveform: Tensor, told: str) -> Markup:
    """Draws the log-mel spectrogram of [samples], as the models see it.

    Example
    -------
    >>> import torch
    >>> draw_spectrogram(torch.randn(16000), "noise").count("data:image/png;base64,")
    1
    """
    filterbank = LogMelFilterbank(_SAMPLE_RATE)
    if filterbank.num_frames(len(waveform)) < 1:
        waveform = F.pad(waveform, (0, filterbank.samples_per_frame - len(waveform)))
    log_mel = filterbank(waveform.unsqueeze(0))[0].T.numpy()  # [mel bins, frames]
    low, high = np.percentile(log_mel, [5, 99.8])  # silence would take most of the colours
    lowest, highest = mel(20.0), mel(_SAMPLE_RATE / 2)
    heights = {
        f"{value:g}": (mel(1000 * value) - lowest) / (highest - lowest) for value in _KILOHERTZ
    }
    return picture_chart(
        log_mel,
        (low, max(high, low + 1e-3)),
        (0.0, len(waveform) / _SAMPLE_RATE),
        "time / s",
        heights,
        "frequency / kHz",
        told,
    )
