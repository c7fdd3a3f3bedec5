"""Fine-tuning ESC-50 from what others made: a released file, a folder of ours or Hugging Face's."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from ssast_recipes.model.encoder import AudioSpectrogramTransformer
from ssast_recipes.model.grid import adapt_positions
from ssast_recipes.weights import downloads
from ssast_recipes.weights.downloads import ReleasedWeights
from ssast_recipes.weights.formats.huggingface import ours_to_huggingface
from ssast_recipes.weights.formats.ssast import released_to_ours
from ssast_recipes.weights.importing import import_model
from tests.recipes.conftest import RECIPES
from tests.reference import formulas

PRETRAIN = RECIPES / "ESC50" / "hparams" / "pretrain_patch.yaml"
FINETUNE = RECIPES / "ESC50" / "hparams" / "finetune_patch.yaml"
SIZES = {"embed_dim": 64, "depth": 1, "num_heads": 1}


def released_file(folder: Path) -> Path:
    torch.save(formulas.released_checkpoint(64, 1, (16, 16), "hash"), folder / "SSAST.pth")
    return folder / "SSAST.pth"


def converted_folder(folder: Path) -> Path:
    import_model(released_file(folder), folder / "converted")
    return folder / "converted"


def huggingface_folder(folder: Path) -> Path:
    encoder = AudioSpectrogramTransformer(**SIZES)
    ours = released_to_ours(formulas.released_checkpoint(64, 1, (16, 16), "hash"))
    weights = {name: value for name, value in ours.items() if name.startswith("encoder.")}
    assert weights.keys() == encoder.state_dict(prefix="encoder.").keys()
    config = {"model_type": "audio-spectrogram-transformer", "hidden_size": 64}
    config |= {"num_hidden_layers": 1, "num_attention_heads": 1, "num_mel_bins": 128}
    config |= {"max_length": 1024, "frequency_stride": 16, "time_stride": 16}
    path = folder / "huggingface"
    path.mkdir()
    safetensors.torch.save_file(ours_to_huggingface(weights), path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("make", [released_file, converted_folder, huggingface_folder])
def test_fine_tuning_begins_with_the_weights_of_others(make, run_recipe, esc50_options, tmp_path):
    words = [word for key, value in SIZES.items() for word in (f"--{key}", value)]
    words += ["--num_classes", 4, "--number_of_epochs", 1, "--target_length", 64]
    words += ["--num_workers", 0, "--spec_augment", "{max_frames: 16}"]
    words += ["--pretrained_encoder", make(tmp_path), "--output_folder", tmp_path / "run"]
    run = run_recipe("ESC50", FINETUNE, *esc50_options, *words)
    expected = released_to_ours(formulas.released_checkpoint(64, 1, (16, 16), "hash"))
    positions = expected.pop("encoder.position_embedding")
    for name, value in run.initial.items():
        if name not in ("position_embedding", "mask_token"):
            assert torch.equal(value.cpu(), expected[f"encoder.{name}"]), name
    adapted = adapt_positions(positions[:, 2:], (8, 64), (12, 5))
    assert torch.equal(run.initial["position_embedding"][:, 2:].cpu(), adapted)
    record = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(record["pretrained_from"]) == {"name", "sha256"}
    assert 0 <= record["value"]["last"] <= 100


@pytest.mark.parametrize("name", ["mini", "hf:me/model@v1"])
def test_names_are_fetched(name, run_recipe, esc50_options, tmp_path, monkeypatch):
    """Published and the Hub's, as of `ssast finetune`; what is mistyped is asked of nobody."""
    row = ReleasedWeights("mini", released_file(tmp_path).as_uri(), "SSAST.pth", "me")
    asked = []

    def snapshot_download(*given, revision, allow_patterns):
        asked.append((*given, revision))
        return str(tmp_path / "huggingface")

    monkeypatch.setattr(downloads, "released_weights", lambda: {"mini": row})
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    huggingface_folder(tmp_path)
    words = [word for key, value in SIZES.items() for word in (f"--{key}", value)]
    words += ["--num_classes", 4, "--number_of_epochs", 1, "--target_length", 64]
    words += ["--num_workers", 0, "--spec_augment", "{max_frames: 16}"]
    words += ["--output_folder", tmp_path / "run", "--pretrained_encoder"]
    with pytest.raises(FileNotFoundError, match="pretrained_encoder .*/cache/no does not exist"):
        run_recipe("ESC50", FINETUNE, *esc50_options, *words, tmp_path / "cache" / "no")
    assert not asked
    run = run_recipe("ESC50", FINETUNE, *esc50_options, *words, name)
    expected = released_to_ours(formulas.released_checkpoint(64, 1, (16, 16), "hash"))
    for key in ("norm.weight", "blocks.0.norm1.weight"):
        assert torch.equal(run.initial[key].cpu(), expected[f"encoder.{key}"])
    assert asked == ([("me/model", "v1")] if name.startswith("hf:") else [])
    told = (tmp_path / "run" / "hyperparams.yaml").read_text()
    assert f"pretrained_encoder: {name}" in told  # which is the same on every machine


@pytest.mark.parametrize("make", [released_file, converted_folder, huggingface_folder])
def test_pretraining_goes_on_with_the_heads_that_the_weights_have(
    make, run_recipe, esc50_options, tmp_path
):
    words = [word for key, value in SIZES.items() for word in (f"--{key}", value)]
    words += ["--num_steps", 1, "--target_length", 64, "--num_masked_patches", 8, "--lr", 0]
    words += ["--batch_size", 2, "--num_workers", 0, "--warmup_steps", 0]
    words += ["--pretrained_encoder", make(tmp_path), "--output_folder", tmp_path / "run"]
    run = run_recipe("ESC50", PRETRAIN, *esc50_options, *words)
    expected = released_to_ours(formulas.released_checkpoint(64, 1, (16, 16), "hash"))
    heads = {name: value for name, value in expected.items() if "_head." in name}
    assert len(heads) == 8
    same = {name for name, value in heads.items() if torch.equal(run.saved[name].cpu(), value)}
    has_heads = make is not huggingface_folder
    assert same == (set(heads) if has_heads else set())
    told = ["contrastive_head", "reconstruction_head"] if has_heads else []
    assert run.results["pretrained_from"]["heads"] == told
    assert torch.equal(run.saved["encoder.mask_token"], expected["encoder.mask_token"]) == has_heads
