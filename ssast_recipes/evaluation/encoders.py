"""Encoders as a command line names them: ours, other makers', untrained, and baselines."""

import dataclasses
import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssast_recipes.data.manifest import Clip
from ssast_recipes.evaluation.features import BASELINES, log_mel_frames, plain_filterbank
from ssast_recipes.evaluation.tasks import Task
from ssast_recipes.inference.audio_model import place_of
from ssast_recipes.inference.encoding import AudioEncoder
from ssast_recipes.inference.reading import read_ahead, read_clip
from ssast_recipes.model.builders import SIZES
from ssast_recipes.model.encoder import AudioSpectrogramTransformer
from ssast_recipes.objectives.baselines import NUM_STEPS, log_mel_features
from ssast_recipes.system.files import file_digest
from ssast_recipes.weights.encoders import KnownEncoder, describe_encoder
from ssast_recipes.weights.formats.config import Architecture, FrontEndConfig, ModelConfig
from ssast_recipes.weights.loading import load_pretrained_encoder
from ssast_recipes.weights.source import fetch_weights

RANDOM, MODULE, FOLD = "random:", "module:", "{fold}"
CLIP, LAYERS, STEPS = "clip", "layers", "steps"  # how finely clips are embedded
SAMPLE_RATE = 16000  # of baselines and untrained encoders, in Hz
SEED = 0  # of untrained encoders

Embedded = Tensor | ValueError | OSError


class FrozenEncoder(ABC):
    """What turns clips into vectors and learns nothing meanwhile.

    `name` is as the command line has it; `key`, plain values, tells its embeddings from those of
    any other: weights and front end.
    """

    name: str
    key: dict[str, Any]
    is_baseline = False

    def for_task(self, task: Task) -> "FrozenEncoder":
        """The encoder as it is for a task's files; itself, but for baselines."""
        return self

    @abstractmethod
    def embed(
        self, clips: Sequence[Clip], detail: str = CLIP, workers: int = 2
    ) -> Iterator[Embedded]:
        """Embeds clips.

        Arguments
        ---------
        clips : sequence of Clip
            Of any lengths.
        detail : str
            `CLIP`: one vector a clip. `LAYERS`: one by every layer, if it has several. `STEPS`: of
            every layer, 12 moments evenly over the clip, if it knows moments.
        workers : int
            How many threads read files ahead.

        Yields
        ------
        Tensor, ValueError or OSError
            [layers, width], the embedding itself last, or [layers, moments, width], in the order
            of the clips; or why a clip cannot be read.
        """


class Baseline(FrozenEncoder):
    """A baseline without learning: one of `BASELINES`."""

    is_baseline = True

    def __init__(self, name: str, file_rates: Sequence[int] = (SAMPLE_RATE,)):
        self.name, self._compute = name, BASELINES[name]
        self._filterbank = plain_filterbank(file_rates, SAMPLE_RATE)
        self.key = {"baseline": name, "hertz": self._filterbank.frequency_range}

    def for_task(self, task: Task) -> "Baseline":
        """With mel bins up to what most of the task's files hold."""
        return Baseline(self.name, [clip.sample_rate for clip in task.clips])

    def embed(
        self, clips: Sequence[Clip], detail: str = CLIP, workers: int = 2
    ) -> Iterator[Embedded]:
        """See `FrozenEncoder.embed`; there is one layer."""
        for waveform in _read(clips, SAMPLE_RATE, workers):
            if isinstance(waveform, Exception):
                yield waveform
            else:
                frames = log_mel_frames(waveform, self._filterbank)
                vector = self._compute(frames)
                if detail != STEPS:
                    yield vector.unsqueeze(0)
                elif self._compute is log_mel_features:  # moments side by side
                    yield vector.view(1, NUM_STEPS, -1)
                else:
                    yield vector.view(1, 1, -1)


