"""What a run tells about itself when training begins."""

import logging

import speechbrain as sb

from ssast_recipes.results import device_kind

logger = logging.getLogger(__name__)


def tell_start(brain: sb.Brain, num_steps: int | None, num_valid_clips: int | None = None) -> None:
    """Logs device, parameters, clips and steps, in three lines.

    Arguments
    ---------
    brain : Brain
        One of ours, after `on_fit_start`.
    num_steps : int, optional
        Steps of the whole run; None where epochs are counted.
    num_valid_clips : int, optional
        How many clips validation has.
    """
    batches, modules = brain.train_sampler, brain.modules
    parameters = [(one.numel(), one.requires_grad) for one in modules.parameters()]
    total = sum(count for count, _ in parameters)
    trained = sum(count for count, is_trained in parameters if is_trained)
    logger.info(
        "%s%s, %s; %s parameters%s",
        device_kind(brain.device),
        f", {batches.world_size} processes" if batches.world_size > 1 else "",
        brain.precision,
        f"{total:,}",
        "" if trained == total else f", {trained:,} of them trained",
    )
    length = f"{-(-batches.num_clips // batches.clips_per_step):,} steps an epoch"
    if num_steps is not None:
        epochs = num_steps * batches.clips_per_step / batches.num_clips
        length = f"{num_steps:,} steps ({epochs:.3g} epochs)"
    logger.info(
        "%s clips%s; %s of %d clips%s",
        f"{batches.num_clips:,}",
        "" if num_valid_clips is None else f", {num_valid_clips:,} to validate on",
        length,
        batches.clips_per_step,
        f", going on after step {brain.optimizer_step:,}" if brain.optimizer_step else "",
    )
    logger.info("Output folder: %s", brain.hparams.output_folder)
