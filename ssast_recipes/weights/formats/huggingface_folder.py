"""Reading AST and distilled DeiT from folders of Hugging Face's `transformers`, without it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssast_recipes.model.patches import compute_grid_size
from ssast_recipes.system.reading import read_json
from ssast_recipes.weights.formats.deit import grey_encoder
from ssast_recipes.weights.formats.foreign import AUDIOSET, ImportedModel, check_encoder
from ssast_recipes.weights.formats.huggingface import MODEL_TYPE, PREFIX, huggingface_to_ours

_LABEL_KINDS = {
    "single_label_classification": "single",
    "multi_label_classification": "multi",
}


def read_huggingface(weights: Mapping[str, Any], folder: Path) -> ImportedModel:
    """Reads a model of Hugging Face's: AST, with or without classifier, or distilled DeiT.

    Arguments
    ---------
    weights : mapping
        The tensors of `model.safetensors` or `pytorch_model.bin`.
    folder : Path
        Where `config.json` lies and, of AST, `preprocessor_config.json` may.

    Returns
    -------
    ImportedModel
        The model.

    Raises
    ------
    ValueError
        If a file is missing or damaged, or the model one that ours cannot be.

    Example
    -------
    >>> read_huggingface({}, getfixture("tmp_path"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: config.json is missing beside it; take the whole folder of Hugging Face's
    """
    config = _read_json(folder / "config.json")
    if config is None:
        raise ValueError(
            "config.json is missing beside it; take the whole folder of Hugging Face's"
        )
    readers = {MODEL_TYPE: _read_ast, "deit": _read_deit}
    kind = config.get("model_type")
    if kind not in readers:
        raise ValueError(f"config.json: model_type is {kind!r}, known are {', '.join(readers)}")
    if config.get("hidden_act", "gelu") != "gelu":
        raise ValueError(f"config.json: hidden_act is {config['hidden_act']!r}, ours is 'gelu'")
    # 1e-12 in theirs, though the released AST has 1e-6, as ours has: of no consequence.
    epsilon = config.get("layer_norm_eps", 1e-12)
    if not isinstance(epsilon, int | float) or not 0 <= epsilon <= 1e-5:
        raise ValueError(f"config.json: layer_norm_eps is {epsilon!r}, ours is 1e-06")
    return readers[kind](weights, config, folder)


def _read_ast(weights: Mapping[str, Any], config: dict[str, Any], folder: Path) -> ImportedModel:
    if not any(name.startswith("classifier.") for name in weights):
        # Cut out of a model with a classifier, or with heads that are known nowhere.
        weights = {name.removeprefix(PREFIX): value for name, value in weights.items()}
    ours, left_over = huggingface_to_ours(weights)
    geometry = _geometry(ours, config)
    num_mel_bins, target_length = _number(config, "num_mel_bins"), _number(config, "max_length")
    stride = (_number(config, "frequency_stride"), _number(config, "time_stride"))
    grid = compute_grid_size(num_mel_bins, target_length, geometry["patch_size"], stride)
    labels = _labels(config.get("id2label"))
    return ImportedModel(
        "AST of Hugging Face",
        weights=ours,
        geometry={**geometry, "grid_size": list(grid)},
        left_over=left_over,
        num_mel_bins=num_mel_bins,
        target_length=target_length,
        patch_stride=stride,
        pooling="prefix",
        labels=labels if len(labels) == len(ours.get("classifier.linear.bias", ())) else (),
        label_kind=_LABEL_KINDS.get(config.get("problem_type")),
        front_end=_front_end(folder, num_mel_bins, target_length),
    )


def _read_deit(weights: Mapping[str, Any], config: dict[str, Any], folder: Path) -> ImportedModel:
    prefixed = any(name.startswith("deit.") for name in weights)
    bare = {name.removeprefix("deit."): value for name, value in weights.items()}
    if "embeddings.distillation_token" not in bare:
        raise ValueError("holds a DeiT without distillation token; take a distilled one")
    ours, left_over = huggingface_to_ours(bare)
    if prefixed:
        left_over = [name if name in weights else f"deit.{name}" for name in left_over]
    return grey_encoder(ImportedModel("DeiT, distilled", ours, _geometry(ours, config), left_over))


def _geometry(ours: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    check_encoder(ours)
    kernel = ours["encoder.patch_embedding.projection.weight"]
    sizes = {
        "hidden_size": len(kernel),
        "num_hidden_layers": sum(name.endswith(".norm1.weight") for name in ours),
    }
    for key, size in sizes.items():
        if _number(config, key) != size:
            raise ValueError(f"config.json: {key} is {config[key]}, by the weights {size}")
    return {
        "embed_dim": sizes["hidden_size"],
        "depth": sizes["num_hidden_layers"],
        "num_heads": _number(config, "num_attention_heads"),
        # Not of the configuration, which has but one number for both sides.
        "patch_size": list(kernel.shape[2:]),
    }


def _front_end(folder: Path, num_mel_bins: int, target_length: int) -> dict[str, Any]:
    values = _read_json(folder / "preprocessor_config.json")
    if values is None:
        return AUDIOSET
    for key, wanted in (("num_mel_bins", num_mel_bins), ("max_length", target_length)):
        if values.get(key, wanted) != wanted:
            raise ValueError(
                f"preprocessor_config.json: {key} is {values[key]}, in config.json {wanted}"
            )
    if not values.get("do_normalize", True):
        # As it is: (x - 0) / (2 * 0.5).
        return {"sample_rate": _number(values, "sampling_rate"), "mean": 0.0, "std": 0.5}
    for key in ("mean", "std"):
        if not isinstance(values.get(key), int | float):
            raise ValueError(f"preprocessor_config.json: {key} is {values.get(key)!r}, no number")
    return {
        "sample_rate": _number(values, "sampling_rate"),
        "mean": values["mean"],
        "std": values["std"],
    }


def _labels(names: Any) -> tuple[str, ...]:
    """The classes in order, of `{"0": name, …}`; none if it is something else."""
    if not isinstance(names, dict) or {*names} != {str(index) for index in range(len(names))}:
        return ()
    return tuple(str(names[str(index)]) for index in range(len(names)))


def _number(values: dict[str, Any], key: str) -> int:
    if type(values.get(key)) is not int or values[key] < 1:
        raise ValueError(f"its configuration's {key} is {values.get(key)!r}, no number above 0")
    return values[key]


def _read_json(path: Path) -> dict[str, Any] | None:
    """An object of a JSON file; None if there is no file."""
    if not path.is_file():
        return None
    return read_json(path, "copy it anew")
