"""The rows of a table, as data: what is trained, what was published."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from ssast_recipes.system.reading import read_text

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
        How many there are.
    test_clips : int or mapping
        How many there are, or by fold.
    folds : tuple of int
        The folds to average over; none without.
    options : mapping
        Of the command line.
    protocol : mapping
        What the published numbers stand for, where the experiment's own options are others.
    unlabelled : mapping
        `data` and `train_clips` of pretraining, where a task has audio of its own for that.
    """

    key: str
    name: str
    metric: str
    selection: str
    dataset: str
    experiments: Mapping[str, str]
    data: str
    train_clips: int
    test_clips: int | Mapping[int, int]
    folds: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)
    unlabelled: Mapping[str, Any] = field(default_factory=dict)

    def test_clips_of(self, fold: int | None) -> int | None:
        """How many clips there are to test on; None of an unknown fold."""
        known = self.test_clips
        return known if isinstance(known, int) else known.get(fold)


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
    released_differs : str, optional
        How the released weights differ from those of the published numbers.
    tuning : mapping
        Options of every fine-tuning.
    tasks : mapping
        By a task's key: options of its fine-tuning alone.
    baseline : str, optional
        What needs no run of its own: the number of that name among the `baselines` that the runs of
        the other rows have measured, `chance` or `log_mel_ridge`.
    """

    name: str
    published: Mapping[str, float]
    pretraining: Pretraining | None = None
    released: str | None = None
    released_differs: str | None = None
    patches: str = "patch"
    tuning: Mapping[str, Any] = field(default_factory=dict)
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    baseline: str | None = None

    def tuning_of(self, task: Task, choice: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The options of fine-tuning on a task, with one of the table's choices."""
        return {**task.options, **self.tuning, **self.tasks.get(task.key, {}), **(choice or {})}

    def pretraining_for(self, task: Task) -> Pretraining | None:
        """The pretraining, of the task's own audio where it has some."""
        if self.pretraining is None:
            return None
        return replace(self.pretraining, **task.unlabelled)


@dataclass(frozen=True)
class Table:
    """A table: rows by tasks.

    Arguments
    ---------
    key, title, source : str
        Its name, or its YAML file; its heading; where its numbers were published.
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
    seeds : tuple of int
        Of fine-tuning, each of them on every fold.
    one_scale : bool
        Whether its own options are small already.
    keeps : tuple of str
        Options that a small scale leaves to the rows.
    choices : tuple of mapping
        Options of fine-tuning, each of which is tried: shown is what validates best.
    scale : str
        The scale that its rows have been given.
    """

    key: str
    title: str
    source: str
    tasks: Mapping[str, Task]
    rows: tuple[Row, ...]
    means: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    comparisons: tuple[Mapping[str, str], ...] = ()
    notes: str = ""
    seeds: tuple[int, ...] = (1,)
    one_scale: bool = False
    keeps: tuple[str, ...] = ()
    choices: tuple[Mapping[str, Any], ...] = ({},)
    scale: str = "full"

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """The tasks that each column is the mean of."""
        return dict(self.means) or {key: (key,) for key in self.tasks}


def tables_folder() -> Path:
    """Finds the YAML files of the tables, in the repository or in an installed package."""
    package = Path(__file__).resolve().parents[2]
    installed, repository = package / "published_tables", package.parent / "benchmarks" / "tables"
    return installed if installed.is_dir() else repository


def table_names() -> list[str]:
    """Lists the tables that there are.

    Example
    -------
    >>> table_names()
    ['esc10', 'mae_ast', 'sizes', 'sounds', 'speech', 'table1', 'table2', 'table3']
    """
    return sorted(path.stem for path in tables_folder().glob("*.yaml") if path.stem != "common")


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
    common = read_yaml(beside if beside.is_file() else tables_folder() / "common.yaml")
    content = read_yaml(path)
    try:
        return _table(name, path, content, common)
    except (KeyError, TypeError) as error:
        reason = f"{error} is missing or unknown" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path}: {reason}; see the other tables beside it") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML file; a `ValueError` names it if it is none."""
    try:
        return yaml.safe_load(read_text(path))
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None


def _table(name: str | Path, path: Path, content: dict[str, Any], common: dict[str, Any]) -> Table:
    tasks = {}
    for key in content["tasks"]:
        given = dict(common["tasks"][key])
        folds = tuple(given.pop("folds", ()))
        tasks[key] = Task(key=key, folds=folds, **given)
    rows = tuple(_row(row, content, common["pretrainings"]) for row in content["rows"])
    means = {column: tuple(keys) for column, keys in content.get("means", {}).items()}
    plain = ("title", "source", "notes", "one_scale")
    given = {key: content[key] for key in plain if key in content}
    given |= {key: tuple(content[key]) for key in ("seeds", "keeps", "choices") if key in content}
    comparisons = tuple(content.get("comparisons", ()))
    names = {row.name for row in rows}
    for comparison in comparisons:
        for side in ("higher", "lower"):
            if comparison[side] not in names:
                raise TypeError(f"comparison {comparison['claim']!r}: no row {comparison[side]!r}")
    return Table(str(name), tasks=tasks, rows=rows, means=means, comparisons=comparisons, **given)


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
    unknown = set(made.tasks) - set(table["tasks"])
    if unknown:
        raise TypeError(f"row {made.name}: the table has no task {', '.join(sorted(unknown))}")
    return made
