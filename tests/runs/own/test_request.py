"""What a plan is asked for: an encoder and labels in their order, and less than was begun."""

from pathlib import Path

import pytest
import torch

from ssast_recipes.commands.main import main
from ssast_recipes.runs.own.request import check_order, is_planned, keep_request
from ssast_recipes.weights.formats.folder import find_model_folder


@pytest.fixture
def labels(tmp_path):
    (tmp_path / "labels" / "dog").mkdir(parents=True)
    (tmp_path / "labels.csv").write_text("path,label\n")
    (tmp_path / "labels.tsv").write_text("path\tlabel\n")
    return [tmp_path / name for name in ("labels", "labels.csv", "labels.tsv")]


@pytest.fixture
def encoders(tmp_path):
    files = ["a.pth", "hf/config.json", "run/save/CKPT+1/CKPT.yaml", "run2/model/config.json"]
    files += ["sharded/model.safetensors.index.json", "trainer/checkpoint-9/config.json"]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    return [tmp_path / Path(name).parts[0] for name in files]


def test_labels_before_the_encoder_are_noticed(labels, encoders):
    for table in labels:
        for encoder in [*map(str, encoders), "none", "me/model", "ssast-base-patch-400"]:
            check_order(encoder, table)
            with pytest.raises(ValueError, match=r"comes first: ssast finetune ") as raised:
                check_order(str(table), Path(encoder))
            line = str(raised.value)
            assert line.endswith(f"ssast finetune {encoder} {table}") and "\n" not in line
    check_order("no/such/folder", labels[0])  # what is missing is told elsewhere
    check_order(str(labels[0]), labels[1])


def test_the_command_says_so_at_once(labels, capsys):
    assert main(["finetune", str(labels[1]), "none", "--plan"]) != 0
    assert "labels.csv are labels, and none comes first: ssast finet" in capsys.readouterr().err


def checkpoint(run: Path, step: int) -> None:
    folder = run / "save" / f"CKPT+{step}"
    folder.mkdir(parents=True)
    (folder / "CKPT.yaml").write_text(f"step: {step}\nunixtime: {step}\n")
    torch.save({}, folder / "model.ckpt")


def test_a_run_that_is_to_end_earlier_is_told_how(tmp_path):
    path = tmp_path / "pretrain.yaml"
    path.write_text("num_steps: 1000\n")
    asked = {"steps": 1000, "size": None}
    keep_request(path, asked, "400")
    checkpoint(tmp_path, 80)
    checkpoint(tmp_path, 120)
    with pytest.raises(
        ValueError, match=r"choose another --output; or end it where it is: .*"
    ) as one:
        is_planned(path, {**asked, "steps": 100}, "400")
    assert str(one.value).endswith(f"{path} --num_steps 120")
    with pytest.raises(ValueError, match=r"choose another --output$"):
        is_planned(path, {"steps": 100, "size": "tiny"}, "400")


def test_a_run_that_was_interrupted_is_called_so(tmp_path):
    checkpoint(tmp_path, 80)
    with pytest.raises(
        FileNotFoundError, match=r"did not come to its end: .* --num_steps 80; ssas"
    ):
        find_model_folder(tmp_path)
