import math

import pytest
import torch

from ssast_recipes.data.mixup import Mixup, mix_waveforms
from ssast_recipes.model.augment import NoiseAndRoll, SpecAugment
from ssast_recipes.model.randomness import ClipGenerator
from tests.reference import formulas

CLIPS = 20_000


def generator(device, clips=CLIPS, seed=1, step=1):
    return ClipGenerator(seed, step, torch.arange(clips, device=device))


def stretches(is_masked):
    """First place and length of the one masked stretch of every row, [clips, places]."""
    edges = torch.nn.functional.pad(is_masked.int(), (1, 1)).diff(dim=1)
    assert ((edges == 1).sum(dim=1) <= 1).all()
    return is_masked.int().argmax(dim=1), is_masked.sum(dim=1)


def masked_by(augment, device, frames=20, mel_bins=10, clips=CLIPS):
    return (
        augment(torch.ones(clips, frames, mel_bins, device=device), generator(device, clips)) == 0
    )


@pytest.mark.parametrize("axis", ["mel bins", "frames"])
def test_one_stretch_of_the_axis_is_zeroed_as_by_torchaudio(device, axis):
    """Width w = floor(u * max) and start floor(v * (length - u * max)), u and v uniform."""
    length, maximum = 20, 6
    if axis == "mel bins":
        masked = masked_by(SpecAugment(maximum, 0), device, frames=3, mel_bins=length)
        assert (masked == masked[:, :1]).all()  # the same in all frames
        masked = masked[:, 0]
    else:
        masked = masked_by(SpecAugment(0, maximum), device, frames=length, mel_bins=3)
        assert (masked == masked[:, :, :1]).all()
        masked = masked[:, :, 0]
    starts, widths = (part.cpu() for part in stretches(masked))
    counts = torch.bincount(widths, minlength=maximum + 1)
    assert counts[maximum] == 0
    deviation = math.sqrt(CLIPS * (1 / maximum) * (1 - 1 / maximum))
    assert (counts[:maximum] - CLIPS / maximum).abs().max() < 4.5 * deviation
    for width in range(1, maximum):
        found = torch.bincount(starts[widths == width], minlength=length) / (widths == width).sum()
        # Of a start drawn from length - u * max, with u * max uniform in [width, width + 1).
        rooms = length - (width + (torch.arange(1000) + 0.5) / 1000)
        places = torch.arange(length)[:, None]
        expected = ((rooms - places).clamp(0, 1) / rooms).mean(dim=1)
        assert (found - expected).abs().max() < 4.5 * math.sqrt(0.06 * maximum / CLIPS)
        assert found[length - width + 1 :].sum() == 0
    assert (starts + widths)[widths > 0].max() == length - 1  # a quirk: never the last place
    assert starts[widths > 0].min() == 0


def test_band_and_stretch_are_independent_and_both_there(device):
    masked = masked_by(SpecAugment(6, 10), device, frames=40, mel_bins=16)
    bands, stretch = masked.all(dim=1), masked.all(dim=2)  # [clips, mel bins], [clips, frames]
    assert torch.equal(masked, bands[:, None, :] | stretch[:, :, None])
    widths = torch.stack([bands.sum(dim=1), stretch.sum(dim=1)]).float()
    assert widths.corrcoef()[0, 1].abs() < 4.5 / math.sqrt(CLIPS)
    assert widths.mean(dim=1).tolist() == pytest.approx([2.5, 4.5], abs=0.1)


def test_what_is_not_masked_stays_and_nothing_changes_in_place(device):
    spectrograms = torch.randn(50, 40, 16, device=device)
    before = spectrograms.clone()
    augmented = SpecAugment(6, 10)(spectrograms, generator(device, 50))
    assert torch.equal(spectrograms, before)
    assert (augmented != before).any()
    assert ((augmented == before) | (augmented == 0)).all()


def test_nothing_is_masked_if_the_widths_are_zero(device):
    assert not masked_by(SpecAugment(0, 0), device, clips=100).any()


@pytest.mark.parametrize("augment", [SpecAugment(11, 0), SpecAugment(0, 21)])
def test_a_mask_that_may_not_fit_is_refused(augment):
    with pytest.raises(ValueError, match="does not fit spectrograms of 10 mel bins and 20 frames"):
        augment(torch.ones(1, 20, 10), generator("cpu", 1))


