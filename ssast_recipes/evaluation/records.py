"""What an evaluation leaves of an encoder on a task: rows of numbers, and the scores of clips."""

import hashlib
import json
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssast_recipes.system.files import beside, write_text
from ssast_recipes.system.reading import read_json

CHANCE = "chance"  # in the place of an encoder
_ADVICE = "delete it: it is made again"


class Row(NamedTuple):
    """One number: a probe's, on one fold, by all labels or some, on one layer or the embedding."""

    task: str
    encoder: str
    probe: str
    fold: str  # empty if there is one way only in which clips are dealt
    metric: str
    value: float
    num_train: int
    num_valid: int  # that chose something: 0 if none did
    num_test: int
    width: int
    shots: int | None = None  # clips a class; None: all
    draw: int | None = None
    layer: int | None = None  # from 1; None: the embedding itself


@dataclass
class Record:
    """An encoder on a task.

    Arguments
    ---------
    task, encoder : str
        Their names.
    identity : str
        Changes when embeddings, labels, folds or probes do; else rows hold.
    rows : list of Row
        What was measured.
    scores : dict of (str, str) to array
        Of each probe and fold, by all labels: [test clips, classes] float32.
    places : dict of str to array
        Of each fold, which of the task's clips were tested, in the order of the scores.
    left_out : int
        Clips that cannot be read.
    """

    task: str
    encoder: str
    identity: str
    is_baseline: bool = False
    rows: list[Row] = field(default_factory=list)
    scores: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    places: dict[str, np.ndarray] = field(default_factory=dict)
    left_out: int = 0

    def has(self, **wanted: Any) -> bool:
        """Whether there is a row of these values."""
        return bool(self.select(**wanted))

    def select(self, **wanted: Any) -> list[Row]:
        """Rows of these values; of all labels and the embedding itself, if not told otherwise."""
        wanted = {"shots": None, "layer": None, **wanted}
        return [
            row
            for row in self.rows
            if all(getattr(row, key) == value for key, value in wanted.items())
        ]


class Average(NamedTuple):
    """Mean and sample standard deviation (None of one value) over folds, or folds and draws."""

    mean: float
    std: float | None


def average(rows: Sequence[Row]) -> Average | None:
    """Averages rows; None if there are none.

    Example
    -------
    >>> row = Row("mine", "mfcc", "knn", "fold 1", "accuracy", 0.5, 8, 0, 2, 80)
    >>> average([row, row._replace(value=0.7)])
    Average(mean=0.6, std=0.14...)
    """
    values = [row.value for row in rows]
    if not values:
        return None
    return Average(mean(values), stdev(values) if len(values) > 1 else None)


def record_path(folder: Path, task: str, encoder: str) -> Path:
    """Where a record is kept.

    Example
    -------
    >>> record_path(Path("out"), "mine", "log-mel").as_posix()
    'out/records/mine/log-mel.json'
    >>> record_path(Path("out"), "mine", "runs/a").as_posix()
    'out/records/mine/runs_a-7c3ea9.json'
    """
    plain = re.sub(r"[^\w.-]+", "_", encoder)[-80:]
    if plain != encoder:
        plain += f"-{hashlib.sha256(encoder.encode()).hexdigest()[:6]}"
    return folder / "records" / task / f"{plain}.json"


def write_record(folder: Path, record: Record) -> None:
    """Writes a record: numbers as JSON and, beside it, scores as `.npz`."""
    path = record_path(folder, record.task, record.encoder)
    arrays = {f"scores|{probe}|{fold}": one for (probe, fold), one in record.scores.items()}
    arrays |= {f"places|{fold}": one for fold, one in record.places.items()}
    with beside(path.with_suffix(".npz")) as part, open(part, "wb") as file:
        np.savez(file, **arrays)
    content = {
        "task": record.task,
        "encoder": record.encoder,
        "identity": record.identity,
        "is_baseline": record.is_baseline,
        "left_out": record.left_out,
        "rows": [row._asdict() for row in record.rows],
    }
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_record(path: Path) -> Record:
    """Reads a record.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    ValueError
        If it is damaged, or none of ours.
    """
    content = read_json(path, _ADVICE)
    try:
        rows = [Row(**row) for row in content.pop("rows")]
        if not all(isinstance(row.value, int | float) for row in rows):
            raise TypeError("a value is no number")
        record = Record(**content, rows=rows)
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            for name in arrays:
                kind, _, rest = name.partition("|")
                if kind == "places":
                    record.places[rest] = arrays[name]
                else:
                    probe, _, fold = rest.partition("|")
                    record.scores[probe, fold] = arrays[name]
    except (TypeError, KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged ({error}): {_ADVICE}") from None
    return record


def identity_of(values: Tensor, present: Tensor, task_digest: str, version: int) -> str:
    """What a record stands on: embeddings, labels, folds, and the version of the probes."""
    digest = hashlib.sha256(f"{version} {task_digest} {list(values.shape)}".encode())
    digest.update(values.contiguous().numpy().tobytes())
    digest.update(present.to(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_evaluation(folder: Path, records: Iterable[Record], head: Mapping[str, Any]) -> None:
    """Writes `evaluation.parquet`, a row a number, and `evaluation.json`, what else is told.

    Arguments
    ---------
    folder : Path
        Of the evaluation.
    records : iterable of Record
        Of which the rows are.
    head : mapping
        What JSON is to hold, in plain values.
    """
    import pyarrow
    from pyarrow import parquet

    rows = [row._asdict() for record in records for row in record.rows]
    whole, text = pyarrow.int32(), pyarrow.string()
    kinds = {"value": pyarrow.float64(), **dict.fromkeys(("shots", "draw", "layer"), whole)}
    for name in ("num_train", "num_valid", "num_test", "width"):
        kinds[name] = whole
    schema = pyarrow.schema([(name, kinds.get(name, text)) for name in Row._fields])
    with beside(folder / "evaluation.parquet") as part:
        parquet.write_table(pyarrow.Table.from_pylist(rows, schema), part)
    write_text(folder / "evaluation.json", json.dumps(head, indent=1) + "\n")


def read_evaluation(folder: Path) -> tuple[list[Record], dict[str, Any]]:
    """Reads what `write_evaluation` wrote.

    Arguments
    ---------
    folder : Path
        Of an evaluation, or a ledger's.

    Returns
    -------
    tuple
        A record of each task and encoder, without scores; and what JSON holds.

    Raises
    ------
    FileNotFoundError
        If a file is not there.
    ValueError
        If one is damaged.
    """
    import pyarrow
    from pyarrow import parquet

    advice = "evaluate again"
    head = read_json(folder / "evaluation.json", advice)
    path = folder / "evaluation.parquet"
    try:
        rows = [Row(**row) for row in parquet.read_table(path).to_pylist()]
        baselines = set(head["baselines"])
        named = [(task["name"], task["metric"], task["told"]) for task in head["tasks"]]
        if not all(isinstance(text, str) for task in named for text in task):
            raise TypeError("a task's name is no text")
    except (pyarrow.ArrowException, TypeError, KeyError, ValueError) as error:
        if isinstance(error, OSError):
            raise
        raise ValueError(f"{path} is damaged ({error}): {advice}") from None
    records: dict[tuple[str, str], Record] = {}
    for row in rows:
        is_baseline = row.encoder in baselines
        record = Record(row.task, row.encoder, "", is_baseline)
        records.setdefault((row.task, row.encoder), record).rows.append(row)
    return list(records.values()), head
