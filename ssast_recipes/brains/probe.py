"""What a pretraining learns that classifiers can use, measured while it runs."""

import logging
import random
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from ssast_recipes.data.batches import ClipBatch, collate
from ssast_recipes.data.labelled_files import LabelledFile, read_labelled_files, split_files
from ssast_recipes.data.labels import MultiHotEncoder
from ssast_recipes.data.preparation import HEADER_THREADS
from ssast_recipes.data.scanning import scan_audio
from ssast_recipes.data.shards import UnreadableAudioError
from ssast_recipes.metrics import accuracy, mean_average_precision
from ssast_recipes.padding import mean_within, patches_within
from ssast_recipes.probing import linear_scores, nearest_neighbour_scores

logger = logging.getLogger(__name__)

MOST_CLIPS = 1000  # that are drawn from a larger set; they stay in memory
_BATCH = 16


class LabelledProbe:
    """A small labelled set, on whose embeddings two classifiers are tried that train in a moment.

    Its files are read once and stay in memory, as 16-bit or 32-bit samples. Nothing is learnt by
    the encoder, and no random number is drawn: a probed training is the same as another.

    Arguments
    ---------
    source : str or path
        A folder of class folders or a CSV file `path,label[,split]`, as `read_labelled_files`
        takes. Without splits, a fifth of each class is measured on; the rest is known.
    read_waveform : callable
        (path, start, duration, epoch, id) to samples, such as a `WaveformReader`.

    Raises
    ------
    FileNotFoundError, ValueError
        If the set is not there, is wrong, or none of its known or of its other files can be read.
    """

    def __init__(self, source: str | Path, read_waveform: Callable[..., Tensor]):
        chosen = read_labelled_files(source)
        if len(chosen) > MOST_CLIPS:
            chosen = sorted(random.Random(0).sample(chosen, MOST_CLIPS))
        asked = set(split_files(chosen)[0]["test"])
        found, rejected = scan_audio([file.path for file in chosen], HEADER_THREADS, progress=False)
        waveforms: dict[LabelledFile, Tensor] = {}
        for file in chosen:
            if file.path in found:
                try:
                    info = found[file.path]
                    waveforms[file] = read_waveform(file.path, 0.0, info.duration, 0, file.path)
                except UnreadableAudioError as error:
                    rejected[file.path] = str(error)
        for reason in rejected.values():
            logger.warning("Warning: probe_data: %s; it is left out", reason)
        kept = list(waveforms)
        self.is_asked = torch.tensor([file in asked for file in kept], dtype=torch.bool)
        if not 0 < int(self.is_asked.sum()) < len(kept):
            raise ValueError(
                f"probe_data {source}: {len(kept)} of {len(chosen)} files can be read; there have "
                "to be some to train on and some to test on"
            )
        classes = sorted({label for file in kept for label in file.labels})
        self.is_multi = any(len(file.labels) > 1 for file in kept)
        encode = MultiHotEncoder(classes)
        self.targets = torch.stack([encode(file.labels) for file in kept])
        clips = [
            {"id": file.path, "index": number, "place": number, "waveform": waveforms[file]}
            for number, file in enumerate(kept)
        ]
        self.batches = [
            collate(clips[first : first + _BATCH]) for first in range(0, len(clips), _BATCH)
        ]
        logger.info(
            "Probing on %d clips of %d classes, knowing %d others: %s",
            *(int(self.is_asked.sum()), len(classes), int((~self.is_asked).sum()), source),
        )

    @torch.no_grad()
    def measure(self, encoder: nn.Module, front_end: nn.Module) -> dict[str, float]:
        """Embeds all clips and tries both classifiers.

        Arguments
        ---------
        encoder : nn.Module
            An `AudioSpectrogramTransformer`, in evaluation mode.
        front_end : nn.Module
            A `SpectrogramFrontEnd`, on the same device.

        Returns
        -------
        dict[str, float]
            `knn_accuracy` and `linear_accuracy` or, where clips have several labels, `knn_mAP` and
            `linear_mAP`.
        """
        device = next(encoder.parameters()).device
        parts = [embed(encoder, front_end, batch.to(device)).cpu() for batch in self.batches]
        embeddings = torch.cat(parts)  # [clips, width]
        asked, known = embeddings[self.is_asked], embeddings[~self.is_asked]
        targets = self.targets[~self.is_asked]
        scores = {
            "knn": nearest_neighbour_scores(known, targets, asked),
            "linear": linear_scores(known, targets, asked),
        }
        truth = self.targets[self.is_asked]
        if self.is_multi:
            measured = {f"{n}_mAP": mean_average_precision(s, truth) for n, s in scores.items()}
        else:
            truth = truth.argmax(dim=1)
            measured = {f"{n}_accuracy": accuracy(s, truth) for n, s in scores.items()}
        return {name: float(value) for name, value in measured.items()}


def embed(encoder: nn.Module, front_end: nn.Module, batch: ClipBatch) -> Tensor:
    """Embeds a batch of clips: of each, the mean token of the patches that hold it, unmasked.

    Returns [batch, width].
    """
    spectrograms = front_end(batch.waveforms, batch.num_samples)
    frames = front_end.filterbank.num_frames(batch.num_samples)
    within = patches_within(frames, encoder.grid_size, encoder.patch_stride)
    return mean_within(encoder(spectrograms).patch_tokens, within)
