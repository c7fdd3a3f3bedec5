"""A run's settings as its record keeps them: values and objects by name, nothing of the machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssast_recipes.records.configuration import FOLDER_KEYS, PLACE_KEYS
from ssast_recipes.records.hparams import (
    List,
    Map,
    Node,
    Scalar,
    compose,
    is_block,
    is_choice,
    is_object,
    object_name,
    read_value,
)

# What others say again, what only looks on, and what holds the rest together.
_LEFT_OUT = {
    *FOLDER_KEYS,
    *PLACE_KEYS,
    "__set_seed",
    "seed",
    "brain_class",
    "checkpoint_interval",
    "checkpointer",
    "checkpoints_to_keep",
    "classes_file",
    "encoder",
    "epoch_counter",
    "front_end",
    "label_encoder",
    "log_interval",
    "model",
    "output_keys",
    "prepare",
    "probe_data",
    "probe_interval",
    "read_waveform",
    "record",
    "test_dataloader_opts",
    "train_dataloader_opts",
    "training_log",
    "valid_dataloader_opts",
}


def read_settings(text: str) -> dict[str, Any]:
    """Reads the settings out of a resolved YAML file; executes nothing of it.

    Arguments
    ---------
    text : str
        A YAML file in which references are resolved.

    Returns
    -------
    dict
        By key of the top level, values as JSON has them. Objects become their name with their plain
        arguments; manifests lose their folders. Left out is where things lie and computing goes on,
        the seed, and what is made of the rest.

    Example
    -------
    >>> read_settings("lr: 1e-3\\ndata_folder: /data\\ntrain_manifests: [/a/fold1/train.csv]")
    {'lr': 0.001, 'train_manifests': ['train.csv']}
    >>> read_settings("masker: !new:ssast_recipes.model.RandomMasker\\n    num_masked_patches: 4")
    {'masker': 'RandomMasker(num_masked_patches=4)'}
    >>> read_settings("num_steps: !apply:operator.getitem [[20000, 200000], False]")
    {'num_steps': 20000}
    """
    settings = {}
    for key, node in compose(text):
        if key in _LEFT_OUT or is_block(node):
            continue
        value = _tell(node)
        if key.endswith("_manifests"):
            value = [Path(str(item)).name for item in value or ()]
        if not (isinstance(value, str) and _is_path(value)):
            settings[key] = value
    return settings


def name_experiment(hparams_file: str | Path) -> str:
    """Names an experiment by its YAML file, with the recipe that it belongs to.

    Example
    -------
    >>> name_experiment("recipes/ESC50/hparams/finetune_patch.yaml")
    'ESC50/finetune_patch'
    >>> name_experiment("mine.yaml")
    'mine'
    """
    path = Path(hparams_file).absolute()
    if path.parent.name == "hparams":
        return f"{path.parents[1].name}/{path.stem}"
    return path.stem


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, tuple]:
    """Compares settings: by key, what was expected and what was found.

    Example
    -------
    >>> differences({"lr": 0.1, "seed": 1}, {"lr": 0.2, "seed": 1})
    {'lr': (0.1, 0.2)}
    """
    keys = [*expected, *(key for key in found if key not in expected)]
    pairs = {key: (expected.get(key), found.get(key)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _is_path(value: str) -> bool:
    return value.startswith(("/", "~", ".")) or "\\" in value


def _tell(node: Node) -> Any:
    """Plain values as they are, objects by name."""
    if is_object(node):
        arguments = []
        if isinstance(node, Map):
            plain = [(key.value, value) for key, value in node.value if _is_plain(value)]
            arguments = [f"{key}={_tell(value)}" for key, value in plain]
        return f"{object_name(node)}({', '.join(arguments)})" if arguments else object_name(node)
    if isinstance(node, List) and not is_choice(node):
        return [_tell(item) for item in node.value]
    if isinstance(node, Map):
        return {key.value: _tell(item) for key, item in node.value}
    return read_value(node)


def _is_plain(node: Node) -> bool:
    if isinstance(node, List):
        return all(map(_is_plain, node.value))
    return isinstance(node, Scalar) and not node.tag.startswith("!")
