"""Reference cases of fine-tuning: `ft`, `ftgrad` and `pos`."""

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ssast_recipes.model.builders import ast_encoder
from ssast_recipes.model.classifiers import ClassificationModel
from ssast_recipes.model.encoder import AudioSpectrogramTransformer
from ssast_recipes.model.heads import ClassificationHead
from ssast_recipes.weights.formats.ssast import released_to_ours
from ssast_recipes.weights.loading import load_pretrained_encoder
from tests.reference import formulas
from tests.reference.comparisons import Comparison, NothingToMatch, exact, parse, relative
from tests.reference.tensors import MODEL, MODEL_FORM, compare_gradients

NUM_CLASSES = 35
LABELS = (1, 4)
_STRIDE = r"_s(?P<row_stride>\d+)x(?P<column_stride>\d+)/T(?P<frames>\d+)"
_STRIDE_FORM = "_s{rows}x{columns}/T{frames}"


def check_fine_tuning_forward(key: str, case: Mapping[str, Any]) -> list[Comparison]:
    """`ft`: logits by both poolings, and the position embedding cut or stretched."""
    fields = parse(key, rf"ft/{MODEL}{_STRIDE}", f"ft/{MODEL_FORM}{_STRIDE_FORM}")
    model, spectrograms = _fine_tuning(fields)
    logits = {}
    with torch.no_grad():
        for name, pooling in (("avgtok", "mean"), ("cls", "prefix")):
            model.pooling = pooling
            logits[name] = model(spectrograms)
    return (
        relative(case, logits, tolerance=1e-5)
        + exact(case, dict(zip(("f_dim", "t_dim"), model.encoder.grid_size, strict=True)))
        + _compare_positions(case, model.encoder)
    )


def check_fine_tuning_gradients(key: str, case: Mapping[str, Any]) -> list[Comparison]:
    """`ftgrad`: loss and gradient norms with mean pooling."""
    fields = parse(
        key,
        rf"ftgrad/{MODEL}{_STRIDE}/(?P<loss>BCE|CE)",
        f"ftgrad/{MODEL_FORM}{_STRIDE_FORM}/{{BCE|CE}}",
    )
    model, spectrograms = _fine_tuning(fields)
    logits, labels = model(spectrograms), torch.tensor(LABELS)
    if fields["loss"] == "CE":
        loss = F.cross_entropy(logits, labels)
    else:
        loss = F.binary_cross_entropy_with_logits(logits, F.one_hot(labels, NUM_CLASSES).float())
    loss.backward()
    return relative(case, {"loss": loss.item()}, tolerance=2e-4) + compare_gradients(case, model)


def check_positions(key: str, case: Mapping[str, Any]) -> list[Comparison]:
    """`pos`: position embeddings of one grid fitted to another by the importer of weights."""
    if case["status"] != "ok":
        raise NothingToMatch(f"the released rule fails: {case['status']}")
    if case["pretrain_grid"][0] not in (1, 8):
        raise NothingToMatch(f"the released rule blurs grids of {case['pretrain_grid'][0]} rows")
    prefixed = 2 + math.prod(case["finetune_grid"])
    embed_dim, remainder = divmod(case["pos_numel"], prefixed)
    if remainder:
        raise ValueError(f"pos_numel {case['pos_numel']} is no multiple of {prefixed} tokens")
    encoder = AudioSpectrogramTransformer(
        embed_dim,
        depth=1,
        num_heads=embed_dim // 64,
        num_mel_bins=case["finetune_dims"][0],
        target_length=case["finetune_dims"][1],
        patch_size=case["patch"],
        patch_stride=case["stride"],
    )
    _import_released(encoder, "hash", tuple(case["pretrain_dims"]))
    grid = exact(case, {"finetune_grid": encoder.grid_size})
    return grid + _compare_positions(case, encoder)


def _fine_tuning(fields: Mapping[str, str]) -> tuple[ClassificationModel, Tensor]:
    size, kind, frames = fields["size"], fields["kind"], int(fields["frames"])
    encoder = ast_encoder(
        size,
        target_length=frames,
        patch_size=(int(fields["rows"]), int(fields["columns"])),
        patch_stride=(int(fields["row_stride"]), int(fields["column_stride"])),
    )
    _import_released(encoder, kind, (128, 1024))
    model = ClassificationModel(encoder, ClassificationHead(encoder.embed_dim, NUM_CLASSES))
    weights = formulas.released_classifier(encoder.embed_dim, NUM_CLASSES, kind)
    weights = {f"encoder.{name}": value for name, value in encoder.state_dict().items()} | (
        released_to_ours(weights)
    )
    model.load_state_dict(weights)
    return model, formulas.spectrograms(frames)


def _import_released(
    encoder: AudioSpectrogramTransformer, kind: str, input_size: tuple[int, int]
) -> None:
    """Takes the weights by the way that users take: a file, adapted to the encoder."""
    checkpoint = formulas.released_checkpoint(
        encoder.embed_dim, len(encoder.blocks), encoder.patch_size, kind, input_size
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "released.pth"
        torch.save(checkpoint, path)
        load_pretrained_encoder(encoder, path)


def _compare_positions(
    case: Mapping[str, Any], encoder: AudioSpectrogramTransformer
) -> list[Comparison]:
    positions = encoder.position_embedding.detach().double().flatten()
    places = (torch.arange(10) * 9973 + 17) % len(positions)
    numbers = {
        "pos_sum": positions.sum(),
        "pos_l2": positions.norm(),
        "pos_samples": positions[places],
    }
    return exact(case, {"pos_numel": len(positions)}) + relative(case, numbers, tolerance=1e-6)
