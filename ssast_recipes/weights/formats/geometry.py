"""The geometry that a weights file tells: checked before it is printed, or anything made of it."""

import dataclasses
from typing import Any

from ssast_recipes.weights.formats.config import Architecture

_MOST = {one.name: one.metadata["at_most"] for one in dataclasses.fields(Architecture)}
_COUNTS = ("embed_dim", "depth", "num_heads")
_PAIRS = ("patch_size", "grid_size")
_MOST["grid_size"] = _MOST["target_length"]


def checked_geometry(value: Any) -> dict[str, Any]:
    """Returns a geometry as `AudioSpectrogramTransformer.geometry` gives it, if it is one.

    Arguments
    ---------
    value : any
        What a file says; lists in lists in lists may take ages to print.

    Returns
    -------
    dict
        What is known here of it: some keys may be missing.

    Raises
    ------
    ValueError
        If it is something else, or a number out of range.

    Example
    -------
    >>> checked_geometry({"embed_dim": 192, "patch_size": [16, 16], "other": []})
    {'embed_dim': 192, 'patch_size': [16, 16]}
    >>> checked_geometry({"embed_dim": -1})
    Traceback (most recent call last):
    ValueError: embed_dim of its geometry is no whole number from 1 to 16384
    """
    if not isinstance(value, dict):
        raise ValueError(f"its geometry is a {type(value).__name__}; it is not of this toolkit")
    geometry = {key: value[key] for key in (*_COUNTS, *_PAIRS) if key in value}
    for key, found in geometry.items():
        most, is_pair = _MOST[key], key in _PAIRS
        is_list = isinstance(found, list | tuple) and len(found) == 2
        numbers = (found if is_list else ()) if is_pair else (found,)
        if not numbers or not all(type(one) is int and 1 <= one <= most for one in numbers):
            what = "no two whole numbers" if is_pair else "no whole number"
            raise ValueError(f"{key} of its geometry is {what} from 1 to {most}")
        if is_pair:
            geometry[key] = list(found)
    return geometry
