import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from ssast_recipes.brains.pictures import draw_reconstructions
from ssast_recipes.model.filterbank import LogMelFilterbank
from ssast_recipes.model.patches import patchify
from tests.conftest import REPOSITORY


def drawn(figure, row, column, num_columns=3):
    """What a picture shows, [frames, mel bins]."""
    (image,) = figure.axes[num_columns * row + column].get_images()
    return torch.from_numpy(np.ma.filled(image.get_array().astype(float), np.nan)).T, image


@pytest.fixture
def example():
    """Four clips, their masked patches and what was put there, of an 8 x 4 grid."""
    spectrograms = torch.randn(4, 64, 128)
    masked = torch.stack([torch.randperm(32)[:10].sort().values for _ in range(4)])
    return spectrograms, masked, torch.randn(4, 10, 256)


def test_every_clip_is_drawn_whole_then_masked_then_redrawn(example):
    spectrograms, masked, predictions = (values[1:3] for values in example)
    figure = draw_reconstructions(spectrograms, masked, predictions, (16, 16), (8, 4), num_clips=2)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["spectrogram", "as the encoder sees it", "reconstruction", "", "", ""]
    for row in range(2):
        whole, hidden, redrawn = (drawn(figure, row, column)[0] for column in range(3))
        assert torch.equal(whole.float(), spectrograms[row])
        patches = patchify(spectrograms[row : row + 1], (16, 16))[0]
        is_masked = torch.zeros(32, dtype=torch.bool).index_fill(0, masked[row], True)
        for found, inside in ((hidden, math.nan), (redrawn, predictions[row])):
            found = patchify(found.float().unsqueeze(0), (16, 16))[0]
            assert torch.equal(found[~is_masked], patches[~is_masked])
            expected = torch.as_tensor(inside).expand(10, 256)
            torch.testing.assert_close(found[is_masked], expected, rtol=0, atol=0, equal_nan=True)


def test_a_clips_pictures_share_its_own_colours_and_lie_low_to_high(example):
    spectrograms, masked, predictions = (values[:3] for values in example)
    figure = draw_reconstructions(spectrograms, masked, 100 * predictions, (16, 16), (8, 4))
    for row in range(3):
        limits = {drawn(figure, row, column)[1].get_clim() for column in range(3)}
        assert limits == {(spectrograms[row].min().item(), spectrograms[row].max().item())}
        assert drawn(figure, row, 0)[1].origin == "lower"


@pytest.mark.parametrize(
    ("num_clips", "chosen"), [(1, [0]), (2, [0, 6]), (3, [0, 3, 6]), (4, [0, 2, 4, 6])]
)
def test_clips_are_spread_over_the_batch_with_all_that_is_theirs(num_clips, chosen, device):
    spectrograms = torch.arange(7.0, device=device).view(7, 1, 1).expand(7, 64, 128)
    masked = torch.arange(7, device=device).view(7, 1)
    predictions = (100 + masked).unsqueeze(2).expand(7, 1, 256)
    figure = draw_reconstructions(
        spectrograms, masked, predictions, (16, 16), (8, 4), num_clips=num_clips
    )
    for row, clip in enumerate(chosen):
        whole, _, redrawn = (drawn(figure, row, column)[0] for column in range(3))
        assert whole.unique().tolist() == [clip]
        patches = patchify(redrawn.float().unsqueeze(0), (16, 16))[0]
        expected = torch.full((32, 256), float(clip))
        expected[clip] = 100 + clip
        assert torch.equal(patches, expected)
    assert len(figure.axes) == 3 * num_clips


