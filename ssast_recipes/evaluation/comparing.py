"""Two encoders on one task: how sure it is that one is better, by the same test clips."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ssast_recipes.evaluation.probes import METRICS, NO_SHARES
from ssast_recipes.evaluation.records import Record
from ssast_recipes.evaluation.tasks import Task

RESAMPLES = 2000
FEW_RESAMPLES = 200  # of metrics that have to rank all clips anew each time
_COUNTED = ("accuracy", "top1_acc", "pitch_acc")  # means over clips


class Difference(NamedTuple):
    """By how much the first encoder is better, with the 95 % interval of a paired bootstrap."""

    task: str
    probe: str
    first: str
    second: str
    difference: float
    low: float
    high: float
    num_clips: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval holds no zero."""
        return self.low > 0 or self.high < 0


def compare(task: Task, probe: str, first: Record, second: Record) -> Difference | None:
    """Compares two encoders on the test clips that both have, by all labels.

    Test clips are drawn with replacement, within each fold, and both encoders are judged on what
    was drawn. How much would change with other training clips is not in the interval.

    Arguments
    ---------
    task : Task
        On which both were evaluated.
    probe : str
        Of which both have scores.
    first, second : Record
        The encoders.

    Returns
    -------
    Difference or None
        Of the task's first metric; None if one lacks scores, or the metric is no share.
    """
    if task.metric in NO_SHARES:
        return None
    pairs: list[tuple[Tensor, Tensor, Tensor]] = []  # of each fold: scores of both, and targets
    for fold in task.folds:
        key = probe, fold.name
        if key not in first.scores or key not in second.scores:
            return None
        theirs = {int(place): row for row, place in enumerate(second.places[fold.name])}
        ours = [int(place) for place in first.places[fold.name]]
        rows = [row for row, place in enumerate(ours) if place in theirs]
        places = [ours[row] for row in rows]
        pairs.append(
            (
                torch.from_numpy(first.scores[key])[rows],
                torch.from_numpy(second.scores[key])[[theirs[place] for place in places]],
                task.targets[places],
            )
        )
    drawn = _bootstrap(pairs, task.metric)
    low, high = (float(drawn.quantile(share)) for share in (0.025, 0.975))
    measure = METRICS[task.metric]
    found = [float(measure(one, truth)) - float(measure(two, truth)) for one, two, truth in pairs]
    count = sum(len(truth) for _, _, truth in pairs)
    names = first.encoder, second.encoder
    return Difference(task.name, probe, *names, sum(found) / len(found), low, high, count)


def _bootstrap(pairs: Sequence[tuple[Tensor, Tensor, Tensor]], metric: str) -> Tensor:
    """Differences of resampled test sets, [resamples], each the mean over folds."""
    generator = torch.Generator().manual_seed(0)
    means = []
    for one, two, truth in pairs:
        count = len(truth)
        if metric in _COUNTED:
            labels = truth.argmax(dim=1)
            gain = (one.argmax(dim=1) == labels).double() - (two.argmax(dim=1) == labels).double()
            # How often each clip is drawn is multinomial; of three kinds of clips it is enough to
            # know how many there are.
            shares = torch.stack([(gain > 0).double().mean(), (gain < 0).double().mean()])
            kinds = torch.cat([shares, 1 - shares.sum(dim=0, keepdim=True)]).clamp(min=0)
            draws = torch.multinomial(
                kinds, RESAMPLES * count, replacement=True, generator=generator
            ).view(RESAMPLES, count)
            values = (draws == 0).double().mean(dim=1) - (draws == 1).double().mean(dim=1)
        else:
            measure = METRICS[metric]
            draws = torch.randint(count, (FEW_RESAMPLES, count), generator=generator)
            values = torch.stack(
                [
                    (measure(one[some], truth[some]) - measure(two[some], truth[some])).double()
                    for some in draws
                ]
            )
        means.append(values)
    return torch.stack(means).mean(dim=0)
