"""What using any trained model takes: recordings cut into windows, which are batched."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from ssast_recipes.data.headers import audio_info
from ssast_recipes.data.manifest import Clip
from ssast_recipes.data.rates import resample
from ssast_recipes.inference.reading import read_ahead, read_clip, read_pieces
from ssast_recipes.inference.windows import Window, WindowShape, cut_windows
from ssast_recipes.system.machine import try_device
from ssast_recipes.weights.formats.config import ModelConfig
from ssast_recipes.weights.formats.folder import load_model
from ssast_recipes.weights.source import fetch_model


class Recording(NamedTuple):
    """A recording, as far as it was heard, and what the model made of its windows."""

    num_frames: int
    duration: float  # seconds
    whole_duration: float  # seconds, of all of it
    starts: list[int]  # of its windows, in frames
    outputs: Tensor  # [windows, …]


class _Open:
    """A recording of which not all windows are computed yet."""

    def __init__(self):
        self.starts: list[int] = []
        self.outputs: list[Tensor] = []
        self.num_samples = 0
        self.whole_duration = 0.0  # known when it is read
        self.error: ValueError | OSError | None = None
        self.is_read = False

    @property
    def is_done(self) -> bool:
        return self.is_read and len(self.outputs) == len(self.starts)


class AudioModel(nn.Module):
    """A front end and a model, fed with windows of recordings.

    Arguments
    ---------
    model : nn.Module
        Spectrograms to whatever a sub-class makes of them.
    config : ModelConfig
        What the model folder says of it.
    batch_size : int
        How many windows to compute at a time.

    Raises
    ------
    ValueError
        If `batch_size` is below 1.
    """

    def __init__(self, model: nn.Module, config: ModelConfig | None = None, batch_size: int = 8):
        super().__init__()
        if not isinstance(model, nn.Module) or config is None:
            place = f"{str(model)!r}" if isinstance(model, str | os.PathLike) else "…"
            name = type(self).__name__
            raise TypeError(f"a saved model is loaded by {name}.from_pretrained({place})")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.model = model.eval().requires_grad_(False)
        self.config, self.batch_size = config, batch_size
        self.front_end = config.front_end.build()

    @classmethod
    def from_pretrained(
        cls, source: str | Path, device: str | torch.device | None = None, batch_size: int = 8
    ) -> Self:
        """Loads a trained model. Nothing of it is executed.

        Arguments
        ---------
        source : str or Path
            A model folder, the folder of a training run that was evaluated, or the name of a model
            folder on the Hugging Face Hub.
        device : str or torch.device, optional
            Where to compute; by default a GPU if there is one (CUDA or MPS), else the CPU.
        batch_size : int
            How many windows to compute at a time.

        Returns
        -------
        AudioEncoder, AudioClassifier or AudioTranscriber
            The model, in evaluation mode.

        Raises
        ------
        FileNotFoundError
            If there is no such model.
        ValueError
            If it is damaged, or not of the kind asked for, or the device cannot be used.
        """
        place = place_of(device)
        model, config = load_model(fetch_model(source))
        try:
            loaded = cls(model, config, batch_size)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None
        return loaded.to(place)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def sample_rate(self) -> int:
        """The sample rate that recordings are resampled to, in Hz."""
        return self.config.front_end.sample_rate

    @property
    def window_shape(self) -> WindowShape:
        """How recordings are cut for this model."""
        filterbank = self.front_end.filterbank
        stride = self.config.architecture.patch_stride[1]
        sizes = filterbank.samples_per_shift, filterbank.samples_per_frame
        return WindowShape(self.front_end.target_length, stride, *sizes)

    def apply_to_windows(
        self,
        recordings: Any,
        sample_rate: int | None,
        compute: Callable[..., Tensor],
        seconds: float | None = None,
    ) -> list[Recording]:
        """Cuts recordings into windows and computes something of each, in batches of windows.

        Arguments
        ---------
        recordings : sequence
            Audio files' paths, clips of a manifest, or waveforms, [samples] or [channels, samples]
            each.
        sample_rate : int, optional
            The waveforms', in Hz.
        compute : callable
            Standardised spectrograms [windows, frames, mel bins] and the lengths of what they
            hold [windows], in frames, to a tensor [windows, …].
        seconds : float, optional
            How much of a recording to hear, from its start; by default all.

        Returns
        -------
        list[Recording]
            In the order of the recordings; the tensors are on the CPU, float32.

        Raises
        ------
        ValueError
            If something is no waveform, or a file is no audio.
        FileNotFoundError
            If there is no such file.
        """
        found = []
        for one in self.stream(recordings, sample_rate, compute, seconds=seconds):
            if isinstance(one, Exception):
                raise one
            found.append(one)
        return found

    def stream(
        self,
        recordings: Iterable[Any],
        sample_rate: int | None,
        compute: Callable[..., Tensor],
        workers: int = 0,
        seconds: float | None = None,
    ) -> Iterator[Recording | ValueError | OSError]:
        """As `apply_to_windows`, of recordings without number and of any length, one by one.

        Windows of several recordings make a batch. Of a long file, some seconds are in memory.

        Arguments
        ---------
        recordings, sample_rate, compute, seconds
            As `apply_to_windows` takes them.
        workers : int
            How many threads read files ahead; 0 for none.

        Yields
        ------
        Recording, ValueError or OSError
            In the order of the recordings; of one that cannot be read, the reason.
        """
        opened: deque[_Open] = deque()  # those whose pieces may be asked for

        def open_all() -> Iterator[Iterator[Tensor]]:
            for recording in recordings:
                opened.append(_Open())
                yield self._pieces(recording, sample_rate, seconds, opened[-1])

        sources = read_ahead(open_all(), workers) if workers else open_all()
        waiting: deque[_Open] = deque()
        batch: list[tuple[_Open, Window]] = []
        for pieces in sources:
            one = opened.popleft()
            waiting.append(one)
            windows = cut_windows(pieces, self.window_shape)
            while True:
                try:
                    window = next(windows, None)
                except (ValueError, OSError) as error:
                    one.error = error
                    break
                if window is None:
                    break
                one.starts.append(window.start)
                one.num_samples = window.num_read
                batch.append((one, window))
                if len(batch) == self.batch_size:
                    self._compute(batch, compute)
                    batch = []
            one.is_read = True
            while waiting and waiting[0].is_done:
                yield self._close(waiting.popleft())
        if batch:
            self._compute(batch, compute)
        yield from map(self._close, waiting)

    @torch.no_grad()
    def _compute(self, batch: list[tuple[_Open, Window]], compute: Callable[..., Tensor]) -> None:
        shape = self.window_shape
        counts = [one.num_read - one.start * shape.samples_per_shift for _, one in batch]
        # A clip shorter than a frame is one, with zeros behind it.
        num_samples = torch.tensor(counts).clamp(shape.samples_per_frame, shape.num_samples)
        waveforms = torch.stack([window.samples for _, window in batch])
        outputs = compute(*self._spectrograms(waveforms, num_samples)).float().cpu()
        for (recording, _), output in zip(batch, outputs, strict=True):
            recording.outputs.append(output)

    def _close(self, one: _Open) -> Recording | ValueError | OSError:
        if one.error is not None:
            return one.error
        num_frames = self.window_shape.num_frames(one.num_samples)
        duration = one.num_samples / self.sample_rate
        outputs = torch.stack(one.outputs)
        return Recording(num_frames, duration, one.whole_duration, one.starts, outputs)

    def _spectrograms(self, waveforms: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        # The front end sums in 64-bit, which MPS has not.
        place = torch.device("cpu") if self.device.type == "mps" else self.device
        front_end = self.front_end.to(place)
        num_samples = num_samples.to(place)
        spectrograms = front_end(waveforms.to(place), num_samples)
        num_frames = front_end.filterbank.num_frames(num_samples)
        return spectrograms.to(self.device), num_frames.to(self.device)

    def _pieces(
        self, recording: Any, sample_rate: int | None, seconds: float | None, told: _Open
    ) -> Iterator[Tensor]:
        """The samples of whatever the user has, [samples] float32 each, at the model's rate."""
        if isinstance(recording, str | os.PathLike):
            info = audio_info(recording)
            told.whole_duration = info.duration
            yield from read_pieces(recording, self.sample_rate, seconds, info)
        elif isinstance(recording, Clip):
            told.whole_duration = recording.duration
            yield read_clip(recording, self.sample_rate)
        else:
            waveform, rate = self._check_waveform(recording, sample_rate)
            told.whole_duration = len(waveform) / rate
            # Cut before it is resampled, as in evaluation.
            heard = waveform if seconds is None else waveform[: max(1, round(seconds * rate))]
            yield resample(heard.float(), rate, self.sample_rate, torch.float32)

    def _check_waveform(self, waveform: Any, sample_rate: int | None) -> tuple[Tensor, int]:
        """The samples, [samples] floating point, and their rate."""
        try:
            waveform = torch.as_tensor(waveform).detach().cpu()
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(
                f"a recording is the path of a file, an array or a tensor, not {waveform!r:.80}"
            ) from None
        if waveform.dtype == torch.int16:
            waveform = waveform / 32768
        if not waveform.is_floating_point() or waveform.ndim not in (1, 2) or not waveform.numel():
            raise ValueError(
                "a waveform is [samples] or [channels, samples], floating point or int16, and not "
                f"empty; this one is {list(waveform.shape)} {waveform.dtype}"
            )
        if waveform.ndim == 2:
            if waveform.shape[0] > waveform.shape[1]:
                raise ValueError(
                    f"a waveform is [channels, samples], not {list(waveform.shape)}; transpose it"
                )
            waveform = waveform.mean(dim=0)
        if not waveform.isfinite().all():
            raise ValueError("a waveform holds samples that are not finite numbers")
        if sample_rate is None:
            raise ValueError(
                "a waveform needs its sample_rate, in Hz, as the second argument; only a file, "
                f"given by its path, tells its own (the model's is {self.sample_rate})"
            )
        if not _is_rate(sample_rate):
            raise ValueError(f"sample_rate is a whole number of Hz, not {sample_rate!r}")
        return waveform, int(sample_rate)


def _is_rate(value: Any) -> bool:
    try:
        return value >= 1 and int(value) == value
    except (TypeError, ValueError, OverflowError):
        return False


def place_of(device: str | torch.device | None) -> torch.device:
    """Finds where to compute.

    Arguments
    ---------
    device : str or torch.device, optional
        By default a GPU if there is one (CUDA or MPS), else the CPU.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        If the device cannot be used.

    Example
    -------
    >>> place_of("cpu")
    device(type='cpu')
    """
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        return try_device(device)
    except ValueError as error:
        raise ValueError(f"device {str(device)!r} cannot be used here: {error}") from None
