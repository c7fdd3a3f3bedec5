"""What an evaluation tells in the terminal: encoders by tasks, and how sure the differences are."""

from collections.abc import Sequence

from ssast_recipes.evaluation.comparing import Difference
from ssast_recipes.evaluation.probes import LEAST_VALID, NO_SHARES
from ssast_recipes.evaluation.records import CHANCE, Average, Record, average
from ssast_recipes.evaluation.tasks import Task
from ssast_recipes.system.words import format_table

DIFFERENCES_HEAD = ["task", "probe", "encoders", "difference", "95 %", "clips"]


def ordered_encoders(records: Sequence[Record]) -> list[str]:
    """Names of encoders: chance and the baselines first, else in their order."""
    first = [record.encoder for record in records if record.is_baseline]
    others = [record.encoder for record in records if not record.is_baseline]
    return list(dict.fromkeys([CHANCE, *first, *others]))


def common_mean(
    records: Sequence[Record], tasks: Sequence[Task], probe: str
) -> dict[str, float] | None:
    """Means over those tasks that all encoders have, by encoder; None of fewer than two tasks.

    Arguments
    ---------
    records : sequence of Record
        All of an evaluation.
    tasks : sequence of Task
        Its tasks.
    probe : str
        Of which probe.

    Returns
    -------
    dict of str to float or None
    """
    found = find_averages(records, tasks, probe)
    names = [name for name in ordered_encoders(records) if name != CHANCE]
    common = [
        task.name
        for task in tasks
        if task.metric not in NO_SHARES and all((name, task.name) in found for name in names)
    ]
    if len(common) < 2:
        return None
    return {
        name: sum(found[name, task].mean for task in common) / len(common)
        for name in [CHANCE, *names]
    }


def find_averages(
    records: Sequence[Record], tasks: Sequence[Task], probe: str
) -> dict[tuple[str, str], Average]:
    """Averages over folds by encoder and task, of a probe on all labels; chance has its own."""
    metrics = {task.name: task.metric for task in tasks}
    found = {}
    for record in records:
        own = CHANCE if record.encoder == CHANCE else probe
        rows = record.select(probe=own, metric=metrics[record.task])
        if rows:
            found[record.encoder, record.task] = average(rows)
    return found


def format_value(value: Average | None, metric: str) -> str:
    """Tells a mean and its deviation, in percent if it is a share.

    Example
    -------
    >>> format_value(Average(0.5, 0.125), "accuracy"), format_value(Average(1.5, None), "d_prime")
    ('50.0 ± 12.5', '1.50')
    """
    if value is None:
        return "–"
    digits, scale = (2, 1) if metric in NO_SHARES else (1, 100)
    told = f"{scale * value.mean:.{digits}f}"
    return told if value.std is None else f"{told} ± {scale * value.std:.{digits}f}"


def describe_task(task: Task) -> str:
    """Tells in a line what a task is.

    Example
    -------
    >>> from ssast_recipes.data.manifest import Clip
    >>> from ssast_recipes.evaluation.tasks import make_task
    >>> clips = [Clip(f"{n}", f"/{n}.wav", 0.0, 1.0, 16000, ("ab"[n % 2],)) for n in range(8)]
    >>> describe_task(make_task("mine", {"": {"train": clips[:6], "test": clips[6:]}}, ["a", "b"]))
    'mine: accuracy, 2 classes; 6 clips to train on, 2 to test on; too few validation clips to
    choose by: training clips choose'
    """
    fold = task.folds[0]
    valid = len(fold.valid) if fold.has_valid else 0
    counts = f"{len(fold.train):,} clips to train on, "
    counts += f"{valid:,} for validation, " if valid else ""
    counts += f"{len(fold.test):,} to test on"
    over = f" in each of {len(task.folds)} folds" if len(task.folds) > 1 else ""
    told = f"{task.name}: {task.metric}, {len(task.classes):,} classes; {counts}{over}"
    if valid < LEAST_VALID:
        told += "; too few validation clips to choose by: training clips choose"
    return "; ".join([told, *task.notes])


def result_rows(
    records: Sequence[Record], tasks: Sequence[Task], probes: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table: encoders by tasks and probes, the baselines first.

    Arguments
    ---------
    records : sequence of Record
        All of an evaluation.
    tasks : sequence of Task
        Its tasks.
    probes : sequence of str
        Its probes.

    Returns
    -------
    tuple
        Names of the columns, and the cells of each row; shares are in percent.
    """
    averages = {probe: find_averages(records, tasks, probe) for probe in probes}
    means = {probe: common_mean(records, tasks, probe) for probe in probes}
    head = ["encoder", *(f"{task.name} {probe}" for task in tasks for probe in probes)]
    head += [f"mean {probe}" for probe in probes if means[probe] is not None]
    rows = []
    for name in ordered_encoders(records):
        cells = [
            format_value(averages[probe].get((name, task.name)), task.metric)
            for task in tasks
            for probe in probes
        ]
        cells += [f"{100 * means[probe][name]:.1f}" for probe in probes if means[probe] is not None]
        rows.append([name, *cells])
    return head, rows


def format_results(records: Sequence[Record], tasks: Sequence[Task], probes: Sequence[str]) -> str:
    """Tells the tasks and sets the table of `result_rows`, in several lines."""
    head, rows = result_rows(records, tasks, probes)
    several = any(len(task.folds) > 1 for task in tasks)
    metrics = ", ".join(sorted({task.metric for task in tasks}))
    lines = [describe_task(task) for task in tasks]
    lines += ["", f"{metrics} in %{', mean ± standard deviation over folds' if several else ''}"]
    lines.append(format_table(head, rows, numbers=True))
    if any(name.startswith("mean ") for name in head):
        lines.append("mean: of the tasks that all encoders have")
    return "\n".join(lines)


def difference_rows(differences: Sequence[Difference]) -> list[list[str]]:
    """Rows of paired comparisons: task, probe, encoders, difference and interval, clips."""
    return [
        [
            one.task,
            one.probe,
            f"{one.first} - {one.second}",
            f"{100 * one.difference:+.1f}",
            f"{100 * one.low:+.1f} to {100 * one.high:+.1f}",
            f"{one.num_clips:,}",
        ]
        for one in differences
    ]


def format_differences(differences: Sequence[Difference]) -> str:
    """Makes the table of paired comparisons, in points of a percent.

    Arguments
    ---------
    differences : sequence of Difference
        What to tell.

    Returns
    -------
    str
        Several lines.

    Example
    -------
    >>> print(format_differences([Difference("mine", "knn", "a", "mfcc", 0.1, 0.02, 0.18, 50)]))
    paired difference, in points, with its 95 % interval (bootstrap over test clips)
    task      probe    encoders    difference           95 %    clips
    ------  -------  ----------  ------------  -------------  -------
    mine        knn    a - mfcc         +10.0  +2.0 to +18.0       50
    """
    rows = difference_rows(differences)
    told = "paired difference, in points, with its 95 % interval (bootstrap over test clips)"
    return f"{told}\n{format_table(DIFFERENCES_HEAD, rows, numbers=True)}"
