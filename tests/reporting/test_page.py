"""`ssast report` of folders made by hand: unfinished, hostile, large; and the charts' geometry."""

import json
import math
import re
import subprocess
import sys

import matplotlib
import matplotlib.image
import numpy as np
import pytest
import soundfile
import torch

from ssast_recipes.commands.main import main
from ssast_recipes.data.manifest import Clip
from ssast_recipes.records.predictions import Predictions
from ssast_recipes.reporting.charts import (
    COLOURS,
    line_chart,
    picture_chart,
    scatter_chart,
    thin_out,
)
from ssast_recipes.reporting.classes import confusion_section
from ssast_recipes.reporting.embeddings import embeddings_section, principal_components
from ssast_recipes.reporting.page import make_page
from ssast_recipes.weights.formats.folder import load_model, save_model
from tests.report_page import Page, check_page
from tests.weights.formats.test_folder import save as save_model_folder

HOSTILE = "<img src=https://example.org/a onerror=alert(1)>"


@pytest.fixture
def folder(tmp_path):
    """A run that has just begun."""
    path = tmp_path / "run"
    path.mkdir()
    (path / "hyperparams.yaml").write_text("seed: 3\nnum_steps: 100\nlr: 1e-3\n")
    return path


def write_records(folder, *records):
    lines = (json.dumps({"stage": stage, "step": step, **r}) for stage, step, r in records)
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))


def error_of(capsys, *words):
    assert main(["report", *map(str, words)]) == 1
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
    return told.err


# ---- what is no run, and where the page goes


def test_a_folder_that_is_no_run(tmp_path, capsys):
    (tmp_path / "save").mkdir()
    line = error_of(capsys, tmp_path)
    assert f"{tmp_path} is no run's folder: it has none of results.json, " in line
    assert list(tmp_path.iterdir()) == [tmp_path / "save"]


@pytest.mark.parametrize("name", ["nothing", "file"])
def test_a_folder_that_is_none(tmp_path, capsys, name):
    (tmp_path / "file").touch()
    assert f"{tmp_path / name} is no folder; give" in error_of(capsys, tmp_path / name)


@pytest.mark.parametrize("option", ["--clips", "--points"])
def test_counts_below_zero(folder, capsys, option):
    assert f"{option} is 0 or more, not -1" in error_of(capsys, folder, option, "-1")
    assert not (folder / "report.html").exists()


def test_an_output_that_cannot_be_written(folder, capsys):
    assert str(folder) in error_of(capsys, folder, "--output", folder)
    assert [path.name for path in folder.parent.iterdir()] == ["run"]


def test_the_page_lies_in_the_run_or_where_it_is_asked_for(folder, capsys):
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'} (0.0 MB)\n"
    other = folder.parent / "pages" / "a.html"
    assert main(["report", str(folder), "--output", str(other)]) == 0
    assert other.read_text() == (folder / "report.html").read_text()


def test_help_does_not_wait_for_torch():
    code = "import sys; from ssast_recipes.commands.main import main\n"
    code += "try: main(['report', '--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "RUN_DIR" in done.stdout and done.stdout.endswith("False\n")


# ---- what is there is shown


def test_a_run_that_has_just_begun(folder):
    page = check_page(make_page(folder))
    assert page.sections == ["Results", "Configuration", "Left out"]
    assert "Not evaluated: no results yet. Its log ends at step 0 of 100." in page.text
    assert page.all("h1") == ["Classification: seed 3"]
    assert "lr1e-3" in page.section("Configuration")
    assert page.section("Left out") == "There is no metrics.jsonl."


