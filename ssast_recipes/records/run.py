"""Reading a run's folder: whatever is there, finished or not, and what of it cannot be read."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ssast_recipes.data.manifest import Clip, read_manifest
from ssast_recipes.records.predictions import Predictions, find_predictions, load_predictions
from ssast_recipes.records.results import read_per_class

_FILES = ("results.json", "metrics.jsonl", "hyperparams.yaml")
_DEEPEST = 3  # values within values that are told


@dataclass
class RunFolder:
    """A run's folder. What cannot be read is missing here, and told in `notes`.

    `results` is `results.json`, `records` the lines of `metrics.jsonl`, `settings` the top level of
    `hyperparams.yaml`: nodes, of which nothing is executed.
    """

    path: Path
    results: dict[str, Any] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, yaml.Node] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def is_pretraining(self) -> bool:
        """Whether the run masks patches, and reads no labels."""
        return "masker" in self.settings or any("constant_patches" in r for r in self.records)

    @property
    def last_step(self) -> int:
        """How far the run has got, by its log."""
        return max((record["step"] for record in self.records), default=0)

    def setting(self, key: str) -> str | None:
        """A value of `hyperparams.yaml` in words; None if there is none."""
        node = self.settings.get(key)
        return None if node is None or _is_null(node) else describe(node)

    def series(self, stage: str, key: str) -> list[tuple[int, float]]:
        """A number over steps; where a step was logged twice, as after a kill, the later one."""
        found = {
            record["step"]: record[key]
            for record in self.records
            if record["stage"] == stage and is_number(record.get(key))
        }
        return sorted(found.items())

    def test_clips(self) -> dict[str, Clip]:
        """Reads the manifests of the test set, wherever they are now.

        Returns
        -------
        dict of str to Clip
            By ID.

        Raises
        ------
        FileNotFoundError
            If a manifest is not at hand.
        ValueError
            If one is not readable.
        """
        node = self.settings.get("test_manifests")
        paths = [
            one.value for one in getattr(node, "value", []) if isinstance(one, yaml.ScalarNode)
        ]
        if not isinstance(node, yaml.SequenceNode) or not paths:
            raise FileNotFoundError("hyperparams.yaml names no test_manifests")
        clips = {}
        for path in paths:
            clips.update({clip.id: clip for clip in read_manifest(self._find(path))})
        return clips

    def _find(self, path: str) -> Path:
        """A file that the run named from the folder in which it was started."""
        candidates = [Path(path)]
        started = _without_end(self.path.resolve(), Path(self.setting("output_folder") or "/"))
        if started is not None:
            candidates.append(started / path)
        for candidate in candidates:
            if candidate.is_file():
                return candidate
        raise FileNotFoundError(f"the test manifest {path} is not at hand")

    def predictions(self, selection: str | None) -> Predictions:
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
        try:
            return read_per_class(self.path / "per_class.csv", selection)
        except ValueError as error:
            raise ValueError(f"per_class.csv is not readable ({error})") from None


def read_run(path: Path) -> RunFolder:
    """Reads a run's folder.

    Arguments
    ---------
    path : Path
        The run's output folder.

    Returns
    -------
    RunFolder
        What is there.

    Raises
    ------
    FileNotFoundError
        If it is no run's folder.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is no folder; give the output folder of a run")
    if not any((path / name).is_file() for name in _FILES):
        raise FileNotFoundError(
            f"{path} is no run's folder: it has none of {', '.join(_FILES)}; give the output "
            "folder of a training"
        )
    run = RunFolder(path)
    for name, read in zip(_FILES, (_read_results, _read_records, _read_settings), strict=True):
        try:
            read(run, (path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            if name != "results.json":  # of which the page says more
                run.notes.append(f"There is no {name}.")
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())[:200]
            run.notes.append(f"{name} is not readable, and left out: {reason}")
    return run


def _read_results(run: RunFolder, text: str) -> None:
    results = json.loads(text)
    if not isinstance(results, dict):
        raise ValueError("it holds no object")
    run.results = results


def _read_records(run: RunFolder, text: str) -> None:
    num_bad = 0
    for line in text.splitlines():
        try:
            record = json.loads(line)
            whole = isinstance(record["stage"], str) and isinstance(record["step"], int)
            whole = whole and is_number(record["step"])
        except (ValueError, TypeError, KeyError, RecursionError):
            whole = False
        if whole:
            run.records.append(record)
        else:
            num_bad += 1
    if num_bad:
        lines = "1 line" if num_bad == 1 else f"{num_bad} lines"
        run.notes.append(f"{lines} of metrics.jsonl cannot be read (a kill may cut one off).")


def _read_settings(run: RunFolder, text: str) -> None:
    root = yaml.compose(text)  # nodes: nothing is built of them
    if not isinstance(root, yaml.MappingNode):
        raise ValueError("it holds no keys")
    run.settings = {
        key.value: value for key, value in root.value if isinstance(key, yaml.ScalarNode)
    }


def describe(node: yaml.Node, depth: int = 0) -> str:
    """Tells a YAML node in a line: of objects, the class and its plain options.

    Example
    -------
    >>> describe(yaml.compose("!name:torch.optim.Adam {lr: 0.1, betas: [0.9, 0.99]}"))
    'Adam(lr=0.1, betas=[0.9, 0.99])'
    """
    if depth > _DEEPEST:
        return "…"
    if isinstance(node, yaml.SequenceNode):
        told = f"[{', '.join(describe(one, depth + 1) for one in node.value[:20])}]"
    elif isinstance(node, yaml.MappingNode):
        items = [
            f"{key.value}={describe(value, depth + 1)}"
            for key, value in node.value[:20]
            if isinstance(key, yaml.ScalarNode)
        ]
        told = f"({', '.join(items)})"
    else:
        told = node.value
    kind, _, name = node.tag.rpartition(":")
    if not kind.startswith("!"):
        return told
    return name.rpartition(".")[2] + ("" if told in ("", "()") else told)


def is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a finite number.

    Example
    -------
    >>> [is_number(value) for value in (1, 0.5, True, float("nan"), None, "1")]
    [True, True, False, False, False, False]
    """
    # Not a number fails every comparison; integers may be longer than a float can be.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _is_null(node: yaml.Node) -> bool:
    return node.tag.endswith(":null") or (isinstance(node, yaml.ScalarNode) and node.value == "")


def _without_end(path: Path, end: Path) -> Path | None:
    """What of a path stands before its end, if it ends so."""
    if end.is_absolute():
        return None
    count = len(end.parts)
    return Path(*path.parts[:-count]) if path.parts[-count:] == end.parts else None
