"""The benchmarks run and tell the truth about what they count; how fast they are is not asked."""

import argparse
import json
import sys
import types
from functools import partial

import pytest
import torch
from speechbrain import Stage
from torch.utils.flop_counter import FlopCounterMode

from ssast_recipes.model.autoencoder import MaskedAutoencoder
from ssast_recipes.model.builders import ast_encoder
from ssast_recipes.model.encoder import AudioSpectrogramTransformer
from ssast_recipes.model.heads import PatchPredictionHead
from ssast_recipes.model.masked_patches import MaskedPatchModel
from ssast_recipes.model.masking import OfficialClusterMasker
from ssast_recipes.model.patches import patchify, select_patches
from ssast_recipes.objectives.losses import info_nce_loss, masked_reconstruction_loss
from ssast_recipes.reporting.tables.costs import encoder_flops, head_flops, pretraining_flops
from tests.brains.tiny import fit, losses, pretraining_brain
from tests.conftest import REPOSITORY

NAMES = (
    "loading",
    "manifests",
    "pretraining_step",
    "released_step",
    "step_bench",
    "step_comparison",
)


@pytest.fixture
def benchmark(monkeypatch):
    """`benchmark("loading")` imports a script."""
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    yield __import__
    for name in NAMES:
        sys.modules.pop(name, None)


def test_a_pretraining_step_is_timed_by_stages_and_against_the_released(
    benchmark, tmp_path, capsys, device
):
    step = benchmark("pretraining_step")
    words = ["--frames", "64", "--masked", "20", "--batch", "2", "--steps", "2", "--warmup", "1"]
    words += ["--device", str(device), "--stages", "--against", "released"]
    found = step.main([*words, "--json", str(tmp_path / "found.json")])
    assert json.loads((tmp_path / "found.json").read_text()) == found
    assert list(found["stage_milliseconds"]) == list(step.STAGES)
    assert all(value > 0 for value in found["stage_milliseconds"].values())
    rate = found["gflop_per_clip"] * found["clips_per_second"] / 1e3
    assert found["model_tflops"] == pytest.approx(rate)
    share = found["model_tflops"] / found["matrix_product_tflops"]
    assert found["share_of_matrix_products"] == pytest.approx(share)
    assert 0 <= found["waiting_for_data"] < 1
    ratio = found["ours_seconds"] / found["other_seconds"]
    assert found["ours_over_other"] == pytest.approx(ratio)
    table = capsys.readouterr().out
    for name in ("clips/s", "waiting for data", "of matrix products", "ours / released"):
        assert name in table


CHANGES = ["explicit-attention", "python-masks", "unfused-adam", "eager", "fp32"]
CHANGES = ["two-passes", *(pytest.param(change, marks=pytest.mark.slow) for change in CHANGES)]
SMALL = ["--frames", "64", "--masked", "20", "--batch", "2", "--steps", "1", "--warmup", "1"]


@pytest.mark.parametrize("change", CHANGES)
def test_one_change_at_a_time_is_timed(benchmark, capsys, device, change):
    step = benchmark("pretraining_step")
    found = step.main([*SMALL, "--device", str(device), "--fused", "--against", change])
    assert found["against"] == change and f"ours / {change}" in capsys.readouterr().out


def test_ours_of_any_precision_is_compared_with_the_released_in_32_bit(benchmark, monkeypatch):
    step, comparison = benchmark("pretraining_step"), benchmark("step_comparison")
    original, autocasts = comparison.released_step, []

    def watched(*arguments):
        autocasts.append(torch.is_autocast_enabled("cpu"))
        return original(*arguments)

    monkeypatch.setattr(comparison, "released_step", watched)
    step.main([*SMALL, "--device", "cpu", "--precision", "bf16", "--against", "released"])
    assert autocasts == [False, False]


