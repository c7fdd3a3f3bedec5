"""Learning-rate schedules: factors on every parameter group's own learning rate."""

import math
from typing import Any


def climb_stairs(step: int, warmup_steps: int, stairs: int) -> float:
    """Returns the factor of a warm-up in stairs: `floor(step / stairs) * stairs / warmup_steps`.

    Example
    -------
    >>> climb_stairs(step=120, warmup_steps=1000, stairs=50)
    0.1
    """
    return step // stairs * stairs / warmup_steps


def shorten_warmup(schedule: Any, num_steps: int) -> bool:
    """Shortens a warm-up that a training would not come to the end of: to a tenth of its steps.

    Arguments
    ---------
    schedule : object
        Whose `warmup_steps`, and `stairs` in proportion, may be changed.
    num_steps : int
        Of the training.

    Returns
    -------
    bool
        Whether it was shortened.

    Example
    -------
    >>> schedule = WarmupPlateau(warmup_steps=1000, stairs=50)
    >>> shorten_warmup(schedule, num_steps=4000), shorten_warmup(schedule, num_steps=400)
    (False, True)
    >>> schedule.warmup_steps, schedule.stairs
    (40, 2)
    """
    before = getattr(schedule, "warmup_steps", 0)
    if not before or before < num_steps:
        return False
    schedule.warmup_steps = num_steps // 10
    if hasattr(schedule, "stairs"):
        schedule.stairs = max(1, schedule.stairs * schedule.warmup_steps // before)
    return True


class Constant:
    """Every parameter group's own learning rate, all the time.

    Example
    -------
    >>> Constant().factor(step=1000, epoch=3)
    1.0
    """

    def factor(self, step: int, epoch: int = 1) -> float:
        """Returns 1."""
        return 1.0


class WarmupPlateau:
    """Warm-up, then halving whenever the validation score stays without a new best.

    As released (`stairs=50`): up to step `warmup_steps` the factor is
    `floor(step / 50) * 50 / warmup_steps`, 0 for the first 50 steps; after that, the third
    validation in a row without a new best halves it. Validations count during warm-up, but what
    they halve there is overridden. `stairs=1` makes a smooth ramp.

    Arguments
    ---------
    warmup_steps : int
        Steps until the full learning rate; 0 for none.
    stairs : int
        Steps from one rise to the next.
    decay : float
        What each halving multiplies the learning rate with.
    patience : int
        Validations without a new best that are put up with.
    threshold : float
        How much better, relative to the best, a new best must be.

    Example
    -------
    >>> schedule = WarmupPlateau(warmup_steps=1000)
    >>> [schedule.factor(step=step) for step in (49, 50, 999, 1000)]
    [0.0, 0.05, 0.95, 1.0]
    """

    def __init__(
        self,
        warmup_steps: int = 1000,
        stairs: int = 50,
        decay: float = 0.5,
        patience: int = 2,
        threshold: float = 1e-4,
    ):
        self.warmup_steps, self.stairs = warmup_steps, stairs
        self.decay, self.patience, self.threshold = decay, patience, threshold
        self.best = float("-inf")
        self.num_bad = 0
        self.plateau_factor = 1.0

    def factor(self, step: int, epoch: int = 1) -> float:
        """Returns the factor for the step after `step` steps have been made."""
        if step < self.warmup_steps:
            return climb_stairs(step, self.warmup_steps, self.stairs)
        return self.plateau_factor

    def observe(self, score: float, step: int) -> None:
        """Takes note of a validation score (higher is better) after `step` steps."""
        if self.num_bad == 0 and self.best == float("-inf"):
            self.best = score
        elif score > self.best + self.threshold * abs(self.best):
            self.best, self.num_bad = score, 0
        else:
            self.num_bad += 1
        if self.num_bad > self.patience:
            self.num_bad = 0
            if step > self.warmup_steps:
                self.plateau_factor *= self.decay

    def state_dict(self) -> dict[str, Any]:
        """Returns what has been observed, in plain Python."""
        return {
            "best": self.best,
            "num_bad": self.num_bad,
            "plateau_factor": self.plateau_factor,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from what `state_dict` returned."""
        vars(self).update(state)


class WarmupCosine:
    """Linear warm-up, then half a cosine down to zero.

    Arguments
    ---------
    num_steps : int, optional
        Steps in all; by default those of the run, which a `PretrainingBrain` fills in. Then a run
        may go on for more steps: along the cosine that ends with these.
    warmup_steps : int
        Steps until the full learning rate.

    Example
    -------
    >>> schedule = WarmupCosine(num_steps=300, warmup_steps=100)
    >>> [round(schedule.factor(step=step), 3) for step in (0, 99, 200, 300)]
    [0.01, 1.0, 0.5, 0.0]
    """

    def __init__(self, num_steps: int | None = None, warmup_steps: int = 0):
        self.num_steps, self.warmup_steps = num_steps, warmup_steps

    def factor(self, step: int, epoch: int = 1) -> float:
        """Returns the factor for the step after `step` steps have been made."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.num_steps - self.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class WarmupPolynomial:
    """Linear warm-up, then a power of the share of steps that is left, down to zero.

    With `power=1`, a straight line: what MAE-AST is pretrained with.

    Arguments
    ---------
    num_steps : int
        Steps in all.
    warmup_steps : int
        Steps until the full learning rate.
    power : float
        1 falls evenly; more falls sooner.

    Example
    -------
    >>> schedule = WarmupPolynomial(num_steps=300, warmup_steps=100)
    >>> [round(schedule.factor(step=step), 3) for step in (0, 99, 200, 300, 400)]
    [0.01, 1.0, 0.5, 0.0, 0.0]
    """

    def __init__(self, num_steps: int, warmup_steps: int = 0, power: float = 1.0):
        self.num_steps, self.warmup_steps, self.power = num_steps, warmup_steps, power

    def factor(self, step: int, epoch: int = 1) -> float:
        """Returns the factor for the step after `step` steps have been made."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        left = (self.num_steps - step) / max(1, self.num_steps - self.warmup_steps)
        return max(0.0, left) ** self.power


class EpochDecay:
    """Decay by a factor each epoch from one on, with an optional warm-up in stairs.

    As released: `MultiStepLR`, stepped after each epoch; `first_epoch=6, every=1` leaves the first
    six epochs at the full rate and decays before every later one.

    Arguments
    ---------
    decay : float
        What each decay multiplies the learning rate with.
    first_epoch : int
        Completed epochs before the first decay.
    every : int
        Epochs from one decay to the next.
    warmup_steps, stairs : int
        Warm-up as in `WarmupPlateau`; 0 steps for none.

    Example
    -------
    >>> schedule = EpochDecay(decay=0.5, first_epoch=10, every=5)
    >>> [schedule.factor(step=0, epoch=epoch) for epoch in (1, 10, 11, 15, 16)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    def __init__(
        self,
        decay: float = 0.85,
        first_epoch: int = 6,
        every: int = 1,
        warmup_steps: int = 0,
        stairs: int = 50,
    ):
        self.decay, self.first_epoch, self.every = decay, first_epoch, every
        self.warmup_steps, self.stairs = warmup_steps, stairs

    def factor(self, step: int, epoch: int = 1) -> float:
        """Returns the factor for the step after `step` steps, in an epoch counted from 1."""
        if step < self.warmup_steps:
            return climb_stairs(step, self.warmup_steps, self.stairs)
        completed = epoch - 1
        return self.decay ** max(0, (completed - self.first_epoch) // self.every + 1)
