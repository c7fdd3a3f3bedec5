"""What is said in recordings of any rate, length and format."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from ssast_recipes.data.tokenizer import BLANK, Tokenizer
from ssast_recipes.inference.arguments import check_path, check_several, is_one
from ssast_recipes.inference.audio_model import AudioModel, Recording
from ssast_recipes.objectives.decoding import greedy_tokens
from ssast_recipes.weights.formats.config import ModelConfig
from ssast_recipes.weights.formats.folder import find_model_folder, read_tokenizer
from ssast_recipes.weights.source import fetch_model


class Piece(NamedTuple):
    """A piece of the text, with a blank where a word begins; and when it is heard, in seconds."""

    text: str
    start: float
    end: float


class Transcript(NamedTuple):
    """What is said in a recording of some seconds, as a whole and piece by piece."""

    text: str
    pieces: list[Piece]
    duration: float


class AudioTranscriber(AudioModel):
    """Writes down what is said in recordings, decoding greedily.

    Any rate, length and number of channels. Recordings longer than the encoder's input are cut into
    windows that overlap by half, and each moment is told of by the window in whose middle it is. A
    transcript does not depend on what else is in the batch.

    Arguments
    ---------
    model : nn.Module
        What `load_model` returns, of the kind "recognition".
    config : ModelConfig
        The same.
    batch_size : int
        How many windows to compute at a time.
    tokenizer : Tokenizer
        What its classes mean.

    Raises
    ------
    ValueError
        If the model is of another kind.
    """

    def __init__(
        self,
        model: nn.Module,
        config: ModelConfig | None = None,
        batch_size: int = 8,
        tokenizer: Tokenizer | None = None,
    ):
        if config is not None and config.kind != "recognition":
            raise ValueError(
                f"holds a model of kind {config.kind}, which recognises no speech; train one with: "
                "ssast finetune ENCODER TABLE.csv --task transcribe"
            )
        super().__init__(model, config, batch_size)
        self.tokenizer = tokenizer

    @classmethod
    def from_pretrained(
        cls, source: str | Path, device: str | torch.device | None = None, batch_size: int = 8
    ) -> Self:
        """Loads a recogniser and its tokenizer; arguments and errors as `AudioModel`'s."""
        folder = fetch_model(source)
        loaded = super().from_pretrained(folder, device, batch_size)
        loaded.tokenizer = read_tokenizer(find_model_folder(folder), loaded.config)
        return loaded

    def forward(self, audio: Any, sample_rate: int | None = None) -> Transcript | list[Transcript]:
        """As `transcribe`."""
        return self.transcribe(audio, sample_rate)

    def transcribe(
        self, audio: Any, sample_rate: int | None = None
    ) -> Transcript | list[Transcript]:
        """Transcribes a recording, or a list of them.

        Arguments
        ---------
        audio : str, Path, Tensor, array, or a list of such
            The path of a file in any format that soundfile reads; or samples, [samples] or
            [channels, samples], floating point or int16.
        sample_rate : int, optional
            Of samples, in Hz. A file tells its own.

        Returns
        -------
        Transcript
            Of a list, a list of them.

        Raises
        ------
        ValueError
            If the audio is not such.
        FileNotFoundError
            If there is no such file.
        """
        if is_one(audio):
            return self.transcribe_batch([audio], sample_rate)[0]
        return self.transcribe_batch(audio, sample_rate)

    def transcribe_batch(
        self, recordings: Sequence[Any], sample_rate: int | None = None
    ) -> list[Transcript]:
        """Transcribes several recordings of any lengths, as `transcribe` each."""
        check_several(recordings, "transcribe_batch", "transcribe")
        return [*map(self._tell, self.apply_to_windows(recordings, sample_rate, self._classes))]

    def transcribe_file(self, path: str | Path) -> Transcript:
        """Transcribes an audio file, as `transcribe` does."""
        check_path(path, "transcribe_file", "transcribe")
        return self.transcribe(path)

    def stream_transcripts(
        self, recordings: Iterable[Any], sample_rate: int | None = None, workers: int = 2
    ) -> Iterator[Transcript | ValueError | OSError]:
        """Transcribes recordings without number, one by one, and goes on after a bad one.

        Arguments
        ---------
        recordings, sample_rate
            As `transcribe` takes a list of them.
        workers : int
            How many threads read files ahead.

        Yields
        ------
        Transcript, ValueError or OSError
            In the order of the recordings; or why one cannot be transcribed.
        """
        for found in self.stream(recordings, sample_rate, self._classes, workers):
            yield found if isinstance(found, Exception) else self._tell(found)

    def _classes(self, spectrograms: Tensor, num_frames: Tensor) -> Tensor:
        """The likeliest class of every column of windows, [windows, columns]; blank behind the end.

        Each clip's own columns are as many as there are in its window.
        """
        classes = self.model(spectrograms, num_frames).argmax(dim=2)
        own = self.model.num_columns(num_frames).unsqueeze(1)
        places = torch.arange(classes.shape[1], device=classes.device)
        return classes.masked_fill(places >= own, BLANK)

    def _tell(self, recording: Recording) -> Transcript:
        stride = self.config.architecture.patch_stride[1]
        classes = _join([start // stride for start in recording.starts], recording.outputs.long())
        seconds = stride * self.front_end.filterbank.samples_per_shift / self.sample_rate
        found = greedy_tokens(classes, BLANK)
        pieces = [
            Piece(
                self.tokenizer.pieces[one.token],
                round(one.begin * seconds, 3),
                round(min(one.end * seconds, recording.duration), 3),
            )
            for one in found
        ]
        text = self.tokenizer.decode([one.token for one in found])
        return Transcript(text, pieces, recording.duration)


def _join(starts: Sequence[int], classes: Tensor) -> list[int]:
    """Puts windows together: each column as the window says in whose middle it is.

    Arguments
    ---------
    starts : sequence of int
        The windows' first columns.
    classes : Tensor
        Of each window, its columns' classes, [windows, columns] int64.

    Returns
    -------
    list of int
        From the first window's begin to the last one's end.

    Example
    -------
    >>> _join([0, 2], torch.tensor([[1, 1, 1, 1], [2, 2, 2, 2]]))
    [1, 1, 1, 2, 2, 2]
    """
    length = classes.shape[1]
    joined: list[int] = []
    for number, start in enumerate(starts):
        # Neighbours share the columns from the later one's begin to the earlier one's end.
        is_last = number + 1 == len(starts)
        end = start + length if is_last else (starts[number + 1] + start + length) // 2
        joined += classes[number, len(joined) - start : end - start].tolist()
    return joined
