"""Model folders: `model.safetensors` and `config.json`, a trained model without code or pickle."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ssast_recipes.data.tokenizer import TOKENIZER_FILE, Tokenizer
from ssast_recipes.model.encoder import EXTRA_STATE, AudioSpectrogramTransformer
from ssast_recipes.records.run import Run
from ssast_recipes.system.files import beside, file_digest
from ssast_recipes.system.reading import read_json
from ssast_recipes.weights.formats.config import (
    FrontEndConfig,
    ModelConfig,
    check_config,
    check_heard_seconds,
    check_thresholds,
    read_config,
)
from ssast_recipes.weights.formats.description import build_model, describe_model
from ssast_recipes.weights.formats.tensors import check_finite

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"
_ENCODER = "encoder."


def find_model_folder(source: str | Path) -> Path:
    """Finds the model folder that a user's path means.

    Arguments
    ---------
    source : str or Path
        A model folder, or the output folder of a run that was evaluated, which has one: `model`.

    Returns
    -------
    Path
        The model folder.

    Raises
    ------
    FileNotFoundError
        If there is none.

    Example
    -------
    >>> run = getfixture("tmp_path")
    >>> (run / "model").mkdir()
    >>> _ = (run / "model" / "config.json").write_text("{}")
    >>> find_model_folder(run).name
    'model'
    """
    source = Path(source)
    for folder in (source, source / "model"):
        if (folder / CONFIG_FILE).is_file():
            return folder
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist; give a model folder, or a run's folder")
    run = Run(source)
    if run.has_begun and not run.is_finished:
        raise FileNotFoundError(
            f"{source} is a run that did not come to its end: give its command again, or end it "
            f"where it is: train.py YAML_FILE --num_steps {run.last_step or 'STEPS'}; ssast "
            "finetune and --init-from take its weights as they are"
        )
    raise FileNotFoundError(
        f"{source}: neither a model folder (with {CONFIG_FILE}) nor the folder of a run that was "
        "evaluated (with model/); evaluate the run, or make a model folder with: ssast import"
    )


def is_model_folder(folder: Path) -> bool:
    """Whether a folder with a `config.json` is one of ours, perhaps damaged, not Hugging Face's.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "config.json").write_text('{"model_type": "deit"}')
    >>> is_model_folder(folder)
    False
    """
    try:
        return "model_type" not in read_json(folder / CONFIG_FILE, "copy it anew")
    except ValueError:
        return True


def save_model(
    folder: str | Path,
    model: nn.Module,
    front_end: FrontEndConfig,
    labels: Sequence[str] = (),
    label_kind: str = "single",
    provenance: Mapping[str, Any] | None = None,
    thresholds: Sequence[float] | None = None,
    heard_seconds: float | None = None,
    tokenizer: Tokenizer | None = None,
) -> ModelConfig:
    """Writes a model folder; one that is there is replaced, other files in it are left.

    A kill in between leaves a folder without `config.json`, which nobody takes for a model.

    Arguments
    ---------
    folder : str or Path
        Where to write; missing folders are made.
    model : nn.Module
        An `AudioSpectrogramTransformer`, a `MaskedPatchModel` or `MaskedAutoencoder` with
        `PatchPredictionHead`s, a `ClassificationModel` or `WeightedSumModel` with a
        `ClassificationHead` or `ProjectionHead`, or a `RecognitionModel` with a `TokenHead`.
    front_end : FrontEndConfig
        Which front end makes its spectrograms.
    labels : sequence of str
        A classifier's classes, in the order of the logits.
    label_kind : str
        A classifier's: "single" (one label a clip) or "multi".
    provenance : mapping, optional
        Where the model comes from, in plain JSON values.
    thresholds : sequence of float, optional
        A classifier's: of each class, the score from which on it counts as heard.
    heard_seconds : float, optional
        A classifier's: how much of a clip, from its start, it was evaluated on.
    tokenizer : Tokenizer, optional
        A recogniser's, written beside it as `tokenizer.model`.

    Returns
    -------
    ModelConfig
        What was written to `config.json`.

    Raises
    ------
    OSError
        If the folder cannot be written.
    ValueError
        If a model folder cannot hold such a model.

    Example
    -------
    >>> from ssast_recipes.model.builders import ast_encoder
    >>> encoder = ast_encoder("tiny", depth=1, target_length=128)
    >>> front_end = FrontEndConfig(16000, 128, 25.0, 10.0, 20.0, 0.0, 128, -4.27, 4.57, True)
    >>> folder = getfixture("tmp_path") / "model"
    >>> save_model(folder, encoder, front_end, provenance={"dataset": "ESC-50"}).kind
    'encoder'
    >>> sorted(path.name for path in folder.iterdir())
    ['config.json', 'model.safetensors']
    """
    config = dataclasses.replace(
        describe_model(
            *(model, front_end, labels, label_kind),
            tokenizer_sha256=None if tokenizer is None else tokenizer.sha256,
        ),
        provenance=dict(provenance or {}),
    )
    if thresholds is not None:
        chosen = check_thresholds(list(thresholds), len(labels))
        config = dataclasses.replace(config, thresholds=chosen)
    if heard_seconds is not None:
        config = dataclasses.replace(config, heard_seconds=check_heard_seconds(heard_seconds))
    check_config(config)
    weights = {
        name: value.detach().to("cpu", torch.float32).contiguous().clone()
        for name, value in _with_prefix(model).items()
        if name != EXTRA_STATE
    }
    found = {name: list(value.shape) for name, value in weights.items()}
    _compare(found, _expected_shapes(config))
    path = Path(folder) / CONFIG_FILE
    # Left in the opposite order: the configuration appears when the weights are there.
    with beside(path) as config_part, beside(path.with_name(WEIGHTS_FILE)) as weights_part:
        safetensors.torch.save_file(weights, weights_part, metadata={"format": "pt"})
        config = dataclasses.replace(config, weights_sha256=file_digest(weights_part))
        config_part.write_text(config.to_json(), encoding="utf-8")
        path.unlink(missing_ok=True)
        if config.kind == "recognition":
            tokenizer.write(path.with_name(TOKENIZER_FILE))
    return config


def read_tokenizer(folder: str | Path, config: ModelConfig) -> Tokenizer:
    """Reads the tokenizer of a recogniser's model folder.

    Arguments
    ---------
    folder : str or Path
        The model folder.
    config : ModelConfig
        Its own.

    Returns
    -------
    Tokenizer
        What its classes mean.

    Raises
    ------
    FileNotFoundError
        If it is missing.
    ValueError
        If it is damaged, or another model's.
    """
    path = Path(folder) / TOKENIZER_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {folder} is not a whole model folder")
    tokenizer = Tokenizer.read(path, config.recognition.tokenizer_sha256)
    if tokenizer.num_tokens != config.recognition.num_tokens:
        raise ValueError(
            f"{path} has {tokenizer.num_tokens} tokens, the model "
            f"{config.recognition.num_tokens}; copy the folder anew"
        )
    return tokenizer


def read_model_weights(folder: str | Path) -> tuple[dict[str, Any], ModelConfig]:
    """Reads a model folder's weights, after checking all that can be checked without reading them.

    Arguments
    ---------
    folder : str or Path
        The model folder.

    Returns
    -------
    weights : dict[str, Any]
        The model's state dict: `encoder.*` and its heads', the encoder's geometry included.
    config : ModelConfig
        What `config.json` says.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If the files are damaged, or do not go together.
    """
    config, path = read_config(folder), Path(folder) / WEIGHTS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {folder} is not a whole model folder")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: list(one.get_shape()) for name, one in slices.items()}
            types = {name: one.get_dtype() for name, one in slices.items()}
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not readable as safetensors ({error}); copy it anew") from None
    try:
        _compare(shapes, _expected_shapes(config, shapes))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    for name, kind in types.items():
        if kind != "F32":
            raise ValueError(f"{path}: {name} is of type {kind}, not F32")
    if file_digest(path) != config.weights_sha256:
        raise ValueError(f"{path}: not the weights that {CONFIG_FILE} tells of (SHA-256 differs)")
    weights: dict[str, Any] = safetensors.torch.load_file(path)
    try:
        check_finite(weights)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return {**weights, EXTRA_STATE: _meta_model(config)[1]}, config


def load_model(folder: str | Path) -> tuple[nn.Module, ModelConfig]:
    """Builds the model of a model folder and fills in its weights.

    Arguments
    ---------
    folder : str or Path
        The model folder.

    Returns
    -------
    model : nn.Module
        By `config.kind`: an `AudioSpectrogramTransformer`, a `MaskedPatchModel` or
        `MaskedAutoencoder`, a `ClassificationModel` or `WeightedSumModel`, or a
        `RecognitionModel`. On the CPU, in evaluation mode.
    config : ModelConfig
        What `config.json` says.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_model_weights`.
    """
    weights, config = read_model_weights(folder)
    model, _ = _meta_model(config)
    if config.kind == "encoder":
        weights = {name.removeprefix(_ENCODER): value for name, value in weights.items()}
    model.load_state_dict(weights, assign=True)
    return model.eval(), config


def _with_prefix(model: nn.Module) -> dict[str, Any]:
    prefix = _ENCODER if isinstance(model, AudioSpectrogramTransformer) else ""
    return model.state_dict(prefix=prefix)


def _meta_model(config: ModelConfig) -> tuple[nn.Module, dict[str, Any]]:
    """The model without memory for its weights, and its encoder's geometry."""
    with torch.device("meta"):
        model = build_model(config)
    return model, getattr(model, "encoder", model).geometry()


def _expected_shapes(
    config: ModelConfig, found: Mapping[str, Any] | None = None
) -> dict[str, list[int]]:
    if found is not None:
        # Before building them one by one: a file may claim any number.
        blocks = {name.split(".")[2] for name in found if name.startswith("encoder.blocks.")}
        if len(blocks) != config.architecture.depth:
            raise ValueError(
                f"holds {len(blocks)} blocks, but {CONFIG_FILE} says {config.architecture.depth}"
            )
    state = _with_prefix(_meta_model(config)[0])
    return {name: list(value.shape) for name, value in state.items() if isinstance(value, Tensor)}


def _compare(found: Mapping[str, list[int]], expected: Mapping[str, list[int]]) -> None:
    for name in sorted(expected.keys() - found.keys()):
        raise ValueError(f"{name} is missing from the weights")
    for name in sorted(found.keys() - expected.keys()):
        raise ValueError(f"{name} is not a weight of the model that {CONFIG_FILE} describes")
    for name, shape in expected.items():
        if found[name] != shape:
            raise ValueError(f"{name} is of shape {found[name]}, by {CONFIG_FILE} {shape}")
