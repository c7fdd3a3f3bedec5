import json

import pytest

from ssast_recipes.data.preparation.mark import mark_prepared, prepared
from ssast_recipes.system.files import write_text


def test_prepared_means_same_options_and_whole_files(tmp_path):
    fingerprint = {"folds": (1, 2), "rate": 16000, "meta": "abc"}
    assert not prepared(tmp_path, fingerprint)
    write_text(tmp_path / "train.csv", "a\nb\nc\n")
    assert not prepared(tmp_path, fingerprint)
    mark_prepared(tmp_path, fingerprint, ["train.csv"])
    assert prepared(tmp_path, fingerprint)
    assert json.loads((tmp_path / "prepared.json").read_text())["fingerprint"]["rate"] == 16000
    for change in ({"folds": (1, 3)}, {"rate": None}, {"new": 1}):
        assert not prepared(tmp_path, fingerprint | change)
    assert prepared(tmp_path, fingerprint)


def test_an_interrupted_preparation_with_other_options_is_not_taken_for_the_first(tmp_path):
    write_text(tmp_path / "train.csv", "a\nb\nc\n")
    mark_prepared(tmp_path, {"fold": 1}, ["train.csv"])
    write_text(tmp_path / "train.csv", "a\nb\n")  # for fold 2, then the power fails
    assert not prepared(tmp_path, {"fold": 1})
    assert not prepared(tmp_path, {"fold": 2})
    (tmp_path / "train.csv").unlink()
    assert not prepared(tmp_path, {"fold": 1})


@pytest.mark.parametrize("text", ["", "{", "[]", '{"fingerprint": {}}'])
def test_a_damaged_note_counts_for_nothing(tmp_path, text):
    (tmp_path / "prepared.json").write_text(text)
    assert not prepared(tmp_path, {})