def test_noise_is_uniform_with_a_level_of_its_own_for_every_clip(device):
    noise = NoiseAndRoll()(torch.zeros(2000, 64, 16, device=device), generator(device, 2000))
    highest = noise.amax(dim=(1, 2))
    assert noise.min() >= 0 and 0.099 < highest.max() <= 0.1 and highest.min() < 1e-3
    # Levels are uniform in [0, 0.1), and within a clip the noise in [0, level).
    levels = highest.sort().values * 10
    places = (torch.arange(2000, device=device) + 0.5) / 2000
    assert (levels - places).abs().max() < 2 / math.sqrt(2000)
    scaled = noise / highest[:, None, None]
    for share in (0.1, 0.5, 0.9):
        assert ((scaled < share).float().mean() - share).abs() < 0.005
    assert scaled.flatten(1).std(dim=1).mean().item() == pytest.approx(math.sqrt(1 / 12), rel=0.01)


def test_frames_are_rolled_by_minus_ten_to_nine(device):
    frames = 64
    marked = torch.zeros(CLIPS, frames, 2, device=device)
    marked[:, 30] = 1.0  # noise is below 0.1
    rolled = NoiseAndRoll()(marked, generator(device))
    shifts = rolled[:, :, 0].argmax(dim=1) - 30
    counts = torch.bincount(shifts.cpu() + 10, minlength=20)
    assert len(counts) == 20
    assert (counts - CLIPS / 20).abs().max() < 4.5 * math.sqrt(CLIPS / 20)
    assert torch.equal((rolled > 0.5).sum(dim=1), torch.ones(CLIPS, 2, device=device).long())


def test_rolling_wraps_around_as_torch_does(device):
    values = torch.arange(30.0, device=device).reshape(1, 30, 1).expand(200, 30, 4) * 10
    rolled = NoiseAndRoll(max_shift=40)(values, generator(device, 200))
    shifts = (values[:, 0, 0] - rolled[:, 0, 0]).div(10).round().long() % 30
    for clip in range(200):
        expected = values[clip].roll(int(shifts[clip]), dims=0)
        assert (rolled[clip] - expected).abs().max() <= 0.1


def test_without_a_shift_there_is_only_noise(device):
    values = torch.arange(30.0, device=device).reshape(1, 30, 1).expand(50, 30, 4)
    noise = NoiseAndRoll(max_shift=0)(values, generator(device, 50)) - values
    assert noise.min() >= 0 and noise.max() < 0.1001


@pytest.mark.parametrize("augment", [SpecAugment(8, 16), NoiseAndRoll()])
def test_a_clip_is_augmented_alike_in_whatever_batch(device, augment):
    spectrograms = torch.randn(6, 32, 16, device=device)
    places = torch.arange(6, device=device)
    whole = augment(spectrograms, ClipGenerator(3, 5, places))
    part = augment(spectrograms[4:], ClipGenerator(3, 5, places[4:]))
    assert torch.equal(part, whole[4:])
    other = augment(spectrograms, ClipGenerator(3, 6, places))
    assert not torch.equal(other, whole)


# ---- mixup


def one_hot_clip(index, num_clips, length=4):
    target = torch.zeros(num_clips)
    target[index] = 1.0
    return {"id": f"clip{index}", "waveform": torch.randn(length), "target": target}


def draw_mixtures(mixup, draws, num_clips=50, index=0):
    """Partner and share of every draw; a partner of None is a clip left alone."""
    clips = [one_hot_clip(number, num_clips) for number in range(num_clips)]
    found = []
    for occasion in range(draws):
        asked = []
        mixed = mixup(
            clips[index], occasion, num_clips, lambda n, asked=asked: asked.append(n) or clips[n]
        )
        assert len(asked) <= 1
        assert (mixed is clips[index]) == (not asked)
        found.append((asked[0] if asked else None, mixed["target"][index].item()))
    return found


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.6, 1.0])
def test_clips_are_mixed_at_the_rate(rate):
    draws = 4000
    mixed = sum(partner is not None for partner, _ in draw_mixtures(Mixup(rate, seed=1), draws))
    assert abs(mixed - rate * draws) <= 4 * math.sqrt(draws * rate * (1 - rate))


