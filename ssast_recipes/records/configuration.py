"""What of a configuration decides what a run computes."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

# Where a run's data lie, how many may be bad and where it computes is no part of what it computes.
FOLDER_KEYS = ("data_folder", "manifest_folder", "output_folder", "pretrained_encoder")
PLACE_KEYS = (
    "activation_checkpointing",
    "device",
    "distributed_backend",
    "download",
    "download_sha256",
    "max_rejected",
    "noprogressbar",
    "num_workers",
    "param_file",
)
# How long a run goes on, how often and by what it is looked at, how a step is cut into batches
# (that a step is as large as before is checked when it resumes), and what only holds these.
_LENGTH_KEYS = (
    "batch_size",
    "grad_accumulation_factor",
    "train_dataloader_opts",
    "valid_dataloader_opts",
    "test_dataloader_opts",
    "num_steps",
    "number_of_epochs",
    "epoch_counter",
    "checkpointer",
    "valid_interval",
    "patience",
    "checkpoint_interval",
    "checkpoints_to_keep",
    "log_interval",
    "probe_data",
    "probe_interval",
)


def configuration_sha256(path: Path, run_options: Mapping[str, Any] | None = None) -> str:
    """Hashes a resolved YAML file without its comments, paths and device.

    Arguments
    ---------
    path : Path
        The `hyperparams.yaml` that a run keeps.
    run_options : mapping, optional
        Options of the command line that are no keys of that file.

    Returns
    -------
    str
        The same for runs that compute the same, wherever their data lie.

    Example
    -------
    >>> first, second = (getfixture("tmp_path") / name for name in ("a.yaml", "b.yaml"))
    >>> _ = first.write_text("# today\\noutput_folder: /a\\nlog: /a/log.txt\\nlr: 0.1")
    >>> _ = second.write_text("output_folder: /b\\nlog: /b/log.txt\\nlr: 0.1")
    >>> configuration_sha256(first) == configuration_sha256(second)
    True
    """
    root = yaml.compose(path.read_text(encoding="utf-8"))
    keys = {key.value for key, _ in root.value}
    others = {key: value for key, value in (run_options or {}).items() if key not in keys}
    folders = _placeholders(
        (key, value)
        for key, value in root.value
        if key.value in FOLDER_KEYS and len(value.value) > 1
    )
    return hashlib.sha256(
        json.dumps([_plain(root, folders), sorted(others.items())], default=str).encode()
    ).hexdigest()


def changed_keys(before: str, now: str) -> list[str]:
    """Names the keys that a run may not change when it goes on.

    Where data lie, how many may be bad and how long training goes on may change, how often and by
    what it is looked at, and into which batches a step is cut.

    Arguments
    ---------
    before, now : str
        Texts of resolved YAML files.

    Returns
    -------
    list[str]
        The top-level keys whose values differ, sorted.

    Example
    -------
    >>> changed_keys("lr: 0.1\\nnum_steps: 10\\nseed: 1", "lr: 0.2\\nnum_steps: 20\\nseed: 1")
    ['lr']
    """
    first, second = _values(before), _values(now)
    return sorted(key for key in {*first, *second} if first.get(key) != second.get(key))


def _values(text: str) -> dict[str, Any]:
    items = yaml.compose(text).value
    folders = _placeholders(
        (key, value)
        for key, value in items
        if key.value in FOLDER_KEYS and key.value != "pretrained_encoder" and value.value
    )
    ignored = {*PLACE_KEYS, *_LENGTH_KEYS}
    return {key.value: _plain(value, folders) for key, value in items if key.value not in ignored}


def _placeholders(folders: Iterable[tuple[yaml.Node, yaml.Node]]) -> list[tuple[str, str]]:
    """What stands for each folder that has a path, the longest first: one may hold another."""
    names = {value.value: f"<{key.value}>" for key, value in folders if value.tag.endswith(":str")}
    return sorted(names.items(), key=lambda item: -len(item[0]))


def _plain(node: yaml.Node, folders: Sequence[tuple[str, str]]) -> Any:
    if isinstance(node, yaml.MappingNode):
        items = [
            [_plain(key, folders), _plain(value, folders)]
            for key, value in node.value
            if key.value not in PLACE_KEYS
        ]
        return [node.tag, sorted(items, key=json.dumps)]
    if isinstance(node, yaml.SequenceNode):
        return [node.tag, [_plain(item, folders) for item in node.value]]
    text = node.value
    for folder, name in folders:
        if text == folder or text.startswith(folder + "/"):
            text = name + text[len(folder) :]
    return [node.tag, text]