class Model(FrozenEncoder):
    """An `AudioSpectrogramTransformer`, trained or not."""

    def __init__(self, name: str, key: dict[str, Any], encoder: AudioEncoder, told: str = ""):
        self.name, self.told, self._encoder = name, told, encoder
        config = encoder.config
        self.key = {
            **key,
            "architecture": dataclasses.asdict(config.architecture),
            "front_end": dataclasses.asdict(config.front_end),
            "masks_padding": config.masks_padding,
        }

    def embed(
        self, clips: Sequence[Clip], detail: str = CLIP, workers: int = 2
    ) -> Iterator[Embedded]:
        """See `FrozenEncoder.embed`; windows of several clips make a batch."""
        if detail == LAYERS:
            yield from self._encoder.stream_layer_embeddings(clips, workers=workers)
            return
        if detail == STEPS:
            for columns in self._encoder.stream_layer_columns(clips, workers=workers):
                yield columns if isinstance(columns, Exception) else _as_steps(columns)
            return
        for found in self._encoder.stream_embeddings(clips, workers=workers):
            yield found if isinstance(found, Exception) else found.unsqueeze(0)


class HearModule(FrozenEncoder):
    """A Python module with the interface of HEAR: `load_model`, `get_scene_embeddings`."""

    def __init__(self, name: str, device: str | None, batch_size: int):
        self.name, self._batch_size, self._place = name, batch_size, place_of(device)
        module_name, _, weights = name.removeprefix(MODULE).partition("=")
        try:
            self._module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name and not f"{module_name}.".startswith(f"{error.name}."):
                raise
            raise ValueError(
                f"{name}: there is no Python module {module_name}; install it, or name its folder "
                "in PYTHONPATH"
            ) from None
        for wanted in ("load_model", "get_scene_embeddings"):
            if not hasattr(self._module, wanted):
                raise ValueError(f"{name}: the module has no {wanted}, which HEAR asks for")
        self._model = self._module.load_model(*([weights] if weights else []))
        if isinstance(self._model, torch.nn.Module):
            self._model = self._model.to(self._place).eval()
        self.key = {
            "module": module_name,
            "code": _digest_of(getattr(self._module, "__file__", None)),
            "weights": _digest_of(weights),
        }

    @torch.no_grad()
    def embed(
        self, clips: Sequence[Clip], detail: str = CLIP, workers: int = 2
    ) -> Iterator[Embedded]:
        """See `FrozenEncoder.embed`; clips of one length make a batch, as HEAR knows no padding."""
        found: list[Embedded | None] = [None] * len(clips)
        waiting: dict[int, list[tuple[int, Tensor]]] = {}
        for place, waveform in enumerate(_read(clips, int(self._model.sample_rate), workers)):
            if isinstance(waveform, Exception):
                found[place] = waveform
                continue
            alike = waiting.setdefault(len(waveform), [])
            alike.append((place, waveform))
            if len(alike) == self._batch_size:
                self._compute(waiting.pop(len(waveform)), found, detail)
        for alike in waiting.values():
            self._compute(alike, found, detail)
        yield from found

    def _compute(
        self, alike: list[tuple[int, Tensor]], found: list[Embedded | None], detail: str
    ) -> None:
        audio = torch.stack([waveform for _, waveform in alike]).to(self._place)
        vectors = self._module.get_scene_embeddings(audio, self._model)
        for (place, _), vector in zip(alike, vectors, strict=True):
            row = vector.detach().float().cpu().unsqueeze(0)
            found[place] = row.unsqueeze(0) if detail == STEPS else row


def check_encoder(name: str) -> None:
    """Looks whether an encoder is there, before anything is computed; weights may be downloaded.

    Raises
    ------
    OSError, ValueError
        If it is not.

    Example
    -------
    >>> check_encoder("log-mel")
    >>> check_encoder("random:huge")
    Traceback (most recent call last):
    FileNotFoundError: random:huge: after random: comes tiny, small, base or an encoder; huge ...
    """
    if name in BASELINES or name.startswith(MODULE) or FOLD in name:
        return
    source = name.removeprefix(RANDOM)
    if source in SIZES and source != name:
        return
    try:
        fetch_weights(source)
    except FileNotFoundError as error:
        if source == name:
            raise
        sizes = ", ".join(SIZES)
        raise FileNotFoundError(
            f"{name}: after random: comes {sizes} or an encoder; {error}"
        ) from None


