"""A run's folder: what is read of it, what is damaged, and what it keeps from being read twice."""

import json
from pathlib import Path

import pytest

from ssast_recipes.records.run import Run, parse_metrics, read_metrics


def test_a_folder_that_is_not_there_is_a_run_that_has_not_begun(tmp_path):
    run = Run(tmp_path / "none")
    assert not run.is_finished and not run.has_begun
    assert run.metrics == run.checkpoints == [] and run.best_checkpoint() is None
    for name in ("results", "nodes"):
        with pytest.raises(FileNotFoundError):
            getattr(run, name)


def test_files_are_read_once_and_what_grows_every_time(tmp_path):
    run = Run(tmp_path)
    (tmp_path / "results.json").write_text('{"value": {"last": 0.5}}')
    (tmp_path / "hyperparams.yaml").write_text("lr: 1e-4\nloss: !name:mine.loss\nnone: null")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    assert run.results["value"] == {"last": 0.5} and run.is_finished
    assert [run.value(key) for key in ("lr", "none", "other")] == [1e-4, None, None]
    assert [record["step"] for record in run.metrics] == [1]
    for name in ("results.json", "hyperparams.yaml"):
        (tmp_path / name).unlink()
    assert run.results["value"] == {"last": 0.5} and run.value("lr") == 1e-4
    assert not run.is_finished
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n')
    assert [record["step"] for record in run.metrics] == [1, 2]
    (tmp_path / "save" / "CKPT+1").mkdir(parents=True)
    assert run.has_begun and [path.name for path in run.checkpoints] == ["CKPT+1"]
    assert run.best_checkpoint() is None  # it has no weights


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"[" * 5000])
def test_damaged_results_are_one_line(tmp_path, content):
    (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(ValueError, match="results.json is damaged .*delete it") as raised:
        _ = Run(tmp_path).results
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"a: [", b"- a", b"\xff"])
def test_damaged_hparams_are_one_line(tmp_path, content):
    (tmp_path / "hyperparams.yaml").write_bytes(content)
    with pytest.raises(ValueError, match="hyperparams.yaml (is not YAML|holds no keys)") as raised:
        _ = Run(tmp_path).nodes
    assert "\n" not in str(raised.value)


def test_the_last_line_of_a_log_may_be_cut_and_no_other(tmp_path):
    path, lines = tmp_path / "metrics.jsonl", [json.dumps({"step": step}) for step in (1, 2, 3)]
    path.write_text("\n".join(lines)[:-3])
    assert read_metrics(path) == [{"step": 1}, {"step": 2}]
    path.write_text("\n".join([lines[0], lines[1][:-3], lines[2]]))
    with pytest.raises(ValueError, match="metrics.jsonl, line 2: no JSON object"):
        read_metrics(path)
    assert list(parse_metrics(path.read_text())) == [{"step": 1}, None, {"step": 3}]


@pytest.mark.parametrize(
    ("weights", "folder"),
    [
        ("/runs/a/save/CKPT+1/model.ckpt", "/runs/a"),
        ("/runs/a/model/model.safetensors", "/runs/a"),
        ("/runs/a/other/CKPT+1/model.ckpt", None),
        ("/model.ckpt", None),
    ],
)
def test_the_run_that_made_weights(weights, folder):
    run = Run.of_weights(Path(weights))
    assert (None if run is None else str(run.path)) == folder


def test_damaged_checkpoints_are_named(tmp_path):
    for name, text in {"CKPT+1": "unixtime: 1.0e+3", "CKPT+2": "unixtime: ["}.items():
        (tmp_path / "save" / name).mkdir(parents=True)
        (tmp_path / "save" / name / "CKPT.yaml").write_text(text)
        (tmp_path / "save" / name / "model.ckpt").touch()
    with pytest.raises(ValueError, match=r"CKPT\+2.CKPT.yaml is missing or damaged; name"):
        Run(tmp_path).best_checkpoint()
