"""Kaldi-compatible log-mel spectrograms of waveforms: batched, on the device, in 32-bit."""

import math
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

PRE_EMPHASIS = 0.97
ENERGY_FLOOR = torch.finfo(torch.float32).eps

Count = TypeVar("Count", int, Tensor)


def _mel_filters(
    sample_rate: int, fft_length: int, num_mel_bins: int, low: float, high: float
) -> Tensor:
    """Returns triangles evenly spaced on Kaldi's mel scale, [fft_length // 2 + 1, num_mel_bins].

    The scale is `mel(f) = 1127 ln(1 + f / 700)`. With `num_mel_bins + 2` edges evenly from `low`
    to `high` Hz, filter k rises from edge k to 1 at edge k + 1 and falls to 0 at edge k + 2,
    linearly in mel and not normalised (Kaldi, feat/mel-computations.cc). A filter narrower than the
    spacing of the FFT's frequencies may hold none of them: it is 0.
    """
    low, high = (1127.0 * math.log(1.0 + edge / 700.0) for edge in (low, high))
    # In 32-bit like Kaldi and torchaudio: where a filter's only frequency is close to its edge, a
    # more exact weight is a visibly other one (1e-3 in the logarithm, or 0 against not 0).
    steps = torch.arange(num_mel_bins + 2, dtype=torch.float32)
    edges = low + steps * ((high - low) / (num_mel_bins + 1))
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    frequencies = sample_rate / fft_length * torch.arange(fft_length // 2, dtype=torch.float32)
    mels = 1127.0 * (1.0 + frequencies / 700.0).log().unsqueeze(1)  # [frequencies, 1]
    filters = torch.minimum((mels - left) / (centre - left), (right - mels) / (right - centre))
    return pad(filters.clamp(min=0), (0, 0, 0, 1))  # Kaldi leaves the Nyquist frequency out.


class LogMelFilterbank(nn.Module):
    """Turns waveforms into log-mel spectrograms, as Kaldi's `compute-fbank-feats` does.

    Each clip loses its mean and is cut into whole frames. Each frame loses its own mean, is
    pre-emphasised (`x[n] - 0.97 x[n - 1]`), weighted by the symmetric Hann window
    `0.5 - 0.5 cos(2 pi n / (length - 1))` and zero-padded to a power of two. The mel
    filters sum its power spectrum; the output is the natural logarithm of the sums, floored at
    2^-23 (Kaldi, feat/feature-window.cc and feature-fbank.cc; `torchaudio.compliance.kaldi.fbank`
    with htk_compat=True, use_energy=False, window_type="hanning", dither=0.0).

    No gradient; 32-bit under autocast too. A matrix product in TF32, where that is allowed, moves
    the output by up to 1e-3. With 128 mel bins at 16 kHz, bin 3 holds no frequency: it is constant.

    Arguments
    ---------
    sample_rate : int
        Of the waveforms, in Hz.
    num_mel_bins : int
        How many mel bins.
    frame_length : float
        Length of a frame, in milliseconds.
    frame_shift : float
        From one frame's start to the next one's, in milliseconds.
    low_frequency : float
        Where the lowest mel bin begins, in Hz.
    high_frequency : float
        Where the highest mel bin ends, in Hz; if not positive, relative to the Nyquist
        frequency.

    Raises
    ------
    ValueError
        If there is no mel bin, a frame or the shift is too short, or the frequency range is empty
        or not inside 0 to the Nyquist frequency.

    Example
    -------
    >>> filterbank = LogMelFilterbank(sample_rate=16000, num_mel_bins=128)
    >>> filterbank(torch.randn(2, 16000)).shape
    torch.Size([2, 98, 128])
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        num_mel_bins: int = 128,
        frame_length: float = 25.0,
        frame_shift: float = 10.0,
        low_frequency: float = 20.0,
        high_frequency: float = 0.0,
    ) -> None:
        super().__init__()
        # Rounded down, with the factors in this order, as in torchaudio.
        self.samples_per_frame = int(sample_rate * frame_length * 0.001)
        self.samples_per_shift = int(sample_rate * frame_shift * 0.001)
        if self.samples_per_frame < 2 or self.samples_per_shift < 1:
            raise ValueError(
                f"frame_length={frame_length} and frame_shift={frame_shift} ms must be at least 2 "
                f"samples and 1 sample at sample_rate={sample_rate}"
            )
        if num_mel_bins < 1:
            raise ValueError(f"num_mel_bins must be at least 1, not {num_mel_bins}")
        nyquist = sample_rate / 2
        end = high_frequency if high_frequency > 0 else nyquist + high_frequency
        if not 0 <= low_frequency < end <= nyquist:
            raise ValueError(
                f"low_frequency={low_frequency} to high_frequency={high_frequency} must be a range "
                f"inside 0 to {nyquist} Hz, half of sample_rate={sample_rate}"
            )
        self.sample_rate, self.num_mel_bins = sample_rate, num_mel_bins
        self.low_frequency, self.high_frequency = float(low_frequency), float(high_frequency)
        self.frequency_range = (low_frequency, end)  # Hz
        self.fft_length = 1 << (self.samples_per_frame - 1).bit_length()
        window = torch.hann_window(self.samples_per_frame, periodic=False, dtype=torch.float32)
        filters = _mel_filters(sample_rate, self.fft_length, num_mel_bins, low_frequency, end)
        self.register_buffer("window", window, persistent=False)
        # Every row twice, for the squares of a frequency's real and imaginary part: the product
        # with the filters adds them up too.
        self.register_buffer("filters", filters.repeat_interleave(2, dim=0), persistent=False)

    def num_frames(self, num_samples: Count) -> Count:
        """Returns how many whole frames `num_samples` hold, for an integer or a tensor of them.

        Example
        -------
        >>> LogMelFilterbank().num_frames(16000)
        98
        >>> LogMelFilterbank().num_frames(torch.tensor([399, 400, 560]))
        tensor([0, 1, 2])
        """
        frames = (num_samples - self.samples_per_frame) // self.samples_per_shift + 1
        return frames.clamp(min=0) if isinstance(frames, Tensor) else max(frames, 0)

    def num_samples(self, num_frames: int) -> int:
        """Returns how many samples `num_frames` whole frames take, of at least one frame.

        Example
        -------
        >>> LogMelFilterbank().num_samples(98)
        15920
        """
        return self.samples_per_frame + (num_frames - 1) * self.samples_per_shift

    def mel_bin_at(self, frequency: float) -> float:
        """Returns where a frequency in Hz lies among the mel bins, the lowest one's centre at 0.

        Example
        -------
        >>> filterbank = LogMelFilterbank(sample_rate=16000, num_mel_bins=128)
        >>> [round(filterbank.mel_bin_at(frequency), 1) for frequency in (20, 1000, 8000)]
        [-1.0, 43.5, 128.0]
        """
        low, high = (math.log1p(edge / 700.0) for edge in self.frequency_range)
        share = (math.log1p(frequency / 700.0) - low) / (high - low)
        return share * (self.num_mel_bins + 1) - 1

    @torch.no_grad()
    def forward(
        self, waveforms: Tensor, num_samples: Tensor | None = None, padding_value: float = 0.0
    ) -> Tensor:
        """Computes the log-mel spectrograms of a batch.

        Arguments
        ---------
        waveforms : Tensor
            [batch, samples], floating point of any scale, or int16, which is divided by 32768.
        num_samples : Tensor, optional
            [batch] integers: the clips' lengths, at most `samples`. What lies beyond, whatever it
            is, changes nothing. By default every clip has `samples` samples.
        padding_value : float
            What the frames past a clip's end hold.

        Returns
        -------
        Tensor
            [batch, frames, mel bins] float32, frames = `num_frames(samples)`.

        Raises
        ------
        ValueError
            If the waveforms are not [batch, samples] or are integers other than int16, or
            `num_samples` is not [batch] integers.

        Example
        -------
        >>> log_mel = LogMelFilterbank()(torch.randn(2, 800), num_samples=torch.tensor([800, 400]))
        >>> (log_mel != 0).any(dim=2)
        tensor([[ True,  True,  True],
                [ True, False, False]])
        """
        if waveforms.dim() != 2:
            raise ValueError(f"waveforms must be [batch, samples], not {list(waveforms.shape)}")
        if waveforms.dtype == torch.int16:
            waveforms = waveforms.float() / 32768
        elif not waveforms.is_floating_point():
            raise ValueError(f"waveforms must be floating point or int16, not {waveforms.dtype}")
        batch, samples = waveforms.shape
        if num_samples is None:
            num_samples = torch.full((batch,), samples, device=waveforms.device)
        if num_samples.shape != (batch,) or num_samples.is_floating_point():
            raise ValueError(
                f"num_samples must be [{batch}] integers, one for each of the waveforms, not "
                f"{list(num_samples.shape)} {num_samples.dtype}"
            )
        frames = self.num_frames(samples)
        if batch * frames == 0:
            return self.window.new_zeros(batch, frames, self.num_mel_bins)
        with torch.autocast(waveforms.device.type, enabled=False):
            log_mel = self._log_mel(_remove_mean(waveforms.float(), num_samples))
        past_end = _past_end(frames, self.num_frames(num_samples))
        return log_mel.masked_fill_(past_end.unsqueeze(2), padding_value)

    def _log_mel(self, waveforms: Tensor) -> Tensor:
        # In torchaudio's order of operations: a mel bin that is faint next to others consists of
        # rounding errors, which only the same order repeats. In place on the copy that `pad` makes.
        frames = waveforms.unfold(1, self.samples_per_frame, self.samples_per_shift)
        padded = pad(frames, (0, self.fft_length - self.samples_per_frame))
        frames = padded[..., : self.samples_per_frame]  # [batch, frames, samples]
        frames.sub_(frames.mean(dim=2, keepdim=True))
        # The first sample, which has none before it, needs no emphasis: the window is 0 there.
        frames[..., 1:].sub_(PRE_EMPHASIS * frames[..., :-1])
        frames.mul_(self.window)
        spectrum = torch.view_as_real(torch.fft.rfft(padded))  # [batch, frames, frequencies, 2]
        energies = spectrum.square_().flatten(2) @ self.filters  # [batch, frames, mel bins]
        return energies.clamp_(min=ENERGY_FLOOR).log_()


def _past_end(length: int, lengths: Tensor) -> Tensor:
    """Returns which of `length` places are past each clip's end, [batch, length] bool."""
    return torch.arange(length, device=lengths.device) >= lengths.unsqueeze(1)


def _remove_mean(waveforms: Tensor, num_samples: Tensor) -> Tensor:
    clips = waveforms.masked_fill(_past_end(waveforms.shape[1], num_samples), 0)
    # Summed in 64-bit, so that the mean's last digit does not depend on the padding.
    means = clips.sum(dim=1, dtype=torch.float64) / num_samples.clamp(min=1)
    return clips.sub_(means.float().unsqueeze(1))