def load_encoder(name: str, device: str | None = None, batch_size: int = 8) -> FrozenEncoder:
    """Loads an encoder.

    Arguments
    ---------
    name : str
        `log-mel`, `log-mel-stats` or `mfcc`; `random:tiny` (small, base), or `random:` and another
        encoder, for its architecture and front end with fresh weights; `module:NAME`, a Python
        module with HEAR's interface, perhaps with `=WEIGHTS` behind it; or what `describe_encoder`
        takes: a run's folder, a model folder, weights of other makers.
    device : str, optional
        Where to compute; by default a GPU if there is one.
    batch_size : int
        How many windows, or clips, to compute at a time.

    Returns
    -------
    FrozenEncoder

    Raises
    ------
    OSError, ValueError
        If there is no such encoder, or it cannot be used.

    Example
    -------
    >>> load_encoder("random:tiny", device="cpu").key["architecture"]["embed_dim"]
    192
    """
    if name in BASELINES:
        return Baseline(name)
    if name.startswith(MODULE):
        return HearModule(name, device, batch_size)
    is_random = name.startswith(RANDOM)
    known = _find(name.removeprefix(RANDOM), is_random)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        encoder = AudioSpectrogramTransformer(**dataclasses.asdict(known.architecture))
    if is_random:
        key: dict[str, Any] = {"random": SEED, "torch": torch.__version__}
    else:
        key = {"weights": load_pretrained_encoder(encoder, known.path)["sha256"]}
    padding = "masked" if known.masks_padding else None
    config = ModelConfig("encoder", known.architecture, known.front_end, padding=padding)
    made = AudioEncoder(encoder, config, batch_size).to(place_of(device))
    return Model(name, key, made, known.told)


def _find(source: str, is_random: bool) -> KnownEncoder:
    if not is_random or source not in SIZES:
        return describe_encoder(source)
    numbers = {"num_mel_bins": 128, "target_length": 256}  # 2.56 s: short clips are quick, too
    patches = {"patch_size": (16, 16), "patch_stride": (16, 16)}
    architecture = Architecture(**SIZES[source], **numbers, **patches)
    # As of AudioSet.
    front_end = FrontEndConfig(
        *(SAMPLE_RATE, 128, 25.0, 10.0, 20.0, 0.0, 256, -4.2677393, 4.5689974, True)
    )
    return KnownEncoder(Path(source), architecture, front_end, masks_padding=True)


def _as_steps(columns: Tensor) -> Tensor:
    """Brings a clip's columns [columns, layers, width] to moments: [layers, moments, width]."""
    steps = log_mel_features(columns.flatten(1))  # of any features, not of bands alone
    return steps.view(NUM_STEPS, *columns.shape[1:]).transpose(0, 1).contiguous()


def _read(
    clips: Sequence[Clip], sample_rate: int, workers: int
) -> Iterator[Tensor | ValueError | OSError]:
    """Clips' samples, [samples] each, read in other threads some ahead."""
    for pieces in read_ahead((_one(clip, sample_rate) for clip in clips), max(1, workers)):
        try:
            yield next(pieces)
        except (ValueError, OSError) as error:
            yield error


def _one(clip: Clip, sample_rate: int) -> Iterator[Tensor]:
    yield read_clip(clip, sample_rate)


def _digest_of(path: str | None) -> str:
    """The checksum of a file; of a folder, of its files' names, sizes and times."""
    if not path or not Path(path).exists():
        return path or ""
    if Path(path).is_file():
        return file_digest(path)
    files = [one for one in sorted(Path(path).rglob("*")) if one.is_file()]
    return str([(str(one), one.stat().st_size, one.stat().st_mtime_ns) for one in files])
