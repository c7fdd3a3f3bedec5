"""What a model folder's `config.json` says, and reading it with every key checked.

Without pydantic, which was tried: it took as many lines, most of them to put its errors into one
line that tells what is wanted, and every command that reads a model waited for its import.
"""

import dataclasses
import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssast_recipes.model.filterbank import LogMelFilterbank
from ssast_recipes.model.front_end import SpectrogramFrontEnd
from ssast_recipes.system.reading import read_json

FORMAT, FORMAT_VERSION = "ssast-recipes", 1
KINDS = ("encoder", "classifier", "pretraining", "recognition")
_MODELS = {"ClassificationModel": "pooling", "WeightedSumModel": "padding"}  # and what they need
_HEADS = ("ClassificationHead", "ProjectionHead")


def _at_most(number: int) -> Any:
    # So that a file cannot ask for more memory than any model needs.
    return field(metadata={"at_most": number})


@dataclass(frozen=True)
class Architecture:
    """The encoder's numbers, as `AudioSpectrogramTransformer` takes them."""

    embed_dim: int = _at_most(2**14)
    depth: int = _at_most(2**10)
    num_heads: int = _at_most(2**10)
    num_mel_bins: int = _at_most(2**10)
    target_length: int = _at_most(2**17)
    patch_size: tuple[int, int] = _at_most(2**14)
    patch_stride: tuple[int, int] = _at_most(2**14)


@dataclass(frozen=True)
class FrontEndConfig:
    """The front end's numbers, as `LogMelFilterbank` and `SpectrogramFrontEnd` take them."""

    sample_rate: int = _at_most(192000)
    num_mel_bins: int = _at_most(2**10)
    frame_length: float = _at_most(200)
    frame_shift: float = _at_most(200)
    low_frequency: float = _at_most(10**5)
    high_frequency: float = _at_most(10**5)
    target_length: int = _at_most(2**17)
    mean: float = _at_most(10**6)
    std: float = _at_most(10**6)
    pad_before_standardising: bool

    def build(self) -> SpectrogramFrontEnd:
        """Makes the front end.

        Raises
        ------
        ValueError
            If the numbers do not go together.
        """
        numbers = dataclasses.asdict(self)
        names = ("target_length", "mean", "std", "pad_before_standardising")
        own = {name: numbers.pop(name) for name in names}
        return SpectrogramFrontEnd(LogMelFilterbank(**numbers), **own)


@dataclass(frozen=True)
class HeadsConfig:
    """Which prediction heads a pretraining model has."""

    contrastive: bool
    reconstruction: bool


@dataclass(frozen=True)
class DecoderConfig:
    """A `MaskedAutoencoder`'s decoder; its positions, of either kind, are among the weights."""

    embed_dim: int = _at_most(2**14)
    depth: int = _at_most(2**10)
    num_heads: int = _at_most(2**10)


@dataclass(frozen=True)
class ClassifierConfig:
    """Which classifier stands on the encoder.

    `model` is ClassificationModel, with `pooling`, or WeightedSumModel, with `padding`; a
    ClassificationModel has `padding` if it masks it. `head` is ClassificationHead or
    ProjectionHead, with `hidden_dim`.
    """

    model: str
    head: str
    pooling: str | None = None
    padding: str | None = None
    hidden_dim: int | None = field(default=None, metadata={"at_most": 2**14})


@dataclass(frozen=True)
class RecognitionConfig:
    """A `RecognitionModel`'s head, and the tokenizer beside the weights that tells its classes."""

    num_tokens: int = _at_most(2**16)
    tokenizer_sha256: str
    pool_rows: bool


@dataclass(frozen=True)
class ModelConfig:
    """All that `config.json` says.

    `kind` is "encoder", "classifier" (then with `classifier`, `labels` and `label_kind`, which is
    "single" or "multi"; with `thresholds`, the classes' scores from which on they count as heard,
    if some were chosen; with `heard_seconds`, if it was evaluated on so much of a clip, from its
    start), "pretraining" (then with `heads` and, of a `MaskedAutoencoder`, `decoder`; with
    `padding`, "masked", if its attention did not see any) or "recognition" (then with
    `recognition`). `provenance` is free.
    """

    kind: str
    architecture: Architecture
    front_end: FrontEndConfig
    heads: HeadsConfig | None = None
    decoder: DecoderConfig | None = None
    padding: str | None = None
    classifier: ClassifierConfig | None = None
    recognition: RecognitionConfig | None = None
    labels: tuple[str, ...] = ()
    label_kind: str | None = None
    thresholds: tuple[float, ...] | None = None
    heard_seconds: float | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    weights_sha256: str = ""

    @property
    def masks_padding(self) -> bool:
        """Whether the encoder learnt without attending to padding, and is to be used so."""
        if self.recognition is not None:
            return True
        return "masked" in (self.padding, getattr(self.classifier, "padding", None))

    def to_json(self) -> str:
        """Returns the text of `config.json`, without what the kind of model does not have."""
        values = {"format": FORMAT, "format_version": FORMAT_VERSION, **dataclasses.asdict(self)}
        values["provenance"] = values.pop("provenance")
        values["weights_sha256"] = values.pop("weights_sha256")
        if self.classifier is not None:
            values["classifier"] = _without_none(values["classifier"])
        else:
            del values["labels"]
        return json.dumps(_without_none(values), indent=2, ensure_ascii=False) + "\n"


