"""`ssast import`: the reference's numbers through it, what it tells, what it refuses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from ssast_recipes.commands.main import main
from ssast_recipes.model.encoder import EXTRA_STATE, AudioSpectrogramTransformer
from ssast_recipes.system.files import file_digest
from ssast_recipes.weights.formats.conversion import Settings
from ssast_recipes.weights.formats.folder import load_model, read_config
from ssast_recipes.weights.formats.ssast import ours_to_released
from ssast_recipes.weights.importing import import_model
from ssast_recipes.weights.loading import load_pretrained_encoder
from tests.reference import fine_tuning_cases, pretraining_cases
from tests.reference.check import compare_case, read_cases
from tests.weights.formats.test_recognition import deit, fine_tuned, released
from tests.weights.formats.test_tensors import Called

CASES = read_cases(Path(__file__).parents[1] / "reference" / "released_model.json")


def save(weights, path) -> Path:
    torch.save(weights, path)
    return path


# --- exactness ---


@pytest.mark.parametrize(
    "key",
    [
        "ft/hash/tiny/p16x16_s10x10/T128",
        "ft/hash/tiny/p128x2_s128x1/T128",
        "ftgrad/hash/tiny/p16x16_s10x10/T512/CE",
        "pos/f8to9",
        "pos/frame_superb_600",
    ],
)
def test_fine_tuning_begins_with_the_reference_numbers(key, tmp_path, monkeypatch):
    def by_way_of_a_model_folder(encoder, path) -> None:
        import_model(path, tmp_path / "model")
        load_pretrained_encoder(encoder, tmp_path / "model")

    monkeypatch.setattr(fine_tuning_cases, "load_pretrained_encoder", by_way_of_a_model_folder)
    comparisons = compare_case(key, CASES[key])
    assert (tmp_path / "model").exists()
    assert [one for one in comparisons if one.severity > 1] == []


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("pretrain/hash/tiny/p16x16/N250", marks=pytest.mark.slow),
        "pretrain/hash/tiny/p128x2/N400",
    ],
)
def test_pretraining_goes_on_with_the_reference_numbers(key, tmp_path, monkeypatch):
    def by_way_of_a_model_folder(checkpoint):
        import_model(save(checkpoint, tmp_path / "SSAST.pth"), tmp_path / "model")
        return load_model(tmp_path / "model")[0].state_dict()

    monkeypatch.setattr(pretraining_cases, "released_to_ours", by_way_of_a_model_folder)
    comparisons = compare_case(key, CASES[key])
    assert (tmp_path / "model").exists()
    assert [one for one in comparisons if one.severity > 1] == []


def test_released_weights_come_back_as_they_were(tmp_path):
    weights = released(frames=256)
    import_model(save(weights, tmp_path / "SSAST.pth"), tmp_path / "model")
    again = ours_to_released(load_model(tmp_path / "model")[0].state_dict())
    gone = {name for name in weights if name.startswith("module.v.head")}
    assert again.keys() == weights.keys() - gone
    assert all(torch.equal(again[name], weights[name]) for name in again)


# --- as --pretrained_encoder ---


@pytest.mark.parametrize("stride, frames", [((16, 16), 128), ((10, 10), 96)])
@pytest.mark.parametrize("kind", ["SSAST", "AST", "DeiT"])
def test_an_encoder_is_filled_alike_from_the_source_and_from_the_folder(
    kind, stride, frames, tmp_path
):
    weights = {"SSAST": released(), "AST": fine_tuned(35, 144), "DeiT": deit(8)}[kind]
    path = save(weights, tmp_path / f"{kind}.pth")
    # DeiT's square is stretched twice by way of a folder of another grid: here it is of the same.
    import_model(path, tmp_path / "model", Settings(target_length=128))
    sources = {
        f"{kind}.pth": path,
        "model/model.safetensors": tmp_path / "model",
    }
    filled = []
    for name, source in sources.items():
        encoder = AudioSpectrogramTransformer(128, 2, 2, target_length=frames, patch_stride=stride)
        assert load_pretrained_encoder(encoder, source) == {
            "name": name,
            "sha256": file_digest(tmp_path / name),
        }
        filled.append(dict(encoder.named_parameters()))
    first, second = filled
    if kind != "SSAST":  # it has no mask token: a folder's is zeros, the encoder's own stays
        assert not second.pop("mask_token").any() and first["mask_token"].any()
    assert all(torch.equal(first[name], value) for name, value in second.items())
    norm = {"DeiT": "norm.weight"}.get(kind, "module.v.norm.weight")
    assert torch.equal(first["norm.weight"], weights[norm])


# --- the command ---


def test_it_tells_what_it_recognised_and_what_was_left_over(tmp_path, capsys):
    path = save(released(192, 12, frames=1024), tmp_path / "SSAST-Tiny-Patch-400.pth")
    assert main(["import", str(path), str(tmp_path / "model")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Recognised: SSAST for pretraining, as released",
        "Encoder: tiny, 192 wide, 12 blocks, 3 attention heads",
        "Patches: 16 x 16 every 16 x 16 (mel bins x frames)",
        "Input: 128 mel bins, 1024 frames: a grid of 8 x 64 patches",
        "Front end: 16000 Hz, mean -4.26774, deviation 4.569",
        "On the encoder: contrastive head, reconstruction head",
        "Left over: v.head.bias, v.head.weight, v.head_dist.bias, v.head_dist.weight",
        f"Written to {tmp_path / 'model'}",
    ]
    provenance = read_config(tmp_path / "model").provenance
    assert provenance == {
        "source": "SSAST-Tiny-Patch-400.pth",
        "source_sha256": file_digest(path),
        "imported_from": "SSAST for pretraining, as released",
    }


def test_the_user_tells_what_weights_do_not(tmp_path, capsys):
    path = save(fine_tuned(3, 12 * 18), tmp_path / "tuned.pth")
    (tmp_path / "labels.txt").write_text("dog\ncat\n\nrain\n")
    words = ["import", str(path), str(tmp_path / "model"), "--pooling", "mean", "--mean", "-5"]
    words += ["--target_length", "190", "--patch_stride", "10", "10", "--label_kind", "multi"]
    assert main([*words, "--labels", str(tmp_path / "labels.txt"), "--std", "3"]) == 0
    printed = capsys.readouterr().out
    assert "a grid of 12 x 18 patches\n" in printed
    assert (
        "Classes: 3 (dog, cat, rain), several labels a clip, of the mean of the patches" in printed
    )
    assert "Not in it: a mask token, which becomes zeros" in printed
    config = read_config(tmp_path / "model")
    assert (config.labels, config.label_kind) == (("dog", "cat", "rain"), "multi")
    assert (config.front_end.mean, config.front_end.std) == (-5, 3)


def test_positions_that_were_fitted_are_told(tmp_path, capsys):
    path = save({"model": deit(14)}, tmp_path / "deit.pth")
    assert main(["import", str(path), str(tmp_path / "model"), "--target_length", "128"]) == 0
    assert "a grid of 8 x 8 patches; positions fitted to it from 14 x 14" in capsys.readouterr().out


def test_help_is_quick_and_lists_the_names():
    code = "import sys; from ssast_recipes.commands.main import main\n"
    code += "try: main(['import', '--help'])\n"
    code += "except SystemExit: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "ssast-tiny-patch-400" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


# --- what is refused ---


def error_of(capsys, *words) -> str:
    assert main(["import", *map(str, words)]) == 1
    line = capsys.readouterr().err
    assert line.startswith("ssast: error: ") and line.count("\n") == 1
    return line


def test_a_malicious_pickle_leaves_no_trace(tmp_path, capsys):
    trace, out = tmp_path / "trace", tmp_path / "model"
    path = save(released() | {"module.v.x": Called(os.mkdir, str(trace))}, tmp_path / "bad.pth")
    assert "bad.pth: not readable as weights" in error_of(capsys, path, out)
    assert {one.name for one in tmp_path.iterdir()} == {"bad.pth"}
    torch.load(path, weights_only=False)  # it would have worked
    assert trace.exists()


def test_a_failed_import_leaves_an_earlier_one(tmp_path, capsys):
    import_model(save(released(), tmp_path / "good.pth"), tmp_path / "model")
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    path = save(fine_tuned(7, 144), tmp_path / "tuned.pth")
    assert "tuned.pth: nothing tells the input" in error_of(capsys, path, tmp_path / "model")
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before


def test_sources_that_are_none_are_told(tmp_path, capsys):
    assert "ssast import --help lists" in error_of(capsys, tmp_path / "ssast-hug", tmp_path / "a")
    assert "neither a weights file" in error_of(capsys, tmp_path, tmp_path / "a")
    import_model(save(released(), tmp_path / "good.pth"), tmp_path / "model")
    assert "model is the source itself" in error_of(capsys, tmp_path / "model", tmp_path / "model")
    line = error_of(capsys, tmp_path / "model", tmp_path / "other")
    assert "holds a model of this toolkit, which needs no import" in line
    model, _ = load_model(tmp_path / "model")
    path = save(model.state_dict(), tmp_path / "model.ckpt")
    assert EXTRA_STATE in model.state_dict()
    assert "which needs no import" in error_of(capsys, path, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_labels_are_text(tmp_path, capsys):
    path = save(fine_tuned(35, 144), tmp_path / "AST.pth")
    (tmp_path / "labels").write_bytes(b"\xff\xfe\x00")
    words = (path, tmp_path / "out", "--labels", tmp_path / "labels")
    assert "labels: not a text file of class names" in error_of(capsys, *words)
    (tmp_path / "labels").write_text("\n \n")
    assert "labels: holds no class names, one a line" in error_of(capsys, *words)
    (tmp_path / "labels").write_text("a\n" * 35)
    assert "35 classes have 1 names" in error_of(capsys, *words)
    assert {one.name for one in tmp_path.iterdir()} == {"AST.pth", "labels"}


def test_the_folder_of_timm_is_taken_by_its_names(tmp_path):
    (tmp_path / "timm").mkdir()
    safetensors.torch.save_file(deit(14), tmp_path / "timm" / "model.safetensors")
    architecture = '{"architecture": "deit_tiny_distilled_patch16_224"}'
    (tmp_path / "timm" / "config.json").write_text(architecture)
    imported, config = import_model(tmp_path / "timm", tmp_path / "model")
    assert (imported.description, config.kind) == ("DeiT, distilled", "encoder")
    assert config.provenance["source"] == "timm/model.safetensors"
