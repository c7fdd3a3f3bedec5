"""What a pretraining learns that classifiers can use, measured while it runs."""

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssast_recipes.brains.logs import TrainingLog
from ssast_recipes.data.batches import ClipBatch, as_float, collate
from ssast_recipes.data.labels import MultiHotEncoder
from ssast_recipes.data.preparation.labelled_files import (
    LabelledFile,
    clip_durations,
    read_labelled_files,
    split_files,
)
from ssast_recipes.data.preparation.manifests import HEADER_THREADS
from ssast_recipes.data.preparation.scanning import scan_audio
from ssast_recipes.data.shards import UnreadableAudioError
from ssast_recipes.evaluation.features import log_mel_frames, plain_filterbank
from ssast_recipes.evaluation.probes import METRICS, PROBES, Labelled
from ssast_recipes.model.grid import mean_within, patches_within
from ssast_recipes.model.mask_statistics import measure_masks
from ssast_recipes.model.masking import OfficialClusterMasker
from ssast_recipes.model.randomness import ClipGenerator
from ssast_recipes.objectives.baselines import chance_scores, log_mel_features
from ssast_recipes.objectives.probing import effective_rank, embedding_spread

logger = logging.getLogger(__name__)

# Patches from which on the released masker's lowest row alone stands out.
LARGE_GRID = 128
MOST_CLIPS = 1000  # that are drawn from a larger set; they stay in memory
_BATCH = 16


