"""A SpeechBrain checkpointer that survives kills and broken files."""

import logging
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from speechbrain.utils.checkpoints import CKPT_PREFIX, METAFNAME, Checkpoint, Checkpointer
from speechbrain.utils.distributed import ddp_barrier, if_main_process

from ssast_recipes.brains.processes import gather
from ssast_recipes.system.errors import RunError

logger = logging.getLogger(__name__)

_PARTIAL = "partial-"
# What a truncated or missing file raises. A ValueError, such as of another geometry, is not among
# them: then the checkpoint is sound and the request wrong.
_BROKEN = (
    RuntimeError,
    KeyError,
    TypeError,
    EOFError,
    OSError,
    UnicodeDecodeError,
    pickle.UnpicklingError,
    yaml.YAMLError,
)
# All that torch says when a disk is full: names of C++ parts, in a RuntimeError.
_NOT_WRITTEN = ("inline_container", "iostream", "PytorchStreamWriter")


class AtomicCheckpointer(Checkpointer):
    """Writes checkpoints beside and renames them; skips broken ones when recovering.

    Used as SpeechBrain's `Checkpointer`. A kill while saving leaves a folder that is never taken
    for a checkpoint, and is removed on the next start. Metadata become plain Python, since others
    could not be read again.

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
        except (OSError, RuntimeError) as error:
            self._delete_partial()
            if isinstance(error, OSError) or any(word in str(error) for word in _NOT_WRITTEN):
                raise OSError(
                    f"{self.checkpoints_dir}: a checkpoint cannot be written, most likely for want "
                    "of space; free some, and the same command goes on from the one before"
                ) from error
            raise
        if saved is not None:  # on the main process
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
        them is passed over by all.

        Raises
        ------
        ValueError
            If a sound checkpoint does not fit the model.
        RunError
            If there are checkpoints, all of them broken: starting anew would hide it.
        """
        self._delete_partial()
        ddp_barrier()
        broken = set(self.checkpoints_dir.glob(f"{CKPT_PREFIX}*"))
        broken -= set(self._list_checkpoint_dirs())
        for path in sorted(broken):
            logger.warning("%s is broken (a file is missing or empty) and passed over", path)
        found = self.find_checkpoints(*args, **kwargs)
        num_broken, found = gather((len(broken), found))[0]
        for checkpoint in found:
            faults = [fault for fault in gather(self._load(checkpoint)) if fault is not None]
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
        try:
            self.load_checkpoint(checkpoint)
        except (torch.OutOfMemoryError, PermissionError):
            raise  # of the machine's making, not the checkpoint's
        except _BROKEN as error:
            if "loading state_dict" in str(error):  # torch's words for other names or shapes
                raise self._of_another_model(checkpoint, error) from error
            reason = str(error).partition("\n")[0].partition(". ")[0]
            return f"{type(error).__name__}: {reason}"
        except ValueError as error:
            raise self._of_another_model(checkpoint, error) from error
        return None

    @staticmethod
    def _of_another_model(checkpoint: Checkpoint, error: Exception) -> ValueError:
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
    try:
        meta = yaml.safe_load((path / METAFNAME).read_text(encoding="utf-8"))
        return {"unixtime", "end-of-epoch"} <= meta.keys() and all(
            file.stat().st_size > 0 for file in path.iterdir()
        )
    except (AttributeError, *_BROKEN):
        return False


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, torch.Tensor) or hasattr(value, "dtype") else value