def test_partners_are_uniform_and_shares_are_beta_distributed():
    draws, num_clips = 20_000, 50
    found = draw_mixtures(Mixup(rate=1.0, seed=1), draws, num_clips)
    counts = torch.bincount(torch.tensor([partner for partner, _ in found]), minlength=num_clips)
    assert len(counts) == num_clips  # the clip itself among them
    chi_square = ((counts - draws / num_clips) ** 2 / (draws / num_clips)).sum().item()
    assert abs(chi_square - (num_clips - 1)) < 4 * math.sqrt(2 * (num_clips - 1))
    shares = torch.tensor([share for partner, share in found if partner != 0]).double()
    # Of Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1)), kurtosis 3 - 6 / (2 a + 3).
    variance = 1 / (4 * 21)
    assert abs(shares.mean().item() - 0.5) < 4 * math.sqrt(variance / len(shares))
    assert shares.var().item() == pytest.approx(variance, rel=0.04)
    kurtosis = ((shares - 0.5) ** 4).mean().item() / variance**2
    assert kurtosis == pytest.approx(3 - 6 / 23, rel=0.06)
    # Partner and share are drawn apart from each other.
    partners = torch.tensor([float(partner) for partner, _ in found if partner != 0]).double()
    correlation = torch.corrcoef(torch.stack([partners, shares]))[0, 1]
    assert abs(correlation.item()) < 4 / math.sqrt(len(shares))


def test_targets_mix_as_the_waveforms_do():
    first = {
        "id": "a",
        "waveform": torch.tensor([1.0, -1.0, 1.0, -1.0]),
        "target": torch.tensor([1.0, 0.0, 1.0, 0.0]),
    }
    second = {
        "id": "b",
        "waveform": torch.tensor([1.0, 1.0, -1.0, -1.0]),
        "target": torch.tensor([0.0, 0.0, 1.0, 1.0]),
    }
    mixed = Mixup(rate=1.0, seed=1)(first, 1, 1, lambda _: second)
    share = mixed["target"][0].item()
    assert 0.1 < share < 0.9
    expected = torch.tensor([share, 0.0, 1.0, 1 - share])
    torch.testing.assert_close(mixed["target"], expected)
    # The two waveforms are orthogonal, so the mixture tells what each contributes.
    assert mixed["waveform"].dot(first["waveform"]).item() / 4 == pytest.approx(share)
    assert mixed["waveform"].dot(second["waveform"]).item() / 4 == pytest.approx(1 - share)
    assert first["target"].tolist() == [1, 0, 1, 0] and second["target"].tolist() == [0, 0, 1, 1]
    assert torch.equal(first["waveform"], torch.tensor([1.0, -1.0, 1.0, -1.0]))


@pytest.mark.parametrize("lengths", [(500, 500), (500, 300), (500, 900), (1, 3)])
def test_mixtures_have_the_first_waveforms_length_and_no_mean(device, lengths):
    first, second = (torch.rand(length, device=device) + 3 for length in lengths)
    mixture = mix_waveforms(first, second, 0.3)
    torch.testing.assert_close(mixture, formulas.mix(first, second, 0.3))
    assert len(mixture) == lengths[0]
    assert abs(mixture.mean().item()) < 1e-6
    assert (mixture.abs() < 2).all()  # without the offsets, those of the padding too


def test_draws_are_a_function_of_seed_occasion_and_clip():
    def mix(seed=1, occasion="1 0", clip_id="a"):
        clip = {"id": clip_id, "waveform": torch.ones(2), "target": torch.ones(1)}
        partner = {"id": "b", "waveform": torch.ones(2), "target": torch.zeros(1)}
        return Mixup(1.0, seed)(clip, occasion, 9, lambda _: partner)["target"].item()

    first = mix()
    torch.manual_seed(3)
    assert mix() == first
    others = [mix(seed=2), mix(occasion="2 0"), mix(occasion="1 1"), mix(clip_id="c"), first]
    assert len(set(others)) == 5


@pytest.mark.parametrize("clip", [{"target": torch.tensor(3)}, {}])
@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_targets_that_cannot_be_mixed_are_refused(clip, rate):
    clip = {"id": "a", "waveform": torch.ones(2), **clip}
    with pytest.raises(ValueError, match="mixup mixes targets of one number a class.*MultiHot"):
        Mixup(rate)(clip, 1, 1, lambda _: clip)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"rate": 1.5}, "rate of mixup is from 0 to 1, not 1.5"),
        ({"rate": -0.1}, "rate of mixup is from 0 to 1, not -0.1"),
        ({"concentration": 0}, "concentration of mixup is above 0, not 0"),
    ],
)
def test_impossible_mixups_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Mixup(**arguments)
