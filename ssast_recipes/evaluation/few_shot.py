"""Few labels: so many clips a class, drawn again and again, the same for every encoder."""

import random
from collections import defaultdict
from collections.abc import Sequence

from ssast_recipes.evaluation.tasks import Fold, Task

DRAWS = 10


def draw_shots(task: Task, fold: Fold, shots: int, draw: int) -> list[int] | None:
    """Draws training clips.

    Arguments
    ---------
    task : Task
        Of one label a clip.
    fold : Fold
        Of whose training clips.
    shots : int
        How many of each class.
    draw : int
        Which draw: clips are a function of the fold's name, the number of shots and it.

    Returns
    -------
    list of int or None
        Their places among the task's clips; None if a class that is tested has fewer clips, or
        clips have several labels.

    Example
    -------
    >>> from ssast_recipes.data.manifest import Clip
    >>> from ssast_recipes.evaluation.tasks import make_task
    >>> clips = [Clip(f"{n}", f"/{n}.wav", 0.0, 1.0, 16000, ("ab"[n % 2],)) for n in range(8)]
    >>> task = make_task("mine", {"": {"train": clips, "test": clips[:2]}}, ["a", "b"])
    >>> len(draw_shots(task, task.folds[0], shots=3, draw=0))
    6
    >>> draw_shots(task, task.folds[0], shots=5, draw=0)
    """
    if task.is_multi:
        return None
    by_class: dict[str, list[int]] = defaultdict(list)
    for place in fold.train:
        by_class[task.clips[place].labels[0]].append(place)
    tested = {task.clips[place].labels[0] for place in fold.test}
    if any(len(by_class[label]) < shots for label in tested | by_class.keys()):
        return None
    drawn: list[int] = []
    for label, places in sorted(by_class.items()):
        drawn += random.Random(f"{fold.name} {shots} {draw} {label}").sample(places, shots)
    return sorted(drawn)


def possible_shots(task: Task, shots: Sequence[int]) -> list[int]:
    """Those numbers of shots that every fold has clips for."""
    return [
        count
        for count in shots
        if all(draw_shots(task, fold, count, 0) is not None for fold in task.folds)
    ]
