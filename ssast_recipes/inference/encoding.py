"""Embeddings of recordings of any rate, length and format."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from ssast_recipes.inference.arguments import check_path, check_several, is_one
from ssast_recipes.inference.audio_model import AudioModel, Recording
from ssast_recipes.inference.windows import merge_columns
from ssast_recipes.model.encoder import NUM_PREFIX_TOKENS
from ssast_recipes.model.grid import mean_within, patches_within
from ssast_recipes.weights.formats.config import ModelConfig


class FrameEmbeddings(NamedTuple):
    """A vector a patch column, [columns, width], and the columns' middles in seconds, [columns]."""

    embeddings: Tensor
    times: Tensor


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

    def __init__(self, model: nn.Module, config: ModelConfig | None = None, batch_size: int = 8):
        super().__init__(getattr(model, "encoder", model), config, batch_size)

    @property
    def embed_dim(self) -> int:
        """Width of an embedding."""
        return self.config.architecture.embed_dim

    def forward(self, audio: Any, sample_rate: int | None = None) -> Tensor:
        """As `encode`."""
        return self.encode(audio, sample_rate)

    def encode(self, audio: Any, sample_rate: int | None = None) -> Tensor:
        """Embeds a recording, or a list of them.

        An embedding is the mean of the recording's own patches' tokens, and over its windows.

        Arguments
        ---------
        audio : str, Path, Tensor, array, or a list of such
            The path of a file in any format that soundfile reads; or samples, [samples] or
            [channels, samples], floating point or int16.
        sample_rate : int, optional
            Of samples, in Hz. A file tells its own.

        Returns
        -------
        Tensor
            [width] float32; of a list, [recordings, width].

        Raises
        ------
        ValueError
            If the audio is not such, or holds what is no finite number.
        FileNotFoundError
            If there is no such file.
        """
        if is_one(audio):
            return self.encode_batch([audio], sample_rate)[0]
        return self.encode_batch(audio, sample_rate)

    def encode_batch(self, recordings: Sequence[Any], sample_rate: int | None = None) -> Tensor:
        """Embeds several recordings of any lengths: [recordings, width], as `encode` each."""
        check_several(recordings, "encode_batch", "encode")
        found = self.apply_to_windows(recordings, sample_rate, self._embed)
        means = [recording.outputs.mean(dim=0) for recording in found]
        return torch.stack(means) if means else torch.zeros(0, self.embed_dim)

    def encode_file(self, path: str | Path) -> Tensor:
        """Embeds an audio file: [width]."""
        check_path(path, "encode_file", "encode")
        return self.encode(path)

    def stream_embeddings(
        self, recordings: Iterable[Any], sample_rate: int | None = None, workers: int = 2
    ) -> Iterator[Tensor | ValueError | OSError]:
        """Embeds recordings without number, one by one, and goes on after a bad one.

        Arguments
        ---------
        recordings, sample_rate
            As `encode` takes a list of them.
        workers : int
            How many threads read files ahead.

        Yields
        ------
        Tensor, ValueError or OSError
            As `encode`, in the order of the recordings; or why one cannot be embedded.
        """
        for found in self.stream(recordings, sample_rate, self._embed, workers):
            yield found if isinstance(found, Exception) else found.outputs.mean(dim=0)

    def stream_layer_embeddings(
        self, recordings: Iterable[Any], sample_rate: int | None = None, workers: int = 2
    ) -> Iterator[Tensor | ValueError | OSError]:
        """As `stream_embeddings`, of every layer.

        Yields
        ------
        Tensor, ValueError or OSError
            [blocks + 1, width]: of what each block puts out and, last, of the tokens after the
            final norm, which is the embedding itself.
        """
        for found in self.stream(recordings, sample_rate, self._embed_layers, workers):
            yield found if isinstance(found, Exception) else found.outputs.mean(dim=0)

    def stream_layer_columns(
        self, recordings: Iterable[Any], sample_rate: int | None = None, workers: int = 2
    ) -> Iterator[Tensor | ValueError | OSError]:
        """As `stream_layer_embeddings`, of every patch column: [columns, blocks + 1, width]."""
        for found in self.stream(recordings, sample_rate, self._embed_layer_columns, workers):
            if isinstance(found, Exception):
                yield found
            else:
                columns = self._merge(found).embeddings  # [columns, (blocks + 1) * width]
                yield columns.unflatten(1, (-1, self.embed_dim))

    def stream_frame_embeddings(
        self, recordings: Iterable[Any], sample_rate: int | None = None, workers: int = 2
    ) -> Iterator[FrameEmbeddings | ValueError | OSError]:
        """As `stream_embeddings`, moment by moment."""
        for found in self.stream(recordings, sample_rate, self._embed_columns, workers):
            yield found if isinstance(found, Exception) else self._merge(found)

    def encode_frames(
        self, audio: Any, sample_rate: int | None = None
    ) -> FrameEmbeddings | list[FrameEmbeddings]:
        """Embeds a recording, or a list of them, moment by moment.

        Arguments
        ---------
        audio, sample_rate
            As for `encode`.

        Returns
        -------
        FrameEmbeddings
            For every patch column that begins within the recording, the mean of its tokens over
            frequency, [columns, width], and its middle in seconds, [columns]. Where windows
            overlap, their mean. Of a list, a list of them.
        """
        if is_one(audio):
            return self.encode_frames_batch([audio], sample_rate)[0]
        return self.encode_frames_batch(audio, sample_rate)

    def encode_frames_batch(
        self, recordings: Sequence[Any], sample_rate: int | None = None
    ) -> list[FrameEmbeddings]:
        """As `encode_frames`, of several recordings of any lengths."""
        check_several(recordings, "encode_frames_batch", "encode_frames")
        found = self.apply_to_windows(recordings, sample_rate, self._embed_columns)
        return [self._merge(recording) for recording in found]

    def classify(self, *_: Any, **__: Any) -> NoReturn:
        """An encoder has no classes."""
        raise TypeError("an AudioEncoder has no classes; AudioClassifier.from_pretrained(…) tells")

    def _embed(self, spectrograms: Tensor, num_frames: Tensor) -> Tensor:
        encoder = self.model
        within = patches_within(num_frames, encoder.grid_size, encoder.patch_stride)
        return mean_within(self._encode(spectrograms, within), within)

    def _embed_layers(self, spectrograms: Tensor, num_frames: Tensor) -> Tensor:
        within, layers = self._encode_layers(spectrograms, num_frames)
        return torch.stack([mean_within(tokens, within) for tokens in layers], dim=1)

    def _embed_layer_columns(self, spectrograms: Tensor, num_frames: Tensor) -> Tensor:
        _, layers = self._encode_layers(spectrograms, num_frames)
        columns = [tokens.unflatten(1, self.model.grid_size).mean(dim=1) for tokens in layers]
        return torch.cat(columns, dim=2)  # [windows, columns, (blocks + 1) * width]

    def _encode_layers(
        self, spectrograms: Tensor, num_frames: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """A recording's own patches, and patch tokens [windows, patches, width] of each layer."""
        encoder = self.model
        within = patches_within(num_frames, encoder.grid_size, encoder.patch_stride)
        visible = within if self.config.masks_padding else None
        output = encoder(spectrograms, visible_patches=visible, return_hidden_states=True)
        layers = [state[:, NUM_PREFIX_TOKENS:] for state in output.hidden_states]
        return within, [*layers, output.patch_tokens]

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
