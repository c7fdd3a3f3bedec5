"""The log-mel filterbank: torchaudio's Kaldi features, and the batch."""

import math

import pytest
import torch
from torch import Tensor
from torchaudio.compliance import kaldi

from ssast_recipes.model.filterbank import LogMelFilterbank

LOG_FLOOR = math.log(2**-23)
LENGTHS = torch.tensor([16000, 5000, 400, 399, 0])


def make_signal(kind: str, samples: int, sample_rate: int = 16000) -> Tensor:
    time = torch.arange(samples, dtype=torch.float64) / sample_rate
    match kind:
        case "noise":
            return 0.1 * torch.randn(samples)
        case "loud noise":
            return 3000 * torch.randn(samples)
        case "silence":
            return torch.zeros(samples)
        case "clicks":
            return torch.zeros(samples).index_fill(0, torch.arange(37, samples, 1111), 0.8)
        case "sine":
            return (0.1 * torch.sin(2 * math.pi * 440 * time)).float()
        case "offset":
            return 10 + 0.01 * torch.randn(samples)
        case "drift":
            return (torch.sin(2 * math.pi * 0.3 * time) + 0.01 * torch.randn(samples)).float()
    raise ValueError(kind)


def reference(waveform: Tensor, sample_rate: int = 16000, **options) -> Tensor:
    """Torchaudio's features of one clip, on the CPU."""
    waveform = waveform - waveform.mean(dtype=torch.float64).float()
    options = {"num_mel_bins": 128, "frame_shift": 10.0} | options
    return kaldi.fbank(
        waveform.unsqueeze(0),
        sample_frequency=sample_rate,
        htk_compat=True,
        use_energy=False,
        window_type="hanning",
        dither=0.0,
        **options,
    )


def assert_close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual.cpu(), expected.cpu(), rtol=0, atol=atol)


@pytest.mark.parametrize("samples", [400, 559, 560, 16000])
@pytest.mark.parametrize(
    "kind", ["noise", "loud noise", "silence", "clicks", "sine", "offset", "drift"]
)
def test_equals_torchaudio(kind: str, samples: int, device: torch.device, tolerance: float) -> None:
    waveform = make_signal(kind, samples)
    log_mel = LogMelFilterbank().to(device)(waveform.unsqueeze(0).to(device))
    assert_close(log_mel[0], reference(waveform), tolerance)


@pytest.mark.parametrize("kind", ["noise", "sine"])
def test_equals_torchaudio_over_30_seconds(
    kind: str, device: torch.device, tolerance: float
) -> None:
    waveform = make_signal(kind, 480000)
    log_mel = LogMelFilterbank().to(device)(waveform.unsqueeze(0).to(device))
    assert_close(log_mel[0], reference(waveform), tolerance)


@pytest.mark.parametrize(
    ("sample_rate", "num_mel_bins", "low", "high"),
    [
        (8000, 40, 20, 0),
        (8000, 128, 20, 0),
        (16000, 40, 0, 8000),
        (16000, 80, 60, -400),
        # With filters computed in 64-bit, one mel bin differs by 1e-3, and one is empty.
        (16000, 128, 50, -100),
        (16000, 128, 125, 3800),
        (22050, 80, 300, 3400),
        (44100, 128, 20, 0),
    ],
)
def test_equals_torchaudio_at_other_settings(
    sample_rate: int,
    num_mel_bins: int,
    low: float,
    high: float,
    device: torch.device,
    tolerance: float,
) -> None:
    waveform = make_signal("noise", sample_rate // 2, sample_rate)
    filterbank = LogMelFilterbank(
        sample_rate, num_mel_bins, low_frequency=low, high_frequency=high
    ).to(device)
    log_mel = filterbank(waveform.unsqueeze(0).to(device))
    options = {"num_mel_bins": num_mel_bins, "low_freq": low, "high_freq": high}
    assert_close(log_mel[0], reference(waveform, sample_rate, **options), tolerance)


@pytest.mark.parametrize(
    ("frame_length", "frame_shift"), [(32.0, 16.0), (20.0, 20.0), (25.0, 40.0)]
)
def test_equals_torchaudio_at_other_frames(
    frame_length: float, frame_shift: float, device: torch.device, tolerance: float
) -> None:
    """32 ms are 512 samples, a power of two: there is nothing to pad, but still much to copy."""
    waveforms = make_signal("noise", 8000).unsqueeze(0).to(device)
    before = waveforms.clone()
    filterbank = LogMelFilterbank(frame_length=frame_length, frame_shift=frame_shift).to(device)
    expected = reference(before[0].cpu(), frame_length=frame_length, frame_shift=frame_shift)
    assert_close(filterbank(waveforms)[0], expected, tolerance)
    assert torch.equal(waveforms, before)


def test_filters_are_triangles_on_the_mel_scale() -> None:
    filters = LogMelFilterbank(num_mel_bins=40).filters[::2]  # [frequencies, mel bins]
    mels = 1127 * torch.log1p(torch.arange(257) * 16000 / 512 / 700)
    low, high = 1127 * torch.log1p(torch.tensor([20, 8000]) / 700)
    spacing = (high - low) / 41
    centres = low + spacing * torch.arange(1, 41)
    expected = (1 - (mels.unsqueeze(1) - centres).abs() / spacing).clamp(min=0)
    torch.testing.assert_close(filters, expected, rtol=0, atol=1e-4)
    inside = (mels >= centres[0]) & (mels <= centres[-1])
    torch.testing.assert_close(filters.sum(1)[inside], torch.ones(257)[inside])


def test_silence_is_the_floor_and_a_tone_peaks_in_its_mel_bin(device: torch.device) -> None:
    filterbank = LogMelFilterbank(num_mel_bins=40).to(device)
    waveforms = torch.stack([make_signal("silence", 8000), make_signal("sine", 8000)])
    silence, tone = filterbank(waveforms.to(device))
    assert_close(silence, torch.full((48, 40), LOG_FLOOR), 1e-6)
    low, high, pitch = (1127 * math.log1p(f / 700) for f in (20, 8000, 440))
    nearest = round((pitch - low) / (high - low) * 41) - 1
    assert (tone.argmax(dim=1) == nearest).all()


@pytest.mark.parametrize("garbage", [0.0, 1e4, math.nan])
def test_clip_is_independent_of_its_padding(
    garbage: float, device: torch.device, tolerance: float
) -> None:
    filterbank = LogMelFilterbank().to(device)
    clips = [make_signal("noise", n) + 1 for n in LENGTHS]
    batch = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True, padding_value=garbage)
    log_mel = filterbank(batch.to(device), LENGTHS.to(device))
    assert log_mel.shape == (5, 98, 128)
    for clip, spectrogram in zip(clips, log_mel, strict=True):
        alone = filterbank(clip.unsqueeze(0).to(device))[0]
        assert_close(spectrogram[: len(alone)], alone, tolerance)
        assert (spectrogram[len(alone) :] == 0).all()


