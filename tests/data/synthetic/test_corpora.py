import csv

import numpy as np
import pytest
import soundfile
import torch

from ssast_recipes.data.synthetic import FAMILIES, make_esc50, make_sound
from ssast_recipes.model.filterbank import LogMelFilterbank


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sound_is_a_function_of_its_random_numbers(family):
    first, again, other = (
        make_sound(family, 0.5, 16000, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert first.shape == (8000,) and first.dtype == np.float32
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert 0.03 < np.abs(first).max() <= 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sound_stands_out_of_the_background_as_asked(family):
    onset = round(8000 * np.random.default_rng(3).uniform(0, 0.3))  # the first that is drawn
    clips = [
        make_sound(family, 0.5, 16000, np.random.default_rng(3), signal_to_noise=(ratio, ratio))
        for ratio in (40, 60, 200)
    ]
    before = [clip[:onset].std() for clip in clips]
    assert 20 * np.log10(before[0] / before[1]) == pytest.approx(20, abs=0.01)
    # The sound's peak is its level; the background's deviation is 1/100 of that at 40 dB.
    background = clips[0] - clips[2]
    assert np.abs(clips[2]).max() / background.std() == pytest.approx(100, rel=0.01)


@pytest.mark.parametrize(("family", "rises"), [("sweep", True), ("fall", False)])
def test_sweeps_rise_and_falls_fall(family, rises):
    random = np.random.default_rng(4)
    seconds = np.arange(16000) / 16000
    sound = FAMILIES[family](seconds, 500.0, random)
    peaks = np.abs(np.fft.rfft(sound.reshape(40, 400), axis=1)).argmax(axis=1)  # every 25 ms
    steps = np.diff(peaks)
    assert (np.sum(steps > 0) > 3 * np.sum(steps < 0)) == rises


def test_families_are_told_apart_by_how_energy_and_pitch_move():
    """The most similar of twelve clips a family is of the same family; by chance 1 in 13."""
    log_mel = LogMelFilterbank()

    def describe(seed, num_clips):
        features = []
        for number, family in enumerate(FAMILIES):
            draws = [np.random.default_rng([seed, number, clip]) for clip in range(num_clips)]
            clips = np.stack([make_sound(family, 0.7, 16000, random) for random in draws])
            spectrograms = log_mel(torch.from_numpy(clips))
            energy = spectrograms.exp().sum(2).clamp_min(1e-9).log()
            peak = spectrograms.argmax(2).float()  # [clips, frames]
            step = peak.diff(dim=1)
            features.append(
                torch.stack(
                    [
                        energy.std(1),
                        energy.diff(dim=1).std(1),
                        peak.std(1),
                        (step > 0).float().mean(1),
                        (step < 0).float().mean(1),
                        (step.abs() > 8).float().mean(1),
                        spectrograms.std(2).mean(1),
                        spectrograms.std(1).mean(1),
                    ],
                    dim=1,
                )
            )
        return torch.cat(features), torch.arange(len(FAMILIES)).repeat_interleave(num_clips)

    (known, families), (unknown, truth) = describe(1, 12), describe(2, 6)
    scale = known.std(0)
    nearest = torch.cdist(unknown / scale, known / scale).argmin(1)
    assert (families[nearest] == truth).float().mean() > 0.5


def test_more_clips_change_none_that_were_there(tmp_path):
    few = make_esc50(tmp_path / "few", 1, num_classes=2, num_folds=2, duration=0.1)
    many = make_esc50(tmp_path / "many", 30, num_classes=13, num_folds=2, duration=0.1)
    for path in (few / "audio").iterdir():
        assert path.read_bytes() == (many / "audio" / path.name).read_bytes()
    with open(many / "meta" / "esc50.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = {row["filename"] for row in rows}
    assert len(rows) == len(names) == 30 * 13 * 2
    assert names == {path.name for path in (many / "audio").iterdir()}
    assert len({row["category"] for row in rows}) == 13
    for row in rows[:40]:
        fold, source, take, target = row["filename"].removesuffix(".wav").split("-")
        assert (fold, source, take, target) == (
            row["fold"], row["src_file"], row["take"], row["target"]
        )  # fmt: skip


def test_classes_beyond_the_families_differ_in_pitch(tmp_path):
    folder = make_esc50(tmp_path, 1, num_classes=len(FAMILIES) + 1, num_folds=1, duration=0.5)
    with open(folder / "meta" / "esc50.csv", newline="", encoding="utf-8") as file:
        names = {row["category"]: row["filename"] for row in csv.DictReader(file)}

    def peak(category):
        samples, rate = soundfile.read(folder / "audio" / names[category])
        return np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples)

    assert peak("tone_0") < 800 < peak("tone_1")


def test_what_does_not_fit_the_layout_is_refused(tmp_path):
    for wrong in ({"num_classes": 51}, {"num_folds": 6}, {"clips_per_class_and_fold": 0}):
        with pytest.raises(ValueError, match="ESC-50's layout has room for"):
            make_esc50(tmp_path, **wrong)