def test_a_run_under_way(folder):
    write_records(
        folder,
        ("train", 10, {"epoch": 1, "loss": 2.0, "learning_rate": 1e-4, "clips_per_second": 50}),
        ("train", 20, {"epoch": 1, "loss": 1.0, "learning_rate": 2e-4, "clips_per_second": 70}),
        ("valid", 20, {"epoch": 1, "loss": 1.5, "accuracy": 0.5, "valid_score": 0.5}),
    )
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"stage": "train", "st')  # killed
    page = check_page(make_page(folder))
    assert page.sections == ["Results", "Configuration", "Curves", "Left out"]
    assert "Its log ends at step 20 of 100." in page.section("Results")
    assert "60 clips / s (median of training)" in page.section("Configuration")
    titles = page.all("figcaption")
    assert titles == ["Losstrainvalid", "Accuracyvalid", "Learning ratetrain", "Throughputtrain"]
    assert page.values("svg", "aria-label")[0] == (
        "Loss over step. train: from 2 to 1; valid: from 1.5 to 1.5."
    )
    assert "1 line of metrics.jsonl cannot be read" in page.section("Left out")


def test_whatever_is_logged_has_a_curve(folder):
    records = [("probe", s, {"probe_knn": s / 100, "probe_linear": s / 200}) for s in (10, 20)]
    records += [("train", 10, {"weight_norm": 3, "note": "text", "flag": True, "bad": None})]
    records += [("test", 20, {"last": 0.5})]
    write_records(folder, *records)
    page = check_page(make_page(folder))
    assert page.all("figcaption") == ["Probesknnlinear", "Weight normtrain"]
    first = page.values("svg", "aria-label")[0]
    assert first == "share of clips over step. knn: from 0.1 to 0.2; linear: from 0.05 to 0.1."


def test_probes_are_drawn_from_zero(folder):
    records = [("probe", step, {"probe_knn": 0.8 + step / 1000}) for step in (10, 20)]
    write_records(folder, *records, *(("valid", step, {"loss": 0.8}) for step in (10, 20)))
    page = check_page(make_page(folder))
    loss, probes = (min(y for _, y in line) for line in page.lines())
    assert "0.0" in page.all("text") and probes < 50 < loss  # the probes' are near the top


def test_clips_that_validated_pretraining_are_called_so(folder):
    results = {"value": {"last": 0.5}, "num_clips": {"train": 9, "valid": 4, "test": 4}}
    (folder / "results.json").write_text(json.dumps(results))
    same = "valid_manifests: &a [b.csv]\ntest_manifests: *a\n"
    (folder / "hyperparams.yaml").write_text(f"masker: x\n{same}")
    page = check_page(make_page(folder))
    assert "On 4 validation clips." in page.section("Results")
    assert "Clips9 train, 4 valid" in page.section("Configuration")
    for text in (same, f"masker: x\n{same}test_manifests: [c.csv]\n"):
        (folder / "hyperparams.yaml").write_text(text)
        page = check_page(make_page(folder))
        assert "On 4 test clips." in page.section("Results")
        assert "4 valid, 4 test" in page.section("Configuration")


def test_the_run_that_weights_began_with_is_named(folder):
    before = {"experiment": "ESC50/pretrain_patch", "dataset": "ESC-50", "seed": 0}
    source = {"name": "model.ckpt", "sha256": "0123456789abcdef", "run": before}
    (folder / "results.json").write_text(json.dumps({"pretrained_from": source}))
    (folder / "hyperparams.yaml").write_text("pretrained_encoder: results/mine\n")
    assert (
        "Begins withESC50/pretrain_patch, ESC-50, seed 0, results/mine, model.ckpt, "
        "SHA-256 0123456789ab"
    ) in check_page(make_page(folder)).section("Configuration")


@pytest.mark.parametrize("labels", [(), ("dog",)])
def test_a_map_of_clips_without_labels_has_no_legend(tmp_path, labels):
    save_model_folder(tmp_path / "run" / "model", "encoder")
    noise = np.random.default_rng(1).normal(size=8000)
    soundfile.write(tmp_path / "a.wav", noise, 16000)
    path = str(tmp_path / "a.wav")
    clips = [Clip(name, path, start, 0.2, 16000, labels) for start, name in enumerate("a")]
    clips += [Clip(name, path, start, 0.2, 16000) for name, start in (("b", 0.1), ("c", 0.2))]
    drawn = Page(embeddings_section(tmp_path / "run", clips, 3, "cpu", "validation"))
    told = drawn.all("figcaption")[0]
    assert "Embeddings of 3 of 3 validation clips" in told
    assert ("by label" in told) == bool(labels) == ("others" in told)


