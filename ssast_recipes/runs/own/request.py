"""A run planned for one's own audio: what was asked for, its YAML file, and running it."""

import json
import shlex
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssast_recipes.records.hparams_text import included_files
from ssast_recipes.records.run import Run
from ssast_recipes.runs.jobs import train_command
from ssast_recipes.system.children import start, wait
from ssast_recipes.system.errors import RunError
from ssast_recipes.system.files import file_digest, write_text
from ssast_recipes.system.interruption import Interrupted
from ssast_recipes.system.reading import read_json
from ssast_recipes.system.recipes import recipe_folder

if TYPE_CHECKING:  # at run time, only what reads weights waits for torch
    from ssast_recipes.weights.encoders import KnownEncoder

_INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
_REQUEST = "request.json"
_MOST_TOLD = 100  # characters of a value
# What tells weights from labels, by name: files, and what is in folders.
_WEIGHTS_FILES = (".bin", ".ckpt", ".json", ".pt", ".pth", ".safetensors")
_OF_WEIGHTS = (
    "config.json",
    "model/config.json",
    "model.*",
    "pytorch_model*",
    "save",
    "checkpoint-*",
)


def own_command(hparams_file: Path, device: str | None = None) -> list[str]:
    """Returns the words that run the recipe for one's own audio.

    Example
    -------
    >>> own_command(Path("mine.yaml"), "cpu")[-3:]
    ['mine.yaml', '--device', 'cpu']
    """
    train = recipe_folder("OwnAudio") / "train.py"
    return train_command(train, hparams_file, ["--device", device] if device else [])


def find_encoder(source: str) -> str:
    """How a request names an encoder: a path that is there by its absolute one.

    Example
    -------
    >>> find_encoder("hf:me/model@v1")
    'hf:me/model@v1'
    """
    return str(Path(source).absolute()) if Path(source).exists() else source


def check_order(encoder: str, labels: Path) -> None:
    """Refuses labels where the encoder belongs, and the other way round.

    Arguments
    ---------
    encoder : str
        What was given first.
    labels : Path
        What was given next.

    Raises
    ------
    ValueError
        That says how it is meant.

    Example
    -------
    >>> table = getfixture("tmp_path") / "labels.csv"
    >>> _ = table.write_text("path,label")
    >>> check_order("none", table)
    >>> check_order(str(table), Path("none"))
    Traceback (most recent call last):
    ValueError: .../labels.csv are labels, and none comes first: ssast finetune none .../labels.csv
    """
    path = Path(encoder)
    if not path.exists() or _holds_weights(path):
        return
    if not labels.exists() or _holds_weights(labels):
        command = shlex.join(["ssast", "finetune", str(labels), encoder])
        raise ValueError(f"{encoder} are labels, and {labels} comes first: {command}")


def _holds_weights(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() in _WEIGHTS_FILES
    return any(any(path.glob(name)) for name in _OF_WEIGHTS)


def check_frames(encoder: "KnownEncoder") -> None:
    """Refuses an encoder that hears what no plan is for.

    Arguments
    ---------
    encoder : KnownEncoder
        What is known of it.

    Raises
    ------
    ValueError
        If its frames are others.
    """
    front_end = encoder.front_end
    if (front_end.frame_length, front_end.frame_shift) != (25.0, 10.0):
        raise ValueError(
            f"{encoder.path} hears frames of {front_end.frame_length:g} ms, one every "
            f"{front_end.frame_shift:g} ms; a plan is for 25 and 10 ms: write a YAML file of your "
            "own, with a filterbank of these"
        )


def run_own(hparams_file: Path, device: str | None = None) -> None:
    """Runs the recipe for one's own audio; what it prints is seen as it comes.

    Raises
    ------
    RunError
        If it fails; it has said why.
    SystemExit
        If it was interrupted, with its status; it has said what is saved.
    Interrupted
        If it was interrupted before it could say anything.
    """
    process = start(own_command(hparams_file, device))
    try:
        status = wait(process)
    except Interrupted as interruption:
        if process.returncode not in _INTERRUPTED:
            raise
        sys.exit(interruption.status)
    if status in _INTERRUPTED:
        sys.exit(status)
    if status:
        raise RunError(
            f"train.py ended with status {status}; once that is mended, the same command goes on"
        )


def is_planned(hparams_file: Path, request: Mapping[str, Any], files: str) -> bool:
    """Tells whether a run is to go on with the YAML file that was written for it before.

    It is to be written anew if something else is asked for, or of other files, as long as there is
    no checkpoint and nobody has changed it by hand. After that other files are left to `train.py`
    to judge.

    Arguments
    ---------
    hparams_file : Path
        The YAML file, in the run's folder, in which `keep_request` keeps `request.json`.
    request : mapping
        What the user asks for, in plain values.
    files : str
        What tells one set of files from another.

    Returns
    -------
    bool
        False if there is no such file, or it is to be written anew.

    Raises
    ------
    ValueError
        If something else was asked for, and there is a checkpoint or a change by hand.

    Example
    -------
    >>> path = getfixture("tmp_path") / "mine.yaml"
    >>> _ = path.write_text("size: tiny")
    >>> keep_request(path, {"size": "tiny"}, files="400")
    >>> is_planned(path, {"size": "tiny"}, "400"), is_planned(path, {"size": "base"}, "400")
    (True, False)
    >>> _ = path.write_text("size: tiny # by hand")
    >>> is_planned(path, {"size": "tiny"}, "401")
    True
    """
    before = read_request(hparams_file)
    if not before or not hparams_file.exists():
        return False
    begun = Run(hparams_file.parent).has_begun
    by_hand = before.get("written") != _digest(hparams_file)
    changed = [key for key, value in request.items() if before.get(key) != value]
    if not changed:
        return begun or by_hand or before.get("files") == files
    told = ", ".join(
        f"{key} was {_cut(before.get(key))}, is {_cut(request[key])}" for key in changed
    )
    if begun:
        advice = ""
        if {*changed} <= {"steps", "minutes"}:  # fewer, for more it goes on
            command = shlex.join(own_command(hparams_file))
            step = Run(hparams_file.parent).last_step or "STEPS"
            advice = f"; or end it where it is: {command} --num_steps {step}"
        raise ValueError(
            f"{hparams_file.parent} was begun with other options ({told}); choose another "
            f"--output{advice}"
        )
    if by_hand:
        raise ValueError(
            f"{hparams_file} was changed by hand, for other options ({told}); remove it to plan "
            "anew, or choose another --output"
        )
    return False


def read_request(hparams_file: Path) -> dict[str, Any]:
    """Reads what was asked for when a YAML file was written; empty if nothing was."""
    path = hparams_file.with_name(_REQUEST)
    return read_json(path, "remove it to plan anew") if path.exists() else {}


def keep_request(hparams_file: Path, request: Mapping[str, Any], files: str) -> None:
    """Notes what a YAML file was written for, once it is written: see `is_planned`."""
    noted = {**request, "files": files, "written": _digest(hparams_file)}
    write_text(hparams_file.with_name(_REQUEST), json.dumps(noted, indent=2) + "\n")


def _digest(hparams_file: Path) -> str:
    """A checksum of a YAML file and of those beside it that it includes."""
    paths = [hparams_file, *included_files(hparams_file)]
    return " ".join(file_digest(path) for path in paths if path.is_file())


def _cut(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _MOST_TOLD else f"{text[:_MOST_TOLD]}…"
