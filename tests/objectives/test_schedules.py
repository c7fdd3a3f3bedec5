import math

import pytest
import torch
import yaml

from ssast_recipes.objectives.schedules import (
    Constant,
    EpochDecay,
    WarmupCosine,
    WarmupPlateau,
    WarmupPolynomial,
    shorten_warmup,
)


def released(steps, scores, interval, warmup=1000):
    """Learning rates of the released loop: torch's own plateau rule, warm-up written over it."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([{"params": [parameter]}], lr=1.0)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, "max", factor=0.5, patience=2)
    rates = []
    for step in range(steps):
        if step <= warmup and step % 50 == 0:
            optimiser.param_groups[0]["lr"] = step / warmup
        rates.append(optimiser.param_groups[0]["lr"])
        if (step + 1) % interval == 0:
            plateau.step(scores[(step + 1) // interval - 1])
    return rates


def ours(steps, scores, interval, schedule):
    rates = []
    for step in range(steps):
        rates.append(schedule.factor(step=step))
        if (step + 1) % interval == 0:
            schedule.observe(scores[(step + 1) // interval - 1], step=step + 1)
    return rates


@pytest.mark.parametrize("interval", [100, 150, 400])
@pytest.mark.parametrize("seed", range(4))
def test_warm_up_and_plateau_are_those_of_the_released_loop(interval, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(4000 // interval, generator=generator).tolist()
    rates = ours(4000, scores, interval, WarmupPlateau(warmup_steps=1000))
    assert rates == pytest.approx(released(4000, scores, interval))
    if interval == 100:
        assert len(set(rates[1000:])) > 5  # it has halved, more than once


def test_warm_up_rises_in_stairs_of_fifty_steps_from_nothing():
    schedule = WarmupPlateau(warmup_steps=1000)
    rates = [schedule.factor(step=step) for step in range(1002)]
    assert rates[:50] == [0.0] * 50
    assert rates[50:100] == [0.05] * 50
    assert rates[950:1000] == [0.95] * 50
    assert rates[1000:] == [1.0, 1.0]


def test_stairs_of_one_step_make_a_ramp():
    schedule = WarmupPlateau(warmup_steps=4, stairs=1)
    assert [schedule.factor(step=step) for step in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]


def observed(schedule, scores):
    factors = []
    for number, score in enumerate(scores, 1):
        schedule.observe(score, step=number)
        factors.append(schedule.factor(step=number))
    return factors


def test_the_third_validation_without_a_new_best_halves():
    scores = [0.5, 0.5, 0.4, 0.3, 0.5, 0.5, 0.6, 0.6, 0.6, 0.6]
    factors = [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25]
    assert observed(WarmupPlateau(warmup_steps=0), scores) == factors


@pytest.mark.parametrize(("first_step", "factor"), [(1, 1.0), (2, 0.5)])
def test_what_the_last_step_of_warm_up_would_halve_is_overridden(first_step, factor):
    schedule = WarmupPlateau(warmup_steps=4, stairs=1)
    for step, score in enumerate([0.5, 0.4, 0.3, 0.2], first_step):
        schedule.observe(score, step=step)
    assert schedule.factor(step=5) == factor


def test_a_best_must_be_better_by_a_share_of_the_best_whatever_its_sign():
    # The errors of a reconstruction, negated: torch's rule would take a worse one for a best.
    for scores in ([-0.5, -0.50001, -0.50002, -0.50003], [-0.5, -0.49999, -0.49998, -0.49997]):
        assert observed(WarmupPlateau(warmup_steps=0), scores)[-1] == 0.5
    falling = [-0.5, -0.49, -0.48, -0.47, -0.46]
    assert observed(WarmupPlateau(warmup_steps=0), falling) == [1] * 5


def test_a_schedule_goes_on_from_its_saved_state():
    scores = torch.rand(40).tolist()
    whole = observed(WarmupPlateau(warmup_steps=0), scores)
    for stop in (0, 1, 7, 20):
        first, second = WarmupPlateau(warmup_steps=0), WarmupPlateau(warmup_steps=0)
        observed(first, scores[:stop])
        second.load_state_dict(yaml.safe_load(yaml.safe_dump(first.state_dict())))
        assert observed(second, scores[stop:]) == whole[stop:]
    assert len(set(whole)) > 3


@pytest.mark.parametrize(("first", "every"), [(6, 1), (10, 5), (2, 3), (1, 1)])
def test_epoch_decay_is_the_released_multi_step_schedule(first, every):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=1.0)
    milestones = list(range(first, 1000, every))
    multi_step = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones, gamma=0.85)
    schedule = EpochDecay(decay=0.85, first_epoch=first, every=every)
    for epoch in range(1, 40):
        assert schedule.factor(step=0, epoch=epoch) == pytest.approx(multi_step.get_last_lr()[0])
        optimiser.step()
        multi_step.step()


def test_epoch_decay_warms_up_in_stairs_first():
    schedule = EpochDecay(decay=0.5, first_epoch=1, warmup_steps=1000)
    steps = (0, 49, 50, 999, 1000)
    assert [schedule.factor(step=step, epoch=3) for step in steps] == [0, 0, 0.05, 0.95, 0.25]


def test_cosine_falls_from_one_to_zero_after_a_linear_warm_up():
    schedule = WarmupCosine(num_steps=210, warmup_steps=10)
    assert [schedule.factor(step=step) for step in range(10)] == pytest.approx(
        [0.1 * (step + 1) for step in range(10)]
    )
    for step in (10, 60, 110, 160):
        expected = math.cos(math.pi * (step - 10) / 400) ** 2
        assert schedule.factor(step=step) == pytest.approx(expected)
    assert schedule.factor(step=210) == schedule.factor(step=10**6) == pytest.approx(0)


def test_polynomial_decay_rises_linearly_and_falls_as_torchs():
    schedule = WarmupPolynomial(num_steps=210, warmup_steps=10, power=2)
    assert [schedule.factor(step=step) for step in range(10)] == pytest.approx(
        [0.1 * (step + 1) for step in range(10)]
    )
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    expected = torch.optim.lr_scheduler.PolynomialLR(optimiser, total_iters=200, power=2)
    for step in range(10, 220):
        assert schedule.factor(step=step) == pytest.approx(expected.get_last_lr()[0], abs=1e-6)
        optimiser.step()
        expected.step()
    assert WarmupPolynomial(num_steps=10, warmup_steps=10).factor(step=10) == 0


@pytest.mark.parametrize("num_steps", [40, 400, 1000])
def test_no_training_is_all_warm_up(num_steps):
    for schedule in (WarmupPlateau(1000), EpochDecay(warmup_steps=1000), WarmupCosine(None, 1000)):
        assert shorten_warmup(schedule, num_steps)
        if hasattr(schedule, "num_steps"):
            schedule.num_steps = num_steps
        factors = [schedule.factor(step=step) for step in range(num_steps)]
        assert max(factors) > 0.99 and factors.index(max(factors)) <= num_steps // 10
        assert sum(factors) > 0.4 * num_steps
    for schedule in (WarmupPlateau(999), Constant(), WarmupCosine(1000, 0)):
        before = dict(vars(schedule))
        assert not shorten_warmup(schedule, 1000) and vars(schedule) == before


def test_cosine_without_warm_up_starts_at_one_and_survives_being_all_warm_up():
    assert WarmupCosine(num_steps=100).factor(step=0) == 1
    assert WarmupCosine(num_steps=10, warmup_steps=10).factor(step=10) == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # AudioSet-20K: halved after epochs 10, 15 and 20 of 25.
        (
            {"decay": 0.5, "first_epoch": 10, "every": 5},
            {1: 1, 10: 1, 11: 1 / 2, 16: 1 / 4, 20: 1 / 4, 21: 1 / 8, 25: 1 / 8},
        ),
        # AudioSet-2M: halved after every epoch from the second of five.
        ({"decay": 0.5, "first_epoch": 2}, {1: 1, 2: 1, 3: 1 / 2, 4: 1 / 4, 5: 1 / 8}),
        # Speech Commands V2: x 0.85 after every epoch from the fifth of thirty.
        ({"decay": 0.85, "first_epoch": 5}, {5: 1, 6: 0.85, 7: 0.85**2, 30: 0.85**25}),
    ],
)
def test_the_rows_of_the_paper_are_epoch_decays(options, expected):
    schedule = EpochDecay(warmup_steps=1000, stairs=1, **options)
    found = {epoch: schedule.factor(step=1000 * epoch, epoch=epoch) for epoch in expected}
    assert found == pytest.approx(expected)
    # Warm-up goes by steps, whatever the epoch.
    assert [schedule.factor(step=step, epoch=6) for step in (0, 250, 999)] == [0, 0.25, 0.999]


def test_a_constant_schedule_changes_nothing():
    assert {Constant().factor(step, epoch) for step in (0, 10**6) for epoch in (1, 50)} == {1.0}
