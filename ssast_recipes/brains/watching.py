"""Early warnings: a pretraining whose embeddings collapse, or whose loss has gone flat."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import speechbrain as sb
import torch
from speechbrain.utils.distributed import if_main_process
from torch import Tensor

from ssast_recipes.brains.probe import embed
from ssast_recipes.data.batches import ClipBatch
from ssast_recipes.probing import effective_rank, embedding_spread

logger = logging.getLogger(__name__)

# An encoder with random weights has a spread of 0.8 and a rank of 5 to 7 on 24 clips of ESC-10.
LEAST_SPREAD = 0.005
LEAST_RANK = 1.5
LEAST_CLIPS = 4  # of which anything can be said
FLAT_VALIDATIONS = 5
FLAT_SHARE = 0.001


def watch(brain: sb.Brain, batch: ClipBatch) -> None:
    """Logs how much embeddings differ; warns if they hardly do, and of a flat loss.

    Arguments
    ---------
    brain : Brain
        A `PretrainingBrain` that has just validated.
    batch : ClipBatch
        A batch of its validation set, on its device.
    """
    if not if_main_process():
        return
    brain.modules.eval()
    with torch.no_grad(), brain.evaluation_ctx:
        embeddings = embed(brain.model.encoder, brain.front_end, batch)
    brain.modules.train()
    measured = measure_embeddings(embeddings)
    brain.log.write("embeddings", {"step": brain.optimizer_step, **measured})
    warm = getattr(brain.schedule, "warmup_steps", 0)
    records = [r for r in brain.log.read() if r["stage"] == "valid" and r["step"] > warm]
    for warning in (warn_of_collapse(measured, len(batch)), warn_of_flat_loss(records)):
        if warning:
            logger.warning("Warning: %s", warning)


def measure_embeddings(embeddings: Tensor) -> dict[str, float]:
    """Measures how much the embeddings of a few clips differ.

    Arguments
    ---------
    embeddings : Tensor
        [clips, width].

    Returns
    -------
    dict[str, float]
        `spread` and `rank`: see `embedding_spread` and `effective_rank`.
    """
    return {
        "spread": float(embedding_spread(embeddings)),
        "rank": float(effective_rank(embeddings)),
    }


def warn_of_collapse(measured: Mapping[str, float], num_clips: int) -> str | None:
    """Says that embeddings are nearly the same whatever is heard, if they are.

    Arguments
    ---------
    measured : mapping
        From `measure_embeddings`.
    num_clips : int
        Of how many clips.

    Returns
    -------
    str or None
        The warning.

    Example
    -------
    >>> warn_of_collapse({"spread": 0.9, "rank": 7.0}, num_clips=24)
    >>> warn_of_collapse({"spread": 0.001, "rank": 7.0}, num_clips=24)
    'the embeddings of 24 clips are nearly alike (spread 0.001, effective rank 7.0); ...
    """
    if num_clips < LEAST_CLIPS:
        return None
    if measured["spread"] >= LEAST_SPREAD and measured["rank"] >= LEAST_RANK:
        return None
    return (
        f"the embeddings of {num_clips} clips are nearly alike (spread {measured['spread']:.2g}, "
        f"effective rank {measured['rank']:.1f}); if the clips are not, the representation has "
        "collapsed: begin again with a lower learning rate or a longer warm-up"
    )


def warn_of_flat_loss(records: Sequence[Mapping[str, Any]]) -> str | None:
    """Says that the validation loss has not fallen for long, if it has not.

    Arguments
    ---------
    records : sequence of mapping
        What was logged of the validations after the warm-up, oldest first: `step` and `loss`.

    Returns
    -------
    str or None
        The warning, once in `FLAT_VALIDATIONS` validations.

    Example
    -------
    >>> losses = [5.0, 4.0, 4.1, 3.999, 4.0, 4.2, 4.0]
    >>> records = [{"step": 10 * n, "loss": loss} for n, loss in enumerate(losses)]
    >>> warn_of_flat_loss(records[:6])
    >>> warn_of_flat_loss(records)
    'the validation loss has not fallen by 0.1 % in 5 validations: 4 at step 10, since then ...
    """
    best, since = None, 0
    for record in records:
        loss = float(record["loss"])
        if best is None or loss < best["loss"] - FLAT_SHARE * abs(best["loss"]):
            best, since = record, 0
        else:
            since += 1
    if best is None or since == 0 or since % FLAT_VALIDATIONS:
        return None
    least = min(float(record["loss"]) for record in records[-since:])
    return (
        f"the validation loss has not fallen by {100 * FLAT_SHARE:g} % in {since} validations: "
        f"{best['loss']:.4g} at step {best['step']}, since then {least:.4g} at best; lower the "
        "learning rate, give more audio, or stop here"
    )
