"""Classes of recordings of any rate, length and format."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from torch import Tensor, nn

from ssast_recipes.data.headers import LEAST_MISSING
from ssast_recipes.inference.arguments import check_path, check_several, is_one
from ssast_recipes.inference.audio_model import AudioModel, Recording
from ssast_recipes.weights.formats.config import ModelConfig


class Classification(NamedTuple):
    """What is heard from `start` to `end` (seconds): labels, the likeliest first, and scores.

    A recording longer than the model's input also has those of its overlapping `windows`, if all
    of it is heard. It is `duration` seconds long: more than to `end`, if its start alone is.
    """

    start: float
    end: float
    labels: list[str]
    scores: list[float]
    windows: list["Classification"]
    duration: float = 0.0  # of the whole recording; of windows it is not told

    @property
    def is_cut(self) -> bool:
        """Whether clearly more of the recording was there than was heard."""
        return self.duration > self.end + LEAST_MISSING


class AudioClassifier(AudioModel):
    """Tells what is heard in recordings.

    Scores are probabilities: of classes that exclude each other they add up to 1, of several
    labels each is for itself. Of a long recording they are those of its start, as in the model's
    evaluation, where the model folder tells how much that heard (`whole_by_default`); or the mean
    over windows that overlap by half. They do not depend on what else is in the batch.

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

    def __init__(self, model: nn.Module, config: ModelConfig | None = None, batch_size: int = 8):
        if config is not None and config.kind != "classifier":
            raise ValueError(
                f"holds a model of kind {config.kind}, not a classifier; fine-tune it first, or "
                "take its embeddings (AudioEncoder, ssast embed)"
            )
        super().__init__(model, config, batch_size)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.config.labels

    @property
    def thresholds(self) -> dict[str, float] | None:
        """The classes' thresholds, chosen on validation data, if the model folder has some."""
        if self.config.thresholds is None:
            return None
        return dict(zip(self.labels, self.config.thresholds, strict=True))

    @property
    def whole_by_default(self) -> str:
        """What scores of long recordings are, unless asked for otherwise: see `classify`."""
        return "mean" if self.config.heard_seconds is None else "start"

    @property
    def heard_seconds(self) -> float:
        """How much of a recording's start is heard, as in the model's evaluation."""
        shape = self.window_shape
        window = shape.num_samples / self.sample_rate
        return (
            window if self.config.heard_seconds is None else min(window, self.config.heard_seconds)
        )

    def forward(
        self,
        audio: Any,
        sample_rate: int | None = None,
        top_k: int | None = 5,
        threshold: float | str | None = None,
        whole: str | None = None,
    ) -> Classification | list[Classification]:
        """As `classify`."""
        return self.classify(audio, sample_rate, top_k, threshold, whole)

    def classify(
        self,
        audio: Any,
        sample_rate: int | None = None,
        top_k: int | None = 5,
        threshold: float | str | None = None,
        whole: str | None = None,
    ) -> Classification | list[Classification]:
        """Classifies a recording, or a list of them.

        Arguments
        ---------
        audio : str, Path, Tensor, array, or a list of such
            The path of a file in any format that soundfile reads; or samples, [samples] or
            [channels, samples], floating point or int16.
        sample_rate : int, optional
            Of samples, in Hz. A file tells its own.
        top_k : int, optional
            How many classes to tell at most; None for all.
        threshold : float or "chosen", optional
            The least score to tell; "chosen": that of each class, as `thresholds` has it.
        whole : str, optional
            What the scores of a recording longer than `heard_seconds` are: those of its "start",
            of which alone is read, as in the model's evaluation; or the "mean" over windows of
            all of it, which are told, too. By default `whole_by_default`, and a warning says that
            a recording is longer.

        Returns
        -------
        Classification
            Labels and scores; of a list, a list of them.

        Raises
        ------
        ValueError
            If the audio is not such, `top_k` below 1, or the folder has no thresholds to choose.
        FileNotFoundError
            If there is no such file.
        """
        if is_one(audio):
            return self.classify_batch([audio], sample_rate, top_k, threshold, whole)[0]
        return self.classify_batch(audio, sample_rate, top_k, threshold, whole)

    def classify_batch(
        self,
        recordings: Sequence[Any],
        sample_rate: int | None = None,
        top_k: int | None = 5,
        threshold: float | str | None = None,
        whole: str | None = None,
    ) -> list[Classification]:
        """Classifies several recordings of any lengths, as `classify` each."""
        check_several(recordings, "classify_batch", "classify")
        tell = self._teller(top_k, threshold)
        seconds = self._seconds(whole)
        recorded = self.apply_to_windows(recordings, sample_rate, self._score, seconds)
        found = [*map(tell, recorded)]
        if whole is None and any(one.is_cut for one in found):
            warnings.warn(
                f"of recordings longer than {self.heard_seconds:.2f} s the start is heard, as in "
                'the evaluation of the model; whole="mean" hears all of them, whole="start" is '
                "without this warning",
                stacklevel=3,
            )
        return found

    def classify_file(
        self, path: str | Path, top_k: int | None = 5, threshold: float | str | None = None
    ) -> Classification:
        """Classifies an audio file, as `classify` does by default."""
        check_path(path, "classify_file", "classify")
        return self.classify(path, None, top_k, threshold)

    def stream_classes(
        self,
        recordings: Iterable[Any],
        sample_rate: int | None = None,
        top_k: int | None = 5,
        threshold: float | str | None = None,
        whole: str | None = None,
        workers: int = 2,
    ) -> Iterator[Classification | ValueError | OSError]:
        """Classifies recordings without number, one by one, and goes on after a bad one.

        Arguments
        ---------
        recordings, sample_rate, top_k, threshold, whole
            As `classify` takes a list of them.
        workers : int
            How many threads read files ahead.

        Yields
        ------
        Classification, ValueError or OSError
            As `classify`, in the order of the recordings; or why one cannot be classified.
        """
        tell = self._teller(top_k, threshold)
        seconds = self._seconds(whole)
        for found in self.stream(recordings, sample_rate, self._score, workers, seconds):
            yield found if isinstance(found, Exception) else tell(found)

    def encode(self, *_: Any, **__: Any) -> NoReturn:
        """A classifier tells classes."""
        raise TypeError(
            "an AudioClassifier tells classes: classify; AudioEncoder.from_pretrained(…) takes the "
            "same folder, and encodes"
        )

    def _score(self, spectrograms: Tensor, num_frames: Tensor) -> Tensor:
        logits = self.model(spectrograms, num_frames).float()
        return logits.softmax(dim=1) if self.config.label_kind == "single" else logits.sigmoid()

    def _teller(
        self, top_k: int | None, threshold: float | str | None
    ) -> Callable[[Recording], Classification]:
        """What tells of a recording as it is asked for; refuses what cannot be asked for."""
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {top_k}")
        return partial(self._tell, top_k=top_k, least=self._least(threshold))

    def _seconds(self, whole: str | None) -> float | None:
        """How much of a recording is read; None for all."""
        whole = whole or self.whole_by_default
        if whole not in ("mean", "start"):
            raise ValueError(f"whole is mean or start, not {whole!r}")
        return None if whole == "mean" else self.heard_seconds

    def _least(self, threshold: float | str | None) -> list[float]:
        """The least score of each class that is told."""
        if threshold == "chosen":
            if self.config.thresholds is None:
                raise ValueError(
                    "the model folder has no thresholds; give a number, or fine-tune with "
                    "choose_thresholds: True and validation data"
                )
            return list(self.config.thresholds)
        if threshold is not None and not isinstance(threshold, int | float):
            raise ValueError(f'threshold is a number, "chosen" or None, not {threshold!r}')
        return [-1.0 if threshold is None else threshold] * len(self.labels)

    def _tell(
        self, recording: Recording, top_k: int | None, least: Sequence[float]
    ) -> Classification:
        shift = self.front_end.filterbank.samples_per_shift / self.sample_rate  # seconds
        length, end = self.front_end.target_length * shift, recording.duration

        def choose(scores: Tensor, start: float, end: float) -> Classification:
            values, order = scores.sort(descending=True, stable=True)
            pairs = zip(values.tolist()[:top_k], order.tolist(), strict=False)
            kept = [(value, index) for value, index in pairs if value >= least[index]]
            labels = [self.labels[index] for _, index in kept]
            return Classification(start, end, labels, [score for score, _ in kept], [])

        found = choose(recording.outputs.mean(dim=0), 0.0, end)
        found = found._replace(duration=recording.whole_duration)
        if len(recording.starts) == 1:
            return found
        starts = [first * shift for first in recording.starts]
        windows = zip(recording.outputs, starts, strict=True)
        return found._replace(
            windows=[choose(one, start, min(start + length, end)) for one, start in windows]
        )
