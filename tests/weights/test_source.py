"""What goes to the Hub, what is a path, and what is downloaded of a model."""

from pathlib import Path

import pytest

from ssast_recipes.weights import downloads
from ssast_recipes.weights.downloads import ReleasedWeights
from ssast_recipes.weights.source import fetch_model, fetch_weights, hub_name

huggingface_hub = pytest.importorskip("huggingface_hub")


@pytest.fixture
def asked(monkeypatch, tmp_path) -> list:
    """What the Hub is asked for; it has but `pytorch_model.bin`, besides what tells of it."""
    calls = []

    def snapshot_download(name, allow_patterns, revision=None):
        calls.append((name, revision, allow_patterns))
        folder = tmp_path / "hub" / "0123abc"
        folder.mkdir(parents=True, exist_ok=True)
        for file in {"config.json", "pytorch_model.bin"} & {*allow_patterns}:
            (folder / file).write_text("{}")
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.chdir(tmp_path)
    return calls


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("me/model", ("me/model", None)),
        ("me/model@v1.0", ("me/model", "v1.0")),
        ("me/model@refs/pr/1", ("me/model", "refs/pr/1")),
        ("hf:runs/1", ("runs/1", None)),
        ("hf:me/model.pth", ("me/model.pth", None)),
        ("runs/2", None),  # mistyped: `runs` is a folder here
        ("me/model.pth", None),
        ("me/labels.csv", None),
        ("./model", None),
        ("../model", None),
        ("~/model", None),
        ("/me/model", None),
        ("me/model/", None),
        ("model", None),
        ("me/model@", None),
        ("hf:model", None),
    ],
)
def test_only_what_cannot_be_a_path_is_a_name(tmp_path, monkeypatch, text, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "1").mkdir(parents=True)
    assert hub_name(text) == name


@pytest.mark.parametrize("fetch", [fetch_model, fetch_weights])
def test_a_mistyped_path_does_not_go_to_the_hub(asked, tmp_path, fetch):
    (tmp_path / "results").mkdir()
    with pytest.raises(FileNotFoundError, match=r"^results/pretrian does not exist; give a") as one:
        fetch("results/pretrian")
    assert not asked and "\n" not in str(one.value)


def test_a_revision_is_pinned(asked):
    fetch_model("me/model@v1")
    assert [call[:2] for call in asked] == [("me/model", "v1")]


def test_of_other_makers_pickles_come_last(asked):
    folder = fetch_weights("hf:me/model")
    assert {path.name for path in folder.iterdir()} == {"config.json", "pytorch_model.bin"}
    first, second = (files for _, _, files in asked)
    assert "model.safetensors" in first and not any("pytorch" in name for name in first)
    assert "pytorch_model.bin" in second


def test_a_hub_that_refuses_is_told_in_a_line(monkeypatch, tmp_path):
    def refuse(name, allow_patterns, revision):
        raise OSError("404\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(FileNotFoundError, match=r"^me/model at v9 is no folder .* it: 404$"):
        fetch_weights("me/model@v9")


def test_a_released_name_is_downloaded_once(monkeypatch, tmp_path):
    (tmp_path / "a.pth").write_bytes(b"weights")
    row = ReleasedWeights("mini", (tmp_path / "a.pth").as_uri(), "a.pth", "me")
    monkeypatch.setattr(downloads, "released_weights", lambda: {"mini": row})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = fetch_weights("Mini")
    assert path == tmp_path / "cache" / "ssast-recipes" / "a.pth"
    assert path.read_bytes() == b"weights"
    assert fetch_weights(Path(path)) == path
