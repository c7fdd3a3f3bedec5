"""A recipe's YAML file with other values, written to a folder and run from there."""

import ctypes
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ssast_recipes.records.hparams_text import included_files
from ssast_recipes.records.run import Run
from ssast_recipes.runs.recipes import recipe_folder
from ssast_recipes.system.errors import RunError
from ssast_recipes.system.files import file_digest, write_text
from ssast_recipes.system.interruption import Interrupted

_INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
_SECONDS_TO_END = 2  # of what a signal has reached, too
_REQUEST = "request.json"
_MOST_TOLD = 100  # characters of a value
_PR_SET_PDEATHSIG = 1  # of Linux's prctl


def train_command(recipe: str, hparams_file: Path, device: str | None = None) -> list[str]:
    """Returns the words that run a recipe's `train.py` on a YAML file.

    Example
    -------
    >>> train_command("OwnAudio", Path("mine.yaml"), "cpu")[-3:]
    ['mine.yaml', '--device', 'cpu']
    """
    train = recipe_folder(recipe) / "train.py"
    return [
        sys.executable,
        str(train),
        str(hparams_file),
        *(["--device", device] if device else []),
    ]


def run_recipe(recipe: str, hparams_file: Path, device: str | None = None) -> None:
    """Runs a recipe's `train.py` on a YAML file; what it prints is seen as it comes.

    A signal that asks this process to end is passed on, and the end of the other is waited for.

    Raises
    ------
    RunError
        If it fails; it has said why.
    SystemExit
        If it was interrupted, with its status; it has said what is saved.
    Interrupted
        If it was interrupted before it could say anything.
    """
    command = train_command(recipe, hparams_file, device)
    with subprocess.Popen(command, preexec_fn=_ending_with_parent()) as process:
        try:
            status = process.wait()
        except Interrupted as interruption:
            _end(process)
            if process.returncode not in _INTERRUPTED:
                raise
            sys.exit(interruption.status)
    if status in _INTERRUPTED:
        sys.exit(status)
    if status:
        raise RunError(
            f"train.py ended with status {status}; once that is mended, the same command goes on"
        )


def _end(process: subprocess.Popen) -> None:
    """Ends a process in order, unless it does so itself: a terminal sends its Ctrl-C to both."""
    try:
        process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()


def _ending_with_parent() -> Callable[[], None]:
    """Makes what a new process does first: to be told when this one ends, even if it is killed.

    Ctrl-C is ignored until train.py heeds it, lest there be a traceback of what it imports.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def begin() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return begin


def has_begun(folder: Path) -> bool:
    """Whether a run's folder holds a checkpoint.

    Example
    -------
    >>> has_begun(getfixture("tmp_path"))
    False
    """
    return Run(folder).has_begun


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
    begun = has_begun(hparams_file.parent)
    by_hand = before.get("written") != _digest(hparams_file)
    changed = [key for key, value in request.items() if before.get(key) != value]
    if not changed:
        return begun or by_hand or before.get("files") == files
    told = ", ".join(
        f"{key} was {_cut(before.get(key))}, is {_cut(request[key])}" for key in changed
    )
    if begun:
        raise ValueError(
            f"{hparams_file.parent} was begun with other options ({told}); choose another --output"
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
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


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
