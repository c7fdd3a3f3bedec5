"""Pretraining by masked spectrogram patch modeling."""

import logging
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from speechbrain import Stage
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from ssast_recipes.brains.base import BaseBrain
from ssast_recipes.data.batches import ClipBatch
from ssast_recipes.losses import constant_patches
from ssast_recipes.metrics import masked_patch_accuracy
from ssast_recipes.patches import patchify, select_patches
from ssast_recipes.pictures import draw_reconstructions
from ssast_recipes.pretraining import MaskedPatchPredictions
from ssast_recipes.randomness import ClipGenerator

logger = logging.getLogger(__name__)


class MaskedBatch(NamedTuple):
    """Predictions of a batch, with what they are to predict."""

    spectrograms: Tensor  # [batch, frames, mel bins]
    masked: Tensor  # [batch, masked]
    predictions: MaskedPatchPredictions  # [batch, masked, patch area]
    targets: Tensor  # [batch, masked, patch area]
    reconstruction_masked: Tensor  # [batch, masked]
    reconstruction_targets: Tensor  # [batch, masked, patch area]


class PretrainingBrain(BaseBrain):
    """Pretrains an encoder to find and to redraw masked patches.

    Counts steps: trains `num_steps`, validates every `valid_interval` and saves every
    `checkpoint_interval` steps. Needed in `hparams` besides the base's: `encoder`, `masker`,
    `two_passes`, `contrastive_loss`, `softmax_over`, `exclude_constant_patches`,
    `reconstruction_loss`, `reconstruction_weight`; in `modules`: `front_end` and `model` (a
    `MaskedPatchModel`).
    """

    continuous = True

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        limits = [self.hparams.num_steps, self.optimizer_step_limit or self.hparams.num_steps]
        if self.debug:
            limits.append(self.debug_batches)
        self.optimizer_step_limit = min(map(int, limits))
        self._example: MaskedBatch | None = None
        heads = (self.modules.model.contrastive_head, self.modules.model.reconstruction_head)
        if self.hparams.two_passes and None in heads:
            raise ValueError("two_passes is for two objectives, one has no head; set it to False")
        if getattr(self.schedule, "warmup_steps", 0) >= self.optimizer_step_limit:
            logger.warning(
                "The learning rate stays in its warm-up: warmup_steps is %d, num_steps %d",
                self.schedule.warmup_steps,
                self.optimizer_step_limit,
            )
        self._check_masker()

    def _check_masker(self) -> None:
        """Draws one mask, so that one that does not fit is found before training."""
        masker, encoder = deepcopy(self.hparams.masker), self.hparams.encoder  # it may keep a state
        place = torch.zeros(1, dtype=torch.int64, device=self.device)
        try:
            masked = masker(ClipGenerator(self.hparams.seed, 0, place), encoder.grid_size)
        except ValueError as error:
            raise ValueError(
                f"{error}; lower num_masked_patches, or make more patches: target_length is "
                f"{encoder.target_length}, patch_size {encoder.patch_size}"
            ) from error
        count, total = masked.shape[1], encoder.num_patches
        logger.info("Masking %d of %d patches (%.0f %%)", count, total, 100 * count / total)

    def compute_forward(self, batch: ClipBatch, stage: Stage) -> MaskedBatch:
        """Masks patches and predicts them."""
        encoder, mask = self.hparams.encoder, self.hparams.masker
        # Validation masks each clip alike every time: step 0, place = the clip's own number.
        step = self.optimizer_step + 1 if stage == Stage.TRAIN else 0
        generator = ClipGenerator(self.hparams.seed, step, batch.places)

        spectrograms = self.modules.front_end(batch.waveforms, batch.num_samples)
        patches = patchify(spectrograms, encoder.patch_size)  # [batch, patches, patch area]
        masked = mask(generator, encoder.grid_size)  # [batch, masked]
        masked_again = mask(generator, encoder.grid_size) if self.hparams.two_passes else None
        predictions = self.modules.model(spectrograms, masked, masked_again)
        targets = select_patches(patches, masked)  # [batch, masked, patch area]
        if masked_again is None:
            return MaskedBatch(spectrograms, masked, predictions, targets, masked, targets)
        targets_again = select_patches(patches, masked_again)
        return MaskedBatch(spectrograms, masked, predictions, targets, masked_again, targets_again)

    def compute_objectives(self, outputs: MaskedBatch, batch: ClipBatch, stage: Stage) -> Tensor:
        """Joins the losses of the objectives that have a head: L_d + weight * L_g."""
        predictions, targets = outputs.predictions, outputs.targets
        constant = constant_patches(targets)  # [batch, masked]
        loss = torch.zeros((), device=targets.device)
        self.metrics = {"constant_patches": constant.float().mean()}
        if predictions.contrastive is not None:
            choice = {
                "softmax_over": self.hparams.softmax_over,
                "included": ~constant if self.hparams.exclude_constant_patches else None,
            }
            contrastive = self.hparams.contrastive_loss(predictions.contrastive, targets, **choice)
            loss = loss + contrastive
            self.metrics["contrastive_loss"] = contrastive
            self.metrics["masked_patch_accuracy"] = masked_patch_accuracy(
                predictions.contrastive.detach(), targets, **choice
            )
        if predictions.reconstruction is not None:
            reconstruction = self.hparams.reconstruction_loss(
                predictions.reconstruction, outputs.reconstruction_targets
            )
            loss = loss + self.hparams.reconstruction_weight * reconstruction
            self.metrics["reconstruction_loss"] = reconstruction
        return loss

    # Validation, by steps

    def fit(
        self,
        epoch_counter: Any,
        train_set: Any,
        valid_set: Any = None,
        progressbar: bool | None = None,
        train_loader_kwargs: dict[str, Any] | None = None,
        valid_loader_kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Trains up to `num_steps`; arguments as SpeechBrain's, epochs being counted by itself."""
        self._valid_loader = valid_set
        if valid_set is not None and not isinstance(valid_set, DataLoader):
            self._valid_loader = self.make_dataloader(
                valid_set, Stage.VALID, **(valid_loader_kwargs or {})
            )
        super().fit(
            [1], train_set, None, progressbar, train_loader_kwargs=train_loader_kwargs or {}
        )

    def on_fit_batch_start(self, batch: ClipBatch, should_step: bool) -> None:
        """Counts epochs, whose ends batches run across."""
        batches = self.train_sampler
        share = batches.batch_size * batches.world_size
        self.epoch = 1 + (self.step * share - 1) // batches.num_clips

    def progress_bar(self, train_set: DataLoader, enable: bool) -> tqdm:
        """Returns the bar that counts all steps of the run."""
        return tqdm(
            total=self.optimizer_step_limit,
            initial=self.optimizer_step,
            desc="pretraining",
            disable=not enable,
            dynamic_ncols=True,
        )

    def on_step_end(self) -> None:
        """Validates and saves when it is time, and after the last step."""
        last = self._optimizer_step_limit_exceeded
        meta = {"step": self.optimizer_step}
        is_time = self.optimizer_step % self.hparams.valid_interval == 0
        validate = self._valid_loader is not None and (is_time or last)
        if validate:
            self.log_training()
            meta.update(self.validate())
        if validate or last or self.optimizer_step % self.hparams.checkpoint_interval == 0:
            self.save(meta, end_of_epoch=False)

    def validate(self) -> dict[str, float]:
        """Measures the pretext task on the validation set, logs it and tells the schedule."""
        self.on_stage_start(Stage.VALID, self.epoch)
        metrics = self.evaluate_set(self._valid_loader, Stage.VALID, enable=False)
        self.modules.train()
        if hasattr(self.schedule, "observe"):
            self.schedule.observe(metrics["valid_score"], step=self.optimizer_step)
        self.log.write("valid", {"step": self.optimizer_step, **metrics})
        self._show_example()
        self.window.start()
        return metrics

    def evaluate_batch(self, batch: ClipBatch, stage: Stage) -> Tensor:
        """Returns the batch's sums of the loss, of every metric, and of clips, [2 + metrics]."""
        with self.evaluation_ctx:
            outputs = self.compute_forward(batch, stage)
            loss = self.compute_objectives(outputs, batch, stage)
        if self._example is None:
            self._example = outputs
        means = [loss, *self.metrics.values(), torch.ones_like(loss)]
        return len(batch) * torch.stack([value.float() for value in means])

    def summarise(self, outputs: list[Tensor], stage: Stage) -> dict[str, float]:
        """Averages over the clips of all processes; `valid_score` is what selects."""
        sums = torch.stack(outputs).sum(dim=0)
        if self.distributed_launch:
            torch.distributed.all_reduce(sums)
        *means, _ = (sums / sums[-1]).tolist()
        metrics = dict(zip(["loss", *self.metrics], means, strict=True))
        return {**metrics, "valid_score": _score(metrics)}

    def _show_example(self) -> None:
        example, self._example = self._example, None
        if example is not None and example.predictions.reconstruction is not None:
            encoder = self.hparams.encoder
            figure = draw_reconstructions(
                example.spectrograms,
                example.reconstruction_masked,
                example.predictions.reconstruction,
                encoder.patch_size,
                encoder.grid_size,
            )
            self.log.figure("reconstruction", figure, self.optimizer_step)

    def evaluate(
        self,
        test_set: Any,
        max_key: str | None = None,
        min_key: str | None = None,
        progressbar: bool | None = None,
        test_loader_kwargs: dict[str, Any] | None = None,
    ) -> dict[str, float]:
        """Measures the pretext task with the last and the best checkpoint; writes `results.json`.

        Arguments
        ---------
        test_set : ClipDataset
            The clips to mask.
        max_key, min_key, progressbar
            Unused; SpeechBrain's.
        test_loader_kwargs : dict
            Options of `make_dataloader`.

        Returns
        -------
        dict[str, float]
            By selection, "last" and "best" (highest `valid_score`): the masked-patch accuracy or,
            without a contrastive head, the reconstruction loss.
        """
        loader = self.make_dataloader(test_set, Stage.TEST, **(test_loader_kwargs or {}))
        pretext, steps, seconds = {}, {}, 0.0
        for selection, key in {"last": None, "best": "valid_score"}.items():
            steps[selection] = self.on_evaluate_start(max_key=key).meta["step"]
            seconds = max(seconds, self.seconds)
            pretext[selection] = self.evaluate_set(
                loader, Stage.TEST, enable=not self.noprogressbar
            )
        found = "masked_patch_accuracy" in pretext["last"]
        name = "masked_patch_accuracy" if found else "reconstruction_loss"
        values = {selection: metrics[name] for selection, metrics in pretext.items()}
        self.log.write("test", {"step": steps["last"], **values})
        self.log.close()
        self.write_results(name, values, pretext=pretext, steps=steps, seconds=seconds)
        return values


def _score(metrics: dict[str, float]) -> float:
    """What is higher for a better model: the accuracy or, without one, the negated error."""
    return metrics.get("masked_patch_accuracy", -metrics.get("reconstruction_loss", 0.0))
