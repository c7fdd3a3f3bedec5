"""Using a trained model: embeddings and classes of recordings of any rate, length and format."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ssast_recipes.inference.audio_model import AudioModel, Recording, read_audio
from ssast_recipes.inference.windows import merge_columns
from ssast_recipes.model.grid import mean_within, patches_within
from ssast_recipes.weights.formats.config import ModelConfig


class FrameEmbeddings(NamedTuple):
    """A vector a patch column, [columns, width], and the columns' middles in seconds, [columns]."""

    embeddings: Tensor
    times: Tensor


class Classification(NamedTuple):
    """What is heard from `start` to `end` (seconds): labels, the likeliest first, and scores.

    A recording longer than the model's input also has those of its overlapping `windows`.
    """

    start: float
    end: float
    labels: list[str]
    scores: list[float]
    windows: list["Classification"]


class AudioEncoder(AudioModel):
    """Turns recordings into embeddings.

    Any rate, length and number of channels. Recordings longer than the encoder's input are cut
    into windows that overlap by half. A recording's embedding does not depend on what else is in
    the batch. Results are on the CPU.

    Arguments
    ---------
    model : nn.Module
        What `load_model` returns, of any kind: the encoder in it is used.
    config : ModelConfig
        The same.
    batch_size : int
        How many windows to compute at a time.

    Example
    -------
    >>> from ssast_recipes.model.builders import ast_encoder
    >>> from ssast_recipes.weights.formats.config import FrontEndConfig
    >>> from ssast_recipes.weights.formats.folder import save_model
    >>> front_end = FrontEndConfig(16000, 128, 25.0, 10.0, 20.0, 0.0, 128, -4.27, 4.57, True)
    >>> folder = getfixture("tmp_path") / "model"
    >>> _ = save_model(folder, ast_encoder("tiny", depth=1, target_length=128), front_end)
    >>> encoder = AudioEncoder.from_pretrained(folder, device="cpu")
    >>> encoder.encode(torch.randn(2, 44100), sample_rate=44100).shape
    torch.Size([192])
    >>> embeddings, times = encoder.encode_frames(torch.randn(32000), sample_rate=16000)
    >>> embeddings.shape, [round(time, 2) for time in times.tolist()[:2]]
    (torch.Size([13, 192]), [0.09, 0.25])
    """

    def __init__(self, model: nn.Module, config: ModelConfig, batch_size: int = 8):
        super().__init__(getattr(model, "encoder", model), config, batch_size)

    @property
    def embed_dim(self) -> int:
        """Width of an embedding."""
        return self.config.architecture.embed_dim

    def encode(self, waveform: Any, sample_rate: int) -> Tensor:
        """Embeds a recording: the mean of its own patches' tokens, and over its windows.

        Arguments
        ---------
        waveform : Tensor or array
            [samples] or [channels, samples], floating point or int16.
        sample_rate : int
            In Hz.

        Returns
        -------
        Tensor
            [width] float32.

        Raises
        ------
        ValueError
            If the waveform is not such, or holds what is no finite number.
        """
        return self.encode_batch([waveform], sample_rate)[0]

    def encode_batch(self, waveforms: Sequence[Any], sample_rate: int) -> Tensor:
        """Embeds several recordings of any lengths: [recordings, width], as `encode` each."""
        found = self.apply_to_windows(waveforms, sample_rate, self._embed)
        means = [recording.outputs.mean(dim=0) for recording in found]
        return torch.stack(means) if means else torch.zeros(0, self.embed_dim)

    def encode_file(self, path: str | Path) -> Tensor:
        """Embeds an audio file: [width]."""
        return self.encode(*read_audio(path))

    def encode_frames(self, waveform: Any, sample_rate: int) -> FrameEmbeddings:
        """Embeds a recording moment by moment.

        Arguments
        ---------
        waveform, sample_rate
            As for `encode`.

        Returns
        -------
        FrameEmbeddings
            For every patch column that begins within the recording, the mean of its tokens over
            frequency, [columns, width], and its middle in seconds, [columns]. Where windows
            overlap, their mean.
        """
        return self.encode_frames_batch([waveform], sample_rate)[0]

    def encode_frames_batch(
        self, waveforms: Sequence[Any], sample_rate: int
    ) -> list[FrameEmbeddings]:
        """As `encode_frames`, of several recordings of any lengths."""
        found = self.apply_to_windows(waveforms, sample_rate, self._embed_columns)
        return [self._merge(recording) for recording in found]

    def _embed(self, spectrograms: Tensor, num_frames: Tensor) -> Tensor:
        encoder = self.model
        within = patches_within(num_frames, encoder.grid_size, encoder.patch_stride)
        return mean_within(self._encode(spectrograms, within), within)

    def _encode(self, spectrograms: Tensor, within: Tensor) -> Tensor:
        visible = within if self.config.masks_padding else None
        return self.model(spectrograms, visible_patches=visible).patch_tokens

    def _embed_columns(self, spectrograms: Tensor, num_frames: Tensor) -> Tensor:
        within = patches_within(num_frames, self.model.grid_size, self.model.patch_stride)
        tokens = self._encode(spectrograms, within)  # [windows, patches, width]
        return tokens.unflatten(1, self.model.grid_size).mean(dim=1)  # [windows, columns, width]

    def _merge(self, recording: Recording) -> FrameEmbeddings:
        filterbank, stride = self.front_end.filterbank, self.model.patch_stride[1]
        num_columns = -(-recording.num_frames // stride)
        firsts = torch.tensor(recording.starts) // stride
        embeddings = merge_columns(recording.outputs, firsts, num_columns)
        middle = (self.model.patch_size[1] - 1) * filterbank.samples_per_shift
        middle = (middle + filterbank.samples_per_frame) / 2  # of the first column, in samples
        columns = torch.arange(len(embeddings))
        samples = columns * (stride * filterbank.samples_per_shift) + middle
        return FrameEmbeddings(embeddings, samples / self.sample_rate)


class AudioClassifier(AudioModel):
    """Tells what is heard in recordings.

    Scores are probabilities: of classes that exclude each other they add up to 1, of several
    labels each is for itself. Of a recording longer than the model's input they are the mean over
    windows that overlap by half. They do not depend on what else is in the batch.

    Arguments
    ---------
    model : nn.Module
        What `load_model` returns, of the kind "classifier".
    config : ModelConfig
        The same.
    batch_size : int
        How many windows to compute at a time.

    Raises
    ------
    ValueError
        If it is of another kind.
    """

    def __init__(self, model: nn.Module, config: ModelConfig, batch_size: int = 8):
        if config.kind != "classifier":
            raise ValueError(
                f"holds a model of kind {config.kind}, not a classifier; fine-tune it first, or "
                "take its embeddings (AudioEncoder, ssast embed)"
            )
        super().__init__(model, config, batch_size)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.config.labels

    def classify(
        self,
        waveform: Any,
        sample_rate: int,
        top_k: int | None = 5,
        threshold: float | None = None,
    ) -> Classification:
        """Classifies a recording.

        Arguments
        ---------
        waveform : Tensor or array
            [samples] or [channels, samples], floating point or int16.
        sample_rate : int
            In Hz.
        top_k : int, optional
            How many classes to tell at most; None for all.
        threshold : float, optional
            The least score to tell.

        Returns
        -------
        Classification
            Labels and scores, of the whole and by window.

        Raises
        ------
        ValueError
            If the waveform is not such, or `top_k` below 1.
        """
        return self.classify_batch([waveform], sample_rate, top_k, threshold)[0]

    def classify_batch(
        self,
        waveforms: Sequence[Any],
        sample_rate: int,
        top_k: int | None = 5,
        threshold: float | None = None,
    ) -> list[Classification]:
        """Classifies several recordings of any lengths, as `classify` each."""
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {top_k}")
        found = self.apply_to_windows(waveforms, sample_rate, self._score)
        return [self._tell(recording, top_k, threshold) for recording in found]

    def classify_file(
        self, path: str | Path, top_k: int | None = 5, threshold: float | None = None
    ) -> Classification:
        """Classifies an audio file, as `classify` does."""
        return self.classify(*read_audio(path), top_k, threshold)

    def _score(self, spectrograms: Tensor, num_frames: Tensor) -> Tensor:
        logits = self.model(spectrograms, num_frames).float()
        return logits.softmax(dim=1) if self.config.label_kind == "single" else logits.sigmoid()

    def _tell(
        self, recording: Recording, top_k: int | None, threshold: float | None
    ) -> Classification:
        shift = self.front_end.filterbank.samples_per_shift / self.sample_rate  # seconds
        length, end = self.front_end.target_length * shift, recording.duration

        def choose(scores: Tensor, start: float, end: float) -> Classification:
            values, order = scores.sort(descending=True, stable=True)
            pairs = zip(values.tolist()[:top_k], order.tolist(), strict=False)
            kept = [pair for pair in pairs if threshold is None or pair[0] >= threshold]
            labels = [self.labels[index] for _, index in kept]
            return Classification(start, end, labels, [score for score, _ in kept], [])

        whole = choose(recording.outputs.mean(dim=0), 0.0, end)
        if len(recording.starts) == 1:
            return whole
        starts = [first * shift for first in recording.starts]
        windows = zip(recording.outputs, starts, strict=True)
        return whole._replace(
            windows=[choose(one, start, min(start + length, end)) for one, start in windows]
        )
