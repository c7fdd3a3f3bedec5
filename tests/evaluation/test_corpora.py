"""Corpora by their own splits, and HEAR's folders in their exact layout."""

import json

import pytest
import torch

from ssast_recipes.data.synthetic import make_iemocap, make_speechcommands, make_voxceleb
from ssast_recipes.evaluation.probes import METRICS
from ssast_recipes.evaluation.sources import read_task
from tests.evaluation.hums import make_hums


def sizes(fold):
    return len(fold.train), len(fold.valid), len(fold.test)


def test_speech_commands_are_split_by_their_lists(tmp_path):
    corpus = make_speechcommands(tmp_path, "v2", ["yes", "no"], (4, 2, 3), duration=0.05)
    task = read_task(f"speechcommands={corpus}", tmp_path / "tasks")
    assert [sizes(fold) for fold in task.folds] == [(8, 4, 6)] and task.classes == ["no", "yes"]


def test_version_1_has_silence_and_validates_every_clip_once(tmp_path):
    corpus = make_speechcommands(tmp_path, "v1", ["yes", "bed"], duration=0.05, noise_duration=1.2)
    task = read_task(f"speechcommands-v1={corpus}", tmp_path / "tasks")
    (fold,) = task.folds
    assert len(task.classes) == 12 and fold.has_valid
    assert len(set(fold.valid)) == len(fold.valid)
    assert "_silence_" in {task.clips[place].labels[0] for place in fold.valid}


def test_voxceleb_is_split_by_its_list(tmp_path):
    corpus = make_voxceleb(tmp_path / "corpus", num_speakers=2, durations=(0.1, 0.1))
    task = read_task(f"voxceleb={corpus}", tmp_path / "tasks")
    assert task.classes == ["id10001", "id10002"] and len(task.folds) == 1
    assert all(sizes(task.folds[0]))


def test_iemocap_tests_each_session(tmp_path):
    corpus = make_iemocap(tmp_path, durations=(0.1, 0.2))
    task = read_task(f"iemocap={corpus}", tmp_path / "tasks")
    assert [fold.name for fold in task.folds] == [f"fold {k}" for k in range(1, 6)]
    assert {sizes(fold) for fold in task.folds} == {(32, 8, 10)}
    for number, fold in enumerate(task.folds, start=1):
        assert {task.clips[place].extra["session"] for place in fold.test} == {str(number)}


@pytest.fixture
def make_hear(tmp_path):
    """`make_hear(parts, **metadata)`: six hums, dealt in turn to the parts."""

    def make(parts=("train", "valid", "test"), labels=lambda name, n: [name], **metadata):
        root = tmp_path / "tasks" / "hums-v1-full"
        files = sorted(make_hums(tmp_path / "hums", count=2 * len(parts)).rglob("*.wav"))
        dealt = {part: {} for part in parts}
        for number, path in enumerate(files):
            part, label = parts[number % len(parts)], path.parent.name
            (root / "16000" / part).mkdir(parents=True, exist_ok=True)
            name = f"{label}{path.name}"
            path.rename(root / "16000" / part / name)
            dealt[part][name] = labels(label, number)
        for part, content in dealt.items():
            (root / f"{part}.json").write_text(json.dumps(content))
        # Not in the order of the alphabet.
        (root / "labelvocabulary.csv").write_text("idx,label\n0,middle\n1,low\n2,high\n")
        told = {
            "task_name": "hums",
            "version": "v1",
            "embedding_type": "scene",
            "prediction_type": "multiclass",
            "split_mode": "trainvaltest",
            "sample_duration": 0.25,
            "evaluation": ["top1_acc"],
            "mode": "full",
            "splits": list(parts),
        }
        (root / "task_metadata.json").write_text(json.dumps(told | metadata))
        return root

    return make


def test_hears_splits_classes_and_metrics(make_hear, tmp_path):
    root = make_hear(evaluation=["mAP", "top1_acc", "lwlrap"])
    task = read_task(f"hear:{root}", tmp_path / "out")
    assert [sizes(fold) for fold in task.folds] == [(6, 6, 6)]
    assert task.classes == ["middle", "low", "high"] and task.metrics == ("mAP", "top1_acc")
    assert list(task.notes) == ["metrics left out: lwlrap"] and task.name == "hums"
    low = next(n for n, clip in enumerate(task.clips) if "/low" in clip.path)
    assert task.targets[low].tolist() == [0.0, 1.0, 0.0]


def test_hears_folds_validate_on_the_next_one(make_hear, tmp_path):
    parts = ("fold00", "fold01", "fold02", "fold03")
    root = make_hear(parts, split_mode="presplit_kfold", splits=[*reversed(parts)])
    task = read_task(f"hear:{root}", tmp_path / "out")

    def parts_of(places):
        return {task.clips[place].path.split("/")[-2] for place in places}

    found = [[parts_of(part) for part in fold[1:]] for fold in task.folds]
    assert found == [
        [{"fold02", "fold03"}, {"fold01"}, {"fold00"}],
        [{"fold00", "fold03"}, {"fold02"}, {"fold01"}],
        [{"fold00", "fold01"}, {"fold03"}, {"fold02"}],
        [{"fold01", "fold02"}, {"fold00"}, {"fold03"}],
    ]


def test_hears_clips_may_have_several_labels_or_none(make_hear, tmp_path):
    root = make_hear(labels=lambda name, n: [name, "low"] if n % 3 else [], evaluation=["mAP"])
    task = read_task(f"hear:{root}", tmp_path / "out")
    assert task.is_multi and set(task.targets.sum(dim=1).tolist()) == {0.0, 1.0, 2.0}
    assert METRICS["mAP"](task.targets, task.targets) == 1


def test_numbers_are_labels_of_hear_too(make_hear, tmp_path):
    pitches = {"middle": 60, "low": 48, "high": 61}
    root = make_hear(labels=lambda name, n: [pitches[name]], evaluation=["pitch_acc", "chroma_acc"])
    (root / "labelvocabulary.csv").write_text("idx,label\n0,48\n1,60\n2,61\n")
    task = read_task(f"hear:{root}", tmp_path / "out")
    assert task.classes == ["48", "60", "61"]
    assert torch.equal(task.targets.sum(dim=1), torch.ones(18))


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"embedding_type": "event"}, "scene tasks are evaluated, not those of events"),
        ({"split_mode": "kfold"}, "split_mode is one of trainvaltest, new_split_kfold"),
        ({"split_mode": "new_split_kfold", "splits": ["a"]}, "three folds at least"),
        ({"evaluation": ["event_onset_200ms_fms"]}, "none of its metrics is known here: event_on"),
        ({"task_name": "../x"}, "task_name is '../x'"),
    ],
)
def test_what_is_no_scene_task_is_told(make_hear, tmp_path, metadata, told):
    root = make_hear(**metadata)
    with pytest.raises(ValueError, match=told):
        read_task(f"hear:{root}", tmp_path / "out")


def test_labels_outside_the_vocabulary_are_told(make_hear, tmp_path):
    root = make_hear(labels=lambda name, n: ["dog"])
    with pytest.raises(ValueError, match=r"train.json: .* is labelled \['dog'\], not of the voc"):
        read_task(f"hear:{root}", tmp_path / "out")
    (root / "labelvocabulary.csv").write_text("idx,label\n0,dog\n2,low\n")
    with pytest.raises(ValueError, match="labelvocabulary.csv: indices are to be 0, 1"):
        read_task(f"hear:{root}", tmp_path / "out")
