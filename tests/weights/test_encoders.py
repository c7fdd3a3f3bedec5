"""What is known of an encoder to go on from, of every kind that training takes."""

import pytest
import torch

from ssast_recipes.weights.encoders import describe_encoder
from ssast_recipes.weights.exporting import export_huggingface
from ssast_recipes.weights.loading import load_pretrained_encoder
from tests.weights.formats.test_recognition import deit, fine_tuned
from tests.weights.test_front_ends import LIKE, folder_of
from tests.weights.test_loading import (
    pretraining_model,
    released_checkpoint,
    save_run,
    small_encoder,
)

RUN = """mean: -6.5
std: 3.5
target_length: 128
padding: masked
front_end: !new:ssast_recipes.model.LogMelFilterbank {high_frequency: 4000}
"""


@pytest.fixture
def sources(tmp_path):
    """The same encoder in every kind of file and folder; of ours, a run's `model` is also one."""
    ours = folder_of(tmp_path / "run" / "model")
    export_huggingface(ours, tmp_path / "theirs")
    torch.save(released_checkpoint(), tmp_path / "SSAST.pth")
    return {
        "folder": ours,
        "run": tmp_path / "run",
        "file": ours / "model.safetensors",
        "theirs": tmp_path / "theirs",
        "released": tmp_path / "SSAST.pth",
    }


@pytest.mark.parametrize("kind", ["folder", "run", "file", "theirs", "released"])
def test_every_kind_tells_the_same(sources, kind):
    known = describe_encoder(sources[kind])
    sizes = known.architecture
    assert (sizes.embed_dim, sizes.depth, sizes.num_heads) == (128, 2, 2)
    assert (sizes.num_mel_bins, sizes.target_length, sizes.patch_stride) == (128, 128, (16, 16))
    front_end = known.front_end
    assert (front_end.sample_rate, front_end.num_mel_bins, front_end.frame_shift) == (
        16000,
        128,
        10,
    )
    assert front_end.mean == pytest.approx(LIKE.mean, abs=0.01)
    assert not known.masks_padding
    load_pretrained_encoder(small_encoder(), known.path)
    if kind in ("folder", "run"):
        assert known.path == sources["folder"]


def test_the_last_weights_of_a_run_that_was_interrupted(tmp_path):
    metas = {"CKPT+1": {"unixtime": 1, "step": 40}, "CKPT+2": {"unixtime": 2, "step": 80}}
    save_run(tmp_path, metas)
    (tmp_path / "hyperparams.yaml").write_text(RUN)
    known = describe_encoder(tmp_path)
    assert known.path == tmp_path / "save" / "CKPT+2"
    assert known.told == f"{tmp_path} was not finished: its weights of step 80 are taken"
    assert known.masks_padding and known.architecture.patch_size == (16, 16)
    told = known.front_end
    assert (told.high_frequency, told.mean, told.std) == (4000, -6.5, 3.5)
    load_pretrained_encoder(small_encoder(), known.path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "nothing tells its front end"),
        ("mean: 1", "nothing tells its front end"),
        (RUN.replace("mean: -6.5\n", ""), "front_end.mean is None"),
        (RUN.replace("128", "256"), r"its grid is \[8, 8\], by its run's YAML file \(8, 16\)"),
    ],
)
def test_what_a_checkpoint_does_not_tell_is_asked_for(tmp_path, text, told):
    save_run(tmp_path, {"CKPT+1": {"unixtime": 1, "step": 40}})
    if text:
        (tmp_path / "hyperparams.yaml").write_text(text)
    with pytest.raises(ValueError, match=f"CKPT.1/model.ckpt: {told}"):
        describe_encoder(tmp_path)


def test_pictures_may_become_sounds_of_any_kind(tmp_path):
    torch.save(deit(side=14), tmp_path / "deit.pth")
    known = describe_encoder(tmp_path / "deit.pth")
    assert known.architecture.num_mel_bins == 128 and known.front_end.sample_rate == 16000
    assert known.told == "deit.pth: DeiT, distilled"


def test_an_unknown_input_is_to_be_told_to_import(tmp_path):
    torch.save(fine_tuned(7, 12 * 18), tmp_path / "mine.pth")
    with pytest.raises(ValueError, match="give --target_length .* to: ssast import SOURCE OUT; th"):
        describe_encoder(tmp_path / "mine.pth")


def test_a_stray_checkpoint_tells_too_little(tmp_path):
    torch.save(pretraining_model().state_dict(), tmp_path / "model.ckpt")
    with pytest.raises(ValueError, match="give its run's folder, or a model folder"):
        describe_encoder(tmp_path / "model.ckpt")
