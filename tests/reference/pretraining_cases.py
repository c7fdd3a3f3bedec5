"""Reference cases of pretraining: `pretrain`, `train5` and `nce`."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ssast_recipes.model.builders import ast_encoder
from ssast_recipes.model.heads import PatchPredictionHead
from ssast_recipes.model.masked_patches import MaskedPatchModel
from ssast_recipes.model.patches import patchify, select_patches
from ssast_recipes.objectives.losses import info_nce_loss, masked_reconstruction_loss
from ssast_recipes.objectives.metrics import masked_patch_accuracy
from ssast_recipes.weights.formats.ssast import released_to_ours
from tests.reference import formulas
from tests.reference.comparisons import Comparison, exact, parse, relative
from tests.reference.tensors import (
    MODEL,
    MODEL_FORM,
    compare_gradients,
    compare_tensors,
    norm,
    released_parameters,
)


def check_pretraining(key: str, case: Mapping[str, Any]) -> list[Comparison]:
    """`pretrain`: both losses and the gradient norms of their sum."""
    fields = parse(key, rf"pretrain/{MODEL}/N(?P<masked>\d+)", f"pretrain/{MODEL_FORM}/N{{masked}}")
    model, losses = _pretraining(fields)
    ours = losses()
    ours["joint"].backward()
    # One input of a ReLU sits at 5e-7 there and may fall on either side of 0.
    tolerance = 5e-3 if key.endswith("/p16x16/N400") else 2e-4
    return relative(
        case,
        {
            "mpc_nce": ours["nce"].item(),
            "mpg_mse": ours["mse"].item(),
            "joint": ours["joint"].item(),
        },
        tolerance=2e-6,
    ) + compare_gradients(case, model, tolerance)


def check_training(key: str, case: Mapping[str, Any]) -> list[Comparison]:
    """`train5`: the losses of five steps of Adam, and how far weights have moved."""
    fields = parse(key, rf"train5/{MODEL}/N(?P<masked>\d+)", f"train5/{MODEL_FORM}/N{{masked}}")
    model, losses = _pretraining(fields)
    before = {name: value.detach().clone() for name, value in released_parameters(model).items()}
    optimizer = torch.optim.Adam(
        model.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=5e-7
    )
    history = []
    for _ in range(5):
        step = losses()
        optimizer.zero_grad()
        step["joint"].backward()
        optimizer.step()
        history.append({name: loss.item() for name, loss in step.items()})
    with torch.no_grad():
        history.append({name: loss.item() for name, loss in losses().items()})
    moved = {name: norm(now - before[name]) for name, now in released_parameters(model).items()}
    return relative(
        case, {name: [step[name] for step in history] for name in history[0]}, tolerance=1e-4
    ) + compare_tensors(case, "delta_l2", moved, 1e-2, _undetermined_distances(fields["kind"]))


def check_info_nce(key: str, case: Mapping[str, Any]) -> list[Comparison]:
    """`nce`: InfoNCE and the counts of patches found, by every definition."""
    fields = parse(key, r"nce/N(?P<masked>\d+)/a(?P<share>[\d.e-]+)", "nce/N{masked}/a{share}")
    num_masked = int(fields["masked"])
    patches = patchify(formulas.spectrograms(1024), (16, 16))
    targets = select_patches(patches, formulas.masked_indices(num_masked))
    noise = formulas.weight("nce_pred", (2, num_masked, 256), "hash")
    predictions = float(fields["share"]) * targets + noise
    losses = {"nce": "predictions", "NOT_official_nce_paper_eq1": "targets"}
    counts = {
        "correct": "released",
        "NOT_official_correct_raw_argmax_dim0": "targets",
        "NOT_official_correct_argmax_dim1": "predictions",
    }
    shares = {
        name: masked_patch_accuracy(predictions, targets, over).item()
        for name, over in counts.items()
    }
    return relative(
        case,
        {name: info_nce_loss(predictions, targets, over) for name, over in losses.items()},
        tolerance=2e-6,
    ) + exact(case, {name: round(share * 2 * num_masked) for name, share in shares.items()})


def _pretraining(
    fields: Mapping[str, str],
) -> tuple[MaskedPatchModel, Callable[[], dict[str, Tensor]]]:
    """The model, and a function that computes its losses on the case's batch."""
    patch_size = (int(fields["rows"]), int(fields["columns"]))
    encoder = ast_encoder(fields["size"], patch_size=patch_size)
    heads = [PatchPredictionHead(encoder.embed_dim, math.prod(patch_size)) for _ in range(2)]
    model = MaskedPatchModel(encoder, *heads)
    checkpoint = formulas.released_checkpoint(
        encoder.embed_dim, len(encoder.blocks), patch_size, fields["kind"]
    )
    model.load_state_dict(released_to_ours(checkpoint))
    spectrograms = formulas.spectrograms(1024)
    masked_indices = formulas.masked_indices(int(fields["masked"]))
    targets = select_patches(patchify(spectrograms, patch_size), masked_indices)

    def losses() -> dict[str, Tensor]:
        predictions = model(spectrograms, masked_indices)
        nce = info_nce_loss(predictions.contrastive, targets, softmax_over="predictions")
        mse = masked_reconstruction_loss(predictions.reconstruction, targets)
        return {"joint": nce + 10 * mse, "nce": nce, "mse": mse}

    return model, losses


def _undetermined_distances(kind: str) -> re.Pattern:
    # Adam moves what has no gradient as far as the rest, in directions that rounding chooses.
    # A third of every qkv.bias, the keys', is of that sort.
    names = r"cpredlayer\.2\.bias|.*\.attn\.qkv\.bias"
    return re.compile(names + (r"|v\.(cls|dist)_token" if kind == "sin" else ""))