def test_a_step_that_was_logged_twice_counts_once(folder):
    write_records(folder, *(("valid", 10, {"loss": loss}) for loss in (4.0, 3.0)))
    page = check_page(make_page(folder))
    assert page.values("svg", "aria-label") == ["Loss over step. valid: from 3 to 3."]


def test_values_that_are_not_finite_are_no_points(folder):
    (folder / "metrics.jsonl").write_text(
        '{"stage": "train", "step": 1, "loss": NaN}\n{"stage": "train", "step": 2, "loss": 1.0}\n'
        f'{{"stage": "train", "step": {10**400}, "loss": 1.0}}\n[1]\n{{"stage": 3, "step": 1}}\n'
    )
    page = check_page(make_page(folder))
    assert "train: from 1 to 1" in page.values("svg", "aria-label")[0]
    assert "3 lines of metrics.jsonl" in page.section("Left out")


def test_masked_shares_are_told_by_frequency(folder):
    (folder / "hyperparams.yaml").write_text("sample_rate: 16000\nmasker: !new:a.RandomMasker {}\n")
    shares = [0.25, 0.5, 0.75, 1.0]
    records = [("valid", 1, {"masked_share_by_row": [0, 0, 0, 0]})]
    write_records(folder, *records, ("valid", 2, {"masked_share_by_row": shares}))
    page = check_page(make_page(folder))
    assert page.all("h1") == ["Pretraining"]
    rows = re.findall(r"([\d,]+) – ([\d,]+) Hz(\d+\.\d) %", page.section("Masked by frequency"))
    edges = [int(row[1].replace(",", "")) for row in rows]
    assert edges == sorted(edges, reverse=True) and edges[0] == 8000 and rows[-1][0] == "20"
    assert [row[2] for row in rows] == ["100.0", "75.0", "50.0", "25.0"]  # the lowest is below
    bars = [has["style"] for _, has, _ in page.elements if has.get("class") == "bar"]
    assert bars == ["width:100.0%", "width:75.0%", "width:50.0%", "width:25.0%"]


@pytest.mark.parametrize("shares", [[], "x", [0.5, "x"], [2.0], None, [[0.5]]])
def test_masked_shares_that_are_none(folder, shares):
    write_records(folder, ("valid", 1, {"loss": 1.0, "masked_share_by_row": shares}))
    assert "Masked by frequency" not in check_page(make_page(folder)).sections


def test_of_many_pictures_six_are_shown_from_the_first_to_the_last(folder):
    (folder / "pictures").mkdir()
    for step in range(0, 100, 5):
        path = folder / "pictures" / f"found_{step:08d}.png"
        matplotlib.image.imsave(path, np.full((2, 3), step), vmin=0, vmax=100)
    matplotlib.image.imsave(folder / "pictures" / "mine.png", np.zeros((2, 2)))
    page = check_page(make_page(folder))
    shown = [text for text in page.all("figcaption") if text.startswith("After")]
    assert shown == [f"After step {step}" for step in (95, 75, 55, 40, 20, 0)]


# ---- nothing of a run is executed, or taken for markup


def test_nothing_in_hyperparams_is_executed(folder):
    proof = folder / "proof"
    text = f"seed: !!python/object/apply:pathlib.Path.touch [!!python/name:x, {proof}]\n"
    text += f"opt_class: !apply:os.mkdir [{proof}]\nlr: !new:os.mkdir {{path: {proof}}}\n"
    text += "masker: &m [*m, *m, *m]\n"
    (folder / "hyperparams.yaml").write_text(text)
    check_page(make_page(folder))
    assert not proof.exists()


