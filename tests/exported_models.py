"""Small models in model folders, to be exported."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ssast_recipes.model.classifiers import ClassificationModel, WeightedSumModel
from ssast_recipes.model.encoder import AudioSpectrogramTransformer
from ssast_recipes.model.heads import ClassificationHead, PatchPredictionHead, ProjectionHead
from ssast_recipes.model.masked_patches import MaskedPatchModel
from ssast_recipes.weights.formats.config import FrontEndConfig
from ssast_recipes.weights.formats.folder import save_model

LABELS = ("dog", "rain", "a|b <i>")
FRONT_END = {
    "sample_rate": 16000,
    "num_mel_bins": 32,
    "frame_length": 25.0,
    "frame_shift": 10.0,
    "low_frequency": 20.0,
    "high_frequency": 0.0,
    "target_length": 64,
    "mean": -4.25,
    "std": 4.5,
    "pad_before_standardising": True,
}


def make_model(name: str, **options: Any) -> nn.Module:
    """A model by name; no two of its weights are alike, norms and tokens included."""
    options = {"num_mel_bins": 32, "target_length": 64, "patch_size": (16, 16), **options}
    encoder = AudioSpectrogramTransformer(48, depth=2, num_heads=3, **options)
    model = {
        "encoder": lambda: encoder,
        "pretraining": lambda: MaskedPatchModel(
            encoder, PatchPredictionHead(48, encoder.patch_area)
        ),
        "prefix": lambda: ClassificationModel(encoder, ClassificationHead(48, 3), "prefix"),
        "mean": lambda: ClassificationModel(encoder, ClassificationHead(48, 3)),
        "projection": lambda: ClassificationModel(encoder, ProjectionHead(48, 3), "prefix"),
        "unpadded": lambda: ClassificationModel(
            encoder, ClassificationHead(48, 3), "prefix", padding="masked"
        ),
        "masked": lambda: WeightedSumModel(encoder, ProjectionHead(48, 3)),
        "released": lambda: WeightedSumModel(encoder, ClassificationHead(48, 3), "released"),
    }[name]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def save(
    folder: Path, model: nn.Module, front_end: dict[str, Any] | None = None, **options: Any
) -> Path:
    """Saves it as a model folder with the front end above, but for what is given."""
    config = FrontEndConfig(**{**FRONT_END, **(front_end or {})})
    save_model(folder, model, config, LABELS if hasattr(model, "classifier") else (), **options)
    return folder
