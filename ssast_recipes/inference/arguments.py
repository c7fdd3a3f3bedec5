"""What is given for audio: one recording or several, a file or samples."""

from pathlib import Path
from typing import Any


def is_one(audio: Any) -> bool:
    """Whether audio is one recording, and not a list of them.

    Example
    -------
    >>> is_one("a.wav"), is_one(b"samples"), is_one(["a.wav"]), is_one([0.0, 0.5])
    (True, True, False, True)
    """
    if not isinstance(audio, list | tuple):
        return True
    return bool(audio) and all(isinstance(item, int | float) for item in audio)


def check_several(recordings: Any, name: str, single: str) -> None:
    """Refuses one recording where a list is taken, and names the method for one."""
    if isinstance(recordings, str | Path) or getattr(recordings, "ndim", 2) < 2:
        raise TypeError(f"{name} takes a list of recordings; of one, give it to {single}")


def check_path(path: Any, name: str, general: str) -> None:
    """Refuses what is no path of a file, and names the method that takes the rest."""
    if not isinstance(path, str | Path):
        raise TypeError(
            f"{name} takes the path of one file; samples and lists go to {general}(audio, "
            "sample_rate)"
        )