def test_values_are_text(folder):
    values = ("dataset", "protocol", "metric", "device", "package_version", "size", "fold")
    results = dict.fromkeys(values, HOSTILE)
    results |= {"value": {HOSTILE: 0.5, "last": HOSTILE}, "num_clips": {HOSTILE: HOSTILE}}
    results |= {"pretrained_from": {"name": HOSTILE, "sha256": HOSTILE}, "seconds": HOSTILE}
    results["pretrained_from"]["run"] = {"experiment": HOSTILE, "dataset": HOSTILE, "seed": HOSTILE}
    results |= {"geometry": {"depth": HOSTILE}, "best_is_chosen_on": HOSTILE}
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "hyperparams.yaml").write_text(f"schedule: '{HOSTILE}'\n'{HOSTILE}': 1\n")
    write_records(folder, (HOSTILE, 1, {HOSTILE: 1.0, "epoch": HOSTILE}))
    text = make_page(folder)
    page = check_page(text)
    assert "<img" not in text and page.text.count(HOSTILE) > 10


def test_what_has_to_be_beaten_stands_beside_the_result(folder):
    results = {"metric": "accuracy", "value": {"last": 0.5}, "num_clips": {"test": 4}}
    results["baselines"] = {"chance": 0.25, "log_mel_ridge": 0.625}
    (folder / "results.json").write_text(json.dumps(results))
    told = check_page(make_page(folder)).section("Results")
    assert "0.5accuracy, last step" in told and "0.25accuracy, by chance" in told
    assert "0.625accuracy, ridge regression on log-mel bands" in told


@pytest.mark.parametrize("wrong", [None, 3, "x", [1], {"a": [1]}])
def test_results_of_other_types_are_left_out(folder, wrong):
    keys = ("value", "num_clips", "geometry", "pretrained_from", "seconds", "metric", "baselines")
    (folder / "results.json").write_text(json.dumps({"x": 1, **dict.fromkeys(keys, wrong)}))
    assert check_page(make_page(folder)).sections[:2] == ["Results", "Configuration"]


@pytest.mark.parametrize("number", ["0", "'x'", "null", "!new:os.mkdir"])
def test_where_nothing_was_masked_nothing_is_found_by_chance(folder, number):
    results = {"metric": "masked_patch_accuracy", "value": {"last": None, "best": 0.25}}
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "hyperparams.yaml").write_text(f"masker: x\nnum_masked_patches: {number}\n")
    told = check_page(make_page(folder)).section("Results")
    assert "–masked patch accuracy, last step" in told and "0.25masked" in told
    assert "By chance" not in told


@pytest.mark.parametrize("rate", ["0", "-2000", "nan", ".inf", "1e400"])
def test_rows_have_no_frequencies_of_a_rate_that_is_none(folder, rate):
    (folder / "hyperparams.yaml").write_text(f"sample_rate: {rate}\n")
    write_records(folder, ("valid", 1, {"masked_share_by_row": [0.5, 0.75]}))
    told = check_page(make_page(folder)).section("Masked by frequency")
    assert "row of patches, from below" in told and "Hz" not in told


def test_a_table_of_other_columns_is_left_out(folder):
    (folder / "results.json").write_text(json.dumps({"value": {"last": 0.5}}))
    (folder / "per_class.csv").write_text("selection,name,clips,AP\nlast,dog,3,0.5\n")
    left_out = check_page(make_page(folder)).section("Left out")
    assert "Classes: per_class.csv is not readable (its columns are selection, name," in left_out


@pytest.mark.parametrize("name", ["results.json", "metrics.jsonl"])
def test_a_file_that_cannot_be_opened_is_left_out(folder, name):
    (folder / name).mkdir()
    told = check_page(make_page(folder)).section("Left out")
    assert f"{name} is not readable, and left out: " in told and "directory" in told


def test_a_model_that_diverged_has_no_map(tmp_path):
    save_model_folder(tmp_path / "run" / "model", "encoder")
    model, config = load_model(tmp_path / "run" / "model")
    model.norm.weight.data.fill_(3e38)  # which overflows as soon as it is used
    save_model(tmp_path / "run" / "model", model, config.front_end)
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 16000)
    clips = [Clip(name, str(tmp_path / "a.wav"), 0.0, 0.5, 16000) for name in "abc"]
    with pytest.raises(ValueError, match="embeddings are not finite numbers"):
        embeddings_section(tmp_path / "run", clips, 3, "cpu")


