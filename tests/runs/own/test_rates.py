"""Sample rates and mel ranges that are asked for, and what is told of the energy above them."""

import numpy as np
import pytest
import soundfile

from ssast_recipes.data.manifest import Clip
from ssast_recipes.runs.own.front_ends import choose_front_end
from ssast_recipes.runs.own.geometry import choose_mel_range
from ssast_recipes.runs.own.levels import survey_levels

NOTHING = dict.fromkeys(("sample_rate", "num_mel_bins", "low_frequency", "high_frequency"))


@pytest.mark.parametrize(
    ("kept", "told"), [(8000, "80% of the energy lies above 8 kHz"), (48000, "")]
)
def test_energy_above_what_is_kept_is_told(tmp_path, capsys, kept, told):
    times = np.arange(48000) / 96000
    path = tmp_path / "bat.wav"
    high, low = np.sin(2 * np.pi * 30000 * times), np.sin(2 * np.pi * 3000 * times)
    soundfile.write(path, 0.3 * high + 0.15 * low, 96000)  # 4 to 1
    survey_levels([Clip("bat", str(path), 0.0, 0.5, 96000)], kept)
    assert told in (said := capsys.readouterr().out)
    assert ("energy" in said) == bool(told)


def test_mel_bins_end_where_the_audio_does():
    assert choose_mel_range([96000], 96000) == (128, 0)
    assert choose_mel_range([24000], 32000) == (128, 12000)
    assert choose_mel_range([8000], 8000) == (64, 0)
    assert choose_mel_range([96000], 96000, 40000) == (128, 40000)


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"sample_rate": 192000}, "the audio has 96000 Hz at most"),
        ({"high_frequency": 9000.0}, "is above 8000 Hz, half of the sample rate"),
        ({"low_frequency": 8000.0}, "is not below 8000 Hz"),
        ({"num_mel_bins": 512}, "of 512 mel bins are too narrow"),
        ({"sample_rate": 100}, "mel bins"),
    ],
)
def test_what_cannot_be_is_refused(asked, error):
    with pytest.raises(ValueError, match=error):
        choose_front_end({**NOTHING, **asked}, [96000, 96000])
