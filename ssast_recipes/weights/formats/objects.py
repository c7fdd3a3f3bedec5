"""`torch.load` of tensors alone, whatever other objects lie beside them."""

import logging
import pickle
import re
from pathlib import Path
from typing import Any, Self

import torch

logger = logging.getLogger(__name__)

_UNKNOWN = re.compile(r"Unsupported global: GLOBAL (\S+) was not an allowed")
_REFUSED = re.compile(r"(?:GLOBAL |torch.serialization.\w+\(\[)([\w.]+)")
_MOST_KINDS = 100


class UnreadObject:
    """Stands in for an object of another program: nothing of it is executed, or kept."""

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Whatever it would be made of."""
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        """Takes nothing."""

    def __setstate__(self, _: Any) -> None:
        """Forgets what it would be filled with."""


def load_tensors(path: Path, mmap: bool) -> Any:
    """Loads a file of `torch.save` as `weights_only` does, with `UnreadObject`s for other objects.

    A warning tells of which classes these would be.

    Arguments
    ---------
    path : Path
        The file.
    mmap : bool
        Whether to map tensors from the disk.

    Returns
    -------
    any
        What the file holds.

    Raises
    ------
    ValueError
        If there are objects that nothing can stand in for.

    Example
    -------
    >>> import argparse
    >>> path = getfixture("tmp_path") / "mae.pth"
    >>> torch.save({"bias": torch.ones(2), "args": argparse.Namespace(lr=0.1)}, path)
    >>> found = load_tensors(path, mmap=True)
    >>> found["bias"], type(found["args"]).__name__
    (tensor([1., 1.]), 'UnreadObject')
    """
    unread: list[str] = []
    while True:
        try:
            with torch.serialization.safe_globals([(UnreadObject, name) for name in unread]):
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        except pickle.UnpicklingError as error:
            unknown = _UNKNOWN.search(str(error))
            if unknown and len(unread) < _MOST_KINDS:
                name = unknown[1] if "." in unknown[1] else f"builtins.{unknown[1]}"
                if name not in unread:
                    unread.append(name)
                    continue
            names = _names(unread + _REFUSED.findall(str(error)))
            if not names:
                raise
            raise ValueError(
                f"{path}: not readable as weights: holds other objects than tensors ({names}), "
                "which are never read; where it was made, save the tensors alone: "
                "torch.save(model.state_dict(), FILE)"
            ) from None
        if unread:
            logger.warning(
                "Warning: %s holds other objects, too (%s); they are passed over, unread",
                *(path, _names(unread)),
            )
        return content


def _names(unread: list[str]) -> str:
    names = [*dict.fromkeys(unread)]
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
