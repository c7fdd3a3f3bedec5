"""The splits that benchmarks/small_tables.py makes, and the steps that small_steps.py counts."""

import csv
import os

import pytest

from ssast_recipes.data.preparation.labelled_files import read_labelled_files
from ssast_recipes.reporting.tables.rows import read_table
from tests.conftest import REPOSITORY

INDICES = (0, 1, 5, 6, 7, 10, 11, 12)
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    return __import__


@pytest.fixture
def corpora(tmp_path):
    """Names without audio: nothing is heard in splitting."""
    fsdd, esc10 = tmp_path / "FSDD", tmp_path / "ESC-10"
    (fsdd / "recordings").mkdir(parents=True)
    for speaker in SPEAKERS:
        for digit in range(10):
            for index in INDICES:
                (fsdd / "recordings" / f"{digit}_{speaker}_{index}.wav").touch()
    (esc10 / "meta").mkdir(parents=True)
    (esc10 / "audio").mkdir()
    lines = [["filename", "fold", "category", "esc10"]]
    for category in ("dog", "rain"):
        for fold in range(1, 6):
            for number in range(3):
                name = f"{fold}-{category}-{number}"
                lines.append([f"{name}.wav", fold, category, "True"])
                (esc10 / "audio" / f"{name}.ogg").touch()
    lines.append(["1-bells-0.wav", 1, "bells", "False"])
    with open(esc10 / "meta" / "esc50.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    return fsdd, esc10


def make(script, monkeypatch, corpora, output, seed=1):
    fsdd, esc10 = corpora
    words = ["--fsdd", fsdd, "--esc10", esc10, "--output", output, "--seed", seed]
    monkeypatch.setattr("sys.argv", ["small_tables.py", *map(str, words)])
    script("small_tables").main()
    return {
        folder.name: {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        for folder in output.iterdir()
    }


def test_splits_are_apart_and_test_what_was_not_heard(script, monkeypatch, corpora, tmp_path):
    found = make(script, monkeypatch, corpora, tmp_path / "small")
    few, all_digits = found["digits_few"], found["digits_all"]
    assert [
        sum(path.parts[0] == split for path in few) for split in ("train", "valid", "test")
    ] == [
        100,
        200,
        160,
    ]
    assert few < all_digits and len(all_digits) == 480
    tested = {path.name for path in few if path.parts[0] == "test"}
    assert {name.split("_")[1] for name in tested} == {"nicolas", "theo"}
    heard = {path.name for path in found["digits_unlabelled"]}
    assert len(heard) == 320 and not heard & tested
    for split in ("train", "valid"):
        names = {path.name for path in few if path.parts[0] == split}
        assert names <= heard
        assert {path.parts[1] for path in few if path.name in names} == set("0123456789")
    speakers = {(path.parts[0], int(path.stem.split("_")[2])) for path in found["speakers"]}
    assert {index for split, index in speakers if split == "test"} == {0, 1}
    assert {index for split, index in speakers if split == "train"} == {10, 11, 12}
    assert {path.stem.split("_")[2] for path in found["speakers_unlabelled"]} == {"10", "11", "12"}
    sounds = found["sounds_all"]
    assert {path.name[0] for path in sounds if path.parts[0] == "train"} == set("345")
    assert {path.name[0] for path in found["sounds_unlabelled"]} == set("2345")
    assert not any("bells" in path.name for path in sounds)
    assert len([path for path in found["sounds_few"] if path.parts[0] == "train"]) == 10


def test_labels_are_drawn_by_the_seed_and_links_are_what_fine_tuning_reads(
    script, monkeypatch, corpora, tmp_path
):
    one = make(script, monkeypatch, corpora, tmp_path / "one")
    assert make(script, monkeypatch, corpora, tmp_path / "one") == one  # again: nothing changes
    other = make(script, monkeypatch, corpora, tmp_path / "other", seed=2)
    assert one["digits_few"] != other["digits_few"]
    assert one["speakers"] == other["speakers"]
    files = read_labelled_files(tmp_path / "one" / "sounds_few")
    assert len(files) == 10 + 6 + 6
    link = next((tmp_path / "one" / "sounds_few" / "test" / "dog").iterdir())
    assert os.path.realpath(link).startswith(str(corpora[1]))


def test_the_folders_are_those_that_the_tables_read(script, monkeypatch, corpora, tmp_path):
    made = make(script, monkeypatch, corpora, tmp_path / "small")
    tasks = [task for name in ("speech", "sounds") for task in read_table(name).tasks.values()]
    needed = {task.data for task in tasks} | {task.unlabelled["data"] for task in tasks}
    assert needed == set(made)


def test_steps_are_counted_for_equal_time(script, monkeypatch, tmp_path, capsys):
    table = tmp_path / "mine.yaml"
    table.write_text(
        "title: Mine\nsource: none\ntasks: [digits-10]\n"
        "options: {size: tiny, embed_dim: 64, depth: 1, num_heads: 1, batch_size: 2,\n"
        "  target_length: 64, patch_size: '[16, 16]', num_masked_patches: 24}\n"
        "rows:\n"
        "  - {name: scratch, pretraining: null}\n"
        "  - {name: a, pretraining: 'own audio, SSAST', patches: patch}\n"
        "  - {name: b, pretraining: 'own audio, autoencoder', patches: patch}\n"
        "  - {name: c, pretraining: 'own audio, autoencoder', patches: patch,\n"
        "     options: {targets: raw}}\n"
    )
    taken = {"MaskedPatchModel": 0.5, "MaskedAutoencoder": 0.25}
    steps = script("small_steps")
    monkeypatch.setattr(steps, "measure_step", lambda model, *_: taken[type(model).__name__])
    monkeypatch.setattr("sys.argv", ["small_steps.py", str(table), "--seconds", "60"])
    steps.main()
    assert capsys.readouterr().out.splitlines() == [
        "a: 500 ms a step, num_steps: 120",
        "b: 250 ms a step, num_steps: 240",
        "c: 250 ms a step, num_steps: 240",
    ]