class LabelledProbe:
    """A small labelled set, on whose embeddings two classifiers are tried that train in a moment.

    Beside them it says what has to be beaten on the same clips: chance, and the linear one on a few
    log-mel values, as `ssast evaluate` does. Its files are read once and stay in memory, as 16-bit
    or 32-bit samples. Nothing is learnt by the encoder, and no random number is drawn: a probed
    training is the same as another.

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
            drawn = random.Random(0).sample(chosen, MOST_CLIPS)
            chosen = sorted(drawn, key=lambda file: (file.path, file.start))
        asked = set(split_files(chosen)[0]["test"])
        found, rejected = scan_audio([file.path for file in chosen], HEADER_THREADS, progress=False)
        waveforms: dict[LabelledFile, Tensor] = {}
        for file, seconds in clip_durations(chosen, found).items():
            try:
                waveforms[file] = read_waveform(file.path, file.start, seconds, 0, file.path)
            except UnreadableAudioError as error:
                rejected[file.path] = str(error)
        for reason in rejected.values():
            logger.warning("Warning: probe_data: %s; it is left out", reason)
        kept = list(waveforms)
        self.file_rates = [found[file.path].sample_rate for file in kept]
        self.baselines: dict[str, Tensor] | None = None  # scores, computed once they are asked for
        self.is_asked = torch.tensor([file in asked for file in kept], dtype=torch.bool)
        if not 0 < int(self.is_asked.sum()) < len(kept):
            raise ValueError(
                f"probe_data {source}: {len(kept)} of {len(chosen)} files can be read; there have "
                "to be some to train on and some to test on"
            )
        classes = sorted({label for file in kept for label in file.labels})
        self.is_multi = any(len(file.labels) > 1 for file in kept)
        encode = MultiHotEncoder(classes, allows_none=self.is_multi)
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
    def measure(
        self, encoder: nn.Module, front_end: nn.Module, masks_padding: bool = False
    ) -> dict[str, float]:
        """Embeds all clips and tries both classifiers.

        Arguments
        ---------
        encoder : nn.Module
            An `AudioSpectrogramTransformer`, in evaluation mode.
        front_end : nn.Module
            A `SpectrogramFrontEnd`, on the same device.
        masks_padding : bool
            Whether the encoder is not to see padding: see `embed`.

        Returns
        -------
        dict[str, float]
            `knn_accuracy` and `linear_accuracy`, and to be beaten `chance_accuracy` and
            `log_mel_accuracy`; where clips have several labels, mAP in the place of accuracy.
        """
        device = next(encoder.parameters()).device
        batches = (batch.to(device) for batch in self.batches)
        parts = [embed(encoder, front_end, batch, masks_padding).cpu() for batch in batches]
        embeddings = torch.cat(parts)  # [clips, width]
        if self.baselines is None:
            self.baselines = self._score_baselines(front_end.filterbank.sample_rate)
        scores = {name: self._score(name, embeddings) for name in ("knn", "linear")}
        metric, truth = "mAP" if self.is_multi else "accuracy", self.targets[self.is_asked]
        return {
            f"{name}_{metric}": float(METRICS[metric](of_name, truth))
            for name, of_name in (scores | self.baselines).items()
        }

    def _score(self, probe: str, vectors: Tensor) -> Tensor:
        known = Labelled(vectors[~self.is_asked], self.targets[~self.is_asked])
        return PROBES[probe](known, vectors[self.is_asked], None)

    def _score_baselines(self, sample_rate: int) -> dict[str, Tensor]:
        filterbank = plain_filterbank(self.file_rates, sample_rate)
        features = []
        for batch in self.batches:
            clips = zip(as_float(batch.waveforms), batch.num_samples.tolist(), strict=True)
            for waveform, count in clips:
                features.append(log_mel_features(log_mel_frames(waveform[:count], filterbank)))
        known_targets = self.targets[~self.is_asked]
        return {
            "chance": chance_scores(known_targets, int(self.is_asked.sum())),
            "log_mel": self._score("linear", torch.stack(features)),
        }


def embed(
    encoder: nn.Module, front_end: nn.Module, batch: ClipBatch, masks_padding: bool = False
) -> Tensor:
    """Embeds a batch of clips: of each, the mean token of the patches that hold it, unmasked.

    With `masks_padding` they do not attend to the others. Returns [batch, width].
    """
    spectrograms = front_end(batch.waveforms, batch.num_samples)
    frames = front_end.filterbank.num_frames(batch.num_samples)
    within = patches_within(frames, encoder.grid_size, encoder.patch_stride)
    visible = within if masks_padding else None
    return mean_within(encoder(spectrograms, visible_patches=visible).patch_tokens, within)


# An encoder with random weights has a spread of 0.8 and a rank of 5 to 7 on 24 clips of ESC-10.
LEAST_SPREAD = 0.005
LEAST_RANK = 1.5
LEAST_CLIPS = 4  # of which anything can be said
FLAT_VALIDATIONS = 5
FLAT_SHARE = 0.001


def watch(embeddings: Tensor, log: TrainingLog, step: int, warmup_steps: int) -> None:
    """Logs how much embeddings differ; warns if they hardly do, and of a flat loss.

    Arguments
    ---------
    embeddings : Tensor
        Of clips of the validation set, [clips, width].
    log : TrainingLog
        Of a run that has just validated.
    step : int
        At which it did.
    warmup_steps : int
        Before which a loss may be flat.
    """
    measured = measure_embeddings(embeddings)
    log.write("embeddings", {"step": step, **measured})
    records = [r for r in log.read() if r["stage"] == "valid" and r["step"] > warmup_steps]
    for warning in (warn_of_collapse(measured, len(embeddings)), warn_of_flat_loss(records)):
        if warning:
            logger.warning("Warning: %s", warning)


def measure_embeddings(embeddings: Tensor) -> dict[str, float]:
    """Measures how much the embeddings of a few clips differ.

    Arguments
    ---------
    embeddings : Tensor
        [clips, width].

    Returns
    -------
    dict[str, float]
        `spread` and `rank`: see `embedding_spread` and `effective_rank`.
    """
    return {
        "spread": float(embedding_spread(embeddings)),
        "rank": float(effective_rank(embeddings)),
    }


def warn_of_collapse(measured: Mapping[str, float], num_clips: int) -> str | None:
    """Says that embeddings are nearly the same whatever is heard, if they are.

    Arguments
    ---------
    measured : mapping
        From `measure_embeddings`.
    num_clips : int
        Of how many clips.

    Returns
    -------
    str or None
        The warning.

    Example
    -------
    >>> warn_of_collapse({"spread": 0.9, "rank": 7.0}, num_clips=24)
    >>> warn_of_collapse({"spread": 0.001, "rank": 7.0}, num_clips=24)
    'the embeddings of 24 clips are nearly alike (spread 0.001, effective rank 7.0); ...
    """
    if num_clips < LEAST_CLIPS:
        return None
    if measured["spread"] >= LEAST_SPREAD and measured["rank"] >= LEAST_RANK:
        return None
    return (
        f"the embeddings of {num_clips} clips are nearly alike (spread {measured['spread']:.2g}, "
        f"effective rank {measured['rank']:.1f}); if the clips are not, the representation has "
        "collapsed: begin again with a lower learning rate or a longer warm-up"
    )


def warn_of_flat_loss(records: Sequence[Mapping[str, Any]]) -> str | None:
    """Says that the validation loss has not fallen for long, if it has not.

    Arguments
    ---------
    records : sequence of mapping
        What was logged of the validations after the warm-up, oldest first: `step` and `loss`.

    Returns
    -------
    str or None
        The warning, once in `FLAT_VALIDATIONS` validations.

    Example
    -------
    >>> losses = [5.0, 4.0, 4.1, 3.999, 4.0, 4.2, 4.0]
    >>> records = [{"step": 10 * n, "loss": loss} for n, loss in enumerate(losses)]
    >>> warn_of_flat_loss(records[:6])
    >>> warn_of_flat_loss(records)
    'the validation loss has not fallen by 0.1 % in 5 validations: 4 at step 10, since then ...
    """
    best, since = None, 0
    for record in records:
        loss = float(record["loss"])
        if best is None or loss < best["loss"] - FLAT_SHARE * abs(best["loss"]):
            best, since = record, 0
        else:
            since += 1
    if best is None or since == 0 or since % FLAT_VALIDATIONS:
        return None
    least = min(float(record["loss"]) for record in records[-since:])
    return (
        f"the validation loss has not fallen by {100 * FLAT_SHARE:g} % in {since} validations: "
        f"{best['loss']:.4g} at step {best['step']}, since then {least:.4g} at best; lower the "
        "learning rate, give more audio, or stop here"
    )


def tell_of_masks(
    masker: Callable[[ClipGenerator, tuple[int, int]], Tensor],
    grid_size: tuple[int, int],
    device: torch.device,
) -> None:
    """Warns of degenerate masks, which teach little, at the start of a pretraining.

    That the released masker hides some rows less often is known and, on a grid of 128 patches or
    more, a line of information.

    Arguments
    ---------
    masker : callable
        What draws the masks.
    grid_size : tuple[int, int]
        (frequency, time), in patches.
    device : torch.device
        Where to draw.
    """
    found = measure_masks(masker, grid_size, device=device)
    if not found.is_degenerate:
        return
    rows_alone = not (found.repeats or found.uneven_columns)
    is_large = grid_size[0] * grid_size[1] >= LARGE_GRID
    if isinstance(masker, OfficialClusterMasker) and is_large and rows_alone:
        logger.info(
            "OfficialClusterMasker hides rows unevenly, as the released code does: %s; "
            "ClusterMasker does not",
            found.describe_faults(),
        )
    else:
        logger.warning(
            "Warning: the masks are degenerate and teach little: %s; make more patches "
            "(target_length, patch_size) or mask others (masker, num_masked_patches)",
            found.describe_faults(),
        )
