"""Speech Commands' train.py, for every YAML file, on fabricated corpora."""

import csv
from collections import Counter

import numpy as np
import pytest
import soundfile
import torch
from speechbrain import Stage

from ssast_recipes.data.synthetic import make_speechcommands
from ssast_recipes.data.synthetic.speechcommands import NOISES, SPEAKERS
from ssast_recipes.runs.steps import make_datasets
from tests.recipes.conftest import RECIPES

HPARAMS = RECIPES / "SpeechCommands" / "hparams"
WORDS = ("yes", "no", "bed", "tree")
SMALL = {"embed_dim": 64, "depth": 2, "num_heads": 1, "num_workers": 0, "log_interval": 1}
QUICK = {
    "v1": {**SMALL, "num_steps": 2, "valid_interval": 1, "batch_size": 16},
    "v2": {**SMALL, "num_classes": 4, "number_of_epochs": 1, "batch_size": 8, "warmup_steps": 0},
}
NAMES = sorted(path.stem for path in HPARAMS.glob("finetune_*.yaml"))
PRETRAINING = {"num_steps": 2, "valid_interval": 1, "batch_size": 4, "warmup_steps": 0}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Both versions: of each word 4 clips of 0.4 s train, 2 validate and 2 test."""
    folder = tmp_path_factory.mktemp("corpus")
    for version in QUICK:
        make_speechcommands(folder, version, WORDS, duration=0.4)
    return folder


@pytest.fixture(scope="module")
def run(run_recipe, corpus, tmp_path_factory):
    """`run(name, **values)`: a run of two steps."""

    def run(name, **values):
        version = "v1" if "_v1_" in name else "v2"
        places = {
            "data_folder": corpus,
            "manifest_folder": corpus.parent / f"manifests_{version}",
            "output_folder": tmp_path_factory.mktemp(name),
        }
        quick = {**SMALL, **PRETRAINING} if name.startswith("pretrain") else QUICK[version]
        options = {**quick, **places, **values}
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        return run_recipe("SpeechCommands", HPARAMS / f"{name}.yaml", *words)

    return run


@pytest.fixture(scope="module")
def finished(run):
    """`finished(name)`: the one run of a YAML file as it is."""
    runs = {}

    def get(name):
        if name not in runs:
            runs[name] = run(name)
        return runs[name]

    return get


def predictions(run):
    with open(run.folder / "predictions.csv", newline="") as file:
        return [row for row in csv.DictReader(file) if row["selection"] == "best"]


def all_clips(run, split):
    """A split in one batch, on the device."""
    clips = make_datasets(vars(run.brain.hparams))[split]
    (batch,) = run.brain.make_dataloader(clips, Stage.TEST, batch_size=len(clips))
    return batch.to(run.brain.device)


def split_of(clip):
    """Where a clip comes from, told by its name: for words of the corpus, by the speaker."""
    folder, word, *rest = clip.split("/")
    if "test_set" in folder:
        return "test set"
    if word == "_background_noise_":
        return word
    return next(split for split in SPEAKERS if rest[0][:8] in SPEAKERS[split])


def test_there_are_two_tasks_and_two_kinds_of_patches():
    assert NAMES == [f"finetune_{v}_{kind}" for v in ("v1", "v2") for kind in ("frame", "patch")]


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_validates_and_tests(finished, name):
    run = finished(name)
    results = run.results
    assert results["best_is_chosen_on"] == "the validation set"
    history = {record["step"]: record["accuracy"] for record in results["history"]}
    assert history[results["steps"]["best"]] == max(history.values())
    rows = predictions(run)
    right = [row["predicted"] == row["label"] for row in rows]
    assert results["value"]["best"] == pytest.approx(sum(right) / len(rows), abs=1e-6)
    assert len(run.batches(Stage.TRAIN)) == 2
    grid = run.brain.model.encoder.grid_size
    assert grid == {"v1_patch": (12, 9), "v1_frame": (1, 99)}.get(
        name.removeprefix("finetune_"), (12, 12) if "patch" in name else (1, 127)
    )
    changed = {
        name.split(".")[0]
        for name, value in run.brain.model.encoder.named_parameters()
        if not torch.equal(value, run.initial[name])
    }
    assert {"blocks", "patch_embedding"} <= changed


@pytest.mark.parametrize("name", ["finetune_v2_patch", "finetune_v2_frame"])
def test_version_2_is_all_words_by_the_lists(finished, name):
    run = finished(name)
    results = run.results
    assert results["dataset"] == "4 words in the layout of Speech Commands V2"
    assert results["num_clips"] == {"train": 16, "valid": 8, "test": 8}
    batches = [seen.batch for seen in run.batches(Stage.TRAIN)]
    trained = [clip for batch in batches for clip in batch.ids]
    assert len(set(trained)) == 16 and {split_of(clip) for clip in trained} == {"train"}
    rows = predictions(run)
    assert len(rows) == 8 and {split_of(row["id"]) for row in rows} == {"test"}
    assert all(row["label"] == row["id"].split("/")[1] for row in rows)
    classes = sorted(WORDS)
    mixed = 0
    for batch in batches:
        for clip, target in zip(batch.ids, batch.targets.cpu(), strict=True):
            assert target.sum() == pytest.approx(1.0)
            word = classes.index(clip.split("/")[1])
            if target[word] != 1:
                mixed += 1
                assert target.count_nonzero() == 2 and 0 < target[word] < 1
    # Six in ten of 16 clips, of which a fourth meets a clip of its own word: 7.2, deviation 2.
    assert 1 <= mixed <= 13


@pytest.mark.parametrize("kind", ["patch", "frame"])
def test_pretraining_hears_the_training_clips_alone_and_goes_into_fine_tuning(run, kind):
    pretrained = run(f"pretrain_{kind}")
    assert pretrained.results["num_clips"] == {"train": 16, "valid": 8, "test": 8}
    batches = [seen.batch for seen in pretrained.batches(Stage.TRAIN)]
    assert {split_of(clip) for batch in batches for clip in batch.ids} == {"train"}
    assert all(batch.targets is None for batch in batches)
    tuned = run(f"finetune_v2_{kind}", pretrained_encoder=pretrained.folder)
    blocks = [name for name in tuned.initial if name.startswith("blocks.")]
    assert blocks and all(
        torch.equal(tuned.initial[name], pretrained.saved[f"encoder.{name}"]) for name in blocks
    )


@pytest.mark.parametrize("name", ["finetune_v2_patch", "finetune_v2_frame"])
def test_version_2_is_trained_by_binary_cross_entropy(finished, name):
    for seen in finished(name).batches(Stage.TRAIN):
        logits, targets = seen.outputs.double(), seen.batch.targets.double()
        losses = targets * (1 + (-logits).exp()).log() + (1 - targets) * (1 + logits.exp()).log()
        assert losses.mean().item() == pytest.approx(seen.loss.item(), rel=1e-5)


@pytest.mark.parametrize("name", ["finetune_v1_patch", "finetune_v1_frame"])
def test_version_1_is_keywords_unknown_words_and_silence(finished, name):
    run = finished(name)
    results = run.results
    assert results["dataset"] == "Speech Commands V1, 12 classes"
    assert (results["protocol"], results["padding"], results["validation"]) == (
        "finetune",
        "released",
        "drawn",
    )
    # 16 words and 6 files of noise; as many validation clips as there are words and files.
    assert results["num_clips"] == {"train": 22, "valid": 14, "test": 8}
    classes = "yes no up down left right on off stop go _unknown_ _silence_".split()
    drawn = Counter()
    for seen in run.batches(Stage.TRAIN):
        for clip, target in zip(seen.batch.ids, seen.batch.targets.tolist(), strict=True):
            word = clip.split("/")[1]
            expected = {"bed": "_unknown_", "tree": "_unknown_", "_background_noise_": "_silence_"}
            assert classes[target] == expected.get(word, word)
            assert split_of(clip) in ("train", "_background_noise_")
            drawn[clip] += 1
    assert drawn.total() == 32 and max(drawn.values()) > 1  # with replacement
    rows = predictions(run)
    assert len(rows) == 8 and {split_of(row["id"]) for row in rows} == {"test set"}
    assert all(row["label"] == row["id"].split("/")[1] for row in rows)


def test_version_1_shows_all_classes_alike(finished):
    """The weights with which clips are drawn add up to the same for every class."""
    brain = finished("finetune_v1_patch").brain
    weights = brain.train_sampler.weights
    assert sorted(set(weights.tolist())) == pytest.approx([22 / 8, 22 / 6, 22 / 4])


def test_noise_is_heard_a_random_second_at_a_time(finished, corpus):
    starts, places = [], set()
    for seen in finished("finetune_v1_patch").batches(Stage.TRAIN):
        batch = seen.batch
        for clip, samples, length in zip(
            batch.ids, batch.waveforms.cpu().numpy(), batch.num_samples.tolist(), strict=True
        ):
            if "_background_noise_" not in clip:
                assert length == 6400
                continue
            assert length == 16000
            whole, _ = soundfile.read(corpus / f"{clip}.wav", dtype="float32")
            windows = np.lib.stride_tricks.sliding_window_view(whole, 16000)
            (start,) = (windows[:, :200] == samples[:200]).all(axis=1).nonzero()[0]
            np.testing.assert_array_equal(windows[start], samples[:16000])
            starts.append(start)
            places.add((clip, start))
    assert len(starts) > 3 and len(places) == len(starts)
    assert min(starts) < 12000 < max(starts) <= 24000


def test_validation_may_take_every_clip_once(run, finished):
    fixed = run("finetune_v1_patch", validation="fixed")
    assert fixed.results["validation"] == "fixed"
    assert fixed.results["num_clips"] == {"train": 22, "valid": 8 + 2 * len(NOISES), "test": 8}
    for validated, is_drawn in ((fixed, False), (finished("finetune_v1_patch"), True)):
        batch, again = all_clips(validated, "valid"), all_clips(validated, "valid")
        assert {split_of(clip) for clip in batch.ids} == {"valid", "_background_noise_"}
        assert all(("/draw" in clip) == is_drawn for clip in batch.ids)
        assert torch.equal(batch.waveforms, again.waveforms)
        words = [clip for clip in batch.ids if "_background_noise_" not in clip]
        assert is_drawn or len(set(words)) == 8
        lengths = zip(batch.ids, batch.num_samples.tolist(), strict=True)
        assert all(length == (6400 if clip in words else 16000) for clip, length in lengths)


def test_frozen_is_another_line(run):
    frozen = run("finetune_v1_frame", freeze_encoder=True)
    assert frozen.results["protocol"] == "frozen"
    for name, value in frozen.brain.model.encoder.named_parameters():
        assert torch.equal(value, frozen.initial[name])
    assert frozen.brain.model.layer_scores.count_nonzero() == 2


def test_masked_padding_is_another_line(run, finished):
    """What lies behind a word's end matters as released, and does not if it is masked."""
    masked = run("finetune_v1_patch", padding="masked")
    assert masked.results["padding"] == "masked"
    for tested, padding in ((masked, "masked"), (finished("finetune_v1_patch"), "released")):
        brain, batch = tested.brain, all_clips(tested, "train")
        front_end = brain.modules.front_end
        num_frames = front_end.filterbank.num_frames(batch.num_samples)
        words = num_frames == 38
        assert words.sum() == 16
        with torch.no_grad():
            spectrograms = front_end(batch.waveforms, batch.num_samples)
            assert (spectrograms[words, 38:] == 0).all()
            logits = brain.model.eval()(spectrograms, num_frames)
            spectrograms[words, 46:] = 1.0  # behind the last patch that begins within the word
            changed = brain.model(spectrograms, num_frames)
        assert torch.allclose(changed, logits, atol=1e-5) == (padding == "masked")