def test_an_autoencoder_is_timed_against_the_released_procedure_of_ssast(
    benchmark, monkeypatch, capsys, device
):
    step, comparison = benchmark("pretraining_step"), benchmark("step_comparison")
    original, models = comparison.released_step, []

    def watched(model, optimiser, *others):
        models.append(type(model).__name__)
        names = {id(parameter) for group in optimiser.param_groups for parameter in group["params"]}
        assert names == {id(parameter) for parameter in model.parameters()}
        return original(model, optimiser, *others)

    monkeypatch.setattr(comparison, "released_step", watched)
    words = ["--objective", "autoencoder", "--decoder-depth", "1", "--decoder-dim", "96"]
    found = step.main([*SMALL, *words, "--device", str(device), "--against", "released"])
    assert models == ["MaskedPatchModel"] * 2
    assert found["decoder"] == {"depth": 1, "embed_dim": 96}
    tiny = {"depth": 12, "embed_dim": 192, "grid_size": (8, 4), "patch_size": (16, 16)}
    assert 1e9 * found["gflop_per_clip"] == pretraining_flops(tiny, 20, decoder=found["decoder"])
    assert "20 masked, decoder of 1 blocks 96 wide" in capsys.readouterr().out


def test_explicit_attention_cannot_be_compiled_away(benchmark, capsys):
    step = benchmark("pretraining_step")
    with pytest.raises(SystemExit):
        step.main([*SMALL, "--compile", "--against", "explicit-attention"])
    assert "leave out --compile" in capsys.readouterr().err


def test_a_change_is_taken_back_alone_and_for_one_step(benchmark):
    comparison = benchmark("step_comparison")
    thing = types.SimpleNamespace(precision="bf16", size="tiny")
    with comparison.changed(thing, precision="fp32"):
        assert vars(thing) == {"precision": "fp32", "size": "tiny"}
    assert vars(thing) == {"precision": "bf16", "size": "tiny"}


def test_what_is_timed_is_what_trains(benchmark, tmp_path):
    """The benchmark's step, stage by stage, and `PretrainingBrain`'s: the same losses."""
    step = benchmark("step_bench")
    options = argparse.Namespace(
        **{"size": "tiny", "frames": 32, "masked": 10, "device": "cpu", "precision": "fp32"},
        **{"compile": False, "fused": False, "objective": "masked-patches"},
    )
    bench = step.Bench(options)
    brain = pretraining_brain(
        tmp_path,
        encoder={"embed_dim": 192, "depth": 12, "num_heads": 3},
        opt_class=partial(torch.optim.Adam, **step.ADAM),
        masker=OfficialClusterMasker(10),
        num_steps=3,
    )
    brain.modules.front_end = bench.front_end
    brain.modules.model.load_state_dict(bench.plain.state_dict())
    noise = step.Noise(8, num_samples=5000)
    batches = iter(brain.make_dataloader(noise, Stage.TRAIN, batch_size=2))
    expected = [bench.step(next(batches), by_stage=True).item() for _ in range(3)]
    fit(brain, noise, batch_size=2)
    assert list(losses(brain).values()) == pytest.approx(expected, rel=1e-5)


def test_steps_are_timed_on_clips_of_a_manifest(benchmark, tmp_path):
    loading, step = benchmark("loading"), benchmark("pretraining_step")
    manifest = loading.make_files(tmp_path / "wav", 3, 0.7, "wav")
    found = step.main([*SMALL, "--device", "cpu", "--manifest", str(manifest), "--workers", "1"])
    assert found["clips_per_second"] > 0


def test_the_released_procedure_computes_what_ours_does(benchmark):
    """On the same masks: the slow baseline is a fair one."""
    released = benchmark("released_step")
    torch.manual_seed(0)
    encoder = ast_encoder("tiny", depth=2, target_length=128)
    heads = [PatchPredictionHead(192, 256) for _ in range(2)]
    model = MaskedPatchModel(encoder, *heads)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.05)
    spectrograms = torch.randn(3, 128, 128)
    masks = [[released.draw_cluster_mask(64, 40, 8) for _ in range(3)] for _ in range(2)]
    info_nce, error = released.released_losses(model, spectrograms, masks)
    first, second = (torch.tensor(mask) for mask in masks)
    predictions = model(spectrograms, first, second)
    patches = patchify(spectrograms, encoder.patch_size)
    ours = (
        info_nce_loss(predictions.contrastive, select_patches(patches, first), "predictions"),
        masked_reconstruction_loss(predictions.reconstruction, select_patches(patches, second)),
    )
    torch.testing.assert_close((info_nce, error), ours)
    assert (first != second).any()


