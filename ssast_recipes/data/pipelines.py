"""From manifests to waveforms and targets."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from soundfile import LibsndfileError, SoundFile
from torch import Tensor

from ssast_recipes.data.dataset import OUTPUT_KEYS, ClipDataset
from ssast_recipes.data.headers import LEAST_MISSING, MISSING_SHARE
from ssast_recipes.data.mixup import Mixup
from ssast_recipes.data.rates import check_rate, resample
from ssast_recipes.data.shards import UnreadableAudioError, go_to, open_audio, read_samples


class WaveformReader:
    """Reads a clip as mono samples: only the seconds needed, at the rate wanted.

    Arguments
    ---------
    sample_rate : int
        Sample rate wanted, in Hz; other rates are resampled.
    max_duration : float, optional
        Seconds at most; of longer clips a stretch is read. By default clips are read whole.
    crop : str
        Which stretch of a longer clip: "start", or "random", drawn from (seed, epoch, clip) and,
        where clips are drawn with replacement, anew each time; evaluating, always the same.
    seed : int
        Seed of random crops.
    keep_in_memory : bool
        Whether to keep every clip, whole and at the rate wanted, once it is read. Then a second
        pass reads nothing, in this process: a loader's workers would each keep all.

    Raises
    ------
    ValueError
        If `crop` is unknown; when called, an `UnreadableAudioError`, if a file cannot be read,
        yields clearly less than the clip (over 0.1 s and 2 % are missing, or half of it), or holds
        values that are not finite.

    Example
    -------
    >>> import soundfile
    >>> path = getfixture("tmp_path") / "clip.wav"
    >>> soundfile.write(path, torch.rand(8000, 2).numpy(), samplerate=8000)
    >>> reader = WaveformReader(sample_rate=16000, max_duration=0.5)
    >>> reader(path, start=0.0, duration=1.0, epoch=1, clip_id="clip").shape
    torch.Size([8000])
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        max_duration: float | None = None,
        crop: str = "start",
        seed: int = 0,
        keep_in_memory: bool = False,
    ):
        if crop not in ("start", "random"):
            raise ValueError(f"crop is start or random, not {crop!r}")
        self.sample_rate, self.max_duration = sample_rate, max_duration
        self.crop, self.seed = crop, seed
        self._kept: dict[tuple[str, float, float], Tensor] | None = {} if keep_in_memory else None

    def __call__(
        self,
        path: str | Path,
        start: float,
        duration: float,
        epoch: int,
        clip_id: str,
        draw: int = 0,
    ) -> Tensor:
        """Reads a clip.

        Arguments
        ---------
        path : str or Path
            An audio file, in any format that soundfile reads, or a member of a shard.
        start, duration : float
            The clip's stretch of the file, in seconds.
        epoch : int
            Epoch, for random crops.
        clip_id : str
            Name of the clip, for random crops.
        draw : int
            How often the epoch has shown the clip before, for random crops.

        Returns
        -------
        Tensor
            Samples, [samples]: float32 or, from mono files of 16 bits at the rate wanted, int16 as
            they are there (`collate` and `as_float` know both).
        """
        surplus = 0.0 if self.max_duration is None else max(0.0, duration - self.max_duration)
        first = 0.0  # seconds that are left out before what is read
        if self.crop == "random" and surplus:
            first = surplus * random.Random(f"{self.seed} {epoch} {draw} {clip_id}").random()
        if self._kept is None:
            return self._read(path, start + first, duration - surplus)
        key = str(path), start, duration
        if key not in self._kept:
            self._kept[key] = self._read(path, start, duration)
        begin, length = (round(part * self.sample_rate) for part in (first, duration - surplus))
        return self._kept[key][begin : begin + length] if surplus else self._kept[key]

    def _read(self, path: str | Path, start: float, duration: float) -> Tensor:
        with open_audio(path, until=start + duration) as audio:
            rate = audio.samplerate
            try:
                check_rate(rate)  # before samples are read
            except ValueError as error:
                raise UnreadableAudioError(f"{path}: {error}") from None
            is_ready = (audio.subtype, audio.channels, rate) == ("PCM_16", 1, self.sample_rate)
            samples = _read(audio, path, start, duration, is_ready)
        waveform = torch.from_numpy(samples).squeeze(dim=1) if is_ready else _mono(samples)
        if not is_ready and not torch.isfinite(waveform).all():
            raise UnreadableAudioError(
                f"{path}: holds samples that are not finite; remove or mend the file"
            )
        return resample(waveform, rate, self.sample_rate)


