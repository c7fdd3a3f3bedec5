"""`ssast report` of real, tiny runs: pretraining, one label a clip, several labels a clip."""

import csv
import json
import os
import re
import shutil
from collections import Counter

import numpy as np
import pytest
import soundfile
import torch

from ssast_recipes.commands.main import main
from ssast_recipes.data.manifest import read_manifest
from ssast_recipes.data.synthetic import make_audioset, make_esc50
from ssast_recipes.records.predictions import read_predictions
from ssast_recipes.reporting.charts import COLOURS
from tests.recipes.conftest import RECIPES
from tests.report_page import check_page

HOSTILE = "<script>alert('x')</script>"
SMALL = {"embed_dim": 32, "depth": 1, "num_heads": 1, "target_length": 64, "batch_size": 4}
SMALL |= {"num_workers": 0, "log_interval": 1}
SPEC_AUGMENT = {"spec_augment": "{max_frames: 16}"}


def words_of(**options):
    return [str(word) for key, value in options.items() for word in (f"--{key}", value)]


@pytest.fixture(scope="module")
def esc50(tmp_path_factory):
    """A corpus of four classes, of which one has a name that a browser would execute."""
    options = {"clips_per_class_and_fold": 2, "duration": 0.7, "sample_rate": 16000}
    folder = make_esc50(tmp_path_factory.mktemp("corpus"), **options)
    path = folder / "meta" / "esc50.csv"
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["target"] == "0":
            row["category"] = HOSTILE
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture(scope="module")
def runs(esc50, run_recipe, tmp_path_factory):
    """A folder with three runs: `pretrained`, `single` and `multi`."""
    folder = tmp_path_factory.mktemp("runs")
    places = {"data_folder": esc50, "manifest_folder": folder / "manifests"}
    options = {**SMALL, "num_masked_patches": 20, "warmup_steps": 0, "num_steps": 3}
    options |= {**places, "valid_interval": 1, "output_folder": folder / "pretrained"}
    hparams = RECIPES / "ESC50" / "hparams"
    run_recipe("ESC50", hparams / "pretrain_patch.yaml", *words_of(**options))

    options = {**SMALL, **places, **SPEC_AUGMENT, "num_classes": 4, "number_of_epochs": 2}
    options |= {"pretrained_encoder": folder / "pretrained", "output_folder": folder / "single"}
    run_recipe("ESC50", hparams / "finetune_patch.yaml", *words_of(**options))

    options = {**SMALL, **SPEC_AUGMENT, "num_classes": 6, "number_of_epochs": 2}
    clips = {"balanced_train": 8, "eval": 6}
    options |= {"data_folder": make_audioset(folder / "audioset", clips, duration=0.7)}
    options |= {"manifest_folder": folder / "audioset_manifests", "average_epochs": "[1, 2]"}
    options |= {"output_folder": folder / "multi", "eval_batch_size": 4}
    yaml_file = RECIPES / "AudioSet" / "hparams" / "finetune_20k_patch.yaml"
    run_recipe("AudioSet", yaml_file, *words_of(**options))
    return folder


def report(folder, *more, output=None):
    output = output or folder / "report.html"
    assert main(["report", str(folder), "--device", "cpu", "--output", str(output), *more]) == 0
    return check_page(output.read_text(encoding="utf-8"))


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


def test_a_pretraining_run(runs, tmp_path):
    page = report(runs / "pretrained", output=tmp_path / "page.html")
    assert page.sections == [
        "Results",
        "Configuration",
        "Curves",
        "Masked, redrawn, found",
        "Masked by frequency",
        "Embeddings",
    ]
    value = results_of(runs / "pretrained")["value"]["last"]
    assert f"{value:.4g}masked patch accuracy, last step" in page.section("Results")
    assert "1 in 20 masked patches is found: 0.05." in page.section("Results")
    brief = page.section("Configuration")
    assert "fresh weights (from scratch)" in brief
    assert "OfficialClusterMasker(num_masked_patches=20)" in brief
    titles = page.section("Curves")
    for title in ("Loss", "Contrastive loss", "Reconstruction loss", "Masked-patch accuracy"):
        assert f"{title}trainvalid" in titles
    assert "Learning ratetrain" in titles and "Throughputtrain" in titles
    assert [p.shape for p in page.pictures()] == [(660, 1600, 3)] * 3  # after steps 1 to 3
    steps = [text for text in page.all("figcaption") if text.startswith("After step")]
    assert steps == ["After step 3", "After step 2", "After step 1"]
    shares = results_of(runs / "pretrained")["history"][-1]["masked_share_by_row"]
    frequencies = page.section("Masked by frequency")
    assert [f"Hz{100 * share:.1f} %" in frequencies for share in shares] == [True] * 8
    assert "62.5 % altogether" in frequencies  # 20 of 32
    assert page.sounds() == []