def test_the_released_masks_are_of_clusters_and_leave_out_the_first(benchmark):
    released = benchmark("released_step")
    for _ in range(20):
        mask = released.draw_cluster_mask(512, 400, 64)
        assert len(set(mask)) == 400 and mask == sorted(mask)
        assert mask[0] > 0 and mask[-1] < 512


def test_loading_is_timed_from_files_and_shards(benchmark, tmp_path, capsys):
    loading = benchmark("loading")
    words = ["--clips", "12", "--seconds", "0.2", "--batch", "4", "--workers", "0", "1"]
    found = loading.main([*words, "--json", str(tmp_path / "found.json")])
    assert json.loads((tmp_path / "found.json").read_text()) == found
    sources = ["wav files", "wav shards", "flac files", "flac shards"]
    assert list(found["loading"]) == sources
    assert all(rate > 0 for rates in found["loading"].values() for rate in rates.values())
    assert set(found["in_one_thread"]) == {
        "wav decoded from memory",
        "flac decoded from memory",
        "log-mel features",
    }
    assert "flac shards" in capsys.readouterr().out


# ---- what is counted


def test_operations_are_those_that_torch_counts():
    """Of all matrix products of a forward pass, attention included."""
    torch.manual_seed(0)
    encoder = ast_encoder("tiny", depth=2, target_length=128)
    counter = FlopCounterMode(display=False)
    with (
        counter,
        torch.no_grad(),
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    ):
        encoder(torch.randn(1, 128, 128))
    assert counter.get_total_flops() == encoder_flops(2, 192, num_patches=64)
    head = PatchPredictionHead(192, 256)
    with counter, torch.no_grad():
        head(torch.randn(1, 40, 192))
    assert counter.get_total_flops() == head_flops(192, num_masked=40)


@pytest.mark.parametrize("decoder_dim", [64, 48])
@pytest.mark.parametrize("passes", [1, 2])
def test_operations_of_an_autoencoder_are_those_that_torch_counts(decoder_dim, passes):
    """Of a forward pass: visible tokens in the encoder, all of them in the decoder."""
    encoder = AudioSpectrogramTransformer(64, depth=3, num_heads=4, target_length=128)
    heads = [PatchPredictionHead(decoder_dim, 256) for _ in range(2)]
    model = MaskedAutoencoder(encoder, *heads, decoder_depth=2, decoder_dim=decoder_dim)
    masks = [torch.arange(40).unsqueeze(0) for _ in range(passes)]
    counter = FlopCounterMode(display=False)
    with (
        counter,
        torch.no_grad(),
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    ):
        model(torch.randn(1, 128, 128), *masks)
    decoder = {"depth": 2, "embed_dim": decoder_dim}
    counted = pretraining_flops(encoder.geometry(), 40, 2, passes, decoder)
    assert 3 * counter.get_total_flops() == counted


def test_base_takes_296_gflop_a_clip():
    """An autoencoder 112, or 75 with a decoder half as wide."""
    base = {"depth": 12, "embed_dim": 768, "grid_size": (8, 64), "patch_size": (16, 16)}
    assert pretraining_flops(base, num_masked=400) == pytest.approx(296e9, rel=0.002)
    twice = pretraining_flops(base, num_masked=400, num_passes=2)
    assert twice == pytest.approx(2 * 292e9, rel=0.01)
    for width, flops in ((768, 112e9), (384, 75e9)):
        decoder = {"depth": 2, "embed_dim": width}
        assert pretraining_flops(base, 400, decoder=decoder) == pytest.approx(flops, rel=0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells private memory")
def test_reading_a_manifest_is_timed_and_workers_share_it(benchmark, tmp_path, capsys):
    manifests = benchmark("manifests")
    words = ["--clips", "3000", "--workers", "2", "--manifest", str(tmp_path / "train.csv")]
    found = manifests.main(words)
    assert json.loads(capsys.readouterr().out) == found
    assert found["clips"] == 3000 and found["s"] > 0 and found["CPU s"] > 0
    growths = found["private growth of each worker, MiB"]
    assert len(growths) == len(found["clips/s of each worker"]) == 2
    assert found["resident, MiB"] > found["resident before, MiB"] > max(growths)