# ---- charts


def test_a_line_lies_where_its_values_are():
    drawn = Page(line_chart({"a": [(0, 0.0), (50, 10.0), (100, 5.0)]}, "step", "loss"))
    (((x0, y0), (x1, y1), (x2, y2)),) = drawn.lines()
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1)
    assert y2 == pytest.approx((y0 + y1) / 2, abs=0.1) and y0 > y1  # upwards is less
    texts = [(has, "".join(texts)) for name, has, texts in drawn.elements if name == "text"]
    heights = {text: float(has["y"]) for has, text in texts if "text-anchor: end" in has["style"]}
    below = heights["0.0"] - y0  # text is written from its base line
    assert 0 < below < 6 and heights["10.0"] - below == pytest.approx(y1, abs=0.1)
    assert {"step", "loss"} <= {text for _, text in texts}


@pytest.mark.parametrize("points", [[(0, 0.0)], [(7, -3.0)], [(1, 1e-5), (2, 1e-5)], [(3, 1e20)]])
def test_lines_of_a_point_or_without_a_slope(points):
    (corners,) = Page(line_chart({"a": points}, "step", "loss")).lines()
    assert len(corners) == len(points)
    assert all(58 <= x <= 346 and 18 <= y <= 198 for x, y in corners)


def test_long_lines_are_averaged():
    points = [(step, float(step % 2)) for step in range(100_000)]
    thin = thin_out(points)
    assert len(thin) == 400
    assert all(value == 0.5 for _, value in thin)
    assert len(line_chart({"a": points}, "step", "loss")) < 10_000


def test_points_have_their_colour_and_name():
    points = [(0.0, 0.0), (1.0, 2.0), (2.0, 1.0)]
    drawn = Page(scatter_chart(points, [0, None, 12], ["a", "b", "c"], "x", "y"))
    titled = {
        "".join(texts): has["style"]
        for name, has, texts in drawn.elements
        if name == "use" and texts
    }
    assert list(titled) == ["b", "c", "a"]  # grey below
    assert f"fill: {COLOURS[0]};" in titled["a"]
    assert "fill: #9aa0a8;" in titled["b"] and "fill: #9aa0a8;" in titled["c"]
    heights = [float(has["y"]) for name, has, texts in drawn.elements if name == "use" and texts]
    assert heights[0] < heights[1] < heights[2]


def test_points_that_are_not_finite_are_left_out_of_charts():
    spoiled = [(1, math.nan), (2, 4.0), (3, math.inf), (4, 2.0), (math.nan, 1.0)]
    assert line_chart({"a": spoiled}, "x", "y") == line_chart({"a": [(2, 4.0), (4, 2.0)]}, "x", "y")
    found = scatter_chart(spoiled, [0] * 5, list("vwxyz"), "x", "y")
    assert found == scatter_chart([(2, 4.0), (4, 2.0)], [0, 0], ["w", "y"], "x", "y")
    assert "over" in line_chart({"a": [(1, math.nan)]}, "x", "y")


def test_a_picture_has_its_ticks_and_its_values():
    values = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 1.0]])  # the lowest row first
    drawn = Page(
        picture_chart(values, (0, 1), (0, 2), "time / s", {"0.3": 0, "8": 1}, "kHz", "told")
    )
    (pixels,) = drawn.pictures()
    dark = pixels[:, :, :3].sum(axis=2) < 0.1
    assert pixels.shape == (3, 2, 4) and dark.sum() == 1
    ((_, image, _),) = (one for one in drawn.elements if one[0] == "image")
    scale = [float(one) for one in re.findall(r"-?[\d.]+", image["transform"])]
    assert image["transform"].startswith("matrix(")
    a, b, c, d, left, top = scale
    assert (b, c) == (0, 0) and left == pytest.approx(58) and 2 * a == pytest.approx(288)
    bottom = top + 3 * d
    # The dark value, of the lowest row, is at the lower end.
    assert bool(dark[0, 0]) == (top > bottom)
    assert sorted((top, bottom)) == pytest.approx([18, 168])
    ends = {
        "".join(texts): float(has["y"])
        for name, has, texts in drawn.elements
        if name == "text" and "text-anchor: end" in has["style"]
    }
    assert ends["8"] == pytest.approx(18, abs=6) and ends["0.3"] == pytest.approx(168, abs=6)


