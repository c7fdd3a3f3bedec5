"""Classes of recordings of any rate, length and format."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from torch import Tensor, nn

from ssast_recipes.inference.arguments import check_path, check_several, is_one
from ssast_recipes.inference.audio_model import AudioModel, Recording
from ssast_recipes.weights.formats.config import ModelConfig


class Classification(NamedTuple):
    """What is heard from `start` to `end` (seconds): labels, the likeliest first, and scores.

    A recording longer than the model's input also has those of its overlapping `windows`.
    """

    start: float
    end: float
    labels: list[str]
    scores: list[float]
    windows: list["Classification"]


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

    def forward(
        self,
        audio: Any,
        sample_rate: int | None = None,
        top_k: int | None = 5,
        threshold: float | str | None = None,
        whole: str = "mean",
    ) -> Classification | list[Classification]:
        """As `classify`."""
        return self.classify(audio, sample_rate, top_k, threshold, whole)

    def classify(
        self,
        audio: Any,
        sample_rate: int | None = None,
        top_k: int | None = 5,
        threshold: float | str | None = None,
        whole: str = "mean",
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
        whole : str
            What the scores of a recording longer than the model's input are: the "mean" over its
            windows, or those of its "start", its first window, which is what is evaluated in
            training.

        Returns
        -------
        Classification
            Labels and scores, of the whole and by window; of a list, a list of them.

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
        whole: str = "mean",
    ) -> list[Classification]:
        """Classifies several recordings of any lengths, as `classify` each."""
        check_several(recordings, "classify_batch", "classify")
        tell = self._teller(top_k, threshold, whole)
        return [*map(tell, self.apply_to_windows(recordings, sample_rate, self._score))]

    def classify_file(
        self, path: str | Path, top_k: int | None = 5, threshold: float | str | None = None
    ) -> Classification:
        """Classifies an audio file, as `classify` does."""
        check_path(path, "classify_file", "classify")
        return self.classify(path, None, top_k, threshold)

    def stream_classes(
        self,
        recordings: Iterable[Any],
        sample_rate: int | None = None,
        top_k: int | None = 5,
        threshold: float | str | None = None,
        whole: str = "mean",
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
        tell = self._teller(top_k, threshold, whole)
        for found in self.stream(recordings, sample_rate, self._score, workers):
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
        self, top_k: int | None, threshold: float | str | None, whole: str
    ) -> Callable[[Recording], Classification]:
        """What tells of a recording as it is asked for; refuses what cannot be asked for."""
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {top_k}")
        least = self._least(threshold)
        if whole not in ("mean", "start"):
            raise ValueError(f"whole is mean or start, not {whole!r}")
        return partial(self._tell, top_k=top_k, least=least, whole=whole)

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
        self, recording: Recording, top_k: int | None, least: Sequence[float], whole: str
    ) -> Classification:
        shift = self.front_end.filterbank.samples_per_shift / self.sample_rate  # seconds
        length, end = self.front_end.target_length * shift, recording.duration

        def choose(scores: Tensor, start: float, end: float) -> Classification:
            values, order = scores.sort(descending=True, stable=True)
            pairs = zip(values.tolist()[:top_k], order.tolist(), strict=False)
            kept = [(value, index) for value, index in pairs if value >= least[index]]
            labels = [self.labels[index] for _, index in kept]
            return Classification(start, end, labels, [score for score, _ in kept], [])

        scores = recording.outputs[0] if whole == "start" else recording.outputs.mean(dim=0)
        found = choose(scores, 0.0, end)
        if len(recording.starts) == 1:
            return found
        starts = [first * shift for first in recording.starts]
        windows = zip(recording.outputs, starts, strict=True)
        return found._replace(
            windows=[choose(one, start, min(start + length, end)) for one, start in windows]
        )
