"""What a run said of every test clip: text up to 50 classes, Parquet above; one reader of both.

Of AudioSet's 20,000 test clips, 527 classes and three selections of weights, text takes 350 MB and
Parquet a third of it.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ssast_recipes.data.manifest import split_labels
from ssast_recipes.objectives.ranking import multi_hot
from ssast_recipes.system.files import beside
from ssast_recipes.system.tables import read_names, write_csv

if TYPE_CHECKING:
    import pyarrow

_COLUMNS = ("selection", "id", "label", "predicted")
_FIRST = len(_COLUMNS)  # of the classes' columns
MOST_IN_TEXT = 50  # classes
_CLIPS_AT_ONCE = 1 << 14
_BLOCK = 1 << 24  # bytes of text at once; a row of 100,000 classes is less


@dataclass(frozen=True)
class Predictions:
    """What the weights of a selection said of every test clip."""

    selection: str
    ids: list[str]
    classes: list[str]
    logits: Tensor  # [clips, classes], float32
    targets: Tensor  # [clips] int64, or [clips, classes] float32

    @property
    def weights(self) -> str:
        """The selection in words."""
        return f"the weights “{self.selection}”"


def find_predictions(folder: Path) -> Path:
    """Names the file of a run's predictions, `predictions.parquet` or `.csv`; it may not be there.

    Example
    -------
    >>> find_predictions(Path("results/1")).name
    'predictions.csv'
    """
    path = folder / "predictions.parquet"
    return path if path.is_file() else path.with_suffix(".csv")


def write_predictions(
    path: Path, classes: Sequence[str], selections: Mapping[str, Mapping[str, Any]]
) -> Path:
    """Writes every clip's labels and scores, from which the metric can be computed again.

    Several labels are separated by `;`, as in a manifest. `predicted` is the class of the highest
    score. Behind it is a column for each class.

    Arguments
    ---------
    path : Path
        Where to write the CSV file; of more than 50 classes, a Parquet file is written beside it.
    classes : sequence of str
        Class names, in the order of the scores.
    selections : mapping
        By selection ("last", "best", …): `ids`, `targets` ([clips] or [clips, classes]) and
        `logits` [clips, classes].

    Returns
    -------
    Path
        What was written.
    """
    in_text = len(classes) <= MOST_IN_TEXT
    written, other = path.with_suffix(".csv"), path.with_suffix(".parquet")
    if in_text:
        write_csv(written, [*_COLUMNS, *classes], _rows(classes, selections))
    else:
        written, other = other, written
        _write_parquet(written, classes, selections)
    other.unlink(missing_ok=True)  # of a run with other classes
    return written


def _told(
    classes: Sequence[str], selections: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[tuple[list[str], ...], Tensor]]:
    """The columns before the classes', and the logits, of some clips at once."""
    for selection, outputs in selections.items():
        for begin in range(0, len(outputs["ids"]), _CLIPS_AT_ONCE):
            part = slice(begin, begin + _CLIPS_AT_ONCE)
            logits, ids = outputs["logits"][part], list(outputs["ids"][part])
            targets = multi_hot(outputs["targets"][part], len(classes))
            names: list[list[str]] = [[] for _ in ids]
            for clip, index in targets.nonzero().tolist():
                names[clip].append(classes[index])
            predicted = [classes[index] for index in logits.argmax(dim=1).tolist()]
            yield ([selection] * len(ids), ids, [*map(";".join, names)], predicted), logits


def _rows(
    classes: Sequence[str], selections: Mapping[str, Mapping[str, Any]]
) -> Iterator[list[str]]:
    for columns, logits in _told(classes, selections):
        for *told, scores in zip(*columns, logits.tolist(), strict=True):
            yield [*told, *(f"{logit:.9g}" for logit in scores)]


def _write_parquet(
    path: Path, classes: Sequence[str], selections: Mapping[str, Mapping[str, Any]]
) -> None:
    import pyarrow
    from pyarrow import parquet

    fields = [(name, pyarrow.string()) for name in _COLUMNS]
    schema = pyarrow.schema([*fields, *((name, pyarrow.float32()) for name in classes)])
    with (
        beside(path) as part,
        parquet.ParquetWriter(
            part, schema, compression="zstd", use_dictionary=False, write_statistics=False
        ) as writer,
    ):
        for columns, logits in _told(classes, selections):
            scores = np.ascontiguousarray(logits.float().cpu().numpy().T)
            writer.write_table(pyarrow.table([*columns, *scores], schema=schema))


def read_predictions(path: Path, selection: str) -> tuple[Tensor, Tensor]:
    """Reads what `write_predictions` wrote.

    Arguments
    ---------
    path : Path
        The file, CSV or Parquet.
    selection : str
        "last", "averaged" or "best".

    Returns
    -------
    tuple[Tensor, Tensor]
        Logits [clips, classes] and targets: class indices [clips] if every clip has one label,
        else which classes each has, [clips, classes], float32.

    Raises
    ------
    ValueError
        If the file is not what `write_predictions` writes.
    """
    found = _read(path, selection)
    return found.logits, found.targets


def load_predictions(path: Path, selection: str | None = None) -> Predictions:
    """Reads what `write_predictions` wrote, with the names of clips and classes.

    Arguments
    ---------
    path : Path
        The file, CSV or Parquet.
    selection : str, optional
        Of which weights; if there are none of these, the file's last.

    Returns
    -------
    Predictions
        Of one selection.

    Raises
    ------
    ValueError
        If the file is not what `write_predictions` writes, or holds no predictions.
    """
    classes, batches = _open(path, only_selections=True)
    names = (name for batch in _told_if_damaged(path, classes, batches) for name in batch.column(0))
    there = list(dict.fromkeys(name.as_py() for name in names))
    if not there:
        raise ValueError(f"{path} holds no predictions")
    return _read(path, selection if selection in there else there[-1])