def test_what_was_found_is_drawn_where_it_was_masked(example):
    spectrograms, masked, _ = (values[:2] for values in example)
    elsewhere = (masked + 1) % 32
    is_found = (torch.arange(20).view(2, 10) % 3 == 0).float()
    is_found[:, 4] = math.nan
    figure = draw_reconstructions(
        spectrograms, masked, None, (16, 16), (8, 4), found=(elsewhere, is_found)
    )
    titles = [axis.get_title() for axis in figure.axes[:3]]
    assert titles == ["spectrogram", "as the encoder sees it", "found (green), missed (red)"]
    for row in range(2):
        hits, image = drawn(figure, row, 2)
        expected = torch.full((32, 256), math.nan)
        expected[elsewhere[row]] = is_found[row].unsqueeze(1).expand(10, 256)
        patches = patchify(hits.float().unsqueeze(0), (16, 16))[0]
        torch.testing.assert_close(patches, expected, rtol=0, atol=0, equal_nan=True)
        red, green = image.cmap(0.0), image.cmap(1.0)
        assert red[0] > red[1] and green[1] > green[0] and image.get_clim() == (0, 1)


def test_fewer_clips_than_asked_for_are_drawn(example):
    spectrograms, masked, predictions = (values[:1] for values in example)
    figure = draw_reconstructions(spectrograms, masked, predictions, (16, 16), (8, 4))
    assert len(figure.axes) == 3


def test_frames_and_half_precision_are_drawn_too(example, device):
    masked = torch.tensor([[0, 5, 31]], device=device)
    spectrograms = torch.randn(1, 64, 128, device=device)
    predictions = torch.randn(1, 3, 256, device=device, dtype=torch.bfloat16)
    figure = draw_reconstructions(spectrograms, masked, predictions, (128, 2), (1, 32))
    redrawn = drawn(figure, 0, 2)[0].float()
    expected = predictions[0, 1].float().cpu().reshape(128, 2).T
    assert torch.equal(redrawn[10:12], expected)


@pytest.mark.parametrize("low", [20.0, 1500.0])
def test_axes_are_in_seconds_and_kilohertz(example, low):
    """Where the filterbank puts a tone and a click."""
    filterbank = LogMelFilterbank(16000, 128, low_frequency=low)
    tone = torch.sin(2 * math.pi * 4000 * torch.arange(filterbank.num_samples(64)) / 16000)
    loudest = filterbank(tone.unsqueeze(0))[0].mean(dim=0).argmax().item()
    figure = draw_reconstructions(*example, (16, 16), (8, 4), filterbank=filterbank)
    labels = {axis.get_xlabel() for axis in figure.axes}
    assert labels == {"", "time / s"}
    assert {axis.get_ylabel() for axis in figure.axes} == {"", "frequency / kHz"}
    axis = figure.axes[-3]  # at the left and at the bottom, with labels
    names = [text.get_text() for text in axis.get_yticklabels()]
    assert names == ["0.5", "1", "2", "4"][2 * (low > 1000) :]
    heights = dict(zip(names, axis.get_yticks(), strict=True))
    assert heights["4"] == pytest.approx(loudest, abs=0.6)
    names = [text.get_text() for text in axis.get_xticklabels()]
    places = dict(zip(names, axis.get_xticks(), strict=True))
    assert places["0"] == -0.5 and places["0.6"] == pytest.approx(59.5)
    assert axis.get_xlim() == (-0.5, 63.5) and axis.get_ylim() == (-0.5, 127.5)


TRAINING = """
import sys
from pathlib import Path
from tests.brains.tiny import Clips, classification_brain, fit, pretraining_brain

folder = Path(sys.argv[1])
fit(pretraining_brain(folder / "encoder"), Clips(8))
brain = fit(classification_brain(folder / "classifier"), Clips(8), Clips(4))
brain.evaluate(Clips(4))
print({name.partition(".")[0] for name in sys.modules} & {"matplotlib", "tensorboard"})
"""


def test_what_draws_is_imported_where_something_is_drawn(tmp_path):
    """And TensorBoard, where it is written for: half a second and a hundred megabytes."""
    command = [sys.executable, "-c", TRAINING, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.stdout.endswith("set()\n"), done.stdout + done.stderr
