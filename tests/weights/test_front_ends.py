"""An encoder goes behind the front end that it learnt behind, whatever tells of that."""

import dataclasses
from pathlib import Path

import pytest
import torch

from ssast_recipes.model.filterbank import LogMelFilterbank
from ssast_recipes.model.front_end import SpectrogramFrontEnd
from ssast_recipes.runs.steps import load_pretrained
from ssast_recipes.weights.exporting import export_huggingface
from ssast_recipes.weights.formats.config import FrontEndConfig
from ssast_recipes.weights.formats.folder import save_model
from ssast_recipes.weights.loading import read_pretrained
from tests.weights.formats.test_recognition import deit
from tests.weights.test_loading import pretraining_model, released_checkpoint, small_encoder

LIKE = FrontEndConfig(16000, 128, 25.0, 10.0, 20.0, 0.0, 128, -4.27, 4.57, True)
KEYS = {"sample_rate": 16000, "num_mel_bins": 128, "low_frequency": 20, "high_frequency": 0}


def front_end(**options) -> SpectrogramFrontEnd:
    return SpectrogramFrontEnd(LogMelFilterbank(**options), target_length=128, mean=-6, std=3)


def load(source: Path, sample_rate: int = 16000, **options) -> None:
    """As a recipe does, whose statistics are another data set's than the encoder's."""
    bins = options.get("num_mel_bins", 128)
    ours = front_end(sample_rate=sample_rate, **options)
    hparams = {**KEYS, "sample_rate": sample_rate, "front_end": ours, "record": {}}
    encoder = small_encoder(num_mel_bins=bins)
    load_pretrained({**hparams, "encoder": encoder, "pretrained_encoder": source})


def folder_of(path: Path, **changes) -> Path:
    config = dataclasses.replace(LIKE, **changes)
    save_model(path, small_encoder(num_mel_bins=config.num_mel_bins), config)
    return path


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"num_mel_bins": 64}, "64 mel bins (here 128); give --num_mel_bins 64"),
        ({"sample_rate": 8000}, "8000 Hz (here 16000); give --sample_rate 8000"),
        ({"high_frequency": 4000.0}, "4000 Hz at the highest (here 0); give --high_frequency 4000"),
        ({"frame_shift": 20.0}, "20 ms from frame to frame (here 10); write frame_shift: 20 at"),
        (
            {"num_mel_bins": 64, "frame_length": 50.0},
            "64 mel bins (here 128) and 50 ms a frame (here 25); give --num_mel_bins 64, and write "
            "frame_length: 50 at the LogMelFilterbank of a YAML file",
        ),
    ],
)
def test_another_front_end_is_refused_with_both_values(tmp_path, changes, told):
    source = folder_of(tmp_path / "model", **changes)
    with pytest.raises(ValueError) as raised:
        load(source)
    line = str(raised.value)
    assert told in line and str(source) in line and "\n" not in line
    own = {
        key: value for key, value in changes.items() if key in ("num_mel_bins", "high_frequency")
    }
    if own == changes:  # the flags that it names do
        load(source, **changes)


def test_the_same_front_end_in_other_words_is_no_other(tmp_path):
    load(folder_of(tmp_path / "top", high_frequency=8000.0))
    load(folder_of(tmp_path / "statistics", mean=0.0, std=1.0, pad_before_standardising=False))
    rounded = folder_of(tmp_path / "rounded", sample_rate=11025)
    load(rounded, sample_rate=11025)


def test_a_checkpoint_has_its_runs_front_end(tmp_path):
    checkpoint = tmp_path / "run" / "save" / "CKPT+1"
    checkpoint.mkdir(parents=True)
    torch.save(pretraining_model().state_dict(), checkpoint / "model.ckpt")
    (checkpoint / "CKPT.yaml").write_text("unixtime: 1")
    load(tmp_path / "run")  # nothing tells more than the patches do
    text = "parts: {a: [!new:ssast_recipes.model.LogMelFilterbank {sample_rate: 22050}]}"
    (tmp_path / "run" / "hyperparams.yaml").write_text(text)
    with pytest.raises(
        ValueError, match=r"behind 22050 Hz \(here 16000\); give --sample_rate 22050"
    ):
        load(tmp_path / "run")
    load(tmp_path / "run", sample_rate=22050)
    torch.save(pretraining_model(num_mel_bins=64).state_dict(), tmp_path / "model.ckpt")
    with pytest.raises(ValueError, match="64 mel bins"):
        load(tmp_path / "model.ckpt")


def test_weights_of_others_have_what_they_are_known_by(tmp_path):
    torch.save(released_checkpoint(), tmp_path / "SSAST.pth")
    load(tmp_path / "SSAST.pth")
    with pytest.raises(ValueError, match=r"16000 Hz \(here 8000\)"):
        load(tmp_path / "SSAST.pth", sample_rate=8000)
    export_huggingface(folder_of(tmp_path / "ours", sample_rate=22050), tmp_path / "theirs")
    assert read_pretrained(tmp_path / "theirs").front_end["sample_rate"] == 22050
    torch.save(deit(side=14), tmp_path / "deit.pth")
    assert read_pretrained(tmp_path / "deit.pth").front_end == {}
