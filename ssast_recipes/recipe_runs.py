"""A recipe's YAML file with other values, written to a folder and run from there."""

import ctypes
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ssast_recipes.errors import RunError
from ssast_recipes.files import write_text
from ssast_recipes.interruption import Interrupted
from ssast_recipes.recipe_files import recipe_folder

_INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
_SECONDS_TO_END = 2  # of what a signal has reached, too
_PR_SET_PDEATHSIG = 1  # of Linux's prctl


def write_hparams(source: Path, target: Path, values: Mapping[str, Any]) -> None:
    """Copies a recipe's YAML file, comments and all, with other values at its top level.

    Arguments
    ---------
    source : Path
        A file in the recipe's `hparams`.
    target : Path
        The copy, anywhere; files that it includes are copied beside it, for a tag of YAML cannot
        hold every path.
    values : mapping
        By key; plain ones, as JSON has them.

    Raises
    ------
    KeyError
        If the file has no such key on a line of its own.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "a.yaml").write_text("lr: 1.0e-4 # published\\nsize: base\\n")
    >>> write_hparams(folder / "a.yaml", folder / "b.yaml", {"lr": 5e-4})
    >>> print((folder / "b.yaml").read_text().strip())
    lr: 0.0005 # published
    size: base
    """
    text = source.read_text(encoding="utf-8")
    for key, value in values.items():
        line = re.compile(rf"^{key}: .*?(?P<comment> +#.*)?$", re.MULTILINE)
        if not line.search(text):
            raise KeyError(f"{source} has no line {key}: …")
        told = f"{key}: {json.dumps(value, ensure_ascii=False)}"
        text = line.sub(lambda found, told=told: told + (found["comment"] or ""), text, count=1)
    for included in re.findall(r"!include:(\.\S+)", text):
        name = Path(included).name
        write_text(target.parent / name, (source.parent / included).read_text(encoding="utf-8"))
        text = text.replace(f"!include:{included}", f"!include:{name}")
    write_text(target, text)


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


def is_same_request(folder: Path, request: Mapping[str, Any]) -> bool:
    """Tells whether a folder holds a run that was asked for before.

    Arguments
    ---------
    folder : Path
        The run's folder, in which `keep_request` keeps `request.json`.
    request : mapping
        What the user asks for, in plain values and paths.

    Returns
    -------
    bool
        Whether the same was asked for before; False if nothing was.

    Raises
    ------
    ValueError
        If something else was.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> is_same_request(folder, {"size": "tiny"})
    False
    >>> keep_request(folder, {"size": "tiny"})
    >>> is_same_request(folder, {"size": "tiny"})
    True
    """
    path = folder / "request.json"
    if not path.exists():
        return False
    before, now = json.loads(path.read_text(encoding="utf-8")), json.loads(_as_text(request))
    changed = [key for key in now if before.get(key) != now[key]]
    if changed:
        told = ", ".join(f"{key} was {before.get(key)}, is {now[key]}" for key in changed)
        raise ValueError(f"{folder} was begun with other options ({told}); choose another --output")
    return True


def keep_request(folder: Path, request: Mapping[str, Any]) -> None:
    """Notes what was asked for, once all that it takes is there: see `is_same_request`."""
    write_text(folder / "request.json", _as_text(request))


def _as_text(request: Mapping[str, Any]) -> str:
    return json.dumps(request, indent=2, default=str) + "\n"
