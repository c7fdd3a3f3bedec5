import json

import pytest
import torch

from ssast_recipes.brains.selection import WeightAverage

from .tiny import Clips, Killed, classification_brain, fit, kill_at, weights

TEST_OPTIONS = {"test_loader_kwargs": {"batch_size": 4}}


def brain_of(folder, **options):
    return classification_brain(folder, num_epochs=5, average_epochs=[2, 4], **options)


def watch(brain):
    """The weights at the end of every epoch of a training to come, and what is tested."""
    ends, tested = [], []
    observe, evaluate = brain.average.observe, brain.evaluate_set

    def watched_observe(model, epoch):
        ends.append(weights(brain))
        observe(model, epoch)

    def watched_evaluate(loader, stage, enable):
        if stage.name == "TEST":
            tested.append(weights(brain))
        return evaluate(loader, stage, enable)

    brain.average.observe, brain.evaluate_set = watched_observe, watched_evaluate
    return ends, tested


def test_the_mean_of_the_epochs_weights_is_evaluated_beside_last_and_best(tmp_path):
    brain = brain_of(tmp_path)
    ends, tested = watch(brain)
    fit(brain, Clips(8), Clips(4))
    values = brain.evaluate(Clips(6), **TEST_OPTIONS)
    assert list(values) == ["last", "averaged", "best"]
    last, averaged, _ = tested
    assert len(ends) == 5
    for name, value in averaged.items():
        expected = (ends[1][name].double() + ends[2][name] + ends[3][name]) / 3
        torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-7)
        assert torch.equal(last[name], ends[4][name])
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["value"] == values
    assert results["epochs"]["averaged"] == [2, 3, 4]
    text = (tmp_path / "predictions.csv").read_text()
    assert sum(line.startswith("averaged,clip") for line in text.splitlines()) == 6


@pytest.mark.parametrize("step", [3, 5, 8, 10])  # of five epochs of two steps
def test_the_average_is_exact_across_a_kill(tmp_path, step):
    def averaged(brain):
        return brain.average.epochs, brain.average.weights

    sets = Clips(8), Clips(4)
    epochs, expected = averaged(fit(brain_of(tmp_path / "whole", checkpoint_interval=1), *sets))
    killed = brain_of(tmp_path / "killed", checkpoint_interval=1)
    kill_at(killed, step)
    with pytest.raises(Killed):
        fit(killed, *sets)
    resumed = brain_of(tmp_path / "killed", checkpoint_interval=1)
    found_epochs, found = averaged(fit(resumed, *sets))
    assert found_epochs == epochs == [2, 3, 4]
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_evaluating_only_gives_the_average_again(tmp_path):
    values = fit(brain_of(tmp_path), Clips(8), Clips(4)).evaluate(Clips(6), **TEST_OPTIONS)
    again = brain_of(tmp_path, run_opts={"test_only": True})
    assert again.evaluate(Clips(6), **TEST_OPTIONS) == values


def test_one_checkpoint_holds_the_average_of_all_epochs(tmp_path):
    brain = fit(brain_of(tmp_path), Clips(8))
    assert len(brain.checkpointer.list_checkpoints()) == 1


def test_before_the_first_epoch_of_the_range_there_is_no_average(tmp_path):
    brain = classification_brain(tmp_path, num_epochs=1, average_epochs=[2, 4])
    assert list(fit(brain, Clips(8)).evaluate(Clips(4), **TEST_OPTIONS)) == ["last"]


@pytest.mark.parametrize("epochs", [(0, 4), (5, 4)])
def test_an_empty_range_is_refused(epochs):
    with pytest.raises(ValueError, match="average_epochs are"):
        WeightAverage(*epochs)


def test_a_range_of_epochs_is_refused_where_steps_are_counted(tmp_path):
    with pytest.raises(ValueError, match="average_epochs counts epochs, num_steps steps"):
        brain_of(tmp_path, num_steps=4)


@pytest.mark.parametrize("epochs", ["2", 3, [1], [1, 2, 3], ["a", "b"], [1.5, 2]])
def test_what_is_no_range_is_refused(tmp_path, epochs):
    with pytest.raises(ValueError, match=r"average_epochs is .*; give \[first, last\], or null"):
        classification_brain(tmp_path, average_epochs=epochs)
