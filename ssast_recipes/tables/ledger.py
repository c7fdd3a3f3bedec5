"""The ledger: what evaluated runs left, read for tables; and a copy of it without weights."""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssast_recipes.files import write_text

_COPIED = ("predictions.csv", "metrics.jsonl")


@dataclass(frozen=True)
class Record:
    """A run's `results.json`.

    Arguments
    ---------
    path : Path
        The file.
    content : mapping
        What is in it.
    """

    path: Path
    content: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """The run's folder, or what the ledger kept of it."""
        return self.path.parent

    @property
    def pretraining(self) -> Mapping[str, Any] | None:
        """What is known of the weights that it began with: None from scratch."""
        return self.content.get("pretrained_from")

    def get(self, name: str) -> Any:
        """Looks up a field, a path of keys such as `settings.lr`, or a trait; None if unknown.

        Traits are `objective`, `masked` (the share), `patches`, `pretrained`.
        """
        traits = self.traits()
        if name in traits:
            return traits[name]
        value: Any = self.content
        for key in name.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    def traits(self) -> dict[str, Any]:
        """What tells pretrainings apart, of the run or of the one that it began with."""
        run = self.content
        is_tuned = "contrastive_head" not in run.get("settings", {})
        if is_tuned:
            run = (self.pretraining or {}).get("run", {})
        found = describe_pretraining(run.get("settings", {}))
        height = self.content.get("settings", {}).get("patch_size", [0, 0])[0]
        found["patches"] = "frame" if height == 128 else "patch"
        found["pretrained"] = "no" if is_tuned and self.pretraining is None else "yes"
        return found


def describe_pretraining(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Names objective and masked share of a pretraining by its settings.

    Example
    -------
    >>> describe_pretraining(
    ...     {
    ...         "contrastive_head": "PatchPredictionHead",
    ...         "reconstruction_head": None,
    ...         "num_masked_patches": 400,
    ...         "target_length": 1024,
    ...         "patch_size": [16, 16],
    ...     }
    ... )
    {'objective': 'discriminative', 'masked': '78 %'}
    """
    if "contrastive_head" not in settings:
        return {"objective": None, "masked": None}
    heads = bool(settings["contrastive_head"]), bool(settings["reconstruction_head"])
    objective = {(True, True): "joint", (True, False): "discriminative"}.get(heads, "generative")
    height, length = settings["patch_size"]
    patches = (128 // height) * (settings["target_length"] // length)
    return {
        "objective": objective,
        "masked": f"{100 * settings['num_masked_patches'] / patches:.0f} %",
    }


def read_ledger(folders: Iterable[str | Path]) -> list[Record]:
    """Reads all `results.json` in folders and below them.

    Arguments
    ---------
    folders : iterable of paths
        Runs' folders, folders of them, or a ledger.

    Returns
    -------
    list of Record
        Sorted by path.

    Raises
    ------
    FileNotFoundError
        If a folder is not there.
    ValueError
        If a `results.json` is not JSON.
    """
    records = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is not there; give folders of runs, or a ledger")
        for path in sorted(folder.rglob("results.json")):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(f"{path} is not JSON: {error}; evaluate the run again") from None
            if not isinstance(content, dict) or "value" not in content:
                raise ValueError(f"{path} is no run's results.json: it has no value")
            records.append(Record(path, content))
    return records


def copy_ledger(records: Sequence[Record], sources: Sequence[Path], target: Path) -> int:
    """Copies records to a ledger: `results.json`, predictions and metrics; no weights, no pictures.

    Arguments
    ---------
    records : sequence of Record
        From `read_ledger`.
    sources : sequence of Path
        The folders that they were read from, whose layout is kept.
    target : Path
        The ledger.

    Returns
    -------
    int
        How many were copied.
    """
    for record in records:
        source = next(one for one in sources if record.path.is_relative_to(one))
        folder = target / record.folder.relative_to(source)
        write_text(folder / "results.json", record.path.read_text(encoding="utf-8"))
        for name in _COPIED:
            if (record.folder / name).is_file():
                shutil.copy(record.folder / name, folder / name)
    return len(records)
