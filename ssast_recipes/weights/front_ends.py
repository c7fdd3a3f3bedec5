"""The front end that an encoder learnt behind: what tells of it, and whether another is like it."""

import dataclasses
import inspect
import math
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

from ssast_recipes.model.filterbank import LogMelFilterbank
from ssast_recipes.model.front_end import SpectrogramFrontEnd
from ssast_recipes.records.hparams import List, Map, Node, is_object, object_name, read_value
from ssast_recipes.records.run import Run
from ssast_recipes.weights.formats.config import read_config
from ssast_recipes.weights.formats.description import describe_front_end
from ssast_recipes.weights.formats.folder import CONFIG_FILE, is_model_folder
from ssast_recipes.weights.formats.foreign import ImportedModel

# Of other filterbanks, spectrograms mean something else. Statistics and lengths are the data's.
_KEYS = {
    "sample_rate": "Hz",
    "num_mel_bins": "mel bins",
    "frame_length": "ms a frame",
    "frame_shift": "ms from frame to frame",
    "low_frequency": "Hz at the lowest",
    "high_frequency": "Hz at the highest",
}
_DEFAULTS = {
    name: one.default for name, one in inspect.signature(LogMelFilterbank).parameters.items()
}
# Frames are whole samples: 25 ms at 11,025 Hz are 24.94.
_ROUNDING = 0.005


def known_front_end(
    path: Path, geometry: Mapping[str, Any], imported: ImportedModel | None, is_pretraining: bool
) -> dict[str, Any]:
    """Tells the filterbank that an encoder learnt behind, as far as anything tells of it.

    Arguments
    ---------
    path : Path
        The weights file.
    geometry : mapping
        The encoder's, as of `AudioSpectrogramTransformer.geometry`.
    imported : ImportedModel, optional
        What it was recognised as, if it is another maker's.
    is_pretraining : bool
        Whether there are prediction heads: then patches do not overlap.

    Returns
    -------
    dict
        By the names of `LogMelFilterbank`'s arguments; empty if nothing is known.

    Raises
    ------
    ValueError
        If what tells of it is damaged.

    Example
    -------
    >>> geometry = {"patch_size": [16, 16], "grid_size": [4, 8]}
    >>> known_front_end(Path("/a/model.ckpt"), geometry, None, is_pretraining=True)
    {'num_mel_bins': 64}
    """
    if imported is not None:
        if imported.is_of_pictures:
            return {}
        told = {**_DEFAULTS, **imported.front_end, "num_mel_bins": imported.num_mel_bins}
        return {key: told[key] for key in _KEYS if told[key] is not None}
    run = Run.of_weights(path)
    for folder in (path.parent, *(() if run is None else (run.path / "model",))):
        if (folder / CONFIG_FILE).is_file() and is_model_folder(folder):
            told = dataclasses.asdict(read_config(folder).front_end)
            return {key: told[key] for key in _KEYS}
    told = {} if run is None else read_filterbank(run)
    if not told and is_pretraining and "grid_size" in geometry:
        return {"num_mel_bins": geometry["grid_size"][0] * geometry["patch_size"][0]}
    return told


def read_filterbank(run: Run) -> dict[str, Any]:
    """Tells the filterbank that a run's YAML file makes; empty if it makes none, or several.

    Example
    -------
    >>> run = Run(getfixture("tmp_path"))
    >>> text = "front_end: !new:ssast_recipes.model.LogMelFilterbank {num_mel_bins: 64}"
    >>> _ = (run.path / "hyperparams.yaml").write_text(text)
    >>> read_filterbank(run)["num_mel_bins"], read_filterbank(run)["frame_shift"]
    (64, 10.0)
    """
    try:
        found = [one for node in run.nodes.values() for one in _filterbanks(node)]
    except FileNotFoundError:
        return {}
    told = [{**_DEFAULTS, **(read_value(one) if isinstance(one, Map) else {})} for one in found]
    numbers = [one for one in told if all(type(one[key]) in (int, float) for key in _KEYS)]
    is_one = len(numbers) == len(told) and all(one == told[0] for one in told)
    return {key: told[0][key] for key in _KEYS} if told and is_one else {}


def _filterbanks(node: Node) -> Iterator[Node]:
    if is_object(node) and object_name(node) == LogMelFilterbank.__name__:
        yield node
    elif isinstance(node, Map):
        for _, value in node.value:
            yield from _filterbanks(value)
    elif isinstance(node, List):
        for value in node.value:
            yield from _filterbanks(value)


def check_front_end(
    told: Mapping[str, Any],
    front_end: SpectrogramFrontEnd,
    sample_rate: int,
    keys: Container[str] = (),
) -> None:
    """Refuses an encoder that learnt behind another filterbank than the one in front of it.

    Arguments
    ---------
    told : mapping
        As of `known_front_end`.
    front_end : SpectrogramFrontEnd
        What is to stand before the encoder; a filterbank of one's own is not judged.
    sample_rate : int
        Of its waveforms, in Hz.
    keys : container of str
        The keys at the top of the YAML file, which can be given on the command line.

    Raises
    ------
    ValueError
        That names both values of what differs, and what to give.

    Example
    -------
    >>> front_end = SpectrogramFrontEnd(LogMelFilterbank(), target_length=128, mean=-4, std=3)
    >>> check_front_end({"num_mel_bins": 64}, front_end, 16000, {"num_mel_bins"})
    Traceback (most recent call last):
    ValueError: it learnt behind 64 mel bins (here 128); give --num_mel_bins 64
    """
    try:
        here = dataclasses.asdict(describe_front_end(front_end, sample_rate))
    except ValueError:
        return
    differing = [key for key in _KEYS if key in told and not _is_alike(key, told, here)]
    if not differing:
        return
    both = " and ".join(f"{told[key]:g} {_KEYS[key]} (here {here[key]:g})" for key in differing)
    flags = " ".join(f"--{key} {told[key]:g}" for key in differing if key in keys)
    others = ", ".join(f"{key}: {told[key]:g}" for key in differing if key not in keys)
    advice = [f"give {flags}"] if flags else []
    if others:
        advice.append(
            f"write {others} at the LogMelFilterbank of a YAML file of your own, or take an "
            "encoder that hears as this file does"
        )
    raise ValueError(f"it learnt behind {both}; {', and '.join(advice)}")


def _is_alike(key: str, told: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    if key == "high_frequency" and max(told[key], here[key]) > 0:
        return math.isclose(_top(told), _top(here), rel_tol=_ROUNDING)
    return math.isclose(told[key], here[key], rel_tol=_ROUNDING if "frame" in key else 0)


def _top(values: Mapping[str, Any]) -> float:
    """The highest frequency in Hz; if it is 0 or less, that much below half of the sample rate."""
    top = values["high_frequency"]
    return top if top > 0 else values["sample_rate"] / 2 + top
