"""Recognition: it learns, resumes exactly, and no transcript makes it lose its numbers."""

import json
import math
from functools import partial

import jiwer
import pytest
import torch

from ssast_recipes.brains.transcripts import error_rates, score_transcripts
from ssast_recipes.data.tokenizer import Tokenizer
from ssast_recipes.model.augment import SpeechSpecAugment
from ssast_recipes.records.transcripts import read_transcripts
from ssast_recipes.weights.formats.folder import load_model, read_tokenizer

from .spoken import TOKENIZER, Spoken, evaluate, fit, recognition_brain
from .test_resume import assert_same
from .tiny import Killed, kill_at, weights


def test_ten_utterances_are_learnt_by_heart_to_the_last_word(tmp_path):
    utterances = Spoken(10)
    brain = recognition_brain(tmp_path, num_steps=100, log_interval=50, depth=1, lr=0.01)
    fit(brain, utterances, seconds=20.0)
    assert evaluate(brain, utterances) == {"last": 0.0}
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["metric"], results["value"]) == ("WER", {"last": 0.0})
    assert results["metrics"]["last"]["CER"] == 0.0
    rows = read_transcripts(tmp_path / "transcripts.csv")
    assert [row["hypothesis"] for row in rows] == utterances.texts
    assert {row["split"] for row in rows} == {"test"}
    # What is left behind says the same, and no more than it was trained to.
    model, config = load_model(tmp_path / "model")
    tokenizer = read_tokenizer(tmp_path / "model", config)
    assert (config.kind, tokenizer.model) == ("recognition", TOKENIZER.model)
    for name, value in model.state_dict().items():
        if name != "encoder._extra_state":
            torch.testing.assert_close(value, brain.model.state_dict()[name].cpu())


@pytest.mark.parametrize(("step", "interval"), [(2, 1), (5, 3), (8, 3)])
def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path, step, interval):
    def make(folder):
        return recognition_brain(
            folder,
            depth=1,
            num_steps=9,
            valid_interval=4,
            checkpoint_interval=interval,
            grad_accumulation_factor=2,
            head_warmup_steps=3,
            spec_augment=SpeechSpecAugment(),
        )

    sets = Spoken(9), Spoken(4, seed=1)
    whole = fit(make(tmp_path / "whole"), *sets, seconds=4.0)
    whole_asked = [*sets[0].asked]
    brain = make(tmp_path / "killed")
    kill_at(brain, step)
    with pytest.raises(Killed):
        fit(brain, *sets, seconds=4.0)
    train = Spoken(9)
    resumed = fit(make(tmp_path / "killed"), train, sets[1], seconds=4.0)
    assert_same(resumed, whole)
    if interval < step:
        assert len(train.asked) < len(whole_asked)  # it did not start anew


def test_epochs_are_counted_too_and_each_shows_other_batches(tmp_path):
    train = Spoken(9)
    fit(recognition_brain(tmp_path, depth=1, num_steps=None, epoch_counter=[1, 2, 3]), train)
    epochs = {e: [k.index for k in train.asked if k.epoch == e] for e in (1, 2, 3)}
    assert all(sorted(clips) == [*range(9)] for clips in epochs.values())
    assert len({tuple(clips) for clips in epochs.values()}) == 3


def test_first_the_head_is_trained_alone(tmp_path):
    brain = recognition_brain(tmp_path, depth=1, num_steps=2, head_warmup_steps=2)
    before = weights(brain)
    fit(brain, Spoken(6))
    changed = {name for name, value in weights(brain).items() if not value.equal(before[name])}
    assert changed == {"model.head.linear.weight", "model.head.linear.bias"}


def test_head_and_encoder_have_rates_of_their_own(tmp_path):
    brain = recognition_brain(tmp_path, depth=1, lr=0.001, head_lr_factor=20)
    groups = [group["lr_factor"] for group in brain.parameter_groups() if "lr_factor" in group]
    assert groups == [20]


IMPOSSIBLE = {0: "ONE TWO " * 40, 1: "", 2: "QQQ", 3: "ZERO"}


def test_impossible_and_empty_transcripts_are_counted_and_harm_nothing(tmp_path):
    brain = recognition_brain(tmp_path, depth=1, num_steps=3)
    fit(brain, Spoken(6, texts=IMPOSSIBLE), seconds=30.0)
    log = brain.log.read()
    assert all(math.isfinite(record["loss"]) for record in log)
    assert [round(record["too_long_share"], 3) for record in log] == [0.167] * 3
    evaluate(brain, Spoken(6, texts=IMPOSSIBLE))
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["metrics"]["last"]["too_long"] == 1 and results["empty_transcripts"] == 1
    only_empty = recognition_brain(tmp_path / "empty", depth=1, num_steps=2)
    fit(only_empty, Spoken(3, texts=dict.fromkeys(range(3), "")))
    assert all(math.isfinite(record["loss"]) for record in only_empty.log.read())


def test_a_gradient_is_that_of_one_large_batch(tmp_path):
    """Accumulated batches of like lengths, weighed by their clips."""
    options = {"depth": 1, "num_steps": 3, "opt_class": partial(torch.optim.SGD, lr=0.05)}
    one = fit(recognition_brain(tmp_path / "one", **options), Spoken(8), seconds=40.0)
    options["grad_accumulation_factor"] = 2
    two = fit(recognition_brain(tmp_path / "two", **options), Spoken(8), seconds=20.0)
    for name, value in weights(two).items():
        torch.testing.assert_close(value, weights(one)[name], rtol=1e-4, atol=1e-5)


def test_half_precision_recognises_nearly_as_whole(tmp_path):
    found = {}
    for precision in ("fp32", "bf16"):
        run_opts = {"precision": precision, "eval_precision": precision}
        brain = recognition_brain(tmp_path / precision, run_opts, depth=1, num_steps=4)
        fit(brain, Spoken(8))
        found[precision] = [record["loss"] for record in brain.log.read()]
    assert found["bf16"] != found["fp32"]
    assert found["bf16"] == pytest.approx(found["fp32"], rel=0.05)


def test_a_tokenizer_of_another_size_than_the_head_is_refused(tmp_path):
    other = Tokenizer.train(["AB", "A"], num_tokens=3)
    with pytest.raises(ValueError, match="num_tokens is 17, but the run's tokenizer has 3; pass"):
        recognition_brain(tmp_path, tokenizer=other)


REFERENCES = ["ONE TWO THREE", "IT'S FOUR", "FIVE", "SIX SEVEN EIGHT NINE", "ZERO ZERO"]
HYPOTHESES = ["ONE TO THREE", "ITS FOUR FOUR", "", "SEVEN EIGHT NINE SIX", "ZERO ZERO"]


def test_error_rates_are_those_of_jiwer():
    rates = error_rates(score_transcripts("abcde", REFERENCES, HYPOTHESES))
    assert rates["WER"] == pytest.approx(jiwer.wer(REFERENCES, HYPOTHESES), abs=1e-6)
    assert rates["CER"] == pytest.approx(jiwer.cer(REFERENCES, HYPOTHESES), abs=1e-6)
    assert rates["sentence_errors"] == 0.8
