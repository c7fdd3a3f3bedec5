import numpy as np
import pytest
import soundfile

from ssast_recipes.data.manifest import Clip
from ssast_recipes.data.rates import resample
from ssast_recipes.runs.own.levels import measure_levels, survey_levels

RATE = 16000
NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, (RATE, 1)).astype(np.float32)
STEREO = np.concatenate([NOISE, np.random.default_rng(1).uniform(-0.5, 0.5, (RATE, 1))], axis=1)


def telephone():
    """Noise of 8 kHz at a rate of 16 kHz, rounded to 16 bits."""
    import torch

    samples = resample(torch.from_numpy(NOISE[: RATE // 2, 0]), 8000, RATE).numpy()
    return (np.round(samples * 2**15) / 2**15)[:, None]


ODD = {
    "is_silent": np.full((RATE, 2), 0.4 / 2**15, np.float32),
    "is_loud": NOISE * 2**15,
    "is_clipped": (NOISE * 2.2).clip(-1, 1 - 2**-15),
    "has_offset": NOISE + 0.05,
    "is_cancelled": np.concatenate([NOISE, -NOISE], axis=1),
    "is_limited": telephone() * 0.9,
}


@pytest.mark.parametrize(
    "samples",
    [NOISE, STEREO, NOISE * 1e-3, NOISE * 1.99, NOISE[:100] - NOISE[:100].mean()],
)
def test_nothing_is_odd_about_usual_audio(samples):
    levels = measure_levels(samples, RATE)
    assert not any((*levels[:5], levels.is_limited))


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_is_told_apart(name):
    levels = measure_levels(ODD[name], RATE)._asdict()
    odd = [key for key, value in levels.items() if value is True]
    assert odd == [name]


@pytest.mark.parametrize(("rate", "is_limited"), [(16000, True), (22050, False), (44100, False)])
def test_the_band_is_that_of_what_is_heard(rate, is_limited):
    """Half of it at 16 kHz; but of 44.1 kHz, a quarter and more reaches what is heard."""
    levels = measure_levels(telephone(), rate)
    assert levels.is_limited == is_limited
    assert rate / 4 < levels.band < 0.35 * rate


def test_the_survey_counts_and_names_them(tmp_path, capsys):
    clips = []
    for name, samples in {**ODD, "usual": NOISE}.items():
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, samples, RATE, subtype="FLOAT")
        clips.append(Clip(name, str(path), 0.0, 1.0, RATE))
    survey_levels([*clips, Clip("gone", str(tmp_path / "gone.wav"), 0.0, 1.0, RATE)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(ODD)
    for name, line in zip(ODD, lines, strict=True):
        assert line.startswith("  1 of 7 clips ") and line.endswith(f"such as {name}.wav")
    with pytest.raises(ValueError, match="all of 2 clips .* or when their channels are averaged"):
        survey_levels([clip for clip in clips if clip.id in ("is_silent", "is_cancelled")])
