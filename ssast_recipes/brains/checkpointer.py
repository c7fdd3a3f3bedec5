"""A SpeechBrain checkpointer that survives kills and broken files."""

import io
import logging
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from speechbrain.utils.checkpoints import CKPT_PREFIX, METAFNAME, Checkpoint, Checkpointer
from speechbrain.utils.distributed import ddp_barrier, if_main_process

from ssast_recipes.brains.processes import gather
from ssast_recipes.system.checksums import (
    find_damage,
    has_checksums,
    read_checksums,
    write_checksums,
)
from ssast_recipes.system.errors import RunError, writing_error

logger = logging.getLogger(__name__)

_PARTIAL = "partial-"
# What a damaged file raises when it is parsed. Neither what the disk (OSError) nor what the device
# may raise is among them, and no ValueError, such as of another geometry.
_DAMAGED = (
    KeyError,
    TypeError,
    EOFError,
    UnicodeDecodeError,
    RecursionError,
    pickle.UnpicklingError,
    yaml.YAMLError,
)
_ZIP = b"PK\x03\x04"  # how torch's files begin


class AtomicCheckpointer(Checkpointer):
    """Writes checkpoints beside and renames them; skips broken ones when recovering.

    Used as SpeechBrain's `Checkpointer`. A kill while saving leaves a folder that is never taken
    for a checkpoint, and is removed on the next start. The checksums of all its files are in a
    checkpoint, and looked at before it is used: one whose files are as they were written is never
    taken for broken. Metadata become plain Python, since others could not be read again.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> model = torch.nn.Linear(2, 2)
    >>> checkpointer = AtomicCheckpointer(folder, recoverables={"model": model})
    >>> _ = checkpointer.save_checkpoint(meta={"valid_score": torch.tensor(0.5)})
    >>> checkpointer.recover_if_possible().meta["valid_score"]
    0.5
    """

    def __init__(self, checkpoints_dir: str | Path, *args: Any, **kwargs: Any):
        try:
            super().__init__(checkpoints_dir, *args, **kwargs)
        except OSError as error:
            raise OSError(
                f"{checkpoints_dir} cannot be made ({error.strerror}); choose another output_folder"
            ) from error

    def save_checkpoint(
        self,
        meta: dict[str, Any] | None = None,
        end_of_epoch: bool = True,
        name: str | None = None,
        verbosity: int = logging.INFO,
    ) -> Checkpoint | None:
        """Saves a checkpoint: all of it or nothing. Arguments as `Checkpointer.save_checkpoint`.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        try:
            saved = super().save_checkpoint(
                meta={key: _plain(value) for key, value in (meta or {}).items()},
                end_of_epoch=end_of_epoch,
                name=name,
                verbosity=logging.DEBUG,
            )
            if saved is not None:  # on the main process
                write_checksums(saved.path)
        except (OSError, RuntimeError) as error:
            self._delete_partial()
            if isinstance(error, OSError) or writing_error(error) is not None:
                raise OSError(
                    f"{self.checkpoints_dir}: a checkpoint cannot be written, most likely for want "
                    "of space; free some, and the same command goes on from the one before"
                ) from error
            raise
        if saved is not None:
            final = saved.path.with_name(saved.path.name.removeprefix(_PARTIAL))
            saved.path.rename(final)
            files = {key: final / path.name for key, path in saved.paramfiles.items()}
            saved = Checkpoint(final, saved.meta, files)
            logger.log(verbosity, "Saved a checkpoint in %s", final)
        ddp_barrier()
        return saved

    def recover_if_possible(self, *args: Any, **kwargs: Any) -> Checkpoint | None:
        """Loads the checkpoint that `find_checkpoint` would choose or, if it is broken, the next.

        All processes load the same one: the main process chooses, and what is broken for one of
        them is passed over by all. Broken is what its checksums say or, of earlier versions'
        checkpoints, what cannot be parsed.

        Raises
        ------
        ValueError
            If a sound checkpoint does not fit the model.
        OSError
            If one cannot be read now: that is the disk's fault, and none is passed over for it.
        RunError
            If there are checkpoints, all of them broken: starting anew would hide it.
        """
        self._delete_partial()
        ddp_barrier()
        broken = set(self.checkpoints_dir.glob(f"{CKPT_PREFIX}*"))
        broken -= set(self._list_checkpoint_dirs())
        for path in sorted(broken):
            logger.warning("%s is broken (a file is missing, empty or damaged); passed over", path)
        found = self.find_checkpoints(*args, **kwargs)
        num_broken, found = gather((len(broken), found))[0]
        for checkpoint in found:
            fault = gather(_find_fault(checkpoint) if if_main_process() else None)[0]
            faults = [fault] if fault else gather(self._load(checkpoint))
            faults = [fault for fault in faults if fault is not None]
            if not faults:
                return checkpoint
            num_broken += 1
            logger.warning("%s is broken (%s); trying the one before", checkpoint.path, faults[0])
        if num_broken:
            raise RunError(
                f"{self.checkpoints_dir}: none of {num_broken} checkpoints can be read; remove "
                "them to start anew"
            )
        return None

    def _load(self, checkpoint: Checkpoint) -> str | None:
        """Loads a checkpoint; returns what is broken about it, None if nothing is."""
        needed = (name for name in self.recoverables if not self.optional_recoverables.get(name))
        lacks = [name for name in needed if name not in checkpoint.paramfiles]
        if lacks and not has_checksums(checkpoint.path):
            return f"{', '.join(lacks)} is missing"
        if lacks:
            raise self._of_another_model(checkpoint, f"it holds no {', '.join(lacks)}")
        try:
            with _telling_of_the_disk(checkpoint.path):
                self.load_checkpoint(checkpoint)
        except (RuntimeError, ValueError, *_DAMAGED) as error:
            is_damaged = isinstance(error, _DAMAGED)
            if is_damaged and not has_checksums(checkpoint.path):
                return _one_line(error)
            # torch's words for other names or shapes; whatever else, a device may have raised.
            is_other = "loading state_dict" in str(error)
            if isinstance(error, RuntimeError) and not (is_damaged or is_other):
                raise
            raise self._of_another_model(checkpoint, error) from error
        return None

    @staticmethod
    def _of_another_model(checkpoint: Checkpoint, error: Exception | str) -> ValueError:
        return ValueError(
            f"{checkpoint.path} is of another model; choose another output_folder, or the values "
            f"that it was trained with: {' '.join(str(error).split())}"
        )

    def _delete_partial(self) -> None:
        if if_main_process():
            for leftover in self.checkpoints_dir.glob(f"{_PARTIAL}*"):
                shutil.rmtree(leftover, ignore_errors=True)

    def _new_checkpoint_dirpath(self) -> Path:
        final = super()._new_checkpoint_dirpath()
        return final.with_name(_PARTIAL + final.name)

    def _custom_checkpoint_dirpath(self, name: str) -> Path:
        final = super()._custom_checkpoint_dirpath(name)
        return final.with_name(_PARTIAL + final.name)

    def _list_checkpoint_dirs(self) -> list[Path]:
        return [path for path in super()._list_checkpoint_dirs() if _looks_whole(path)]


def _looks_whole(path: Path) -> bool:
    """Whether a checkpoint can be listed: more is looked at before it is used."""
    with _telling_of_the_disk(path):
        try:
            meta = yaml.safe_load((path / METAFNAME).read_bytes())
            return (
                isinstance(meta, dict)
                and isinstance(meta.get("unixtime"), int | float)
                and "end-of-epoch" in meta
                and not (
                    find_damage(path, [METAFNAME])
                    if has_checksums(path)
                    else any(file.stat().st_size == 0 for file in path.iterdir())
                )
            )
        except (FileNotFoundError, UnicodeDecodeError, RecursionError, yaml.YAMLError):
            return False


def _find_fault(checkpoint: Checkpoint) -> str | None:
    """What is damaged about a checkpoint, by its checksums or by parsing, on the CPU."""
    with _telling_of_the_disk(checkpoint.path):
        if has_checksums(checkpoint.path):
            # What is to be loaded has to be known, and what is known has to be there.
            files = {METAFNAME, *(file.name for file in checkpoint.paramfiles.values())}
            return find_damage(checkpoint.path, sorted(files | {*read_checksums(checkpoint.path)}))
        for path in checkpoint.paramfiles.values():
            if fault := _find_fault_of(path):
                return f"{path.name}: {fault}"
    return None


def _find_fault_of(path: Path) -> str | None:
    """What parsing says of a file without checksum: torch's, or text."""
    content = path.read_bytes()
    try:
        if content.startswith(_ZIP):
            torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        else:
            content.decode()
    except MemoryError:
        raise
    except Exception as error:  # a damaged file raises whatever reading it stumbles over
        return _one_line(error)
    return None


@contextmanager
def _telling_of_the_disk(path: Path) -> Iterator[None]:
    """Lets nobody take for damage what a network disk could not give at that moment."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise OSError(
            f"{error.filename or path} cannot be read ({reason}); that is no damage: give the "
            "same command again when it can be"
        ) from error


def _one_line(error: Exception) -> str:
    reason = str(error).partition("\n")[0].partition(". ")[0]
    return f"{type(error).__name__}: {reason}"


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, torch.Tensor) or hasattr(value, "dtype") else value
