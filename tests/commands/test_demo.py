import csv
import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import yaml
from speechbrain.utils import logger as speechbrain_logger

from ssast_recipes.commands.demo import (
    CORPUS,
    FOLDS,
    KINDS,
    LABELS,
    PRETRAINING,
    QUICK_SEEDS,
    SEEDS,
    draw_labels,
    make_corpus,
    make_jobs,
)
from ssast_recipes.commands.main import main
from tests.jobs_in_process import run_in_process


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A quick demo, whose runs share this process, and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setattr("ssast_recipes.commands.demo.run_jobs", run_in_process)
        patch.setattr(speechbrain_logger, "setup_logging", lambda *args: None)
        patch.chdir(folder)
        assert main(["demo", "--quick", "--output", "here"]) == 0
    return folder / "here", printed.getvalue()


def test_it_shows_a_table_of_what_the_runs_recorded(demo):
    folder, printed = demo
    summary = json.loads((folder / "summary.json").read_text())
    assert list(summary) == ["chance", "log_mel_ridge", "scratch", "pretrained"]
    for kind in ("scratch", "pretrained"):
        results = [
            json.loads((folder / kind / f"seed{seed}" / "results.json").read_text())
            for seed in QUICK_SEEDS
        ]
        assert summary[kind] == [result["value"]["last"] for result in results]
        for name in ("chance", "log_mel_ridge"):
            assert summary[name] == [result["baselines"][name] for result in results]
        assert {result["num_clips"]["test"] for result in results} == {26}
        assert (results[0]["pretrained_from"] is None) == (kind == "scratch")
    table = printed[printed.index("| ") : printed.index("\n\nReport ")]
    assert table in (folder / "report.md").read_text()


def test_the_two_rows_differ_in_pretraining_and_what_was_chosen_alone(demo):
    folder, _ = demo

    def values(kind, seed):
        text = (folder / kind / f"seed{seed}" / "hyperparams.yaml").read_text()
        return {key.value: yaml.serialize(value) for key, value in yaml.compose(text).value}

    for seed in QUICK_SEEDS:
        scratch, pretrained = values("scratch", seed), values("pretrained", seed)
        differing = {key for key in scratch if scratch[key] != pretrained[key]}
        # What is made of the learning rate is written with it; both sides have four quick steps.
        changed = (
            {"lr", "opt_class"} if KINDS["scratch"]["lr"] != KINDS["pretrained"]["lr"] else set()
        )
        places = {"output_folder", "training_log", "checkpointer", "manifest_folder", "prepare"}
        places |= {f"{split}_manifests" for split in ("train", "valid", "test")}
        places |= {"classes_file"}
        assert differing == {"pretrained_encoder"} | changed | places


def test_pretraining_sees_no_test_clip_and_no_label(demo):
    folder, _ = demo
    heard = set()
    for split in ("train", "valid"):
        with open(folder / "pretraining" / "manifests" / f"{split}.csv", newline="") as manifest:
            rows = list(csv.DictReader(manifest))
        assert not any(row["labels"] for row in rows)
        heard |= {Path(row["path"]).name for row in rows}
    assert {name[0] for name in heard} == {"3", "4", "5"}  # ESC-50's names begin with the fold
    with open(folder / "labels" / "seed1.csv", newline="") as table:
        folds = {row["split"]: Path(row["path"]).name[0] for row in csv.DictReader(table)}
    assert folds["test"] == "1" and folds["valid"] == "2"


def test_labels_are_drawn_from_the_seed_and_the_judges_are_apart(tmp_path):
    options = {**CORPUS, "num_classes": 2, "clips_per_class_and_fold": 4, "duration": 0.1}
    make_corpus(tmp_path / "corpus", options)
    texts, drawn = {}, {}
    for name, seed, judge in (
        ("a", 1, "test"),
        ("b", 1, "test"),
        ("c", 2, "test"),
        ("d", 1, "valid"),
    ):
        draw_labels(tmp_path / "corpus", tmp_path / name, seed, {"train": 3, "valid": 1}, judge)
        texts[name] = (tmp_path / name).read_text()
        rows = list(csv.DictReader(texts[name].splitlines()))
        assert all((tmp_path / row["path"]).is_file() for row in rows)
        drawn[name] = {
            split: {Path(row["path"]).name for row in rows if row["split"] == split}
            for split in ("train", "valid", "test")
        }
    assert texts["a"] == texts["b"] != texts["c"]
    assert [len(drawn["a"][split]) for split in ("train", "valid", "test")] == [6, 2, 8]
    assert {FOLDS[int(name[0])] for name in drawn["a"]["train"]} == {"train"}
    # To choose settings: the same labels, and the other clips of the validation fold.
    assert drawn["d"]["train"] == drawn["a"]["train"] and drawn["d"]["valid"] == drawn["a"]["valid"]
    assert len(drawn["d"]["test"]) == 6 and not drawn["d"]["test"] & drawn["d"]["valid"]
    assert {name[0] for name in drawn["d"]["test"]} == {"2"}


def test_the_report_has_its_pictures_and_says_that_it_was_quick(demo):
    folder, _ = demo
    report = (folder / "report.md").read_text()
    assert report.startswith("# A quick demo\n")
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", report)
    assert pictures == ["pictures/reconstruction.png", "pictures/curves.png"]
    for picture in pictures:
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")


def test_the_same_command_again_trains_nothing(demo, ssast):
    folder, printed = demo
    before = (folder / "pretraining" / "results.json").stat().st_mtime_ns
    again = ssast("demo", "--quick", "--output", folder.name, cwd=folder.parent)
    assert again.returncode == 0, again.stdout + again.stderr
    table = printed[printed.index("| ") :]
    assert again.stdout[again.stdout.index("| ") :] == table
    assert (folder / "pretraining" / "results.json").stat().st_mtime_ns == before


def test_other_settings_need_another_folder(demo, capsys, monkeypatch):
    folder, _ = demo
    assert main(["demo", "--output", str(folder)]) == 1
    line = f"error: {folder} holds a demo with other settings; choose another --output"
    assert line in capsys.readouterr().err


def test_the_demo_is_what_its_page_says(tmp_path):
    """At least ten families and 200 test clips, labels a small part of what is pretrained on."""
    per_fold = CORPUS["num_classes"] * CORPUS["clips_per_class_and_fold"]
    unlabelled = per_fold * list(FOLDS.values()).count("train")
    labelled = CORPUS["num_classes"] * LABELS["train"]
    assert CORPUS["num_classes"] >= 10 and per_fold >= 200 and 10 * labelled < unlabelled
    _, trainings = make_jobs(tmp_path, quick=False)
    assert [len(runs) for runs in trainings.values()] == [len(SEEDS)] * 2 == [3, 3]
    for scratch, pretrained in zip(*trainings.values(), strict=True):
        own = {*KINDS["scratch"], "pretrained_encoder"}
        same = {key: value for key, value in scratch.options.items() if key not in own}
        assert same == {key: pretrained.options[key] for key in same}
    assert PRETRAINING["num_steps"] * PRETRAINING["batch_size"] > 10 * unlabelled
