"""Tasks as they are named: own labels with splits, groups and folds, and ESC-50 by its folds."""

import pytest

from ssast_recipes.data.synthetic import make_esc50
from ssast_recipes.evaluation.sources import read_task
from tests.evaluation.hums import PITCHES, make_hums, write_labels


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return make_hums(tmp_path_factory.mktemp("hums"))


def names(task, places):
    return {"/".join(task.clips[place].path.split("/")[-2:]) for place in places}


def test_given_splits_are_kept(sounds, tmp_path):
    split = {0: "train", 1: "train", 2: "train", 3: "dev", 4: "test", 5: "test"}
    rows = [f"{name}/{n}.wav,{name},{split[n]}" for name in PITCHES for n in range(6)]
    task = read_task(f"mine={write_labels(sounds, rows)}", tmp_path)
    (fold,) = task.folds
    assert names(task, fold.test) == {f"{name}/{n}.wav" for name in PITCHES for n in (4, 5)}
    assert names(task, fold.valid) == {f"{name}/3.wav" for name in PITCHES}
    assert fold.has_valid and len(fold.train) == 9
    assert task.metric == "accuracy" and task.classes == sorted(PITCHES)
    assert task.targets.argmax(dim=1)[fold.test].tolist() == [0, 0, 1, 1, 2, 2]


def test_a_task_without_test_split_says_so_and_chooses_nothing_on_it(sounds, tmp_path):
    rows = [
        f"{name}/{n}.wav,{name},{'train' if n < 4 else 'valid'}"
        for name in PITCHES
        for n in range(6)
    ]
    task = read_task(f"mine={write_labels(sounds, rows)}", tmp_path)
    (fold,) = task.folds
    assert fold.test == fold.valid and not fold.has_valid
    assert list(task.notes) == ["validation has no clips but the test's, which choose nothing"]


def test_folds_keep_groups_together(sounds, tmp_path):
    rows = [f"{name}/{n}.wav,{name},speaker{n % 3}" for name in PITCHES for n in range(6)]
    table = write_labels(sounds, rows, "path,label,group")
    task = read_task(f"mine={table}", tmp_path, num_folds=3)
    assert [fold.name for fold in task.folds] == ["fold 1", "fold 2", "fold 3"]
    tested = []
    for fold in task.folds:
        groups = [
            {task.clips[place].extra["group"] for place in part} for part in (fold.train, fold.test)
        ]
        assert not groups[0] & groups[1]
        tested += fold.test
    assert sorted(tested) == list(range(18))


def test_folds_leave_given_splits_alone(sounds, tmp_path):
    rows = [
        f"{name}/{n}.wav,{name},{'train' if n < 4 else 'test'}"
        for name in PITCHES
        for n in range(6)
    ]
    task = read_task(f"mine={write_labels(sounds, rows)}", tmp_path, num_folds=3)
    assert len(task.folds) == 1 and "has splits, which are kept" in task.notes[0]


def test_several_labels_are_judged_by_mean_average_precision(sounds, tmp_path):
    rows = [
        f"{name}/{n}.wav,{name};{'even' if n % 2 == 0 else 'odd'}"
        for name in PITCHES
        for n in range(6)
    ]
    task = read_task(f"mine={write_labels(sounds, rows, 'path,label')}", tmp_path)
    assert task.is_multi and task.metric == "mAP"


def test_one_class_is_refused(sounds, tmp_path):
    rows = [f"low/{n}.wav,low" for n in range(6)]
    table = write_labels(sounds, rows, "path,label")
    with pytest.raises(ValueError, match="the only class is low; there have to be two"):
        read_task(f"mine={table}", tmp_path)


@pytest.mark.parametrize("text", ["labels.csv", "mine=", "a b=labels.csv", "../a=labels.csv"])
def test_what_names_no_task_is_told(text, tmp_path):
    with pytest.raises(
        ValueError, match="--tasks .*: write NAME=LABELS, hear:DIR or one of esc50=DIR"
    ):
        read_task(text, tmp_path)


def test_esc50_is_tested_by_its_own_folds_where_its_files_are(tmp_path):
    corpus = make_esc50(tmp_path / "corpus", clips_per_class_and_fold=2, duration=0.1)
    task = read_task(f"esc50={corpus}", tmp_path / "tasks")
    assert [fold.name for fold in task.folds] == [f"fold {k}" for k in range(1, 6)]
    for number, fold in enumerate(task.folds, start=1):
        assert {task.clips[place].extra["fold"] for place in fold.test} == {str(number)}
        assert len(fold.test) == 8 and len(fold.train) == 32 and not fold.valid
        assert not set(fold.test) & set(fold.train)
    assert all(clip.path.startswith(str(corpus)) for clip in task.clips)
    assert {clip.sample_rate for clip in task.clips} == {44100}