def read_config(folder: str | Path) -> ModelConfig:
    """Reads and checks a model folder's `config.json`.

    Arguments
    ---------
    folder : str or Path
        The model folder.

    Returns
    -------
    ModelConfig
        What it says.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not of this format, or a value is missing, unknown, or not what it should be.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {folder} is not a model folder, or not whole")
    values = read_json(path, "copy it anew")
    try:
        return _parse_config(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _parse_config(values: dict[str, Any]) -> ModelConfig:
    if values.pop("format", None) != FORMAT:
        raise ValueError(
            f"format is not {FORMAT!r}, so the folder is of another program; make a model folder "
            "of it with: ssast import SOURCE OUT"
        )
    version, kind = values.pop("format_version", None), values.get("kind")
    if version != FORMAT_VERSION:
        raise ValueError(f"format_version is {version!r}, read is {FORMAT_VERSION}; update ssast")
    if kind not in KINDS:
        raise ValueError(f"kind is one of {', '.join(KINDS)}, not {kind!r}")
    own = {"classifier": {"classifier", "labels", "label_kind"}, "pretraining": {"heads"}}
    own["recognition"] = {"recognition"}
    keys = {"kind", "architecture", "front_end", "provenance", "weights_sha256"}
    may_have = {
        "pretraining": {"decoder", "padding"},
        "classifier": {"thresholds", "heard_seconds"},
    }
    optional = may_have.get(kind, set())
    _check_keys(values, keys | own.get(kind, set()) | optional, "", optional)
    for key, cls in _SECTIONS.items():
        if key in values:
            values[key] = _parse(cls, values[key], f"{key}.")
    if not isinstance(values["provenance"], dict):
        raise ValueError("provenance is not an object")
    _check_digest("weights_sha256", values["weights_sha256"])
    if kind == "recognition":
        _check_digest("recognition.tokenizer_sha256", values["recognition"].tokenizer_sha256)
    if kind == "classifier":
        values["labels"] = tuple(check_labels(values["labels"], values["label_kind"]))
        if "thresholds" in values:
            values["thresholds"] = check_thresholds(values["thresholds"], len(values["labels"]))
        if "heard_seconds" in values:
            values["heard_seconds"] = check_heard_seconds(values["heard_seconds"])
    config = ModelConfig(**values)
    check_config(config)
    return config


def check_config(config: ModelConfig) -> None:
    """Raises a ValueError if numbers are out of range, or parts do not go together.

    Arguments
    ---------
    config : ModelConfig
        The configuration.

    Raises
    ------
    ValueError
        That names the key.
    """
    # First, because building takes as much memory as they ask for. Not all come from `read_config`.
    for key in ("architecture", "front_end", "decoder", "recognition"):
        section = getattr(config, key)
        for one in dataclasses.fields(section) if section is not None else ():
            _parse_value(one, getattr(section, one.name), f"{key}.")
    config.front_end.build()
    if config.padding not in (None, "masked"):
        raise ValueError(f"padding is masked, or not there, and not {config.padding!r}")
    for key in ("num_mel_bins", "target_length"):
        ours, theirs = getattr(config.architecture, key), getattr(config.front_end, key)
        if ours != theirs:
            raise ValueError(f"{key} is {ours} in architecture, {theirs} in front_end")
    if config.heads is not None and not (config.heads.contrastive or config.heads.reconstruction):
        raise ValueError("heads: a pretraining model has at least one")
    if config.classifier is not None:
        _check_classifier(config.classifier)


def _check_digest(key: str, digest: Any) -> None:
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError(f"{key} is not 64 hexadecimal digits: {digest!r}")


def check_labels(labels: Any, label_kind: Any) -> list[str]:
    """Returns the names of a classifier's classes, if they are such.

    Example
    -------
    >>> check_labels(["dog", "dog"], "single")
    Traceback (most recent call last):
    ValueError: labels are one name or more, every one another
    """
    if label_kind not in ("single", "multi"):
        raise ValueError(f"label_kind is single or multi, not {label_kind!r}")
    is_names = isinstance(labels, list | tuple) and all(
        isinstance(name, str) and name for name in labels
    )
    if not is_names or not labels or len(set(labels)) < len(labels):
        raise ValueError("labels are one name or more, every one another")
    return list(labels)


def check_thresholds(thresholds: Any, num_classes: int) -> tuple[float, ...]:
    """Returns the thresholds of a classifier's classes, if they are such.

    Example
    -------
    >>> check_thresholds([0.5, 1.5], num_classes=2)
    Traceback (most recent call last):
    ValueError: thresholds are 2 probabilities, one a class
    """
    is_list = isinstance(thresholds, list | tuple) and len(thresholds) == num_classes
    if not is_list or not all(
        type(value) in (int, float) and 0 <= value <= 1 for value in thresholds
    ):
        raise ValueError(f"thresholds are {num_classes} probabilities, one a class")
    return tuple(float(value) for value in thresholds)


def check_heard_seconds(seconds: Any) -> float:
    """Returns how much of a clip a classifier was evaluated on, if it is a duration.

    Example
    -------
    >>> check_heard_seconds(0)
    Traceback (most recent call last):
    ValueError: heard_seconds is 0, not a number of seconds above 0
    """
    if type(seconds) not in (int, float) or not 0 < seconds < math.inf:
        raise ValueError(f"heard_seconds is {seconds!r}, not a number of seconds above 0")
    return float(seconds)


def _check_classifier(classifier: ClassifierConfig) -> None:
    if classifier.model not in _MODELS:
        raise ValueError(f"classifier.model is one of {', '.join(_MODELS)}: {classifier.model!r}")
    if classifier.head not in _HEADS:
        raise ValueError(f"classifier.head is one of {', '.join(_HEADS)}: {classifier.head!r}")
    wanted = {_MODELS[classifier.model]}
    wanted |= {"hidden_dim"} if classifier.head == "ProjectionHead" else set()
    if classifier.model == "ClassificationModel" and classifier.padding is not None:
        wanted |= {"padding"}
    for key in ("pooling", "padding", "hidden_dim"):
        if (getattr(classifier, key) is not None) != (key in wanted):
            state = "missing" if key in wanted else "not of this model and head"
            raise ValueError(f"classifier.{key} is {state}")


_SECTIONS = {
    "architecture": Architecture,
    "front_end": FrontEndConfig,
    "heads": HeadsConfig,
    "decoder": DecoderConfig,
    "classifier": ClassifierConfig,
    "recognition": RecognitionConfig,
}


def _parse(cls: Any, values: Any, where: str) -> Any:
    fields = {one.name: one for one in dataclasses.fields(cls)}
    optional = {name for name, one in fields.items() if one.default is None}
    _check_keys(values, set(fields), where, optional)
    return cls(**{key: _parse_value(fields[key], one, where) for key, one in values.items()})


def _parse_value(one: dataclasses.Field, value: Any, where: str) -> Any:
    most = one.metadata.get("at_most", math.inf)

    def is_count(number: Any) -> bool:
        return type(number) is int and 1 <= number <= most

    if one.type is bool:
        wanted, is_good = "true or false", type(value) is bool
    elif one.type in (str, str | None):
        wanted, is_good = "text", isinstance(value, str)
    elif one.type is float:
        wanted = f"a number of at most {most}"
        is_good = type(value) in (int, float) and abs(value) <= most  # false of what is no number
    elif one.type == tuple[int, int]:
        wanted = f"two whole numbers from 1 to {most}"
        is_good = isinstance(value, list | tuple) and len(value) == 2
        is_good = is_good and all(map(is_count, value))
    else:
        wanted, is_good = f"a whole number from 1 to {most}", is_count(value)
    if not is_good:
        raise ValueError(f"{where}{one.name} is {value!r}, not {wanted}")
    return tuple(value) if isinstance(value, list) else value


def _check_keys(
    values: Any, wanted: set[str], where: str, optional: set[str] = frozenset()
) -> None:
    if not isinstance(values, dict):
        raise ValueError(f"{where.removesuffix('.')} is not an object")
    for key in sorted(wanted - optional - values.keys()):
        raise ValueError(f"{where}{key} is missing")
    for key in sorted(values.keys() - wanted):
        raise ValueError(f"{where}{key} is not known here")


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
