"""Reference cases of what goes into the model: spectrograms and masks."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssast_recipes.data.mixup import mix_waveforms
from ssast_recipes.model.filterbank import LogMelFilterbank
from ssast_recipes.model.front_end import SpectrogramFrontEnd
from ssast_recipes.model.masking import OfficialClusterMasker, RandomMasker
from ssast_recipes.model.randomness import ClipGenerator
from tests.reference import formulas
from tests.reference.comparisons import Comparison, NothingToMatch, absolute, exact, parse, within
from tests.reference.mask_statistics import mask_statistics

AUDIOSET = {"mean": -4.2677393, "std": 4.5689974}
# Beside 2000 or fewer draws of the reference, the noise of these hardly counts.
DRAWS = 20000


def check_spectrogram(key: str, case: Mapping[str, Any]) -> list[Comparison]:
    """`fbank`: the spectrogram of the formula waveform, its statistics and some of its values."""
    if key == "fbank/meta":
        return _check_constants(case)
    fields = parse(
        key,
        r"fbank/(?P<source>float|pcm16|mixup(?P<share>[\d.]+)(_pcm16)?)(?P<raw>_skipnorm)?"
        r"/(?P<seconds>[\d.]+)s(\+(?P<more_seconds>[\d.]+)s)?(/T(?P<frames>\d+))?",
        "fbank/{float|pcm16|mixup{share}}[_skipnorm]/{seconds}s[+{seconds}s][/T{frames}]",
    )
    if (fields["share"] is None) != (fields["more_seconds"] is None):
        raise ValueError("a mixup, and nothing else, has the seconds of two waveforms")
    quantisations = formulas.QUANTISATIONS if "pcm16" in fields["source"] else (None,)
    readings = []
    for quantise in quantisations:
        waveform = formulas.waveform(float(fields["seconds"]), quantise)
        if fields["share"] is not None:
            other = formulas.waveform(float(fields["more_seconds"]), quantise)
            waveform = mix_waveforms(waveform, other, float(fields["share"]))
        readings.append(_compare_spectrogram(case, waveform, fields))
    return min(readings, key=lambda comparisons: max(each.severity for each in comparisons))


def _compare_spectrogram(
    case: Mapping[str, Any], waveform: Tensor, fields: Mapping[str, str | None]
) -> list[Comparison]:
    frames = int(fields["frames"] or case["shape"][0])
    front_end = SpectrogramFrontEnd(LogMelFilterbank(), frames, **AUDIOSET)
    spectrogram = front_end(waveform.unsqueeze(0), standardised=False)
    if not fields["raw"]:
        spectrogram = front_end.standardise(spectrogram)
    spectrogram = spectrogram[0].double()  # [frames, mel bins]
    num_frames = front_end.filterbank.num_frames(len(waveform))
    valid = spectrogram[:num_frames]
    statistics = {
        "mean": spectrogram.mean(),
        "std": spectrogram.std(),
        "min": spectrogram.min(),
        "max": spectrogram.max(),
        "mean_valid": valid.mean(),
        "std_valid": valid.std(),
    }
    samples = {"last_row_first8": spectrogram[-1, :8]}
    if "samples" in case:
        samples["samples"] = [spectrogram[frame, mel_bin] for frame, mel_bin in case["idx"]]
    is_coarse = fields["raw"] or "pcm16" in fields["source"]
    return (
        exact(case, {"n_frames": num_frames, "shape": spectrogram.shape})
        + absolute(case, statistics, tolerance=2e-5)
        + absolute(case, samples, tolerance=1e-3 if is_coarse else 3e-4)
    )


def _check_constants(case: Mapping[str, Any]) -> list[Comparison]:
    front_end = SpectrogramFrontEnd(LogMelFilterbank(), 128, **AUDIOSET)
    noise = torch.from_numpy(formulas.noise(formulas.SAMPLE_RATE, seed=0)).float().unsqueeze(0)
    log_mel = front_end.filterbank(noise)[0]  # [frames, mel bins]
    floor = front_end.filterbank(torch.zeros_like(noise)).max()
    empty_mel_bins = (log_mel == floor).all(dim=0).nonzero().flatten()
    constants = {"log_floor": floor, "pad_value_normalised": front_end(noise)[0, -1, 0]}
    return exact(case, {"empty_mel_bins": empty_mel_bins}) + absolute(case, constants, 2e-5)


def check_masks(key: str, case: Mapping[str, Any]) -> list[Comparison]:
    """`mask`: statistics over many masks."""
    fields = parse(
        key,
        r"mask/(?P<family>patch|patch_by_cluster|patch_pretrunc|frame|uniform_reference)"
        r"/(.+/)?N(?P<masked>\d+)(/c(?P<factor>\d+))?",
        "mask/{family}/N{masked}[/c{factor}]",
    )
    family = fields["family"]
    if family == "patch_pretrunc":
        raise NothingToMatch("facts about the released masker before it drops its surplus")
    if (family == "patch_by_cluster") != (fields["factor"] is not None):
        raise ValueError("masks by cluster factor, and no others, end in /c{factor}")
    num_masked = int(fields["masked"])
    if family in ("frame", "uniform_reference"):
        masker = RandomMasker(num_masked)
    elif family == "patch":
        masker = OfficialClusterMasker(num_masked)
    else:
        masker = OfficialClusterMasker(num_masked, (int(fields["factor"]),))
    grid_size = tuple(case.get("grid_size", (1, 512) if family == "frame" else (8, 64)))
    draws = case.get("draws", 2000)
    # The extremes grow with the number of draws, so these alone need the reference's number.
    few = _statistics(masker, grid_size, draws)
    extremes = {name: few[name] for name in ("freq_min", "freq_max")}
    return _compare_masks(case, _statistics(masker, grid_size) | extremes, family, draws)


@cache
def _statistics(
    masker: RandomMasker | OfficialClusterMasker, grid_size: tuple[int, int], draws: int = DRAWS
) -> dict[str, Any]:
    batches = torch.arange(draws).split(500)  # small enough for the processor's cache
    masks = [masker(ClipGenerator(seed=1, step=0, places=places), grid_size) for places in batches]
    return mask_statistics(torch.cat(masks).numpy(), grid_size)


def _compare_masks(
    case: Mapping[str, Any], ours: Mapping[str, Any], family: str, draws: int
) -> list[Comparison]:
    with_errors = ("n_components", "largest_component", "neighbour_frac", "highest_index")
    shares = ("p_patch0", "p_patch1", "p_patch511", "p_last_row_16", "freq_min", "freq_max")
    tolerances: dict[str, Any] = {"row_freq": 0.01 if family == "patch" else 0.02}
    if family == "patch":
        tolerances["col_freq"] = 0.04
    else:
        shares += ("col_freq",)
    for name in (name for name in shares if name in case):
        # A share that one side saw as 0 has no error of its own: take both sides' middle.
        middle = (np.asarray(case[name]) + np.asarray(ours[name])) / 2
        tolerances[name] = 4 * np.sqrt(middle * (1 - middle) / draws)
    means = {name: case[name][0] for name in with_errors if name in case}
    for name in means:
        tolerances[name] = 4 * np.hypot(case[name][1], ours[name][1])
    return (
        exact(case, {name: ours[name] for name in ("masked_mean", "masked_min")})
        + within(case, {name: ours[name] for name in ("row_freq", "col_freq", *shares)}, tolerances)
        + within(means, {name: ours[name][0] for name in means}, tolerances)
    )
