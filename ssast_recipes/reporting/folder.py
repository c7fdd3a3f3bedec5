"""What a page shows of a run's folder: whatever is there, finished or not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssast_recipes.data.manifest import Clip, read_manifest
from ssast_recipes.records.hparams import List, Map, Node, Scalar, is_null, object_name
from ssast_recipes.records.predictions import Predictions
from ssast_recipes.records.run import HPARAMS, METRICS, RESULTS, Run, parse_metrics
from ssast_recipes.records.transcripts import TRANSCRIPTS, read_transcripts

_FILES = (RESULTS, METRICS, HPARAMS)
_DEEPEST = 3  # values within values that are told


@dataclass
class RunFolder:
    """A run's folder, for a page. What cannot be read is missing here, and told in `notes`.

    `results` is `results.json`, `records` the lines of `metrics.jsonl`, `settings` the top level of
    `hyperparams.yaml`: nodes, of which nothing is executed.
    """

    path: Path
    results: dict[str, Any] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Node] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def is_pretraining(self) -> bool:
        """Whether the run masks patches, and reads no labels."""
        return "masker" in self.settings or any("constant_patches" in r for r in self.records)

    @property
    def is_recognition(self) -> bool:
        """Whether the run recognises what is said."""
        return "train_tokenizer" in self.settings or "tokenizer" in self.results

    @property
    def last_step(self) -> int:
        """How far the run has got, by its log."""
        return max((record["step"] for record in self.records), default=0)

    def setting(self, key: str) -> str | None:
        """A value of `hyperparams.yaml` in words; None if there is none."""
        node = self.settings.get(key)
        return None if node is None or is_null(node) else describe(node)

    def series(self, stage: str, key: str) -> list[tuple[int, float]]:
        """A number over steps; where a step was logged twice, as after a kill, the later one."""
        found = {
            record["step"]: record[key]
            for record in self.records
            if record["stage"] == stage and is_number(record.get(key))
        }
        return sorted(found.items())

    def predictions(self, selection: str | None) -> Predictions:
        """What weights said of the test clips; see `Run.predictions`."""
        return Run(self.path).predictions(selection)

    def per_class(self, selection: str | None) -> tuple[list[str], list[dict[str, str]]]:
        """Metrics by class; see `Run.per_class`."""
        return Run(self.path).per_class(selection)

    def transcripts(self, selection: str | None) -> list[dict[str, Any]]:
        """What weights recognised of the test clips; see `read_transcripts`."""
        return read_transcripts(self.path / TRANSCRIPTS, selection)

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
        paths = [one.value for one in getattr(node, "value", []) if isinstance(one, Scalar)]
        if not isinstance(node, List) or not paths:
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
    files = Run(path)
    for name, read in zip(_FILES, (_read_results, _read_records, _read_settings), strict=True):
        try:
            read(run, files)
        except FileNotFoundError:
            if name != RESULTS:  # of which the page says more
                run.notes.append(f"There is no {name}.")
        except (OSError, ValueError, RecursionError) as error:
            reason = str(error).removeprefix(str(path / name)).strip(" :")[:200]
            run.notes.append(f"{name} is not readable, and left out: {reason}")
    return run


def _read_results(run: RunFolder, files: Run) -> None:
    run.results = files.results


def _read_settings(run: RunFolder, files: Run) -> None:
    run.settings = files.nodes


def _read_records(run: RunFolder, files: Run) -> None:
    lines = list(parse_metrics((files.path / METRICS).read_text(encoding="utf-8")))
    run.records = [record for record in lines if record is not None and _is_whole(record)]
    num_bad = len(lines) - len(run.records)
    if num_bad:
        told = "1 line" if num_bad == 1 else f"{num_bad} lines"
        run.notes.append(f"{told} of {METRICS} cannot be read (a kill may cut one off).")


def _is_whole(record: Mapping[str, Any]) -> bool:
    step = record.get("step")
    return isinstance(record.get("stage"), str) and isinstance(step, int) and is_number(step)


def describe(node: Node, depth: int = 0) -> str:
    """Tells a YAML node in a line: of objects, the class and its plain options.

    Example
    -------
    >>> from ssast_recipes.records.hparams import compose
    >>> [(_, node)] = compose("opt: !name:torch.optim.Adam {lr: 0.1, betas: [0.9, 0.99]}")
    >>> describe(node)
    'Adam(lr=0.1, betas=[0.9, 0.99])'
    """
    if depth > _DEEPEST:
        return "…"
    if isinstance(node, List):
        told = f"[{', '.join(describe(one, depth + 1) for one in node.value[:20])}]"
    elif isinstance(node, Map):
        items = [
            f"{key.value}={describe(value, depth + 1)}"
            for key, value in node.value[:20]
            if isinstance(key, Scalar)
        ]
        told = f"({', '.join(items)})"
    else:
        told = node.value
    if not node.tag.startswith("!") or ":" not in node.tag:
        return told
    return object_name(node) + ("" if told in ("", "()") else told)


def is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a finite number.

    Example
    -------
    >>> [is_number(value) for value in (1, 0.5, True, float("nan"), None, "1")]
    [True, True, False, False, False, False]
    """
    # Not a number fails every comparison; integers may be longer than a float can be.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _without_end(path: Path, end: Path) -> Path | None:
    """What of a path stands before its end, if it ends so."""
    if end.is_absolute():
        return None
    count = len(end.parts)
    return Path(*path.parts[:-count]) if path.parts[-count:] == end.parts else None
