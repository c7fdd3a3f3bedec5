"""A model for Hugging Face's transformers, or as a program of `torch.export`."""

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from ssast_recipes.model.encoder import AudioSpectrogramTransformer
from ssast_recipes.records.run import RESULTS, Run
from ssast_recipes.system.errors import RunError
from ssast_recipes.system.files import beside, write_text
from ssast_recipes.weights.card import model_card
from ssast_recipes.weights.formats.config import ModelConfig, read_config
from ssast_recipes.weights.formats.folder import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    find_model_folder,
    load_model,
)
from ssast_recipes.weights.formats.huggingface import ours_to_huggingface
from ssast_recipes.weights.formats.huggingface_settings import (
    huggingface_config,
    huggingface_preprocessor,
)

# How far an exported program's outputs may be from the model's, over the largest of these: other
# kernels add up in another order.
_TOLERANCE = 1e-5


def export_huggingface(source: str | Path, folder: str | Path) -> list[str]:
    """Writes a folder for `ASTModel` or `ASTForAudioClassification`, with a model card.

    Arguments
    ---------
    source : str or Path
        A model folder, or an evaluated run's folder.
    folder : str or Path
        Where to write; other files in it are left.

    Returns
    -------
    list[str]
        What could not go along, a sentence each.

    Raises
    ------
    FileNotFoundError
        If there is no model.
    ValueError
        If the model folder is damaged, or patches are not square.
    """
    source, folder = find_model_folder(source), Path(folder)
    if folder.resolve() == source.resolve():
        raise ValueError(f"{folder} is the model folder itself; name another to export to")
    # Before the weights are read: a model that cannot go is refused at once.
    huggingface_config(read_config(source).architecture, hidden_dim=1)
    model, config = load_model(source)
    encoder = getattr(model, "encoder", model)
    left_out = _left_out(config)
    labels = config.labels if _has_their_classifier(config) else ()
    settings = huggingface_config(
        config.architecture, encoder.blocks[0].mlp.fc1.out_features, labels, config.label_kind
    )
    if model is encoder:
        state_dict = model.state_dict(prefix="encoder.")
    else:
        state_dict = model.state_dict()
    weights = ours_to_huggingface(state_dict, with_classifier=bool(labels))
    try:
        preprocessor = huggingface_preprocessor(config.front_end)
    except ValueError as error:
        preprocessor = None
        left_out.append(f"preprocessor_config.json: {error}.")

    (folder / CONFIG_FILE).unlink(missing_ok=True)  # it comes last, when the folder is whole
    with beside(folder / WEIGHTS_FILE) as part:
        safetensors.torch.save_file(weights, part, metadata={"format": "pt"})
    if preprocessor is None:
        (folder / "preprocessor_config.json").unlink(missing_ok=True)
    else:
        _write_json(folder / "preprocessor_config.json", preprocessor)
    results = read_results(source)
    if config.kind == "classifier" and not labels:  # the encoder alone went: its card, no results
        config, results = dataclasses.replace(config, kind="encoder", labels=()), None
    if config.kind == "recognition":
        config, results = dataclasses.replace(config, kind="encoder", recognition=None), None
    card = model_card(config, results, "transformers", left_out)
    write_text(folder / "README.md", card)
    _write_json(folder / CONFIG_FILE, settings)
    return left_out


def _has_their_classifier(config: ModelConfig) -> bool:
    how = config.classifier
    wanted = ("prefix", None, "ClassificationHead")  # without masked padding
    return how is not None and (how.pooling, how.padding, how.head) == wanted


def _left_out(config: ModelConfig) -> list[str]:
    left_out = ["The mask token: Hugging Face's AST masks nothing."]
    if config.kind == "pretraining":
        left_out.append("The prediction heads: Hugging Face's AST has none.")
    if config.kind == "recognition":
        left_out.append("The head and the tokenizer: Hugging Face's AST recognises no speech.")
    if config.kind == "classifier" and not _has_their_classifier(config):
        how = config.classifier
        left_out.append(
            f"The classifier and its {len(config.labels)} classes: "
            f"{how.model} ({how.pooling or how.padding}) with {how.head} is none of "
            "ASTForAudioClassification, which puts norm and linear layer on the mean of the two "
            "prefix tokens; the encoder alone went."
        )
        if how.model == "ClassificationModel" and how.padding == "masked":
            left_out.append(
                "The masking of padding: Hugging Face's AST attends to what is behind a clip's end."
            )
    return left_out


