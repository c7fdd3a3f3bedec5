"""Settings of our models as Hugging Face's `ASTModel` and `ASTFeatureExtractor` store them."""

from collections.abc import Sequence
from typing import Any

from ssast_recipes.weights.formats.config import Architecture, FrontEndConfig
from ssast_recipes.weights.formats.huggingface import MODEL_TYPE

# What the feature extractor does whatever its settings, in our names.
_FIXED = {
    "frame_length": 25.0,
    "frame_shift": 10.0,
    "low_frequency": 20.0,
    "high_frequency": 0.0,
    "pad_before_standardising": True,
}


def huggingface_config(
    architecture: Architecture,
    hidden_dim: int,
    labels: Sequence[str] = (),
    label_kind: str | None = None,
) -> dict[str, Any]:
    """Makes the content of `config.json` for `ASTModel` or `ASTForAudioClassification`.

    Arguments
    ---------
    architecture : Architecture
        The encoder's numbers.
    hidden_dim : int
        Width of the feed-forward networks.
    labels : sequence of str
        Class names, if there is a classifier.
    label_kind : str, optional
        "single" or "multi": how many labels a clip has, if there is a classifier.

    Returns
    -------
    dict[str, Any]
        Plain JSON.

    Raises
    ------
    ValueError
        If patches are not square.

    Example
    -------
    >>> frames = Architecture(192, 12, 3, 128, 1024, patch_size=(128, 2), patch_stride=(128, 2))
    >>> huggingface_config(frames, hidden_dim=768)
    Traceback (most recent call last):
    ValueError: patch_size (128, 2) cannot go to Hugging Face's AST, whose patches are square;
        share our own model folder, or export with --to torch
    """
    height, length = architecture.patch_size
    if height != length:
        raise ValueError(
            f"patch_size ({height}, {length}) cannot go to Hugging Face's AST, whose patches are "
            "square; share our own model folder, or export with --to torch"
        )
    frequency_stride, time_stride = architecture.patch_stride
    config = {
        "model_type": MODEL_TYPE,
        "architectures": ["ASTForAudioClassification" if labels else "ASTModel"],
        "dtype": "float32",
        "hidden_size": architecture.embed_dim,
        "num_hidden_layers": architecture.depth,
        "num_attention_heads": architecture.num_heads,
        "intermediate_size": hidden_dim,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        # The encoder's. Theirs is one for all, and our classifier's is 1e-5: logits move a little.
        "layer_norm_eps": 1e-6,
        "qkv_bias": True,
        "num_mel_bins": architecture.num_mel_bins,
        "max_length": architecture.target_length,
        "patch_size": height,
        "frequency_stride": frequency_stride,
        "time_stride": time_stride,
    }
    if labels:
        config["id2label"] = {str(index): name for index, name in enumerate(labels)}
        config["label2id"] = {name: index for index, name in enumerate(labels)}
        config["problem_type"] = f"{label_kind}_label_classification"
    return config


def huggingface_preprocessor(front_end: FrontEndConfig) -> dict[str, Any]:
    """Makes the content of `preprocessor_config.json` for `ASTFeatureExtractor`.

    Arguments
    ---------
    front_end : FrontEndConfig
        The front end's numbers.

    Returns
    -------
    dict[str, Any]
        Plain JSON.

    Raises
    ------
    ValueError
        If the front end does what theirs cannot.

    Example
    -------
    >>> front_end = FrontEndConfig(16000, 128, 25.0, 20.0, 20.0, 0.0, 512, -4.27, 4.57, True)
    >>> huggingface_preprocessor(front_end)
    Traceback (most recent call last):
    ValueError: Hugging Face's feature extractor cannot do frame_shift 20.0 (always 10.0)
    """
    differences = [
        f"{key} {getattr(front_end, key)} (always {value})"
        for key, value in _FIXED.items()
        if getattr(front_end, key) != value
    ]
    if differences:
        raise ValueError(f"Hugging Face's feature extractor cannot do {', '.join(differences)}")
    return {
        "feature_extractor_type": "ASTFeatureExtractor",
        "feature_size": 1,
        "sampling_rate": front_end.sample_rate,
        "num_mel_bins": front_end.num_mel_bins,
        "max_length": front_end.target_length,
        "do_normalize": True,
        "mean": front_end.mean,
        "std": front_end.std,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }
