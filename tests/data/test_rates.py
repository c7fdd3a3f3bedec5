import math
import time

import pytest
import torch
import torchaudio

from ssast_recipes.data.rates import kernel_bytes, resample


def tone(rate, seconds=1.0, frequency=440.0):
    places = torch.arange(round(seconds * rate)).double()
    return torch.sin(2 * torch.pi * frequency * places / rate).float()


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 384000])
def test_usual_rates_are_resampled_by_torchaudios_kernels_to_the_bit(rate):
    waveform = torch.rand(rate // 5, generator=torch.Generator().manual_seed(0)) - 0.5
    trained = torchaudio.transforms.Resample(rate, 16000)
    assert torch.equal(resample(waveform, rate, 16000), trained(waveform))
    used = torchaudio.functional.resample(waveform, rate, 16000)
    assert torch.equal(resample(waveform, rate, 16000, torch.float32), used)
    assert kernel_bytes(rate, 16000) == 4 * trained.kernel.numel()


@pytest.mark.parametrize("rate", [11127, 22254, 44099, 44101, 96001])
def test_rates_with_large_kernels_are_resampled_in_no_time(rate):
    assert kernel_bytes(rate, 16000) >= 10_000_000
    began = time.monotonic()
    resampled = resample(tone(rate, 1.01), rate, 16000)
    assert time.monotonic() - began < 2  # torchaudio's kernel takes half a minute and gigabytes
    assert len(resampled) == math.ceil(len(tone(rate, 1.01)) * 16000 / rate)
    middle = slice(2000, -2000)
    torch.testing.assert_close(
        resampled[middle], tone(16000, 1.02)[: len(resampled)][middle], rtol=0, atol=1e-4
    )


def test_what_is_above_the_new_band_is_left_out():
    assert resample(tone(44099, frequency=12000.0), 44099, 16000)[2000:-2000].abs().max() < 1e-4


@pytest.mark.parametrize("rates", [(1, 16000), (16000, 2**31 - 1)])
def test_rates_that_no_audio_has_are_refused(rates):
    with pytest.raises(
        ValueError, match=r"Hz is no sample rate of audio, which is 100 to 10,000,000"
    ):
        resample(torch.zeros(10), *rates)


def test_a_single_sample_is_resampled():
    assert len(resample(torch.ones(1), 11127, 16000)) == 2
