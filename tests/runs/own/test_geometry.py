"""What clips are cut into: enough tokens, no empty mel bins, and masks that vary."""

import pytest

from ssast_recipes.model.mask_statistics import measure_masks
from ssast_recipes.model.masking import RandomMasker
from ssast_recipes.runs.own.geometry import (
    KINDS,
    LEAST_TOKENS,
    choose_geometry,
    choose_mel_range,
    choose_target_length,
    count_frames,
    given_geometry,
)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([16000] * 10, (128, 0.0)),
        ([8000] * 10, (64, 4000.0)),
        ([11025] * 10, (80, 5512.5)),
        ([2000] * 10, (32, 1000.0)),
        ([8000] * 19 + [44100], (64, 4000.0)),  # one of twenty has more
        ([8000] * 17 + [44100] * 3, (128, 0.0)),
    ],
)
def test_mel_bins_end_where_the_audio_does(rates, expected):
    assert choose_mel_range(rates) == expected


def test_a_high_share_of_the_files_fits_a_clip():
    assert choose_target_length([0.4] * 90 + [5.0] * 10) == 496  # a tenth is longer
    assert choose_target_length([0.698] * 100) == 64
    assert choose_target_length([0.7] * 97 + [2400.0] * 3) == 64
    assert choose_target_length([12.0] * 3) == 1024


@pytest.mark.parametrize("seconds", [0.01, 0.025, 0.2, 0.457, 1.0, 10.245])
def test_frames_are_those_of_the_filterbank(seconds):
    from ssast_recipes.model.filterbank import LogMelFilterbank

    assert count_frames(seconds) == LogMelFilterbank().num_frames(round(16000 * seconds))


@pytest.mark.parametrize("is_fast", [False, True])
@pytest.mark.parametrize("length", [32, 48, 64, 112, 496, 1024])
@pytest.mark.parametrize("bins", [32, 64, 80, 128])
@pytest.mark.parametrize("kind", KINDS)
def test_there_are_enough_tokens_and_their_masks_vary(kind, bins, length, is_fast):
    geometry = choose_geometry(kind, bins, length, is_fast)
    rows, columns = geometry.grid_size
    assert rows * geometry.patch_size[0] == bins and columns * geometry.patch_size[1] == length
    assert (rows == 1) == (kind == "frame")
    assert geometry.num_tokens >= LEAST_TOKENS[kind]
    masker = RandomMasker(round(0.75 * geometry.num_tokens))
    assert not measure_masks(masker, geometry.grid_size, num_draws=400).is_degenerate


def test_large_patches_are_taken_where_there_are_enough():
    assert choose_geometry("patch", 128, 496, False).patch_size == (16, 16)
    assert choose_geometry("patch", 64, 64, False).patch_size == (8, 8)
    assert choose_geometry("frame", 64, 64, False).patch_size == (64, 2)
    assert choose_geometry("frame", 128, 496, False).patch_size == (128, 4)
    assert choose_geometry("frame", 128, 496, True).patch_size == (128, 2)


def test_clips_are_whole_patches():
    assert choose_geometry("frame", 128, 301, False).target_length == 300
    assert choose_geometry("patch", 128, 69, False).target_length % 8 == 0
    with pytest.raises(ValueError, match="a clip of 1 frames is shorter than a patch"):
        choose_geometry("patch", 128, 1, False)


def test_given_patches_fill_whole_clips():
    assert given_geometry((16, 16), 128, 100).target_length == 96
    assert given_geometry((64, 3), 64, 64) == ("frame", 64, 63, (64, 3))
    with pytest.raises(ValueError, match=r"--patch 16 80: a patch of 80 frames is longer than"):
        given_geometry((16, 80), 128, 64)
