"""Every YAML file of AudioSet, from preparation to evaluation, and label enhancement in between."""

import csv
import importlib.util
import json
import sys
from collections import Counter
from types import ModuleType

import pytest
import torch
from speechbrain import Stage

from ssast_recipes.data.manifest import Clip, read_manifest, write_manifest
from ssast_recipes.data.synthetic import make_audioset, make_librispeech
from ssast_recipes.model.grid import adapt_positions
from ssast_recipes.objectives.metrics import mean_average_precision
from ssast_recipes.records.predictions import read_predictions, write_predictions
from ssast_recipes.weights.formats.ssast import released_to_ours
from tests.recipes.conftest import RECIPES
from tests.reference import formulas

FOLDER = RECIPES / "AudioSet"
CLIPS = {"balanced_train": 8, "unbalanced_train": 10, "eval": 6}
MISSING = 1  # of each split
TRAIN = {"20k": ["balanced_train"], "2m": ["balanced_train", "unbalanced_train"]}
SMALL = {"num_classes": 6, "embed_dim": 64, "depth": 1, "num_heads": 1, "target_length": 64}
SMALL |= {"batch_size": 4, "eval_batch_size": 4, "num_workers": 0, "log_interval": 1}
SMALL |= {"number_of_epochs": 2, "average_epochs": "[1, 2]", "spec_augment": "{max_frames: 16}"}
CLASSES = ["Tone, fabricated", "Noise, fabricated", "Sweep, fabricated", "Clicks, fabricated"]
CLASSES += ["Group 0", "Group 1"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audioset")
    return make_audioset(folder, CLIPS, duration=0.7, missing=MISSING)


@pytest.fixture
def train(run_recipe, corpus, tmp_path):
    """`train("20k_patch", key=value, …)` runs the file's experiment."""

    def run(name, **options):
        options = {
            "data_folder": corpus,
            "manifest_folder": tmp_path / "manifests",
            "output_folder": tmp_path / name,
            **SMALL,
            **options,
        }
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        return run_recipe("AudioSet", FOLDER / "hparams" / f"finetune_{name}.yaml", *words)

    return run


PRETRAINING = {"num_masked_patches": 20, "warmup_steps": 0, "num_steps": 3, "valid_interval": 2}


@pytest.fixture
def pretrain(run_recipe, corpus, tmp_path):
    """`pretrain("patch", key=value, …)` runs three steps of pretraining."""
    common = ("embed_dim", "depth", "num_heads", "target_length", "batch_size", "num_workers")

    def run(name, **options):
        options = {
            "data_folder": corpus,
            "manifest_folder": tmp_path / "manifests",
            "output_folder": tmp_path / name,
            **{key: SMALL[key] for key in (*common, "log_interval")},
            **PRETRAINING,
            **options,
        }
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        return run_recipe("AudioSet", FOLDER / "hparams" / f"pretrain_{name}.yaml", *words)

    return run


def ids_of(*manifests):
    return {clip.id for path in manifests for clip in read_manifest(path)}


def assert_it_pretrained(run, trained_on, validated_on):
    seen = {clip for each in run.batches(Stage.TRAIN) for clip in each.batch.ids}
    assert seen <= trained_on and len(seen) == min(12, len(trained_on))
    assert run.results["num_clips"]["train"] == len(trained_on)
    assert run.results["num_clips"]["valid"] == len(validated_on)
    assert (run.results["dataset"], run.results["protocol"]) == ("AudioSet", "pretraining")
    assert run.results["metric"] == "masked_patch_accuracy"
    assert all(each.batch.targets is None for each in run.seen)
    assert [record["step"] for record in run.log("valid")] == [2, 3]
    weights = run.brain.hparams.encoder.state_dict()
    assert all(not torch.equal(weights[name], run.initial[name]) for name in run.initial)


@pytest.mark.parametrize("kind", ["patch", "frame"])
def test_it_pretrains_on_all_training_clips(pretrain, tmp_path, kind):
    run = pretrain(kind)
    manifests = tmp_path / "manifests"
    train = [manifests / "balanced_train.csv", manifests / "unbalanced_train.csv"]
    assert_it_pretrained(run, ids_of(*train), ids_of(manifests / "eval.csv"))


def test_it_pretrains_on_the_balanced_set(pretrain, tmp_path):
    """As the README says for AudioSet-20K."""
    balanced = tmp_path / "manifests" / "balanced_train.csv"
    run = pretrain("patch", splits="[balanced_train, eval]", train_manifests=f"[{balanced}]")
    assert not (tmp_path / "manifests" / "unbalanced_train.csv").exists()
    assert_it_pretrained(run, ids_of(balanced), ids_of(balanced.with_name("eval.csv")))


FRAMES = [pytest.param(name, marks=pytest.mark.slow) for name in ("joint_frame", "mae_ast_frame")]


@pytest.mark.parametrize("name", ["joint_patch", "mae_ast_patch", *FRAMES])
def test_librispeech_joins_once_it_is_prepared(pretrain, run_recipe, tmp_path, name, capfd):
    """As the README says: LibriSpeech's recipe prepares and trains nothing."""
    librispeech = make_librispeech(
        tmp_path / "corpus", {"train-clean-100": 2, "dev-clean": 1}, (0.5, 1.2)
    )
    yaml_file = RECIPES / "Librispeech" / "hparams" / "pretrain_patch.yaml"
    places = {"data_folder": librispeech, "manifest_folder": tmp_path / "libri"}
    places |= {"output_folder": tmp_path / "nothing", "subsets": "[train-clean-100]"}
    words = [word for key, value in places.items() for word in (f"--{key}", value)]
    with pytest.raises(SystemExit) as ended:
        run_recipe("Librispeech", yaml_file, "--prepare_only", *words)
    assert ended.value.code == 0
    assert not (tmp_path / "nothing").exists()

    other = tmp_path / "libri" / "train.csv"
    run = pretrain(name, librispeech_manifest=other, batch_size=6)
    manifests = tmp_path / "manifests"
    train = [manifests / "balanced_train.csv", manifests / "unbalanced_train.csv", other]
    seen = {clip for each in run.batches(Stage.TRAIN) for clip in each.batch.ids}
    assert seen & ids_of(other) and seen - ids_of(other)
    assert run.results["train_manifests"] == [path.name for path in train]
    assert run.results["num_clips"]["train"] == len(ids_of(*train))
    assert run.results["num_clips"]["valid"] == CLIPS["eval"] - MISSING
    assert any(key.startswith("decoder.") for key in run.saved) == name.startswith("mae_ast")


def test_an_autoencoder_begins_with_released_weights(pretrain, tmp_path):
    """Encoder, positions and heads, which it all can use as they are; the decoder is its own."""
    torch.save(formulas.released_checkpoint(64, 1, (16, 16), "hash"), tmp_path / "SSAST.pth")
    expected = released_to_ours(formulas.released_checkpoint(64, 1, (16, 16), "hash"))
    run = pretrain(
        "mae_ast_patch",
        train_manifests=f"[{tmp_path / 'manifests' / 'balanced_train.csv'}]",
        pretrained_encoder=tmp_path / "SSAST.pth",
        target_length=128,
        num_steps=1,
        lr=0,
    )
    positions = expected.pop("encoder.position_embedding")
    expected["encoder.position_embedding"] = torch.cat(
        [positions[:, :2], adapt_positions(positions[:, 2:], (8, 64), (8, 8))], dim=1
    )
    expected.pop("encoder._extra_state", None)
    assert len(expected) > 20
    for name, value in expected.items():
        assert torch.equal(run.saved[name].cpu(), value), name
    assert run.results["pretrained_from"]["heads"] == ["contrastive_head", "reconstruction_head"]


def labels_of(manifests):
    return {clip.id: clip.labels for path in manifests for clip in read_manifest(path)}


def multi_hot(labels):
    return torch.tensor([[float(name in names) for name in CLASSES] for names in labels])


@pytest.mark.parametrize("kind", ["patch", "frame"])
@pytest.mark.parametrize("size", TRAIN)
def test_an_experiment_runs_from_lists_to_results(train, tmp_path, size, kind):
    run = train(f"{size}_{kind}")
    manifests = [tmp_path / "manifests" / f"{split}.csv" for split in TRAIN[size]]
    labels = labels_of(manifests)
    eval_labels = labels_of([tmp_path / "manifests" / "eval.csv"])
    assert run.results["num_clips"] == {
        "train": sum(CLIPS[split] - MISSING for split in TRAIN[size]),
        "valid": CLIPS["eval"] - MISSING,
        "test": CLIPS["eval"] - MISSING,
    }
    assert run.results["dataset"] == "AudioSet"
    assert run.results["protocol"] == f"AudioSet-{size.upper()}"
    assert run.results["train_manifests"] == [path.name for path in manifests]

    # What was trained on, and how it was drawn.
    batches = run.batches(Stage.TRAIN)
    ids = [clip_id for seen in batches for clip_id in seen.batch.ids]
    targets = torch.cat([seen.batch.targets.cpu() for seen in batches])
    listed = multi_hot(labels[clip_id] for clip_id in ids)
    is_mixed = (targets != listed).any(dim=1)
    assert 0 < is_mixed.sum() < len(ids)
    assert (targets >= 1e-3 * listed).all() and (targets <= 1).all()
    weights = run.brain.train_sampler.weights
    if size == "20k":
        assert weights is None and Counter(ids) == Counter(dict.fromkeys(labels, 2))
    else:
        counts = Counter(name for names in labels.values() for name in names)
        expected = [sum(1000 / (counts[name] + 0.01) for name in labels[i]) for i in labels]
        assert weights.tolist() == pytest.approx(expected)

    # What was evaluated, and that the numbers are of that.
    assert run.results["epochs"]["averaged"] == [1, 2]
    for selection, value in run.results["value"].items():
        logits, found = read_predictions(run.folder / "predictions.csv", selection)
        assert torch.equal(found, multi_hot(eval_labels.values()))
        assert value == pytest.approx(float(mean_average_precision(logits, found)), abs=1e-6)
        assert run.results["metrics"][selection].keys() == {"loss", "mAP", "AUC", "d_prime"}
    assert run.results["value"].keys() == {"last", "averaged", "best"}
    absent = set(CLASSES) - {name for names in eval_labels.values() for name in names}
    assert run.results["classes_without_clips"] == len(absent)
    with open(run.folder / "per_class.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["class"] for row in rows if row["average_precision"] == ""} == absent


def test_a_teacher_labels_for_a_student(train, enhance, corpus, tmp_path, capsys):
    manifest = tmp_path / "manifests" / "balanced_train.csv"
    enhanced = manifest.with_stem("balanced_train_enhanced")
    teacher = train("20k_patch", test_manifests=f"[{manifest}]")
    options = {"predictions": teacher.folder / "predictions.csv", "lists": corpus}
    options |= {"manifest": manifest, "output": enhanced, "selection": "last"}
    assert enhance.main([f"--{key}={value}" for key, value in options.items()]) == 0
    before, after = labels_of([manifest]), labels_of([enhanced])
    assert list(before) == list(after)
    added = sum(len(after[clip_id]) - len(before[clip_id]) for clip_id in before)
    assert added > 0 and f"got {added} labels, " in capsys.readouterr().out
    student = train(
        "20k_patch", output_folder=tmp_path / "student", train_manifests=f"[{enhanced}]"
    )
    assert student.results["train_manifests"] == [enhanced.name]
    for seen in student.batches(Stage.TRAIN):
        listed = multi_hot(after[clip_id] for clip_id in seen.batch.ids)
        assert ((seen.batch.targets.cpu() > 0) >= (listed > 0)).all()


# ---- label enhancement by itself


@pytest.fixture(scope="module")
def enhance() -> ModuleType:
    """The script, whose import of its neighbour leaves nothing behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        spec = importlib.util.spec_from_file_location(
            "enhance_labels", FOLDER / "enhance_labels.py"
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules.pop("audioset_prepare")
    return module


LABELS = {"a": [0], "b": [0, 4], "c": [4], "d": [2], "e": [5, 3]}
SCORES = {  # of Tone, Noise, Sweep, Clicks, and the groups of the first two and the last two
    "a": [0.8, 0.1, 0.9, 0.1, 0.46, 0.9],  # Group 0: 0.46 > (0.1 + 0.8) / 2; Sweep is no relative
    "b": [0.6, 0.9, 0.1, 0.1, 0.1, 0.1],  # no clip has Noise: no threshold
    "c": [0.75, 0.9, 0.1, 0.1, 0.8, 0.1],  # Tone: 0.75 > (0.8 + 0.6) / 2
    "d": [0.1, 0.1, 0.5, 0.1, 0.1, 0.6],  # Group 1 is at its threshold, not above
    "e": [0.1, 0.1, 0.4, 0.9, 0.9, 0.6],  # Sweep: 0.4 < 0.5
}


@pytest.fixture
def files(tmp_path):
    """A manifest and a teacher's predictions, of more clips and with other weights as well."""
    make_audioset(tmp_path, {})
    clips = [
        Clip(name, f"/{name}.wav", 0.0, 10.0, 16000, tuple(CLASSES[i] for i in labels))
        for name, labels in LABELS.items()
    ]
    write_manifest(tmp_path / "train.csv", clips)
    logits = torch.logit(torch.tensor([*SCORES.values(), [0.99] * 6], dtype=torch.float64))
    outputs = {"ids": [*SCORES, "other"], "targets": torch.zeros(6, 6)}
    selections = {"averaged": {**outputs, "logits": logits}, "last": {**outputs, "logits": -logits}}
    write_predictions(tmp_path / "predictions.csv", CLASSES, selections)
    return {
        "predictions": tmp_path / "predictions.csv",
        "manifest": tmp_path / "train.csv",
        "output": tmp_path / "enhanced.csv",
        "lists": tmp_path,
    }


def test_relatives_above_their_thresholds_are_added(enhance, files):
    assert enhance.enhance_labels(**files) == (5, 2, 7, 2)
    before, after = (read_manifest(files[key]) for key in ("manifest", "output"))
    added = {"a": ("Group 0",), "c": ("Tone, fabricated",)}
    for clip, more in zip(before, after, strict=True):
        assert more.labels == clip.labels + added.get(clip.id, ())
        assert (more.id, more.path, more.duration) == (clip.id, clip.path, clip.duration)


def test_the_weights_to_go_by_can_be_chosen(enhance, files):
    enhance.enhance_labels(**files, selection="last")
    labels = {clip.id: clip.labels for clip in read_manifest(files["output"])}
    # All scores the other way round: Group 0 of a is 0.54 < 0.55, but Sweep of e 0.6 > 0.5.
    assert labels["a"] == ("Tone, fabricated",)
    assert labels["e"] == ("Group 1", "Clicks, fabricated", "Sweep, fabricated")


def test_children_are_the_nearest_classes_below_and_ancestors_all_above(enhance, tmp_path):
    """Root (no class) > A > x (no class) > B > C; D > C, too."""
    below = {"root": ["a", "d"], "a": ["x"], "x": ["b"], "b": ["c"], "c": [], "d": ["c"]}
    nodes = [{"id": mid, "child_ids": children} for mid, children in below.items()]
    (tmp_path / "ontology.json").write_text(json.dumps(nodes))
    classes = {mid: mid.upper() for mid in "abcd"}
    assert enhance.find_relatives(tmp_path / "ontology.json", classes) == {
        "A": {"B"},
        "B": {"A", "C"},
        "C": {"A", "B", "D"},
        "D": {"C"},
    }
    without = {mid: name for mid, name in classes.items() if mid != "b"}
    assert enhance.find_relatives(tmp_path / "ontology.json", without)["A"] == {"C"}
    with pytest.raises(ValueError, match=r"the class Z \(z\) is not in it"):
        enhance.find_relatives(tmp_path / "ontology.json", {"z": "Z"})


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda files: edit(files["predictions"], "averaged,c,", "averaged,f,"),
            "1 of the 5 .* c;",
        ),
        (lambda files: edit(files["predictions"], "averaged", "best"), "but of best, last: name"),
        (lambda files: edit(files["predictions"], "Group 1", "Group 2"), "are not the classes"),
        (lambda files: edit(files["manifest"], "Group 1", "dog"), "clip e has labels that are no"),
        (lambda files: (files["lists"] / "ontology.json").unlink(), "No such file"),
        (lambda files: files.update(output=files["manifest"]), "is the manifest itself"),
    ],
)
def test_files_that_do_not_fit_are_told_in_one_line(enhance, files, capsys, spoil, message):
    spoil(files)
    manifest = files["manifest"].read_text()
    assert enhance.main([f"--{key}={value}" for key, value in files.items()]) == 1
    assert files["manifest"].read_text() == manifest
    assert files["output"] == files["manifest"] or not files["output"].exists()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("enhance_labels.py: error: ")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        enhance.enhance_labels(**files)
