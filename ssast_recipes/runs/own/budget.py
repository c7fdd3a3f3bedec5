"""How many steps there is time for, and what so many take with all that is besides."""

from collections.abc import Mapping
from typing import Any

from ssast_recipes.runs.own.plans import Corpus
from ssast_recipes.system.machine import num_cores

MANY_STEPS = 6000  # from which on a larger model is worth its time
FEW_STEPS = 2000  # below which smaller batches are
_MOST_PASSES = 1000
_VALIDATIONS = 20
_EVALUATED = 1 / 3  # of a clip's training, without its backward pass
_PROBED = 1.0  # of a clip's training: no patch is dropped
_BEGIN_AND_END = 20.0  # seconds that a run takes besides: importing, preparing, its records
_SPARE = 0.95  # of the time, for a machine that does not always keep its pace


def choose_steps(num_clips: int, batch: int, seconds_per_step: float, seconds: float) -> int:
    """Chooses how long to pretrain: as there is time, up to a thousand passes over the clips.

    Arguments
    ---------
    num_clips : int
        Of the training set.
    batch : int
        Clips of a step.
    seconds_per_step : float
        As measured.
    seconds : float
        That there are for steps.

    Returns
    -------
    int
        Steps, 1 to 800,000 (as published), rounded to two digits; of little audio 1,000 at least,
        if there is time.

    Example
    -------
    >>> choose_steps(num_clips=1900, batch=64, seconds_per_step=0.08, seconds=540)
    6700
    >>> choose_steps(num_clips=20, batch=19, seconds_per_step=0.01, seconds=1800)
    1000
    """
    passes = max(1000, _MOST_PASSES * num_clips / batch)
    return floor_digits(max(1, min(passes, 800_000, seconds / seconds_per_step)))


def floor_digits(number: float) -> int:
    """Rounds down to two digits.

    Example
    -------
    >>> floor_digits(6789), floor_digits(7)
    (6700, 7)
    """
    power = max(0, len(str(int(number))) - 2)
    return int(number) // 10**power * 10**power


def count_evaluations(steps: int, interval: int, num_held_out: int) -> int:
    """Counts the clips that a pretraining validates on.

    Arguments
    ---------
    steps : int
        Of training.
    interval : int
        Steps from validation to validation.
    num_held_out : int
        Clips of the validation set.

    Returns
    -------
    int
        Of all validations, and of the last and the best weights' evaluation.

    Example
    -------
    >>> count_evaluations(600, 50, num_held_out=20)
    280
    """
    return (-(-steps // interval) + 2) * num_held_out


def fill_time(
    values: dict[str, Any],
    step_seconds: float,
    corpus: Corpus,
    left: float,
    num_probes: int,
    most: int | None,
) -> float:
    """Sets the steps that there is time for.

    Arguments
    ---------
    values : dict
        For the YAML file, with batch and reading; given the number of steps and its intervals.
    step_seconds : float
        That a step takes.
    corpus : Corpus
        What there is to hear.
    left : float
        Seconds that there are for the whole run.
    num_probes : int
        How often `probe_data` are looked at.
    most : int or None
        No more steps than these.

    Returns
    -------
    float
        Seconds that the run takes, as `run_seconds` counts them.
    """
    clips = values["batch_size"] * values["grad_accumulation_factor"]
    fixed = run_seconds(values, 0, step_seconds, corpus, num_probes)
    steps = choose_steps(corpus.num_clips, clips, step_seconds, max(0.0, _SPARE * left - fixed))
    steps = min(steps, most) if most else steps
    values |= choose_lengths(steps)
    return run_seconds(values, steps, step_seconds, corpus, num_probes)


def choose_lengths(steps: int) -> dict[str, int]:
    """Returns the YAML values that follow from a number of steps.

    Example
    -------
    >>> choose_lengths(5000)["valid_interval"], choose_lengths(7)["warmup_steps"]
    (250, 1)
    """
    interval = min(steps, max(50, steps // _VALIDATIONS))
    return {
        "num_steps": steps,
        "warmup_steps": min(100, max(1, steps // 10)) if steps > 1 else 0,
        "valid_interval": interval,
        "checkpoint_interval": interval,
        "probe_interval": max(1, steps // 5),
        "log_interval": min(50, max(1, steps // 100)),
    }


def run_seconds(
    values: Mapping[str, Any], steps: int, step_seconds: float, corpus: Corpus, num_probes: int
) -> float:
    """Counts what so many steps take, with all that is besides.

    Arguments
    ---------
    values : mapping
        Of the YAML file: batch, accumulation and `keep_in_memory`.
    steps : int
        Of training; 0: what is besides alone.
    step_seconds : float
        That a step takes.
    corpus : Corpus
        What there is to hear.
    num_probes : int
        How often `probe_data` are looked at.

    Returns
    -------
    float
        Seconds: steps, validations, probes, reading into memory, begin and end.
    """
    from ssast_recipes.data.preparation.own_audio import MOST_VALID, VALID_SHARE

    clips = values["batch_size"] * values["grad_accumulation_factor"]
    held_out = min(MOST_VALID, max(1, round(VALID_SHARE * corpus.num_clips)))
    interval = choose_lengths(steps)["valid_interval"] if steps else 1
    validated = count_evaluations(steps or _VALIDATIONS, interval, held_out)
    looked_at = _EVALUATED * validated + _PROBED * num_probes * corpus.num_probed
    reading = corpus.num_clips * corpus.seconds_to_read if values["keep_in_memory"] else 0.0
    seconds = steps * step_seconds + looked_at * step_seconds / clips
    return seconds + reading + _BEGIN_AND_END


def with_reading(compute: float, reading: float, values: Mapping[str, Any]) -> float:
    """Counts the seconds of a step: workers read beside the training if there is a core for them.

    Arguments
    ---------
    compute, reading : float
        Seconds that the device takes for a step, and one core to read its clips.
    values : mapping
        Of the YAML file: `keep_in_memory`, `num_workers`.

    Returns
    -------
    float

    Example
    -------
    >>> with_reading(0.1, 0.05, {"keep_in_memory": True, "num_workers": 0})
    0.1
    """
    if values["keep_in_memory"]:
        return compute
    others = min(values["num_workers"], num_cores() - 1)
    return max(compute, reading / others) if others else compute + reading
