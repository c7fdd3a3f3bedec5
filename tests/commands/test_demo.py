import json
import re

import pytest
import yaml

from ssast_recipes.commands.demo import CORPUS, KINDS, PRETRAINING, SEEDS, TRAINING, make_jobs
from ssast_recipes.commands.main import main


@pytest.fixture(scope="module")
def demo(installed, ssast, tmp_path_factory):
    """A quick demo of the installed package, and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    done = ssast("demo", "--quick", "--output", "here", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "here", done.stdout


def test_it_shows_a_table_of_what_the_runs_recorded(demo):
    folder, printed = demo
    summary = json.loads((folder / "summary.json").read_text())
    assert set(summary) == {"scratch", "pretrained"}
    for kind, values in summary.items():
        results = [
            json.loads((folder / kind / f"seed{seed}" / "results.json").read_text())
            for seed in SEEDS
        ]
        assert values == [result["value"]["last"] for result in results]
        assert {result["num_clips"]["test"] for result in results} == {26}
        assert (results[0]["pretrained_from"] is None) == (kind == "scratch")
    table = printed[printed.index("| ") : printed.index("\n\nAfter ")]
    assert table in (folder / "report.md").read_text()


def test_the_two_rows_differ_in_pretraining_and_learning_rate_alone(demo):
    folder, _ = demo

    def values(kind, seed):
        text = (folder / kind / f"seed{seed}" / "hyperparams.yaml").read_text()
        return {key.value: yaml.serialize(value) for key, value in yaml.compose(text).value}

    for seed in SEEDS:
        scratch, pretrained = values("scratch", seed), values("pretrained", seed)
        differing = {key for key in scratch if scratch[key] != pretrained[key]}
        changed = {"lr", "opt_class"} if KINDS["scratch"] != KINDS["pretrained"] else set()
        places = {"output_folder", "training_log", "checkpointer"}
        assert differing == {"pretrained_encoder"} | changed | places


def test_pretraining_sees_no_test_clip_and_no_label(demo):
    folder, _ = demo
    names = {}
    for split in ("pretrain", "test"):
        lines = (folder / "manifests" / "fold1" / f"{split}.csv").read_text().splitlines()[1:]
        names[split] = {line.split(",")[0] for line in lines}
    assert names["test"] and not names["test"] & names["pretrain"]
    hparams = (folder / "pretraining" / "hyperparams.yaml").read_text()
    assert re.search(r"train_manifests:.*pretrain.csv", hparams, re.S)
    assert not re.search(r"output_keys:.*target", hparams.split("# Front end")[0])


def test_the_report_has_its_pictures_and_says_that_it_was_quick(demo):
    folder, _ = demo
    report = (folder / "report.md").read_text()
    assert report.startswith("# A quick demo\n") and "catches up" not in report
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", report)
    assert pictures == ["pictures/reconstruction.png", "pictures/curves.png"]
    for picture in pictures:
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")


def test_the_same_command_again_trains_nothing(demo, ssast):
    folder, printed = demo
    before = (folder / "pretraining" / "results.json").stat().st_mtime_ns
    again = ssast("demo", "--quick", "--output", folder.name, cwd=folder.parent)
    assert again.stdout.splitlines()[1:] == printed.splitlines()[2:]
    assert (folder / "pretraining" / "results.json").stat().st_mtime_ns == before


def test_other_settings_need_another_folder(demo, capsys, monkeypatch):
    folder, _ = demo
    assert main(["demo", "--output", str(folder)]) == 1
    line = f"error: {folder} holds a demo with other settings; choose another --output"
    assert line in capsys.readouterr().err


def test_the_demo_is_what_its_page_says(tmp_path):
    """At least ten families and 200 test clips, labels a small part of what is pretrained on."""
    per_fold = CORPUS["num_classes"] * CORPUS["clips_per_class_and_fold"]
    labelled = CORPUS["num_classes"] * TRAINING["clips_per_class"]
    assert CORPUS["num_classes"] >= 10 and per_fold >= 200 and 10 * labelled < 4 * per_fold
    _, trainings = make_jobs(tmp_path, quick=False)
    for scratch, pretrained in zip(*trainings.values(), strict=True):
        own = {"lr", "pretrained_encoder"}
        same = {key: value for key, value in scratch.options.items() if key not in own}
        assert same == {key: pretrained.options[key] for key in same}
    assert PRETRAINING["num_steps"] * PRETRAINING["batch_size"] > 10 * 4 * per_fold