def test_charts_are_the_same_every_time_and_keep_apart():
    first, again, other = (
        line_chart({"a": [(1, 0.5), (2, value)]}, "step", "loss") for value in (0.25, 0.25, 0.75)
    )
    assert first == again
    names = [set(Page(chart).all_values("id")) for chart in (first, other)]
    assert names[0] and not names[0] & names[1]


def test_a_users_own_looks_of_matplotlib_change_no_chart():
    plain = line_chart({"a": [(1, 0.5), (2, 0.25)]}, "step", "loss")
    with matplotlib.rc_context({"lines.linestyle": ":", "font.size": 40, "svg.fonttype": "path"}):
        assert line_chart({"a": [(1, 0.5), (2, 0.25)]}, "step", "loss") == plain
        assert matplotlib.rcParams["font.size"] == 40


@pytest.mark.parametrize("label", ["$x_$", "a\x01 \nb", "犬の声", "x" * 1000, HOSTILE, "&amp;"])
def test_labels_are_text_in_any_script(label, recwarn):
    drawn = line_chart({label: [(1, 0.5)]}, "step", label)
    page = Page(drawn)
    assert "<img" not in drawn
    assert page.values("svg", "aria-label") == [f"{label} over step. {label}: from 0.5 to 0.5."]
    (shown,) = (text for text in page.all("text") if not re.fullmatch(r"[\d.−]*|step", text))
    assert len(shown) <= 40 and (shown == label or not label.isprintable() or len(label) > 40)
    assert not list(recwarn)


# ---- classes and embeddings


def predictions_of(labels, predicted, num_classes):
    logits = torch.nn.functional.one_hot(torch.tensor(predicted), num_classes).float()
    names = [f"class {number}" for number in range(num_classes)]
    ids = [f"clip {number}" for number in range(len(labels))]
    return Predictions("last", ids, names, logits, torch.tensor(labels))


def test_the_matrix_counts_labels_by_predicted_class():
    page = Page(confusion_section(predictions_of([0, 0, 0, 2, 1], [0, 2, 2, 2, 0], 3)))
    rows = [text for text in page.all("tr") if text.startswith("class ")]
    assert rows[:3] == ["class 012", "class 11", "class 21"]
    cells = [(has, "".join(t)) for name, has, t in page.elements if name == "td"][:9]
    assert [text for _, text in cells] == ["1", "", "2", "1", "", "", "", "", "1"]
    shares = [has.get("style") for has, _ in cells]
    assert shares[0] == "--share:0.33" and shares[2] == "--share:0.67" and shares[1] is None
    assert [text for text in page.all("tr") if text.startswith("class 0class")] == [
        "class 0class 22"
    ]
    assert "2 of 5 test clips" in page.all("p")[0]


def test_of_many_classes_confusions_are_listed():
    page = Page(confusion_section(predictions_of([0, 1, 1], [0, 60, 60], 61)))
    assert len(page.all("table")) == 1
    assert "class 1class 602" in page.all("table")[0]


def test_principal_components_are_those_of_the_covariance():
    vectors = torch.randn(50, 6) * torch.tensor([5.0, 3.0, 1.0, 0.5, 0.2, 0.1]) + 7
    points, shares = principal_components(vectors)
    variances, directions = torch.linalg.eigh(vectors.double().T.cov())
    torch.testing.assert_close(points.double().var(dim=0), variances[[5, 4]], rtol=1e-4, atol=0)
    assert shares == pytest.approx((variances[[5, 4]] / variances.sum()).tolist(), rel=1e-6)
    centred = vectors.double() - vectors.double().mean(dim=0)
    expected = (centred @ directions[:, [5, 4]]).abs()
    torch.testing.assert_close(points.double().abs(), expected, rtol=1e-3, atol=1e-4)
