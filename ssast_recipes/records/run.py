"""A run on disk: whatever it left in its folder, each file read when it is asked for, and once."""

import json
import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssast_recipes.records.hparams import Node, read_hparams, read_value
from ssast_recipes.system.reading import read_json, read_text

if TYPE_CHECKING:  # commands that start runs do not wait for torch
    from ssast_recipes.records.predictions import Predictions

RESULTS, METRICS, HPARAMS = "results.json", "metrics.jsonl", "hyperparams.yaml"
PER_CLASS = "per_class.csv"


class Run:
    """A run's folder, finished or not.

    What the run wrote once is read once; what grows or comes while it goes on (`is_finished`,
    `checkpoints`) is looked for every time.

    Arguments
    ---------
    path : str or Path
        The run's output folder; it need not be there yet.

    Example
    -------
    >>> run = Run(getfixture("tmp_path"))
    >>> run.is_finished, run.has_begun, run.metrics
    (False, False, [])
    >>> _ = (run.path / "results.json").write_text('{"value": {"last": 0.5}}')
    >>> run.is_finished, run.results
    (True, {'value': {'last': 0.5}})
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)

    @classmethod
    def of_weights(cls, weights: Path) -> "Run | None":
        """The run that made a weights file: one of its checkpoints', or its folder `model`'s.

        Example
        -------
        >>> Run.of_weights(Path("/runs/1/save/CKPT+2/model.ckpt")).path.name
        '1'
        >>> Run.of_weights(Path("/weights/SSAST.pth"))
        """
        folders = weights.absolute().parents
        if len(folders) > 2 and folders[1].name == "save":
            return cls(folders[2])
        return cls(folders[1]) if folders[0].name == "model" else None

    @property
    def is_finished(self) -> bool:
        """Whether the run, or an earlier one of the same command, came to its end.

        Of one that left a folder `model`, only if that is whole; not all runs can.
        """
        model = self.path / "model"
        is_whole = (model / "config.json").exists() or not model.is_dir()
        return is_whole and (self.path / RESULTS).exists()

    @property
    def checkpoints(self) -> list[Path]:
        """The folders of its checkpoints, sorted by name."""
        return sorted(self.path.glob("save/CKPT*"))

    @property
    def has_begun(self) -> bool:
        """Whether there is a checkpoint."""
        return any(self.path.glob("save/CKPT*"))

    def best_checkpoint(self) -> Path | None:
        """Finds the checkpoint with weights of the highest `valid_score`, or else the newest.

        Returns
        -------
        Path or None
            The checkpoint's folder; None if there is none with a `model.ckpt`.

        Raises
        ------
        ValueError
            If what tells of one is damaged.
        """
        found = [one for one in self.checkpoints if (one / "model.ckpt").is_file()]
        return max(found, key=_rank, default=None)

    @property
    def last_step(self) -> int | None:
        """The step of the newest checkpoint, as far as their files tell it.

        Example
        -------
        >>> run = Run(getfixture("tmp_path"))
        >>> for step in (9, 10):
        ...     (run.path / "save" / f"CKPT+{step}").mkdir(parents=True)
        ...     meta = run.path / "save" / f"CKPT+{step}" / "CKPT.yaml"
        ...     _ = meta.write_text(f"step: {step}")
        >>> run.last_step
        10
        """
        return max(filter(None, map(checkpoint_step, self.checkpoints)), default=None)

    @cached_property
    def results(self) -> dict[str, Any]:
        """What `results.json` says.

        Raises
        ------
        FileNotFoundError
            If there is none.
        ValueError
            If it is damaged.
        """
        return read_json(self.path / RESULTS, "delete it to evaluate the run again")

    @cached_property
    def nodes(self) -> dict[str, Node]:
        """The top level of `hyperparams.yaml`: nodes, of which nothing is built.

        Raises
        ------
        FileNotFoundError
            If there is none.
        ValueError
            If it is damaged.
        """
        return read_hparams(self.path / HPARAMS)

    def value(self, key: str) -> Any:
        """A plain value of `hyperparams.yaml`, None if it has no such key; raises as `nodes`."""
        node = self.nodes.get(key)
        return None if node is None else read_value(node)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """What the run has logged so far; see `read_metrics`."""
        return read_metrics(self.path / METRICS)

    def predictions(self, selection: str | None) -> "Predictions":
        """Reads `predictions.csv` or `predictions.parquet`.

        Arguments
        ---------
        selection : str, optional
            Of which weights; if there are none of these, the file's last.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is not readable.
        """
        from ssast_recipes.records.predictions import find_predictions, load_predictions

        path = find_predictions(self.path)
        try:
            found = load_predictions(path, selection)
        except ValueError as error:
            raise ValueError(f"{path.name} is not readable ({error})") from None
        if not found.logits.isfinite().all():
            raise ValueError(f"{path.name} lacks scores")
        return found

    def per_class(self, selection: str | None) -> tuple[list[str], list[dict[str, str]]]:
        """Reads `per_class.csv`: the names of its metrics, and a selection's rows.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is not readable.
        """
        from ssast_recipes.records.results import read_per_class

        try:
            return read_per_class(self.path / PER_CLASS, selection)
        except ValueError as error:
            raise ValueError(f"per_class.csv is not readable ({error})") from None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Reads `metrics.jsonl`: a record a line, the oldest first.

    Arguments
    ---------
    path : Path
        The file; none is as good as an empty one.

    Returns
    -------
    list of dict
        The records. A kill may have cut off the last line: it is passed over.

    Raises
    ------
    ValueError
        If another line is damaged.

    Example
    -------
    >>> path = getfixture("tmp_path") / "metrics.jsonl"
    >>> _ = path.write_text('{"stage": "train", "step": 1}\\n{"stage": "tr')
    >>> read_metrics(path)
    [{'stage': 'train', 'step': 1}]
    """
    if not path.exists():
        return []
    records = list(parse_metrics(read_text(path)))
    for number, record in enumerate(records[:-1], 1):
        if record is None:
            raise ValueError(f"{path}, line {number}: no JSON object; remove the line to go on")
    return [record for record in records if record is not None]


def parse_metrics(text: str) -> Iterator[dict[str, Any] | None]:
    """Reads lines of `metrics.jsonl`; of a damaged one, None.

    Example
    -------
    >>> list(parse_metrics('{"step": 1}\\n[]\\n{"st'))
    [{'step': 1}, None, None]
    """
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        yield record if isinstance(record, dict) else None


def checkpoint_step(checkpoint: Path) -> int | None:
    """The step of a checkpoint's folder; None if nothing tells it."""
    try:
        step = read_value(read_hparams(checkpoint / "CKPT.yaml")["step"])
    except (OSError, KeyError, ValueError):
        return None
    return step if type(step) is int else None


def _rank(checkpoint: Path) -> tuple[float, float]:
    path = checkpoint / "CKPT.yaml"
    try:
        meta = {key: read_value(node) for key, node in read_hparams(path).items()}
        score = meta.get("valid_score", -math.inf)
        return (-math.inf if math.isnan(score) else score), meta["unixtime"]
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        raise ValueError(
            f"{path} is missing or damaged; name the checkpoint folder to take instead"
        ) from None
