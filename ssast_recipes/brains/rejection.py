"""Clips that turn out to be unreadable while a Brain trains, or validates pretraining."""

import logging
from collections.abc import Iterable
from pathlib import Path

from speechbrain.utils.distributed import if_main_process

from ssast_recipes.brains.processes import gather
from ssast_recipes.system.tables import write_reasons

logger = logging.getLogger(__name__)

_MOST_TOLD = 10


class RejectedClips:
    """Counts and lists clips for which others stood in, and ends a run that has too many.

    Arguments
    ---------
    folder : str or Path
        Where to write `rejected_in_training.csv`: IDs and reasons.
    most : float
        The share of the training set that may be bad, 0 to 1.

    Example
    -------
    >>> rejected = RejectedClips(getfixture("tmp_path"), most=0.01)
    >>> rejected.add([("dog", "/data/dog.wav: not readable as audio")])
    >>> rejected.check(num_clips=200)
    >>> rejected.check(num_clips=99)
    Traceback (most recent call last):
    ValueError: 1 clip(s) cannot be read, of 99 at most 0.01 (max_rejected) may; ...
    """

    def __init__(self, folder: str | Path, most: float):
        self.path, self.most = Path(folder) / "rejected_in_training.csv", most
        self._reasons: dict[str, str] = {}  # by ID: a clip is bad once, in however many epochs
        self._written = 0
        self._earlier = 0  # that a checkpoint kept

    def add(self, rejected: Iterable[tuple[str, str]]) -> None:
        """Notes IDs and reasons, and tells of the first ten."""
        for clip_id, reason in rejected:
            if clip_id not in self._reasons:
                self._reasons[clip_id] = reason
                if len(self._reasons) <= _MOST_TOLD:
                    logger.warning("Another clip stands in for %s: %s", clip_id, reason)

    def check(self, num_clips: int, is_training: bool = True) -> None:
        """Joins the lists of all processes, which all have to call it, and writes them down.

        Arguments
        ---------
        num_clips : int
            Size of the training set; where nothing is trained, of the one that is measured.
        is_training : bool
            Whether clips count that a checkpoint kept: they are those of the training set.

        Raises
        ------
        ValueError
            If too many are bad.
        """
        parts = gather(self._reasons)
        self._reasons = {key: reason for part in parts for key, reason in part.items()}
        count = len(self._reasons)
        if count > self._written:
            if if_main_process():
                write_reasons(self.path, self._reasons)
            self._written = count
            logger.warning("%d clip(s) cannot be read; see %s", count, self.path)
        count -= 0 if is_training else self._earlier
        if count > self.most * num_clips:
            raise ValueError(
                f"{count} clip(s) cannot be read, of {num_clips} at most {self.most:g} "
                f"(max_rejected) may; see {self.path}; the first: "
                f"{next(iter(self._reasons.values()))}"
            )

    def state_dict(self) -> dict[str, str]:
        """What a checkpoint keeps."""
        return dict(self._reasons)

    def load_state_dict(self, state: dict[str, str]) -> None:
        """Goes on from what a checkpoint kept."""
        self._reasons, self._written, self._earlier = dict(state), len(state), len(state)
