"""The page of `ssast evaluate`: what is on it, and that it needs nothing beside it."""

from ssast_recipes.commands.main import main
from ssast_recipes.evaluation.table import find_averages
from tests.evaluation.hums import make_hums
from tests.report_page import Page
from tests.weights.formats.test_folder import save


def test_the_page_shows_all_that_was_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def all_but_one_lower(records, tasks, probe):
        found = find_averages(records, tasks, probe)
        best = ("linear", "m")
        return {key: one._replace(mean=(probe, key[0]) == best) for key, one in found.items()}

    monkeypatch.setattr("ssast_recipes.reporting.evaluation.find_averages", all_but_one_lower)
    make_hums(tmp_path / "hums", count=10)
    (tmp_path / "hums" / "low").rename(tmp_path / "hums" / "<low>")
    save(tmp_path / "m", "encoder")
    words = ["m", "mfcc", "--tasks", "hums=hums", "--few-shot", "1", "3", "--layers"]
    assert main(["evaluate", *words, "--output", "out", "--device", "cpu"]) == 0
    text = (tmp_path / "out" / "evaluation.html").read_text()
    page = Page(text)
    assert page.sections == ["Results", "Few labels", "Layers", "Confusions, hums", "Map, hums"]
    assert "<low>" not in text and "&lt;low&gt;" in text and "Made by ssast evaluate" in text
    assert "by linear on m, the best of this task" in text
    rows = page.all("th", scope="row")
    assert rows[:3] == ["chance", "mfcc", "m"]
    labels = page.values("svg", "aria-label")
    curves = [label for label in labels if label.startswith("accuracy over clips a class")]
    assert len(curves) == 2 and all("mfcc: from" in label for label in curves)
    (layers,) = [label for label in labels if label.startswith("accuracy over layer")]
    assert "m: from" in layers and "mfcc" not in layers
    addresses = page.all_values("src") + page.all_values("href")
    assert all(one.startswith(("#", "data:")) for one in addresses)