def test_clip_is_independent_of_the_other_clips(device: torch.device) -> None:
    filterbank = LogMelFilterbank().to(device)
    first = torch.randn(3, 8000, device=device)
    second = torch.randn(3, 8000, device=device) * 100 + 7
    second[1] = first[1]
    lengths = torch.tensor([8000, 6000, 700], device=device)
    other_lengths = torch.tensor([10, 6000, 8000], device=device)
    expected = filterbank(first, lengths)[1]
    assert torch.equal(filterbank(second, other_lengths)[1], expected)


def test_mean_is_over_the_clip_alone(device: torch.device) -> None:
    """A frame loses its mean anyway; the clip's must go first where an offset eats the digits."""
    clip = make_signal("offset", 1000) * 100
    batch = torch.nn.functional.pad(clip, (0, 15000)).unsqueeze(0)
    log_mel = LogMelFilterbank().to(device)(batch.to(device), torch.tensor([1000], device=device))
    assert_close(log_mel[0, :4], reference(clip), 1e-3)


def test_num_frames_counts_whole_frames() -> None:
    for sample_rate in (8000, 16000, 44100):
        filterbank = LogMelFilterbank(sample_rate)
        length, shift = int(sample_rate * 0.025), sample_rate // 100
        counts = range(0, 5 * length, 7)
        expected = [len(range(0, n - length + 1, shift)) for n in counts]
        assert [filterbank.num_frames(n) for n in counts] == expected
        assert filterbank.num_frames(torch.tensor(counts)).tolist() == expected


def test_no_clip_gives_no_spectrogram(device: torch.device) -> None:
    assert LogMelFilterbank().to(device)(torch.zeros(0, 800, device=device)).shape == (0, 3, 128)


def test_int16_is_divided_by_32768(device: torch.device) -> None:
    filterbank = LogMelFilterbank().to(device)
    integers = torch.randint(-32768, 32768, (2, 4000), dtype=torch.int16, device=device)
    assert torch.equal(filterbank(integers), filterbank(integers.double() / 32768))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_mel_bins": 0}, "num_mel_bins must be at least 1, not 0"),
        ({"low_frequency": -1}, "low_frequency=-1 .* inside 0 to 8000.0 Hz"),
        ({"high_frequency": 8001}, "high_frequency=8001 .* inside 0 to 8000.0 Hz"),
        ({"high_frequency": -8000}, "high_frequency=-8000 .* inside 0 to 8000.0 Hz"),
        ({"low_frequency": 500, "high_frequency": 500}, "must be a range"),
        ({"low_frequency": math.nan}, "must be a range"),
        ({"frame_length": 0.1}, "frame_length=0.1 .* at least 2 samples"),
        ({"frame_shift": 0}, "frame_shift=0 .* 1 sample"),
        ({"sample_rate": 0}, "sample_rate=0"),
    ],
)
def test_impossible_filterbanks_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LogMelFilterbank(**options)


@pytest.mark.parametrize(
    ("waveforms", "num_samples", "message"),
    [
        (torch.zeros(800), None, r"waveforms must be \[batch, samples\], not \[800\]"),
        (torch.zeros(2, 1, 800), None, r"not \[2, 1, 800\]"),
        (torch.zeros(2, 800, dtype=torch.int32), None, "floating point or int16, not torch.int32"),
        (torch.zeros(2, 800), torch.tensor([800]), r"num_samples must be \[2\] integers.*\[1\]"),
        (torch.zeros(2, 800), torch.tensor([1.0, 0.5]), "num_samples must be .* torch.float32"),
    ],
)
def test_impossible_batches_are_refused(
    waveforms: Tensor, num_samples: Tensor | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        LogMelFilterbank()(waveforms, num_samples)