def read_channels(path: str | Path, start: float, duration: float) -> tuple[np.ndarray, int]:
    """Reads a stretch of a file as it is there.

    Arguments
    ---------
    path : str or Path
        An audio file or a member of a shard.
    start, duration : float
        In seconds.

    Returns
    -------
    numpy.ndarray
        [samples, channels], float32.
    int
        The sample rate in Hz.

    Raises
    ------
    UnreadableAudioError
        As a `WaveformReader`, but for values that are not finite.
    """
    with open_audio(path, until=start + duration) as audio:
        return _read(audio, path, start, duration, as_integers=False), audio.samplerate


def _read(
    audio: SoundFile, path: str | Path, start: float, duration: float, as_integers: bool
) -> np.ndarray:
    """A stretch of a file, [samples, channels], float32 or int16."""
    try:
        go_to(audio, round(start * audio.samplerate))
        kind = "int16" if as_integers else "float32"
        samples = read_samples(audio, round(duration * audio.samplerate), kind)
    except (LibsndfileError, OSError) as error:
        raise UnreadableAudioError(
            f"{path}: not readable as audio: {error}; prepare again"
        ) from error
    _check_length(audio, path, start, duration, len(samples))
    return samples


def _check_length(
    audio: SoundFile, path: str | Path, start: float, duration: float, num_samples: int
) -> None:
    """Refuses a stretch of which much is missing: libsndfile ends at damage without a word."""
    decoded = num_samples / audio.samplerate
    missing = duration - decoded
    allowed = min(max(LEAST_MISSING, MISSING_SHARE * duration), duration / 2)
    if num_samples and missing <= allowed:
        return
    if start + duration - audio.frames / audio.samplerate <= allowed:
        raise UnreadableAudioError(
            f"{path}: damaged, or its header tells a wrong length: {decoded:.2f} of {duration:.2f} "
            f"s at {start:g} s can be decoded; convert or replace the file and prepare again"
        )
    raise UnreadableAudioError(
        f"{path}: ends {missing:.2f} s before the clip at {start:g} s does; prepare again"
    )


def _mono(samples: np.ndarray) -> Tensor:
    return torch.from_numpy(samples).mean(dim=1)


def make_dataset(
    manifests: Sequence[str | Path],
    read_waveform: Callable[..., Tensor],
    encode_labels: Callable[[Sequence[str]], Tensor] | None = None,
    output_keys: Sequence[str] = OUTPUT_KEYS,
    clips_per_class: int | None = None,
    seed: int = 0,
    mixup: Mixup | None = None,
    encode_text: Callable[[str], Tensor] | None = None,
) -> ClipDataset:
    """Makes a data set of waveforms and, if `target` is among the output keys, targets.

    Arguments
    ---------
    manifests : sequence of paths
        Manifest files.
    read_waveform : callable
        (path, start, duration, epoch, id, draw) to samples, such as a `WaveformReader`. Training
        and evaluation may have readers of their own: random crops here, whole clips there.
    encode_labels : callable, optional
        Labels to a target tensor, such as a `ClassEncoder`.
    output_keys : sequence of str
        What each clip yields; `id`, `index`, `place` and `waveform` at least.
    clips_per_class : int, optional
        Keeps so many clips of each class, to see what a classifier makes of fewer labels.
    seed : int
        Which ones, and what is read in place of clips that cannot be: drawn from the seed.
    mixup : Mixup, optional
        Mixes clips with each other, in training.
    encode_text : callable, optional
        Transcripts to tokens, such as a `Tokenizer`, in place of labels.

    Returns
    -------
    ClipDataset
        The data set.

    Raises
    ------
    ValueError
        If a class has fewer clips than `clips_per_class`; when a clip is read, if its audio or its
        labels are not as they should be, or mixup is given targets that it cannot mix.
    """
    dataset = ClipDataset(manifests, read_waveform, encode_labels, output_keys, encode_text)
    dataset.mixup, dataset.seed = mixup, seed
    if clips_per_class is not None:
        dataset.keep_per_class(clips_per_class, seed)
    return dataset