def _write_json(path: Path, values: dict[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def read_results(folder: Path) -> dict[str, Any] | None:
    """Reads `results.json` of the run that a model folder is in.

    Arguments
    ---------
    folder : Path
        The model folder.

    Returns
    -------
    dict[str, Any] or None
        What the file says; None if the folder is not a run's `model`.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    folder = folder.resolve()
    run = Run(folder.parent)
    if folder.name != "model" or not run.is_finished:
        return None
    try:
        if "metric" in run.results and isinstance(run.results.get("value"), dict):
            return run.results
    except ValueError:
        pass
    path = run.path / RESULTS
    raise ValueError(f"{path}: damaged; evaluate the run again, or move the model folder elsewhere")


class _EncoderTokens(nn.Module):
    """An encoder whose output is a plain tuple: patch tokens and prefix tokens."""

    def __init__(self, encoder: AudioSpectrogramTransformer):
        super().__init__()
        self.encoder = encoder

    def forward(self, spectrograms: Tensor) -> tuple[Tensor, Tensor]:
        output = self.encoder(spectrograms)
        return output.patch_tokens, output.prefix_tokens


def export_torch(source: str | Path, path: str | Path) -> None:
    """Writes a model as a program that `torch.export.load` reads without this toolkit.

    The program takes standardised spectrograms [batch, target_length, mel bins], any number of
    them, and, where padding is masked, the clips' lengths in frames, [batch] int64. It returns
    logits [batch, classes], or of an encoder patch tokens [batch, patches, width] and prefix tokens
    [batch, 2, width]. The model's `config.json` is among the file's `extra_files`.

    Arguments
    ---------
    source : str or Path
        A model folder, or an evaluated run's folder. Of pretraining, the encoder is taken.
    path : str or Path
        The file to write: `*.pt2`.

    Raises
    ------
    FileNotFoundError
        If there is no model.
    ValueError
        If the model folder is damaged, or the file is not named so.
    RunError
        If the program as written does not give the model's outputs.
    """
    path = Path(path)
    if path.suffix != ".pt2":
        raise ValueError(f"{path}: an exported program is a file named *.pt2; name it so")
    folder = find_model_folder(source)
    model, config = load_model(folder)
    if config.kind != "classifier":
        model = _EncoderTokens(getattr(model, "encoder", model)).eval()
    batch = torch.export.Dim("batch")
    inputs = _example_inputs(config, batch=2)
    with torch.no_grad():
        # Strict, because only so `len` of a tensor does not fix the batch.
        program = torch.export.export(
            model, inputs, dynamic_shapes=tuple({0: batch} for _ in inputs), strict=True
        )
    config_text = (folder / CONFIG_FILE).read_text(encoding="utf-8")
    with beside(path) as part:
        with open(part, "wb") as file:
            torch.export.save(program, file, extra_files={CONFIG_FILE: config_text})
        with open(part, "rb") as file, warnings.catch_warnings():
            # torch warns that it could write to what it has read.
            warnings.filterwarnings("ignore", "The given buffer is not writable")
            written = torch.export.load(file).module()
        for size in (1, 3):
            _compare(model, written, _example_inputs(config, size))


def _example_inputs(config: ModelConfig, batch: int) -> tuple[Tensor, ...]:
    shape = (batch, config.architecture.target_length, config.architecture.num_mel_bins)
    spectrograms = torch.randn(shape, generator=torch.Generator().manual_seed(batch))
    if config.classifier is None or config.classifier.padding != "masked":
        return (spectrograms,)
    return spectrograms, torch.arange(1, batch + 1) * shape[1] // batch


@torch.no_grad()
def _compare(model: nn.Module, program: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    expected, found = model(*inputs), program(*inputs)
    expected, found = (one if isinstance(one, tuple) else (one,) for one in (expected, found))
    for ours, theirs in zip(expected, found, strict=True):
        deviation = ((theirs - ours).abs().max() / ours.abs().max()).item()
        if not deviation <= _TOLERANCE:
            raise RunError(
                f"the exported program's outputs are {deviation:.1e} from the model's, over the "
                f"largest of these; at most {_TOLERANCE:g} is rounding: nothing was written"
            )
