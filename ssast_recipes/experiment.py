"""How every `train.py` begins."""

import atexit
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import speechbrain as sb
import torch
import yaml
from hyperpyyaml import load_hyperpyyaml
from speechbrain.utils.distributed import ddp_init_group
from speechbrain.utils.run_opts import RunOptions

# Options that say where a run computes, not what.
_PLACE_OPTIONS = {"device", "distributed_backend", "noprogressbar", "param_file"}


def read_experiment(
    arguments: Sequence[str],
) -> tuple[str, dict[str, Any], RunOptions, str]:
    """Reads a recipe's command line and its YAML file.

    The YAML file's folder goes onto the import path, so that it can name a user's own Python
    files. Processes started by `torchrun` are joined, by gloo where there is no GPU.

    Arguments
    ---------
    arguments : sequence of str
        The command line: a YAML file, then `--key value` for its keys and for run options.

    Returns
    -------
    tuple
        Path of the YAML file; hyperparameters with their objects, among them a dict `record` that
        also holds the run options given; run options; overrides.

    Raises
    ------
    ValueError
        If an override names another object than the YAML file does.
    """
    hparams_file, run_options, overrides = sb.parse_arguments(list(arguments))
    folder = str(Path(hparams_file).resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    if not torch.cuda.is_available() and run_options.distributed_backend == "nccl":
        run_options = dataclasses.replace(
            run_options,
            distributed_backend="gloo",
            overridden_args=run_options.overridden_args | {"distributed_backend"},
        )
    ddp_init_group(run_options)
    if torch.distributed.is_initialized():
        atexit.register(torch.distributed.destroy_process_group)
    _check_overrides(hparams_file, overrides)
    with open(hparams_file, encoding="utf-8") as file:
        hparams = load_hyperpyyaml(file, overrides)
    # SpeechBrain's own record, hyperparams.yaml, leaves out run options of the command line.
    given = sorted(run_options.overridden_args - _PLACE_OPTIONS)
    hparams["record"]["run_options"] = {option: run_options[option] for option in given}
    return hparams_file, hparams, run_options, overrides


def _check_overrides(hparams_file: str, overrides: str) -> None:
    """Refuses `--key "!new:Other {…}"`, whose arguments HyperPyYAML would give to the old one."""
    given = yaml.compose(overrides)
    if not isinstance(given, yaml.MappingNode):
        return
    written = yaml.compose(Path(hparams_file).read_text(encoding="utf-8"))
    tags = {key.value: node.tag for key, node in written.value}
    for key, node in given.value:
        names_object = isinstance(node, yaml.MappingNode) and node.tag.startswith("!")
        if names_object and node.tag != tags.get(key.value, node.tag):
            raise ValueError(
                f"--{key.value} {node.tag} …: the command line can give an object other arguments, "
                f"not name another one; write it into a copy of {hparams_file}"
            )
