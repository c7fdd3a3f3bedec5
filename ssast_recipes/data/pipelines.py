"""From manifests to batches of waveforms."""

import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import soundfile
import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from torch import Tensor
from torchaudio.transforms import Resample

from ssast_recipes.augment import Mixup
from ssast_recipes.data.manifest import read_manifest
from ssast_recipes.data.sampling import ClipKey


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

    Raises
    ------
    ValueError
        If `crop` is unknown; when called, if a file cannot be read or holds values that are not
        finite.

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
    ):
        if crop not in ("start", "random"):
            raise ValueError(f"crop is start or random, not {crop!r}")
        self.sample_rate, self.max_duration = sample_rate, max_duration
        self.crop, self.seed = crop, seed

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
            An audio file, in any format that soundfile reads.
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
            Samples, [samples], float32.
        """
        surplus = 0.0 if self.max_duration is None else max(0.0, duration - self.max_duration)
        if self.crop == "random" and surplus:
            start += surplus * random.Random(f"{self.seed} {epoch} {draw} {clip_id}").random()
        try:
            with soundfile.SoundFile(path) as audio:
                rate = audio.samplerate
                audio.seek(round(start * rate))
                samples = audio.read(
                    round((duration - surplus) * rate), dtype="float32", always_2d=True
                )
        except (soundfile.LibsndfileError, OSError) as error:
            raise ValueError(f"{path}: not readable as audio: {error}; prepare again") from error
        if len(samples) == 0:
            raise ValueError(f"{path}: ends before the clip at {start:g} s; prepare again")
        waveform = torch.from_numpy(samples).mean(dim=1)
        if not torch.isfinite(waveform).all():
            raise ValueError(f"{path}: holds samples that are not finite; remove or mend the file")
        return (
            waveform if rate == self.sample_rate else _resampler(rate, self.sample_rate)(waveform)
        )


@lru_cache(maxsize=16)
def _resampler(from_rate: int, to_rate: int) -> Resample:
    return Resample(from_rate, to_rate)


class ClipDataset(DynamicItemDataset):
    """The clips of one or several manifests, asked for by `ClipKey`.

    A SpeechBrain data set whose pipelines may also take `epoch`, `index`, `place` and `draw`, so
    that random processing can be a function of the epoch and the clip. `mixup`, if set, mixes
    clips with each other; not in epoch 0, which is evaluation's.

    Arguments
    ---------
    manifests : sequence of paths
        Manifest files; together they make the data set.

    Raises
    ------
    ValueError
        If an ID occurs in two manifests, or there are no clips.
    """

    def __init__(self, manifests: Sequence[str | Path]):
        data: dict[str, dict[str, Any]] = {}
        for manifest in manifests:
            for clip in read_manifest(manifest):
                if clip.id in data:
                    raise ValueError(f"{manifest}: the ID {clip.id!r} stands in two manifests")
                data[clip.id] = {
                    "path": clip.path,
                    "start": clip.start,
                    "duration": clip.duration,
                    "labels": clip.labels,
                }
        if not data:
            raise ValueError(f"there are no clips in {', '.join(map(str, manifests))}")
        super().__init__(data)
        self.mixup: Mixup | None = None
        self.pipeline.add_static_keys(list(ClipKey._fields))

    @property
    def digest(self) -> str:
        """Hashes the clips' IDs and labels in their order: what a training's order is of."""
        digest = hashlib.sha256()
        for clip_id in self.data_ids:
            digest.update(repr((clip_id, self.data[clip_id]["labels"])).encode())
        return digest.hexdigest()

    def keep_per_class(self, num_clips: int, seed: int) -> None:
        """Keeps `num_clips` clips of each class, drawn from the seed; their order stays."""
        by_label: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for clip_id in self.data_ids:
            by_label[self.data[clip_id]["labels"]].append(clip_id)
        kept: set[str] = set()
        for labels, ids in sorted(by_label.items()):
            if not 0 < num_clips <= len(ids):
                raise ValueError(
                    f"clips_per_class is {num_clips}, but class {';'.join(labels)} has {len(ids)} "
                    "clips; choose from 1 to that"
                )
            kept.update(random.Random(f"{seed} {labels}").sample(ids, num_clips))
        self.data_ids = [clip_id for clip_id in self.data_ids if clip_id in kept]

    def __getitem__(self, key: ClipKey | int) -> dict[str, Any]:
        key = key if isinstance(key, ClipKey) else ClipKey(epoch=0, index=key, place=key)
        if self.mixup is None or key.epoch == 0:
            return self._read(key)
        return self.mixup(
            self._read(key),
            occasion=f"{key.epoch} {key.draw}",
            num_clips=len(self),
            read=lambda index: self._read(key._replace(index=index)),
        )

    def _read(self, key: ClipKey) -> dict[str, Any]:
        clip_id = self.data_ids[key.index]
        return self.pipeline.compute_outputs({"id": clip_id, **self.data[clip_id], **key._asdict()})


def make_dataset(
    manifests: Sequence[str | Path],
    read_waveform: Callable[..., Tensor],
    encode_labels: Callable[[Sequence[str]], Tensor] | None = None,
    output_keys: Sequence[str] = ("id", "index", "place", "waveform", "target"),
    clips_per_class: int | None = None,
    seed: int = 0,
    mixup: Mixup | None = None,
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
        Which ones: they are drawn from the seed.
    mixup : Mixup, optional
        Mixes clips with each other, in training.

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
    dataset = ClipDataset(manifests)
    dataset.mixup = mixup
    if clips_per_class is not None:
        dataset.keep_per_class(clips_per_class, seed)
    dataset.add_dynamic_item(
        read_waveform,
        takes=["path", "start", "duration", "epoch", "id", "draw"],
        provides="waveform",
    )
    if encode_labels is not None:
        dataset.add_dynamic_item(
            partial(_encode, encode_labels), takes=["labels", "id", "path"], provides="target"
        )
    dataset.set_output_keys(list(output_keys))
    return dataset


def _encode(
    encode: Callable[..., Tensor], labels: Sequence[str], clip_id: str, path: str
) -> Tensor:
    try:
        return encode(labels)
    except ValueError as error:
        raise ValueError(f"clip {clip_id} ({path}): {error}; prepare again") from None
