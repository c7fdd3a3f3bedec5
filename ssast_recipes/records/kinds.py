"""What kind of value each key of a YAML file takes, and in which range.

Checked before anything is built: torch would say of a batch size of "abc" whatever it says.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ssast_recipes.records.hparams import List, Map, Node, Scalar, is_null, read_value


class Kind(NamedTuple):
    """Values that a key may have: of a type, from `low` to `high`, these included or not."""

    type: str  # "count" (a whole number), "number", "switch", "word" or "path"
    low: float = -math.inf
    high: float = math.inf
    may_be_null: bool = False
    without_low: bool = False
    without_high: bool = False
    words: tuple[str, ...] = ()  # if no others are known

    def permits(self, value: Any) -> bool:
        """Whether a value is of this kind."""
        if value is None:
            return self.may_be_null
        if self.type == "switch":
            return type(value) is bool
        if self.type in ("word", "path"):
            return isinstance(value, str) and (not self.words or value in self.words)
        if type(value) not in (int, float) or not math.isfinite(value):
            return False
        if self.type == "count" and type(value) is not int:
            return False
        is_above = value > self.low if self.without_low else value >= self.low
        return is_above and (value < self.high if self.without_high else value <= self.high)

    def __str__(self) -> str:
        if self.type == "switch":
            text = "True or False"
        elif self.type == "path":
            text = "a path, such as ./2024"
        elif self.type == "word":
            text = f"one of {', '.join(self.words)}" if self.words else "a word"
        else:
            text = "a whole number" if self.type == "count" else "a number"
            if self.low > -math.inf:
                text += f" {'above' if self.without_low else 'from'} {self.low:g}"
                text += " on" * (self.high == math.inf and not self.without_low)
            if self.high < math.inf:
                text += " to" if self.low > -math.inf else " of at most"
                text += f" {'below ' if self.without_high else ''}{self.high:g}"
        return text + " or null" * self.may_be_null


class ListKind(NamedTuple):
    """Lists of values of a kind."""

    each: Kind
    what: str  # what to give
    length: int | None = None
    may_be_null: bool = False
    words: tuple[str, ...] = ()  # that may stand in place of a list

    def permits(self, value: Any) -> bool:
        """Whether a value is such a list."""
        if value is None:
            return self.may_be_null
        if not isinstance(value, list):
            return value in self.words
        has_length = len(value) == self.length if self.length else bool(value)
        return has_length and all(map(self.each.permits, value))

    def __str__(self) -> str:
        return self.what + " or null" * self.may_be_null


_COUNT, _LENGTH = Kind("count", 1), Kind("number", 0, without_low=True)
_FROM_ZERO, _WEIGHT, _SWITCH = Kind("count", 0), Kind("number", 0), Kind("switch")
_MAYBE_COUNT = Kind("count", 1, may_be_null=True)
_SHARE = Kind("number", 0, 1)
_SHARE_BELOW_1 = Kind("number", 0, 1, without_high=True)
_PLACE = Kind("word", words=("start", "random"))
_PATH, _MAYBE_PATH = Kind("path"), Kind("path", may_be_null=True)
_PAIR = ListKind(_COUNT, "two whole numbers, as [16, 16]", length=2)

KINDS: Mapping[str, Kind | ListKind] = {
    **dict.fromkeys(("seed", "split_seed"), Kind("count", 0, 2**32 - 1)),
    # Lengths and numbers of things, one at least.
    **dict.fromkeys(
        (
            "batch_size",
            "checkpoints_to_keep",
            "eval_batch_size",
            "grad_accumulation_factor",
            "log_interval",
            "num_classes",
            "num_masked_patches",
            "num_mel_bins",
            "num_steps",
            "number_of_epochs",
            "sample_rate",
            "target_length",
        ),
        _COUNT,
    ),
    **dict.fromkeys(
        (
            "clips_per_class",
            "decoder_dim",
            "decoder_heads",
            "depth",
            "embed_dim",
            "num_folds",
            "num_heads",
            "patience",
            "test_fold",
        ),
        _MAYBE_COUNT,
    ),
    # 0 is none of it.
    **dict.fromkeys(
        (
            "checkpoint_interval",
            "decoder_depth",
            "head_warmup_steps",
            "hidden_frames",
            "hidden_mel_bins",
            "max_shift",
            "num_workers",
            "probe_interval",
            "valid_interval",
            "warmup_steps",
        ),
        _FROM_ZERO,
    ),
    **dict.fromkeys(("clip_seconds", "crop_duration", "max_batch_seconds"), _LENGTH),
    "num_tokens": Kind("count", 2),
    "tokens": Kind("word", words=("characters", "pieces")),
    "speeds": ListKind(Kind("number", 0.5, 2), "a list of factors, as [0.9, 1.0, 1.1]"),
    "max_duration": Kind("number", 0, may_be_null=True, without_low=True),
    "std": _LENGTH,
    "mean": Kind("number"),
    "low_frequency": _WEIGHT,
    "high_frequency": Kind("number"),
    "max_grad_norm": Kind("number"),  # no clipping from 0 down
    **dict.fromkeys(
        ("eps", "head_lr_factor", "lr", "reconstruction_weight", "weight_decay"), _WEIGHT
    ),
    **dict.fromkeys(("max_rejected", "mixup_rate"), _SHARE),
    **dict.fromkeys(("drop_path", "label_smoothing"), _SHARE_BELOW_1),
    "layer_decay": Kind("number", 0, 1, without_low=True),
    **dict.fromkeys(
        (
            "activation_checkpointing",
            "choose_thresholds",
            "download",
            "exclude_constant_patches",
            "freeze_encoder",
            "keep_in_memory",
            "pad_before_standardising",
            "pool_rows",
            "transcripts",
            "two_passes",
        ),
        _SWITCH,
    ),
    **dict.fromkeys(("patch_size", "patch_stride"), _PAIR),
    "average_epochs": ListKind(_COUNT, "the first and the last, as [6, 25],", 2, may_be_null=True),
    "betas": ListKind(_SHARE_BELOW_1, "two numbers from 0 to below 1, as [0.9, 0.95]", 2),
    "class_weights": ListKind(
        _WEIGHT, "balanced, a list of numbers, one a class,", None, True, ("balanced",)
    ),
    "cluster_factors": ListKind(_COUNT, "a list of whole numbers, as [3, 4, 5]"),
    **dict.fromkeys(
        ("train_manifests", "valid_manifests", "test_manifests"),
        ListKind(_PATH, "a list of files, as [a.csv, b.csv]"),
    ),
    **dict.fromkeys(("splits", "subsets"), ListKind(Kind("word"), "a list of names, as [a, b]")),
    **dict.fromkeys(("data_folder", "manifest_folder", "output_folder", "classes_file"), _PATH),
    **dict.fromkeys(("list_folder", "librispeech_manifest"), _PATH),
    **dict.fromkeys(("pretrained_encoder", "probe_data", "split_list"), _MAYBE_PATH),
    **dict.fromkeys(("background", "download_sha256"), Kind("word", may_be_null=True)),
    "metric_name": Kind("word"),
    "precision": Kind("word", words=("fp32", "bf16", "fp16")),
    "best_by": Kind("word", words=("loss", "metric")),
    **dict.fromkeys(("crop", "placement"), _PLACE),
    **dict.fromkeys(
        ("positions", "decoder_positions"), Kind("word", words=("learned", "sinusoidal"))
    ),
    "padding": Kind("word", words=("released", "masked")),
    "size": Kind("word", words=("tiny", "small", "base")),
    "softmax_over": Kind("word", words=("predictions", "targets")),
    "targets": Kind("word", words=("raw", "standardised_patches")),
}


def check_values(
    source: str, written: Iterable[tuple[str, Node]], given: Iterable[tuple[str, Node]] = ()
) -> None:
    """Refuses values of a wrong kind, or out of range.

    A key that is not among `KINDS` is one of a user's own file, as is one whose value is a word
    here and a number there: where the file has a number, or True or False, the command line has to
    give such.

    Arguments
    ---------
    source : str
        What errors call the file.
    written : iterable of tuple[str, Node]
        The keys of the YAML file, and their nodes.
    given : iterable of tuple[str, Node]
        Those of the command line.

    Raises
    ------
    ValueError
        That names the key, its value and what it may be.

    Example
    -------
    >>> from ssast_recipes.records.hparams import compose
    >>> check_values("mine.yaml", compose("lr: 1e-4"), compose("lr: 1,5e-4"))
    Traceback (most recent call last):
        ...
    ValueError: --lr is '1,5e-4'; give a number from 0 on, with a decimal point
    """
    nodes = dict(written)
    overrides = dict(given)
    for key, node in {**nodes, **overrides}.items():
        if not _is_plain(node) or isinstance(node, Map):
            continue
        kind = _kind_here(key, nodes.get(key))
        value = None if is_null(node) else read_value(node)
        if key == "num_steps" and value is None and "number_of_epochs" in nodes:
            continue  # epochs are counted instead
        if kind is not None and not kind.permits(value):
            where = f"--{key}" if key in overrides else f"{source}: {key}"
            is_comma = isinstance(value, str) and "," in value and "number" in str(kind)
            hint = ", with a decimal point" if is_comma else ""
            raise ValueError(f"{where} is {_told(value)}; give {kind}{hint}")


def _kind_here(key: str, written: Node | None) -> Kind | ListKind | None:
    """The kind of a key's values in a file: ours, or of what it has under a name of ours.

    A size of 224 is another thing than our sizes: then the parts that take it judge it.
    """
    ours, own = KINDS.get(key), _kind_of(written)
    is_another = own is not None and isinstance(ours, Kind) and ours.type == "word"
    return own if ours is None or is_another else ours


def _is_plain(node: Node) -> bool:
    """Whether a node is a value of its own: neither made of other keys nor an object."""
    parts = node.value if isinstance(node, List) else []
    return not any(part.tag.startswith("!") for part in (node, *parts))


def _kind_of(node: Node | None) -> Kind | None:
    """The kind of a value that a user's own file has under a key of its own."""
    if node is None or not isinstance(node, Scalar) or not _is_plain(node) or is_null(node):
        return None
    value = read_value(node)
    if isinstance(value, bool):
        return Kind("switch", may_be_null=True)
    return Kind("number", may_be_null=True) if isinstance(value, int | float) else None


def _told(value: Any) -> str:
    return "null" if value is None else repr(value)
