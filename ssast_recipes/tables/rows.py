"""The rows of a table, as data: what is trained, what was published."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

PATCHES = ("patch", "frame")


@dataclass(frozen=True)
class Task:
    """What encoders are fine-tuned on.

    Arguments
    ---------
    key : str
        As the tables abbreviate it.
    name, metric, selection, dataset : str
        The data set; what is measured; of which weights ("last", "averaged" or "best"); how the
        data set's name in `results.json` begins.
    experiments : mapping
        Recipe and YAML file, `RECIPE/NAME`, by kind of patches: patch, frame.
    data : str
        The data's folder below the data root.
    train_clips : int
        How many there are, for estimates.
    folds : tuple of int
        The folds to average over; none without.
    options : mapping
        Of the command line.
    """

    key: str
    name: str
    metric: str
    selection: str
    dataset: str
    experiments: Mapping[str, str]
    data: str
    train_clips: int
    folds: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pretraining:
    """How an encoder is pretrained.

    Arguments
    ---------
    experiment : str
        Recipe and YAML file.
    data : str
        The data's folder below the data root.
    train_clips : int
        How many there are, for estimates.
    options : mapping
        Of the command line; `{manifests}` is the folder of manifests.
    prepares : mapping
        By the option that takes its manifest: experiment and data of a corpus to prepare before.
    folds : str, optional
        "same": once for each of the task's folds, whose audio it leaves out.
    """

    experiment: str
    data: str
    train_clips: int
    options: Mapping[str, Any] = field(default_factory=dict)
    prepares: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    folds: str | None = None


@dataclass(frozen=True)
class Row:
    """A row: an encoder, fine-tuned on every task.

    Arguments
    ---------
    name : str
        What the table calls it.
    published : mapping
        Numbers in % by column; empty if there are none.
    pretraining : Pretraining, optional
        How its encoder is pretrained; None: from scratch, or released.
    released : str, optional
        The name of the released weights that may stand in for pretraining, or have to.
    patches : str
        Of fine-tuning: patch or frame.
    tuning : mapping
        Options of every fine-tuning.
    """

    name: str
    published: Mapping[str, float]
    pretraining: Pretraining | None = None
    released: str | None = None
    patches: str = "patch"
    tuning: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scale:
    """How large runs are.

    Arguments
    ---------
    name : str
        "full", as published, or one of `common.yaml`.
    pretraining, tuning : mapping
        Options in place of a row's.
    tasks : mapping
        By key: options of a task's fine-tuning.
    folds : tuple of int, optional
        In place of a task's.
    """

    name: str = "full"
    pretraining: Mapping[str, Any] = field(default_factory=dict)
    tuning: Mapping[str, Any] = field(default_factory=dict)
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    folds: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Table:
    """A table: rows by tasks.

    Arguments
    ---------
    key, title, source : str
        The name of its file; its heading; where its numbers were published.
    tasks : mapping
        By their keys.
    rows : tuple of Row
        In the order in which they are worth running.
    means : mapping
        Columns that are means over tasks, in place of the tasks.
    comparisons : tuple of mapping
        What the paper finds, to be held against ours: `claim`, and the names of a `higher` and a
        `lower` row.
    notes : str
        What is to be said below the table.
    one_scale : bool
        Whether its own options are small already.
    """

    key: str
    title: str
    source: str
    tasks: Mapping[str, Task]
    rows: tuple[Row, ...]
    means: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    comparisons: tuple[Mapping[str, str], ...] = ()
    notes: str = ""
    one_scale: bool = False

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """The tasks that each column is the mean of."""
        return dict(self.means) or {key: (key,) for key in self.tasks}


def tables_folder() -> Path:
    """Finds the YAML files of the tables, in the repository or in an installed package."""
    package = Path(__file__).resolve().parents[1]
    installed, repository = package / "published_tables", package.parent / "benchmarks" / "tables"
    return installed if installed.is_dir() else repository


def table_names() -> list[str]:
    """Lists the tables that there are.

    Example
    -------
    >>> table_names()
    ['esc10', 'sizes', 'table1', 'table2', 'table3']
    """
    return sorted(path.stem for path in tables_folder().glob("*.yaml") if path.stem != "common")


def read_scale(name: str) -> Scale:
    """Reads a scale.

    Raises
    ------
    ValueError
        If there is none of that name.

    Example
    -------
    >>> read_scale("small").tuning
    {'size': 'tiny'}
    """
    scales = _load(tables_folder() / "common.yaml")["scales"]
    if name == "full":
        return Scale()
    if name not in scales:
        raise ValueError(f"there is no scale {name!r}; there are full, {', '.join(scales)}")
    given = dict(scales[name])
    folds = given.pop("folds", None)
    return Scale(name, folds=None if folds is None else tuple(folds), **given)


def read_table(name: str | Path) -> Table:
    """Reads a table.

    Arguments
    ---------
    name : str or Path
        One of `table_names`, or a YAML file, with `common.yaml` beside it or ours.

    Returns
    -------
    Table

    Raises
    ------
    ValueError
        If there is no such table, or something in it is unknown or missing.

    Example
    -------
    >>> table = read_table("table2")
    >>> table.rows[1].name, table.rows[1].pretraining.options, table.rows[1].published["ESC"]
    ('250 masked patches', {'two_passes': True, 'crop': 'start', 'num_masked_patches': 250}, 86.7)
    """
    path = Path(name)
    if path.suffix != ".yaml":
        path = tables_folder() / f"{name}.yaml"
        if not path.is_file():
            raise ValueError(f"there is no table {name!r}; there are {', '.join(table_names())}")
    beside = path.parent / "common.yaml"
    common = _load(beside if beside.is_file() else tables_folder() / "common.yaml")
    content = _load(path)
    try:
        return _table(path, content, common)
    except (KeyError, TypeError) as error:
        reason = f"{error} is missing or unknown" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path}: {reason}; see the other tables beside it") from None


def _load(path: Path) -> dict[str, Any]:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None


def _table(path: Path, content: dict[str, Any], common: dict[str, Any]) -> Table:
    tasks = {}
    for key in content["tasks"]:
        given = dict(common["tasks"][key])
        folds = tuple(given.pop("folds", ()))
        tasks[key] = Task(key=key, folds=folds, **given)
    rows = tuple(_row(row, content, common["pretrainings"]) for row in content["rows"])
    means = {name: tuple(keys) for name, keys in content.get("means", {}).items()}
    given = {
        key: content[key] for key in ("title", "source", "notes", "one_scale") if key in content
    }
    comparisons = tuple(content.get("comparisons", ()))
    names = {row.name for row in rows}
    for comparison in comparisons:
        for side in ("higher", "lower"):
            if comparison[side] not in names:
                raise TypeError(f"comparison {comparison['claim']!r}: no row {comparison[side]!r}")
    return Table(path.stem, tasks=tasks, rows=rows, means=means, comparisons=comparisons, **given)


def _row(given: dict[str, Any], table: dict[str, Any], pretrainings: dict[str, Any]) -> Row:
    row = dict(given)
    options = {**table.get("options", {}), **row.pop("options", {})}
    pretraining = row.pop("pretraining", None)
    if pretraining is not None:
        kept = dict(pretrainings[pretraining])
        kept["options"] = {**kept.get("options", {}), **options}
        row["pretraining"] = Pretraining(**kept)
        row.setdefault("patches", kept["experiment"].rpartition("_")[2])
    row["tuning"] = {**table.get("tuning", {}), **row.get("tuning", {})}
    row.setdefault("published", {})
    made = Row(**row)
    if made.patches not in PATCHES:
        raise TypeError(f"row {made.name}: patches is patch or frame, not {made.patches!r}")
    return made
