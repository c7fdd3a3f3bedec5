"""The ledger: what evaluated runs left, read for tables; and a copy of it without weights."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssast_recipes.records.run import RESULTS, Run
from ssast_recipes.system.files import write_text

_COPIED = ("predictions.csv", "predictions.parquet", "metrics.jsonl")


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

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its settings; empty if it has none."""
        return self.content.get("settings") or {}

    @property
    def num_clips(self) -> Mapping[str, int]:
        """How many clips it trained and was tested on."""
        return self.content.get("num_clips") or {}

    @property
    def is_pretraining(self) -> bool:
        """Whether it is of pretraining: no classes are predicted."""
        return "contrastive_head" in self.settings

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
        if self.is_pretraining:
            found = describe_pretraining(self.settings)
        elif self.pretraining is None:
            found = dict.fromkeys(("objective", "masked"), "from scratch")
        else:
            found = describe_pretraining((self.pretraining.get("run") or {}).get("settings") or {})
        height = (self.settings.get("patch_size") or [0])[0]
        found["patches"] = "frame" if height == _mel_bins(self.settings) else "patch"
        found["pretrained"] = "no" if found["objective"] == "from scratch" else "yes"
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
    patches = (_mel_bins(settings) // height) * (settings["target_length"] // length)
    return {
        "objective": objective,
        "masked": f"{100 * settings['num_masked_patches'] / patches:.0f} %",
    }


def _mel_bins(settings: Mapping[str, Any]) -> int:
    """Of the spectrogram; where it is no setting, as published."""
    return settings.get("num_mel_bins") or 128


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
        If a `results.json` is not JSON, or no run's.
    """
    records: dict[Path, Record] = {}  # a folder may be named twice, or lie within another
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is not there; give folders of runs, or a ledger")
        for path in sorted(folder.rglob(RESULTS)):
            records.setdefault(path.resolve(), Record(path, _read_content(path)))
    return list(records.values())


def _read_content(path: Path) -> dict[str, Any]:
    try:
        content = Run(path.parent).results
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error.__cause__}; evaluate the run again") from None
    values = content.get("value")
    if not isinstance(values, dict) or "last" not in values:
        raise ValueError(f"{path} is no run's results.json: it has no value.last")
    for name, value in values.items():
        if not isinstance(value, int | float | None):
            raise ValueError(f"{path}: value.{name} is {value!r}, not a number; evaluate again")
    for name in ("settings", "num_clips", "pretrained_from", "run_options"):
        if not isinstance(content.get(name), dict | None):
            raise ValueError(f"{path}: {name} is {content[name]!r}, not a mapping; evaluate again")
    return content


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

    Raises
    ------
    ValueError
        If two of them would be one there; nothing is copied then.
    """
    folders: dict[Path, Record] = {}
    for record in records:
        source = next(one for one in sources if record.path.is_relative_to(one))
        folder = target / record.folder.relative_to(source)
        if folder in folders:
            raise ValueError(
                f"{folders[folder].path} and {record.path} would both be kept in {folder}; copy "
                "their folders one by one, each to a ledger folder of its own"
            )
        folders[folder] = record
    for folder, record in folders.items():
        write_text(folder / RESULTS, record.path.read_text(encoding="utf-8"))
        for name in _COPIED:
            if (record.folder / name).is_file():
                shutil.copy(record.folder / name, folder / name)
    return len(records)
