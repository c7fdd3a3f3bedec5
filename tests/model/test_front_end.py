"""The front end: the released loader's numbers, cutting, padding and standardising."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ssast_recipes.model.filterbank import LogMelFilterbank
from ssast_recipes.model.front_end import SpectrogramFrontEnd
from tests.model.test_filterbank import assert_close

AUDIOSET = {"mean": -4.2677393, "std": 4.5689974}
REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "released_model.json").read_text()
)
RELEASED = {key: case for key, case in REFERENCE.items() if key.startswith("fbank/float")}


@pytest.mark.parametrize("key", RELEASED)
def test_equals_the_released_loader(key: str, device: torch.device) -> None:
    """Numbers of the released data loader, for a waveform that is given by a formula."""
    case = RELEASED[key]
    kind, seconds, frames = key.split("/")[1:]
    n = torch.arange(round(float(seconds.removesuffix("s")) * 16000), dtype=torch.float64)
    waveform = (
        0.4 * torch.sin(2 * math.pi * 440 * n / 16000)
        + 0.2 * torch.sin(2 * math.pi * (1000 + 0.05 * n / 16000 * 4000) * n / 16000)
        + 0.05 * torch.sin(12.9898 * n) * torch.cos(0.0007 * n)
    ).float()
    front_end = SpectrogramFrontEnd(
        LogMelFilterbank(), int(frames.removeprefix("T")), **AUDIOSET
    ).to(device)
    is_raw = kind == "float_skipnorm"
    atol = 1e-3 if is_raw else 3e-4
    spectrogram = front_end(waveform.unsqueeze(0).to(device), standardised=not is_raw)[0].cpu()
    assert list(spectrogram.shape) == case["shape"]
    assert front_end.filterbank.num_frames(len(waveform)) == case["n_frames"]
    frames, mel_bins = torch.tensor(case["idx"]).T
    assert_close(spectrogram[frames, mel_bins], torch.tensor(case["samples"]), atol)
    assert_close(spectrogram[-1, :8], torch.tensor(case["last_row_first8"]), atol)
    valid = spectrogram[: case["n_frames"]].double()
    statistics = {
        "mean": spectrogram.double().mean(),
        "std": spectrogram.double().std(),
        "min": spectrogram.min(),
        "max": spectrogram.max(),
        "mean_valid": valid.mean(),
        "std_valid": valid.std(),
    }
    for name, value in statistics.items():
        assert value.item() == pytest.approx(case[name], rel=0, abs=2e-5), name


def test_is_one_graph(device: torch.device, tolerance: float) -> None:
    front_end = SpectrogramFrontEnd(LogMelFilterbank(), 64, **AUDIOSET).to(device)
    waveforms = torch.randn(2, 8000, device=device)
    before, lengths = waveforms.clone(), torch.tensor([8000, 3000], device=device)
    compiled = torch.compile(front_end, backend="aot_eager", fullgraph=True)
    assert_close(compiled(waveforms, lengths), front_end(waveforms, lengths), tolerance)
    assert torch.equal(waveforms, before)


@pytest.mark.parametrize("pad_before_standardising", [True, False])
def test_nothing_waits_for_the_device(pad_before_standardising: bool) -> None:
    """Fake tensors hold no values: whatever wants to read one, as a synchronisation does, fails."""
    with FakeTensorMode():
        front_end = SpectrogramFrontEnd(LogMelFilterbank(), 64, -4, 4, pad_before_standardising)
        spectrograms = front_end(torch.zeros(2, 8000), torch.zeros(2, dtype=torch.int64))
    assert spectrograms.shape == (2, 64, 128)


@pytest.mark.parametrize("pad_before_standardising", [True, False])
@pytest.mark.parametrize("target_length", [1, 30, 48, 64])
def test_cut_pad_and_standardise(
    pad_before_standardising: bool, target_length: int, device: torch.device, tolerance: float
) -> None:
    filterbank = LogMelFilterbank(num_mel_bins=40).to(device)
    front_end = SpectrogramFrontEnd(filterbank, target_length, 3.0, 0.5, pad_before_standardising)
    waveforms, lengths = torch.randn(2, 8000).to(device), torch.tensor([8000, 3600]).to(device)
    spectrograms = front_end(waveforms, lengths)
    assert spectrograms.shape == (2, target_length, 40)
    for spectrogram, waveform, samples in zip(spectrograms, waveforms, lengths, strict=True):
        log_mel = filterbank(waveform[:samples].unsqueeze(0))[0, :target_length]
        assert_close(spectrogram[: len(log_mel)], (log_mel - 3) / (2 * 0.5), tolerance)
        assert (spectrogram[len(log_mel) :] == (-3 if pad_before_standardising else 0)).all()


def test_raw_then_standardise_is_forward(device: torch.device) -> None:
    front_end = SpectrogramFrontEnd(LogMelFilterbank(), 60, **AUDIOSET).to(device)
    waveforms = torch.randn(2, 8000, device=device)
    raw = front_end(waveforms, standardised=False)
    assert torch.equal(raw[:, :48], front_end.filterbank(waveforms)) and (raw[:, 48:] == 0).all()
    assert torch.equal(front_end(waveforms), front_end.standardise(raw))
    assert_close(front_end(waveforms), (raw + 4.2677393) / 9.1379948, 1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_length": 0}, "target_length must be at least 1 frame, not 0"),
        ({"std": 0.0}, "std must be positive, not 0.0"),
        ({"std": -1.0}, "std must be positive, not -1.0"),
        ({"std": math.nan}, "std must be positive, not nan"),
    ],
)
def test_impossible_front_ends_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpectrogramFrontEnd(LogMelFilterbank(), **({"target_length": 8} | AUDIOSET | options))


@pytest.mark.parametrize("samples", [0, 1, 399])
def test_less_than_a_frame_gives_no_frame(samples: int, device: torch.device) -> None:
    filterbank = LogMelFilterbank().to(device)
    waveforms = torch.ones(2, samples, device=device)
    log_mel = filterbank(waveforms)
    assert log_mel.shape == (2, 0, 128) and log_mel.dtype == torch.float32
    for pad_before_standardising, padding in ((True, 0.4670324), (False, 0.0)):
        front_end = SpectrogramFrontEnd(
            filterbank, 64, **AUDIOSET, pad_before_standardising=pad_before_standardising
        )
        assert_close(front_end(waveforms), torch.full((2, 64, 128), padding), 1e-6)


def test_precision_is_32_bit_under_autocast_and_without_gradient(device: torch.device) -> None:
    front_end = SpectrogramFrontEnd(LogMelFilterbank(), 100, **AUDIOSET).to(device)
    waveforms = torch.randn(2, 8000, device=device, requires_grad=True)
    expected = front_end(waveforms)
    with torch.autocast(device.type, torch.bfloat16):
        spectrograms = front_end(waveforms)
    assert spectrograms.dtype == torch.float32 and not spectrograms.requires_grad
    assert torch.equal(spectrograms, expected)


def test_buffers_are_32_bit_and_not_saved() -> None:
    front_end = SpectrogramFrontEnd(LogMelFilterbank(), 100, **AUDIOSET)
    assert [buffer.dtype for buffer in front_end.buffers()] == [torch.float32] * 2
    assert not front_end.state_dict() and not list(front_end.parameters())
