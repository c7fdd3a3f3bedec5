"""The model folder that an evaluated run leaves beside its checkpoints."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ssast_recipes import __version__
from ssast_recipes.model.front_end import SpectrogramFrontEnd
from ssast_recipes.weights.formats.description import describe_front_end
from ssast_recipes.weights.formats.folder import save_model

logger = logging.getLogger(__name__)

_RECORD = ("dataset", "protocol", "fold", "pretrained_from")


def leave_model(
    hparams: SimpleNamespace,
    model: nn.Module,
    front_end: SpectrogramFrontEnd,
    details: Mapping[str, Any],
) -> None:
    """Writes a run's model folder, `model`, into its output folder.

    A model with parts of one's own, which a model folder cannot hold, is told in a warning: the
    run's checkpoints have it all the same.

    Arguments
    ---------
    hparams : SimpleNamespace
        The run's hyperparameters: `output_folder`, `seed`, `record`; `sample_rate`, if not 16000;
        of a classifier, `classes` and `loss`.
    model : nn.Module
        With the weights to keep.
    front_end : SpectrogramFrontEnd
        What makes its spectrograms.
    details : mapping
        Which weights these are and how good, for the provenance.
    """
    folder = Path(hparams.output_folder) / "model"
    known = {key: hparams.record[key] for key in _RECORD if hparams.record.get(key) is not None}
    told = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in details.items()
    }
    provenance = {**known, "seed": hparams.seed, **told, "package_version": __version__}
    loss = getattr(hparams, "loss", None)
    # Such a loss trains every logit for itself. A YAML file's `!name:` makes a partial of it.
    is_multi = getattr(loss, "func", loss) is binary_cross_entropy_with_logits
    try:
        save_model(
            folder,
            model,
            describe_front_end(front_end, getattr(hparams, "sample_rate", 16000)),
            labels=getattr(hparams, "classes", ()),
            label_kind="multi" if is_multi else "single",
            provenance=provenance,
        )
    except (ValueError, AttributeError) as error:
        logger.warning("Warning: no model folder is left beside the checkpoints: %s", error)
    else:
        logger.info("The model to use, with its %s weights: %s", details["weights"], folder)
