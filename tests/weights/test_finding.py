"""On which data a weights file was pretrained; finding files is tested with checkpoints."""

import pytest

from ssast_recipes.weights.finding import find_run, find_test_fold


@pytest.mark.parametrize(
    ("text", "fold"),
    [
        ("seed: 1\ntest_fold: 3 # left out\n", 3),
        ("test_fold: null", None),
        ("seed: 1", None),
        ("[1]", None),
        ("a: [", None),
        ("", None),
    ],
)
def test_the_fold_is_that_of_the_run(tmp_path, text, fold):
    (tmp_path / "hyperparams.yaml").write_text(text)
    assert find_test_fold(tmp_path / "save" / "CKPT+1" / "model.ckpt") == fold


@pytest.mark.parametrize("path", ["save/CKPT+1/model.ckpt", "other/CKPT+1/model.ckpt", "a.pth"])
def test_a_file_of_no_run_has_no_fold(tmp_path, path):
    if not path.startswith("save"):
        (tmp_path / "hyperparams.yaml").write_text("test_fold: 3")
    assert find_test_fold(tmp_path / path) is None


@pytest.mark.parametrize(
    ("text", "run"),
    [
        (
            '{"dataset": "ESC-10", "settings": {"lr": 0.1}, "value": {"last": 0.5}}',
            {"dataset": "ESC-10", "settings": {"lr": 0.1}},
        ),
        ("{}", {}),
        ("[]", {}),
        ('{"da', {}),
        (None, {}),
    ],
)
def test_the_run_is_that_of_the_results(tmp_path, text, run):
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    assert find_run(tmp_path / "save" / "CKPT+1" / "model.ckpt") == run
    assert find_run(tmp_path / "model" / "model.safetensors") == run
    assert find_run(tmp_path / "model.ckpt") == {}
