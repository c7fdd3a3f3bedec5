"""Whether a run is of a row, and where it departs from the row's protocol."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ssast_recipes.records.settings import differences
from ssast_recipes.reporting.tables.experiments import expected_settings
from ssast_recipes.reporting.tables.ledger import Record, describe_pretraining
from ssast_recipes.reporting.tables.rows import Row, Task
from ssast_recipes.weights.downloads import released_weights

# What makes an encoder a row's: the others are how it was made.
_SIZE = ("size", "embed_dim", "depth", "num_heads")
_FREE = {"num_classes", "test_fold"}  # they follow from the data; folds are looked at by themselves
# Options of the command line that decide speed and memory alone.
_FREE_OPTIONS = re.compile(r"compile|jit|find_unused_parameters|ddp_|tqdm|data_parallel")
_CLIPS_TOLERANCE = 0.05
_ARGUMENT = re.compile(r"(\w+)=(\[[^\]]*\]|[^,()]*)")


class Departure(NamedTuple):
    """How a run departs from a row; of numbers of clips, which differ from fold to fold, what of.

    Arguments
    ---------
    said : str
        In words.
    found, wanted : int, optional
        How many clips there were, and should have been.
    """

    said: str
    found: int | None = None
    wanted: int | None = None


def tell(departures: Sequence[Sequence[Departure]]) -> tuple[str, ...]:
    """Words the departures of runs that depart alike.

    Example
    -------
    >>> tell([[Departure("test clips", found, 80)] for found in (61, 65)])
    ('61 to 65 test clips, not 80',)
    """
    words = []
    for alike in zip(*departures, strict=True):
        if alike[0].found is None:
            words.append(alike[0].said)
        else:
            found, wanted = (_range([one[place] for one in alike]) for place in (1, 2))
            words.append(f"{found} {alike[0].said}, not {wanted}")
    return tuple(words)


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def find_departures(
    row: Row, task: Task, record: Record, choice: Mapping[str, Any] | None = None
) -> list[Departure] | None:
    """Tells where a run departs from a row's protocol on a task.

    Arguments
    ---------
    row : Row
        The row.
    task : Task
        The task.
    record : Record
        The run.
    choice : mapping, optional
        One of the table's choices of options.

    Returns
    -------
    list of Departure or None
        None if it is of another row or task.
    """
    content = record.content
    if content.get("experiment") != task.experiments[row.patches]:
        return None
    if not str(content.get("dataset", "")).startswith(task.dataset):
        return None
    tuned = record.settings
    options = {**row.tuning_of(task, choice), **task.protocol}
    expected = expected_settings(content["experiment"], options)
    if any(tuned.get(key) != expected.get(key) for key in _SIZE):
        return None
    before = _pretraining_departures(row, task, record)
    if before is None:
        return None
    said = _setting_departures(expected, content, "")
    fold, clips = content.get("fold"), record.num_clips
    said += _clips_departure(clips.get("train"), task.train_clips, "training clips")
    said += _clips_departure(clips.get("test"), task.test_clips_of(fold), "test clips")
    if task.selection not in content["value"]:
        said.append(Departure(f"the last weights, not the {task.selection}"))
    return said + before


def _pretraining_departures(row: Row, task: Task, record: Record) -> list[Departure] | None:
    source, pretraining = record.pretraining, row.pretraining_for(task)
    if pretraining is None and row.released is None:
        return [] if source is None else None
    if source is None:
        return None
    run = source.get("run")
    if run is None:
        return _released_departures(row, source)
    if pretraining is None or run.get("experiment") != pretraining.experiment:
        return None
    if task.unlabelled and run.get("dataset") != pretraining.data:
        return None
    expected = expected_settings(pretraining.experiment, pretraining.options)
    found = run.get("settings") or {}
    alike = [*_SIZE, "train_manifests", "patch_size"]
    if any(found.get(key) != expected.get(key) for key in alike):
        return None
    if describe_pretraining(found) != describe_pretraining(expected):
        return None
    said = _setting_departures(expected, run, "pretraining ")
    clips = (run.get("num_clips") or {}).get("train")
    said += _clips_departure(clips, pretraining.train_clips, "clips of pretraining")
    left_out, tested = source.get("test_fold"), record.content.get("fold")
    if pretraining.folds == "same" and left_out != tested:
        said.append(Departure("pretrained on audio of the test fold"))
    return said


def _released_departures(row: Row, source: Mapping[str, Any]) -> list[Departure] | None:
    """Of the authors' weights, told by their file's name or as `ssast import` left them."""
    if row.released is None:
        return None
    known = released_weights()[row.released]
    if source.get("name") not in (known.file, f"{row.released}/model.safetensors"):
        return None
    if source["name"] == known.file and known.sha256 not in (None, source.get("sha256")):
        return None
    said = [] if row.pretraining is None else ["the authors' weights"]
    said += [] if row.released_differs is None else [row.released_differs]
    return [Departure(words) for words in said]


def _clips_departure(found: int | None, wanted: int | None, what: str) -> list[Departure]:
    if not found or not wanted or abs(found - wanted) <= _CLIPS_TOLERANCE * wanted:
        return []
    return [Departure(what, found, wanted)]


def _setting_departures(
    expected: Mapping[str, Any], run: Mapping[str, Any], prefix: str
) -> list[Departure]:
    found, options = run.get("settings") or {}, run.get("run_options") or {}
    changed = {key: pair for key, pair in differences(expected, found).items() if key not in _FREE}
    if _global_batch(expected, 1) == _global_batch(found, run.get("num_processes") or 1):
        for key in ("batch_size", "grad_accumulation_factor"):  # how a step is cut into batches
            changed.pop(key, None)
    words = [
        f"{prefix}{key} {_short(now)}, not {_short(wanted)}"
        for key, (wanted, now) in changed.items()
        if not _is_told(wanted, now, changed)
    ]
    words += [
        f"{prefix}run option {key} {_short(value)}"
        for key, value in options.items()
        if key not in found and not _FREE_OPTIONS.match(key)
    ]
    return [Departure(said) for said in words]


def _global_batch(settings: Mapping[str, Any], processes: int) -> Any:
    return (
        (settings.get("batch_size") or 0)
        * (settings.get("grad_accumulation_factor") or 1)
        * processes
    )


def _is_told(wanted: Any, now: Any, changed: Mapping[str, Any]) -> bool:
    """Whether two objects differ in nothing but arguments that are keys of their own."""
    if not (isinstance(wanted, str) and isinstance(now, str)):
        return False
    if wanted.partition("(")[0] != now.partition("(")[0]:
        return False
    first, second = (dict(_ARGUMENT.findall(value)) for value in (wanted, now))
    return set(differences(first, second)) <= set(changed) and first.keys() == second.keys()


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return " and ".join(map(_short, value))
    return "none" if value is None else str(value)
