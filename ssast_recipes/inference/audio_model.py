"""What using any trained model takes: recordings read, resampled, cut into windows, batched."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import soundfile
import torch
from torch import Tensor, nn

from ssast_recipes.data.headers import audio_info
from ssast_recipes.data.rates import resample
from ssast_recipes.data.shards import read_samples
from ssast_recipes.inference.windows import cut_window, window_starts
from ssast_recipes.weights.formats.config import ModelConfig
from ssast_recipes.weights.formats.folder import load_model
from ssast_recipes.weights.source import fetch_model


class Recording(NamedTuple):
    """A recording, and what the model made of its windows."""

    num_frames: int
    duration: float  # seconds
    starts: list[int]  # of its windows, in frames
    outputs: Tensor  # [windows, …]


def read_audio(path: str | Path) -> tuple[Tensor, int]:
    """Reads a whole audio file.

    Arguments
    ---------
    path : str or Path
        Any format that soundfile reads.

    Returns
    -------
    waveform : Tensor
        [samples] float32, the mean of the channels.
    sample_rate : int
        In Hz.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no audio, empty or cut off.
    """
    info = audio_info(path)
    try:
        with soundfile.SoundFile(path) as audio:
            samples = read_samples(audio, info.num_samples, "float32")
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path} cannot be decoded: {error.error_string}") from None
    return torch.from_numpy(samples).mean(dim=1), info.sample_rate


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

    def __init__(self, model: nn.Module, config: ModelConfig, batch_size: int = 8):
        super().__init__()
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
        AudioEncoder or AudioClassifier
            The model, in evaluation mode.

        Raises
        ------
        FileNotFoundError
            If there is no such model.
        ValueError
            If it is damaged, or not of the kind asked for, or the device cannot be used.
        """
        place = _default_device() if device is None else _checked_device(device)
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

    @torch.no_grad()
    def apply_to_windows(
        self, waveforms: Sequence[Any], sample_rate: int, compute: Callable[..., Tensor]
    ) -> list[Recording]:
        """Cuts recordings into windows and computes something of each, in batches of windows.

        Arguments
        ---------
        waveforms : sequence
            Recordings, [samples] or [channels, samples] each.
        sample_rate : int
            Theirs, in Hz.
        compute : callable
            Standardised spectrograms [windows, frames, mel bins] and the lengths of what they
            hold [windows], in frames, to a tensor [windows, …].

        Returns
        -------
        list[Recording]
            In the order of the waveforms; the tensors are on the CPU, float32.

        Raises
        ------
        ValueError
            If something is no waveform.
        """
        filterbank, stride = self.front_end.filterbank, self.config.architecture.patch_stride[1]
        length, shift = self.front_end.target_length, filterbank.samples_per_shift
        window_samples = (length - 1) * shift + filterbank.samples_per_frame
        clips = [self._prepare(waveform, sample_rate) for waveform in waveforms]
        if not clips:
            return []
        frames = [max(1, filterbank.num_frames(len(clip))) for clip in clips]
        starts = [window_starts(count, length, stride) for count in frames]
        windows = [
            (clip, first * shift)
            for clip, firsts in zip(clips, starts, strict=True)
            for first in firsts
        ]
        outputs = []
        for batch in _batches(windows, self.batch_size):
            cut = torch.stack([cut_window(clip, start, window_samples) for clip, start in batch])
            counts = [len(clip) - start for clip, start in batch]
            # A clip shorter than a frame is one, with zeros behind it.
            num_samples = torch.tensor(counts).clamp(filterbank.samples_per_frame, window_samples)
            spectrograms, num_frames = self._spectrograms(cut, num_samples)
            outputs.append(compute(spectrograms, num_frames).float().cpu())
        parts = torch.cat(outputs).split([len(firsts) for firsts in starts])
        durations = [len(clip) / self.sample_rate for clip in clips]
        return [Recording(*one) for one in zip(frames, durations, starts, parts, strict=True)]

    def _spectrograms(self, waveforms: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        # The front end sums in 64-bit, which MPS has not.
        place = torch.device("cpu") if self.device.type == "mps" else self.device
        front_end = self.front_end.to(place)
        num_samples = num_samples.to(place)
        spectrograms = front_end(waveforms.to(place), num_samples)
        num_frames = front_end.filterbank.num_frames(num_samples)
        return spectrograms.to(self.device), num_frames.to(self.device)

    def _prepare(self, waveform: Any, sample_rate: int) -> Tensor:
        """Makes [samples] float32 at the model's rate of whatever the user has, on the CPU."""
        waveform = torch.as_tensor(waveform).detach().cpu()
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
        if sample_rate < 1 or int(sample_rate) != sample_rate:
            raise ValueError(f"sample_rate is a whole number of Hz, not {sample_rate!r}")
        return resample(waveform.float(), int(sample_rate), self.sample_rate, torch.float32)


def _batches(items: list[Any], size: int) -> Iterator[list[Any]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def _default_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _checked_device(device: str | torch.device) -> torch.device:
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # of an unknown name, or a missing GPU
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device {str(device)!r} cannot be used here: {reason}") from None
