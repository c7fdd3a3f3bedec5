"""The model card: what a model is, what it hears, how well it did, in Markdown."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ssast_recipes.model.builders import size_name
from ssast_recipes.weights.formats.config import FrontEndConfig, ModelConfig

_TITLES = {
    "encoder": "Audio encoder",
    "classifier": "Audio classifier",
    "pretraining": "Audio encoder with its prediction heads",
    "recognition": "Speech recogniser",
}
_TASKS = {
    "classifier": "audio-classification",
    "recognition": "automatic-speech-recognition",
}  # as the Hub names them
_WEIGHTS = {
    "last": "the last step",
    "averaged": "averaged over epochs",
    "best": "best on the validation clips",
}
_USE = {
    "ssast-recipes": {
        "classifier": """from ssast_recipes import AudioClassifier

classifier = AudioClassifier.from_pretrained("{address}")
print(classifier.classify_file("sound.wav", top_k=5))""",
        "recognition": """from ssast_recipes import AudioTranscriber

transcriber = AudioTranscriber.from_pretrained("{address}")
print(transcriber.transcribe_file("speech.wav").text)""",
        "encoder": """from ssast_recipes import AudioEncoder

encoder = AudioEncoder.from_pretrained("{address}")
embedding = encoder.encode(waveform, sample_rate)""",
    },
    "transformers": {
        "classifier": """from transformers import ASTForAudioClassification

model = ASTForAudioClassification.from_pretrained("{address}")""",
        "encoder": """from transformers import ASTModel

model = ASTModel.from_pretrained("{address}")""",
    },
}


def model_card(
    config: ModelConfig,
    results: Mapping[str, Any] | None = None,
    library: str = "ssast-recipes",
    left_out: Sequence[str] = (),
    address: str = "path-or-hub-id",
) -> str:
    """Writes a model card from what is on record; it claims nothing else.

    Arguments
    ---------
    config : ModelConfig
        What the model folder's `config.json` says.
    results : mapping, optional
        What the run's `results.json` says.
    library : str
        Which library loads the folder: "ssast-recipes" or "transformers".
    left_out : sequence of str
        What the folder lacks of the model, a sentence each.
    address : str
        From where the model is loaded.

    Returns
    -------
    str
        The content of `README.md`, with the header that the Hugging Face Hub reads.

    Example
    -------
    >>> from ssast_recipes.weights.formats.config import Architecture
    >>> front_end = FrontEndConfig(16000, 128, 25.0, 10.0, 20.0, 0.0, 512, -4.27, 4.57, True)
    >>> architecture = Architecture(192, 12, 3, 128, 512, (16, 16), (16, 16))
    >>> card = model_card(ModelConfig("encoder", architecture, front_end))
    >>> card.splitlines()[9]
    '# Audio encoder: tiny, patch-based AST'
    """
    kind = config.kind if config.kind in _TASKS else "encoder"
    header = {
        "library_name": library,
        "pipeline_tag": _TASKS.get(kind, "feature-extraction"),
        "tags": ["audio", "audio-spectrogram-transformer", "ssast"],
    }
    architecture = config.architecture
    name = size_name(vars(architecture))
    size = f"{name}, " if name else ""
    is_frame_based = architecture.patch_size[0] == architecture.num_mel_bins
    based = "frame-based" if is_frame_based else "patch-based"
    parts = [
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---",
        f"# {_TITLES[config.kind]}: {size}{based} AST",
        "An Audio Spectrogram Transformer, saved by ssast-recipes, a toolkit after "
        "[SSAST](https://arxiv.org/abs/2110.09784) (Gong et al., AAAI 2022).",
        f"## Input\n\n{_front_end(config.front_end)}",
        f"## Model\n\n{_model(config)}",
    ]
    if left_out:
        parts.append("## Left out\n\n" + "\n".join(f"* {sentence}" for sentence in left_out))
    if config.labels:
        count = "One label" if config.label_kind == "single" else "Any number of labels"
        parts.append(f"## Classes\n\n{count} a clip, of: {', '.join(map(_inline, config.labels))}.")
    if results:
        parts.append(f"## Results\n\n{_results(results, config.provenance.get('weights'))}")
    parts.append(f"## Use\n\n```python\n{_USE[library][kind].format(address=address)}\n```")
    if config.provenance:
        text = json.dumps(config.provenance, indent=2, ensure_ascii=False)
        parts.append(f"## Where it comes from\n\n```json\n{text}\n```")
    return "\n\n".join(parts) + "\n"


def _front_end(front_end: FrontEndConfig) -> str:
    seconds = front_end.target_length * front_end.frame_shift / 1000
    padding = "before" if front_end.pad_before_standardising else "after"
    top = front_end.high_frequency
    top = top if top > 0 else front_end.sample_rate / 2 + top
    return (
        f"One channel at {front_end.sample_rate} Hz, {seconds:g} s "
        f"({front_end.target_length} frames of {front_end.frame_length:g} ms, one every "
        f"{front_end.frame_shift:g} ms), as logarithms of {front_end.num_mel_bins} mel bins from "
        f"{front_end.low_frequency:g} to {top:g} Hz. Shorter clips are padded with zeros {padding} "
        f"standardising: `(x - mean) / (2 std)`, mean {front_end.mean:g}, std {front_end.std:g}."
    )


def _model(config: ModelConfig) -> str:
    architecture = config.architecture
    rows = {
        "blocks": architecture.depth,
        "width": architecture.embed_dim,
        "attention heads": architecture.num_heads,
        "patch, mel bins × frames": " × ".join(map(str, architecture.patch_size)),
        "from patch to patch": " × ".join(map(str, architecture.patch_stride)),
    }
    if config.classifier is not None:
        how = config.classifier
        option = ", ".join(filter(None, [how.pooling, how.padding and f"padding {how.padding}"]))
        rows["classifier"] = f"{how.model} ({option}), {how.head}"
    if config.recognition is not None:
        rows["tokens, the blank included"] = config.recognition.num_tokens
    return "\n".join(
        ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())]
    )


def _results(results: Mapping[str, Any], selection: Any) -> str:
    about = [str(results[key]) for key in ("dataset", "protocol") if results.get(key)]
    for key in ("fold", "seed"):
        if results.get(key) is not None:
            about.append(f"{key} {results[key]}")
    clips = (results.get("num_clips") or {}).get("test")
    metric = _inline(str(results["metric"]))
    heading = f"{metric} on {clips} test clips" if clips else metric
    rows = [
        f"| {_WEIGHTS.get(name, _inline(name))}{', these here' * (name == selection)} "
        f"| {value:.4f} |"
        for name, value in results["value"].items()
        if value is not None
    ]
    return "\n".join(
        [f"{_inline(', '.join(about))}.\n", f"| weights | {heading} |", "|---|---|", *rows]
    )


def _inline(text: str) -> str:
    """Text that neither ends a line nor is taken for Markdown or HTML."""
    text = " ".join(text.split())
    return "".join(f"\\{letter}" if letter in r"\`*_[]<>|#" else letter for letter in text)
