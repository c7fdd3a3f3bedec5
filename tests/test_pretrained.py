"""On which data a weights file was pretrained; finding files is tested with checkpoints."""

import pytest

from ssast_recipes.pretrained import find_dataset, find_test_fold


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
    ("text", "dataset"),
    [('{"dataset": "ESC-10"}', "ESC-10"), ("{}", None), ("[]", None), ('{"da', None), (None, None)],
)
def test_the_data_set_is_that_of_the_results(tmp_path, text, dataset):
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    assert find_dataset(tmp_path / "save" / "CKPT+1" / "model.ckpt") == dataset
    assert find_dataset(tmp_path / "model.ckpt") is None