def _read(path: Path, selection: str) -> Predictions:
    classes, batches = iterate_predictions(path)
    numbers = {name: index for index, name in enumerate(classes)}
    ids, targets, logits = [], [], [torch.zeros(0, len(classes))]
    for names, clip_ids, labels, scores in batches:
        kept = [row for row, name in enumerate(names) if name == selection]
        logits.append(torch.from_numpy(scores[kept].astype(np.float32)))
        for row in kept:
            ids.append(clip_ids[row])
            targets.append([numbers.get(name) for name in split_labels(labels[row])])
            if None in targets[-1]:
                raise ValueError(_fault(path, classes))
    hot = torch.zeros(len(ids), len(classes))
    for clip, present in enumerate(targets):
        hot[clip, present] = 1.0
    is_single = bool((hot.sum(dim=1) == 1).all())
    return Predictions(
        selection, ids, classes, torch.cat(logits), hot.argmax(dim=1) if is_single else hot
    )


def iterate_predictions(
    path: Path,
) -> tuple[list[str], Iterator[tuple[list[str], list[str], list[str], np.ndarray]]]:
    """Reads predictions some clips at once: of two million they take more than ten gigabytes.

    Arguments
    ---------
    path : Path
        The file, CSV or Parquet.

    Returns
    -------
    tuple
        The classes; and an iterator over, of some clips, the selections that the scores are of, the
        IDs, the labels (several separated by `;`), and the logits [clips, classes].

    Raises
    ------
    ValueError
        If the file is not what `write_predictions` writes.
    """
    classes, batches = _open(path)
    return classes, _unpacked(classes, _told_if_damaged(path, classes, batches))


def _unpacked(
    classes: list[str], batches: "Iterable[pyarrow.RecordBatch]"
) -> Iterator[tuple[list[str], list[str], list[str], np.ndarray]]:
    for batch in batches:
        told = (batch.column(index).to_pylist() for index in range(_FIRST - 1))
        scores = np.empty((len(batch), len(classes)), batch.schema.types[-1].to_pandas_dtype())
        for index in range(len(classes)):
            scores[:, index] = batch.column(_FIRST + index).to_numpy()
        yield *told, scores


def _told_if_damaged(
    path: Path, classes: list[str], batches: "Iterable[pyarrow.RecordBatch]"
) -> "Iterator[pyarrow.RecordBatch]":
    import pyarrow

    try:
        yield from batches
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ValueError(_fault(path, classes, str(error))) from None


def _open(
    path: Path, only_selections: bool = False
) -> "tuple[list[str], Iterable[pyarrow.RecordBatch]]":
    """The classes, and the rows: of all columns, or of the first, without decoding the scores."""
    names, batches = (_open_parquet if path.suffix == ".parquet" else _open_csv)(
        path, only_selections
    )
    if tuple(names[:_FIRST]) != _COLUMNS:
        raise ValueError(f"{path}: its head is not {','.join(_COLUMNS)},…")
    return names[_FIRST:], batches


def _open_parquet(
    path: Path, only_selections: bool
) -> "tuple[list[str], Iterable[pyarrow.RecordBatch]]":
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
    except FileNotFoundError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{path} is not Parquet: {error}; evaluate the run again") from None
    names = file.schema_arrow.names
    chosen = names[:1] if only_selections else None
    return names, file.iter_batches(_CLIPS_AT_ONCE, columns=chosen)


def _open_csv(
    path: Path, only_selections: bool
) -> "tuple[list[str], Iterable[pyarrow.RecordBatch]]":
    """By their places: a class may be called "id"."""
    import pyarrow
    from pyarrow import csv as arrow_csv

    names = read_names(path)
    numbers = {f"f{index}": pyarrow.float64() for index in range(_FIRST, len(names))}
    types = {f"f{index}": pyarrow.string() for index in range(_FIRST)} | numbers

    def batches() -> "Iterator[pyarrow.RecordBatch]":
        yield from arrow_csv.open_csv(
            path,
            arrow_csv.ReadOptions(
                block_size=_BLOCK, autogenerate_column_names=True, skip_rows_after_names=1
            ),
            arrow_csv.ParseOptions(newlines_in_values=True),
            arrow_csv.ConvertOptions(
                column_types=types,
                null_values=[],
                include_columns=["f0"] if only_selections else None,
            ),
        )

    return names, batches()


def _fault(path: Path, classes: Sequence[str], reason: str = "damaged") -> str:
    """What is wrong with a file of predictions, and in which line of text."""
    if path.suffix == ".parquet":
        return f"{path}: {reason}; evaluate the run again"
    known = set(classes)
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        reader = csv.reader(file)
        for row in _until_damage(islice(reader, 1, None)):
            try:
                scores = [float(score) for score in row[_FIRST:]]
                is_right = len(scores) == len(classes) and known.issuperset(split_labels(row[2]))
            except (ValueError, LookupError):
                is_right = False
            if row and not is_right:
                return f"{path}, line {reader.line_num}: a score or a label is wrong"
    return f"{path}: {reason}"


def _until_damage(rows: Iterator[list[str]]) -> Iterator[list[str]]:
    """Rows up to one that is longer than any: a quote that nobody closed."""
    with suppress(csv.Error):
        yield from rows
