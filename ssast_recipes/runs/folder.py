"""A run's output folder: for one run at a time, and as it was if a run fails at once."""

import errno
import fcntl
import logging
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from speechbrain.utils.distributed import ddp_barrier, if_main_process

from ssast_recipes.records.configuration import changed_keys
from ssast_recipes.records.hparams import compose
from ssast_recipes.records.run import HPARAMS, METRICS, Run
from ssast_recipes.system.errors import DISK_FULL, RunError
from ssast_recipes.system.files import beside, sweep_parts, write_text

logger = logging.getLogger(__name__)

# What is written anew at the beginning of every run.
_RECORD = (HPARAMS, "train.py", "env.log")
_LOCK, _LOG = ".lock", "log.txt"
_PICTURES = ("tensorboard", "pictures")  # of steps that a failed start may have made
# What is told in one line that says all; of anything else, the log has the traceback.
_TOLD = (KeyboardInterrupt, SystemExit, ValueError, OSError, RunError)
_LEAST_FREE = 2**20  # bytes: enough for these, so that they are not lost to a full disk


@contextmanager
def run_folder(folder: str | Path, configuration: str = "") -> Iterator[None]:
    """Makes a run's output folder and keeps it from other runs until this one ends.

    `hyperparams.yaml` and its like tell how the checkpoints beside them were made. So it is written
    at once or not at all; if a run ends by an error before it saved a checkpoint of its own, they
    are put back as they were; and if it made the folder and trained nothing, its record is removed,
    and the folder if nothing else is in it: what preparation made stays, and `log.txt` beside it or
    where there is more to know than was told.

    Arguments
    ---------
    folder : str or Path
        The output folder.
    configuration : str
        The run's resolved YAML text, for `hyperparams.yaml`. If the folder has checkpoints of a run
        with another one, that run cannot go on as this one.

    Returns
    -------
    context manager
        Of several processes, the main one alone does anything.

    Raises
    ------
    OSError
        If the folder cannot be written.
    RunError
        If another run is writing to it.
    ValueError
        If it holds checkpoints of a run with other values, or whose values cannot be read.

    Example
    -------
    >>> folder = getfixture("tmp_path") / "run"
    >>> with run_folder(folder):
    ...     folder.is_dir()
    True
    """
    if not if_main_process():
        yield
        return
    folder = Path(folder)
    missing = _missing(folder)
    with _locked(folder):
        run = Run(folder)
        checkpoints = run.checkpoints
        for part_of in (folder, folder / "model", folder / "pictures"):
            sweep_parts(part_of)
        paths = [folder / name for name in _RECORD if checkpoints]
        before = {path: path.read_bytes() for path in paths if path.is_file()}
        if checkpoints and configuration:
            _check_same(folder, configuration)
        try:
            if configuration:
                write_text(folder / HPARAMS, configuration)
            yield
        except BaseException as error:
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                error.filename = error.filename or str(folder)
            if run.checkpoints == checkpoints:
                for path, content in before.items():
                    with beside(path) as part:
                        part.write_bytes(content)
            trained = (folder / METRICS).exists() or run.has_begun
            if missing and not trained:
                _remove_start(folder, error)
                _remove_empty(missing)
            raise


def _check_same(folder: Path, configuration: str) -> None:
    """Refuses to go on with other values than a run's, or without knowing them."""
    path = folder / HPARAMS
    try:
        changed = changed_keys(path.read_bytes(), configuration, path)
    except (FileNotFoundError, ValueError) as error:
        reason = error if isinstance(error, ValueError) else f"{path} is missing"
        raise ValueError(
            f"{reason}: nobody knows with which values the checkpoints beside it were made; put a "
            "copy of it back, or choose another --output_folder"
        ) from None
    if changed:
        raise ValueError(
            f"output_folder {folder} holds a run with another {', '.join(changed[:6])}; "
            "choose another with --output_folder, or give the same values to go on"
        )


def _remove_start(folder: Path, error: BaseException) -> None:
    """Removes what a start that failed has made alone, and nobody needs."""
    for name in (*_RECORD, _LOCK):
        (folder / name).unlink(missing_ok=True)
    for path in (*folder.glob("save/partial-*"), *(folder / name for name in _PICTURES)):
        shutil.rmtree(path, ignore_errors=True)
    _remove_empty(sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True))
    if isinstance(error, _TOLD) and [path.name for path in folder.iterdir()] == [_LOG]:
        (folder / _LOG).unlink()


@contextmanager
def leaving_no_folder(configuration: str) -> Iterator[None]:
    """Removes the empty folders that the objects of a YAML file make for a run that may never be.

    `run_folder` makes them when the run begins. Several processes wait for each other, so that none
    takes for its own what another has made or makes again what is removed.

    Arguments
    ---------
    configuration : str
        The resolved YAML text, with its `output_folder`.

    Returns
    -------
    context manager
    """
    folder = dict(compose(configuration)).get("output_folder")
    missing = [] if folder is None else _missing(Path(folder.value, "save"))
    ddp_barrier()
    try:
        yield
    finally:
        ddp_barrier()
        if if_main_process():
            _remove_empty(missing)


def _missing(folder: Path) -> list[Path]:
    """A folder and those it lies in, the innermost first, as far as they are not there."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _remove_empty(folders: list[Path]) -> None:
    for path in folders:
        with suppress(OSError):  # it is not there, or holds something
            path.rmdir()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds `<folder>/.lock`; the kernel gives it back when the process ends, however it ends."""
    try:
        (folder / "save").mkdir(parents=True, exist_ok=True)
        file = open(folder / _LOCK, "a+b", buffering=0)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    with file:
        try:
            # flock's would be inherited by loader processes, which outlive a killed run by seconds.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            raise RunError(
                f"another run ({file.read().decode().strip()}) is writing to output_folder "
                f"{folder}; wait for its end, or choose another with --output_folder"
            ) from None
        except OSError as error:  # some network file systems have no locks
            logger.warning("%s cannot be locked (%s)", folder, error.strerror)
        try:
            if shutil.disk_usage(folder).free < _LEAST_FREE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n".encode())
        except OSError as error:
            raise _cannot_write(folder, error) from error
        yield


def _cannot_write(folder: Path, error: OSError) -> OSError:
    return OSError(
        f"output_folder {folder} cannot be written ({error.strerror}); choose another with "
        "--output_folder"
    )