def test_a_run_of_one_label_a_clip(runs, tmp_path):
    folder = runs / "single"
    page = report(folder, "--clips", "3", output=tmp_path / "page.html")
    assert page.sections == [
        "Results",
        "Configuration",
        "Curves",
        "Confusions",
        "Classes",
        "Worst clips",
        "Embeddings",
    ]
    assert "SHA-256" in page.section("Configuration")
    assert "The best weights were chosen on the test fold" in page.section("Results")
    logits, targets = read_predictions(folder / "predictions.csv", "best")
    right = int((logits.argmax(dim=1) == targets).sum())
    assert f"{right} of 8 test clips are classified as labelled" in page.section("Confusions")
    clips = {clip.id: clip for clip in read_manifest(runs / "manifests" / "fold1" / "test.csv")}
    shown = page.all("h3")
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    with open(folder / "predictions.csv", newline="") as file:
        ids = [row["id"] for row in csv.DictReader(file) if row["selection"] == "best"]
    assert shown == [ids[i] for i in losses.argsort(descending=True)[:3].tolist()]
    for (samples, rate), name in zip(page.sounds(), shown, strict=True):
        expected, expected_rate = soundfile.read(clips[name].path)
        assert rate == expected_rate == 16000
        np.testing.assert_allclose(samples, expected, atol=2**-15)
    # Of each, what spoke for the class, and the spectrogram.
    assert Counter(p.shape for p in page.pictures()) == {(504, 700, 4): 3, (128, 68, 4): 3}
    colours = [
        re.search("fill: (#[0-9a-f]+)", has["style"])[1]
        for name, has, texts in page.elements
        if name == "use" and texts and texts[0].partition(":")[0] in clips
    ]
    assert Counter(colours) == dict.fromkeys(COLOURS[:4], 2)  # of four classes
    assert "8 of 8 test clips" in page.section("Embeddings")


def test_a_run_of_several_labels_a_clip(runs, tmp_path):
    folder = runs / "multi"
    page = report(folder, output=tmp_path / "page.html")
    assert page.sections[3:] == ["Classes", "Worst clips", "Embeddings"]
    for name, value in results_of(folder)["value"].items():
        assert f"{value:.4g}mAP, " in page.section("Results"), name
    with open(folder / "per_class.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["selection"] == "best"]
    rows = rows or pytest.fail("no best weights")
    classes = page.section("Classes")
    assert "Average precision by class" in classes
    for row in rows:
        told = f"{float(row['average_precision']):.3f}" if row["average_precision"] else "–"
        assert f"{row['class']}{row['clips']}{told}" in classes
    logits, targets = read_predictions(folder / "predictions.csv", "best")
    losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    assert f"loss{losses.mean(dim=1).max():.3g}" in page.section("Worst clips")
    assert len(page.sounds()) == min(8, len(logits))


def test_names_are_never_markup(runs, tmp_path):
    report(runs / "single", output=tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    page = check_page(text)
    assert "<script" not in text
    assert page.text.count(HOSTILE) >= 4  # matrix, classes, clips, embeddings


@pytest.fixture
def copied(runs, tmp_path):
    """`copied("single")` copies a run, to be broken."""

    def copy(name):
        ignored = shutil.ignore_patterns("save", "tensorboard")
        return shutil.copytree(runs / name, tmp_path / name, ignore=ignored)

    return copy


def test_a_manifest_is_found_from_where_the_run_was_started(runs, copied, tmp_path, monkeypatch):
    """Recipes name relative folders; the report may be made from elsewhere."""
    folder = copied("single")
    shutil.copytree(runs / "manifests", tmp_path / "manifests")
    path = folder / "hyperparams.yaml"
    text = path.read_text().replace(str(runs / "manifests"), "manifests")
    path.write_text(text.replace(f"output_folder: {runs / 'single'}", "output_folder: single"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(report(folder).sounds()) == 8
    shutil.rmtree(tmp_path / "manifests")
    page = report(folder)
    assert page.sounds() == [] and len(page.all("article")) == 8
    assert "The audio of 8 of these 8 clips is not at hand." in page.section("Worst clips")
    assert page.section("Left out").count("is not at hand") == 1
    assert "Embeddings" not in page.sections


def test_audio_that_is_gone(copied, runs, tmp_path):
    folder = copied("single")
    manifest = runs / "manifests" / "fold1" / "test.csv"
    first, *_ = clips = read_manifest(manifest)
    text = manifest.read_text().replace(first.path, str(tmp_path / "gone.wav"))
    (tmp_path / "test.csv").write_text(text)
    path = folder / "hyperparams.yaml"
    path.write_text(path.read_text().replace(str(manifest), str(tmp_path / "test.csv")))
    page = report(folder)
    assert "The audio of 1 of these 8 clips is not at hand." in page.section("Worst clips")
    assert len(page.sounds()) == len(clips) - 1
    assert "Embeddings of 7 of 8 test clips" in page.section("Embeddings")


BROKEN = {
    "model/model.safetensors": ("Left out", "Embeddings"),
    "model/config.json": ("Left out", "Embeddings"),
    "predictions.csv": ("Left out", "Worst clips"),
    "per_class.csv": ("Left out", "Classes"),
    "metrics.jsonl": ("Left out", "Curves"),
    "hyperparams.yaml": ("Left out", "Embeddings"),
    "results.json": ("Left out", "Worst clips"),
}


@pytest.mark.parametrize("content", [None, b"", b"\xff\x00 broken", b"{}\n"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_piece_is_left_out_and_told(copied, name, content):
    folder = copied("single")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    page = report(folder, "--clips", "1")
    gained, lost = BROKEN[name]
    assert lost not in page.sections
    if (name, content) == ("results.json", None):
        assert "Not evaluated" in page.section("Results")
    elif (name, content) not in {("results.json", b"{}\n"), ("metrics.jsonl", b"")}:
        assert os.path.basename(name) in page.section(gained)


def test_a_picture_that_is_none(copied):
    folder = copied("pretrained")
    names = sorted(path.name for path in (folder / "pictures").iterdir())
    whole = (folder / "pictures" / names[0]).read_bytes()
    (folder / "pictures" / names[0]).write_bytes(whole[: len(whole) // 2])
    (folder / "pictures" / names[1]).write_bytes(b"<svg onload='x'>")
    page = report(folder, "--points", "0")
    assert len(page.pictures()) == 1
    assert all(f"pictures/{name} is no picture" in page.section("Left out") for name in names[:2])
    assert "Embeddings" not in page.sections
