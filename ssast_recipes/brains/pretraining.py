"""Pretraining by masked spectrogram patch modeling."""

import logging
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from speechbrain import Stage
from speechbrain.utils.distributed import if_main_process
from torch import Tensor

from ssast_recipes.brains.brain import BaseBrain
from ssast_recipes.brains.evaluation import sum_over_processes
from ssast_recipes.brains.monitoring import LabelledProbe, embed, tell_of_masks, watch
from ssast_recipes.brains.pictures import draw_reconstructions
from ssast_recipes.data.batches import ClipBatch
from ssast_recipes.data.pipelines import WaveformReader
from ssast_recipes.model.grid import patches_within
from ssast_recipes.model.masked_patches import MaskedPatchPredictions
from ssast_recipes.model.masking import Masker, find_mask_fault
from ssast_recipes.model.patches import (
    count_by_row,
    patchify,
    select_patches,
    standardise_patches,
    unstandardise_patches,
)
from ssast_recipes.model.placement import place_at_random
from ssast_recipes.model.randomness import ClipGenerator
from ssast_recipes.objectives.losses import constant_patches
from ssast_recipes.objectives.metrics import found_patches, masked_patch_accuracy

logger = logging.getLogger(__name__)


class MaskedBatch(NamedTuple):
    """Predictions of a batch, with what they are to predict.

    Masks and targets are those of each pass: of one for both objectives or, as released, of two,
    the contrastive first.
    """

    spectrograms: Tensor  # [batch, frames, mel bins]
    masked: list[Tensor]  # [batch, masked] each
    predictions: MaskedPatchPredictions  # [batch, masked, patch area]
    targets: list[Tensor]  # [batch, masked, patch area] each
    visible_patches: Tensor | None = None  # what is no padding, where that is masked

    def included(self, number: int) -> Tensor | None:
        """Which of a pass's masked patches are to be predicted, [batch, masked]; None: all."""
        visible = self.visible_patches
        return None if visible is None else visible.gather(1, self.masked[number])


class PretrainingBrain(BaseBrain):
    """Pretrains an encoder to find and to redraw masked patches.

    Counts steps. Needed in `hparams` besides the base's: `num_steps`, `valid_interval`, `encoder`,
    `masker`, `two_passes`, `contrastive_loss`, `softmax_over`, `exclude_constant_patches`,
    `reconstruction_loss`, `reconstruction_weight`; in `modules`: `front_end` and `model` (a
    `MaskedPatchModel` or `MaskedAutoencoder`).

    Where the model masks padding (`padding: masked`), patches are masked in proportion among each
    clip's own, and those of padding alone are no targets; the masker is called with
    `visible_patches`, too, and the losses with `included`.

    Watches what is learnt: tries simple classifiers on `probe_data`, and warns when embeddings
    collapse or the loss has gone flat.
    """

    optional = BaseBrain.optional | {
        "targets": "raw",  # what both heads predict: raw patches, or standardised_patches
        "placement": "start",  # where a clip stands that is shorter than the spectrogram; or random
        "best_by": "metric",  # what selects the best weights: the metric, or the (least) loss
        "probe_data": None,  # labelled audio, for a `LabelledProbe`
        "probe_interval": 0,  # steps from one probe to the next; 0: before and after training
    }

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if self.hparams.best_by not in ("metric", "loss"):
            raise ValueError(f"best_by is metric or loss, not {self.hparams.best_by!r}")
        if self.hparams.targets not in ("raw", "standardised_patches"):
            raise ValueError(
                f"targets are raw or standardised_patches, not {self.hparams.targets!r}"
            )
        if self.hparams.placement not in ("start", "random"):
            raise ValueError(f"placement is start or random, not {self.hparams.placement!r}")
        # A model of one's own need not have the option.
        self.masks_padding = getattr(self.modules.model, "padding", "released") == "masked"
        self.standardises = self.hparams.targets == "standardised_patches"
        self._example: tuple[ClipBatch, MaskedBatch] | None = None
        self.probe: LabelledProbe | None = None
        if self.hparams.probe_data is not None and if_main_process():
            reader = WaveformReader(self.hparams.sample_rate, self.hparams.max_duration)
            self.probe = LabelledProbe(self.hparams.probe_data, reader)
        heads = (self.modules.model.contrastive_head, self.modules.model.reconstruction_head)
        if self.hparams.two_passes and None in heads:
            raise ValueError("two_passes is for two objectives, one has no head; set it to False")
        self.num_passes = 2 if self.hparams.two_passes else 1
        if getattr(self.schedule, "num_steps", 0) is None:
            self.schedule.num_steps = self.last_step
        if getattr(self.schedule, "warmup_steps", 0) >= self.last_step:
            logger.warning(
                "The learning rate stays in its warm-up: warmup_steps is %d, num_steps %d",
                self.schedule.warmup_steps,
                self.last_step,
            )
        self._check_masker()

    def _check_masker(self) -> None:
        """Draws masks of two clips, so that a masker that does not fit is found before training."""
        masker, encoder = deepcopy(self.hparams.masker), self.hparams.encoder  # it may keep a state
        places = torch.arange(2, device=self.device)
        try:
            whole = torch.ones(2, encoder.num_patches, dtype=torch.bool, device=self.device)
            padding = {"visible_patches": whole} if self.masks_padding else {}
            generator = ClipGenerator(self.hparams.seed, 0, places)
            masked = masker(generator, encoder.grid_size, **padding)
        except ValueError as error:
            if not isinstance(masker, Masker):
                raise ValueError(f"masker {_name(masker)}: {error}") from error
            raise ValueError(
                f"{error}; lower num_masked_patches, or make more patches: target_length is "
                f"{encoder.target_length}, patch_size {encoder.patch_size}"
            ) from error
        wrong = find_mask_fault(masked, len(places), encoder.num_patches)
        if wrong:
            raise ValueError(
                f"masker {_name(masker)} has to return [batch, masked] int64, each clip's patches "
                f"once each, from 0 to {encoder.num_patches - 1}; it returned {wrong}"
            )
        count, total = masked.shape[1], encoder.num_patches
        logger.info("Masking %d of %d patches (%.0f %%)", count, total, 100 * count / total)
        if if_main_process():
            tell_of_masks(self.hparams.masker, encoder.grid_size, self.device)

    def compute_forward(self, batch: ClipBatch, stage: Stage) -> MaskedBatch:
        """Masks patches and predicts them."""
        modules = self.modules_of(stage)
        # Validation masks each clip alike every time: step 0, place = the clip's own number.
        step = self.optimizer_step + 1 if stage == Stage.TRAIN else 0
        generator = ClipGenerator(self.hparams.seed, step, batch.places)

        spectrograms = modules.front_end(batch.waveforms, batch.num_samples)
        spectrograms, visible = self.place(spectrograms, batch.num_samples, generator)
        patches = self.make_patches(spectrograms)  # [batch, patches, patch area]
        masked = self.draw_masks(generator, visible)  # [batch, masked], for each pass
        predictions = modules.model(spectrograms, *masked, **visible)  # of two heads
        targets = [select_patches(patches, indices) for indices in masked]
        return MaskedBatch(spectrograms, masked, predictions, targets, **visible)

    def place(
        self, spectrograms: Tensor, num_samples: Tensor, generator: ClipGenerator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Puts short clips where they are to stand; tells, if padding is masked, what is none.

        As keywords: `visible_patches` [batch, patches] bool, or nothing.
        """
        num_frames = self.front_end.filterbank.num_frames(num_samples)
        starts = None
        if self.hparams.placement == "random":
            spectrograms, starts = place_at_random(spectrograms, num_frames, generator)
        if not self.masks_padding:
            return spectrograms, {}
        encoder = self.hparams.encoder
        within = patches_within(num_frames, encoder.grid_size, encoder.patch_size, starts)
        return spectrograms, {"visible_patches": within}

    def make_patches(self, spectrograms: Tensor) -> Tensor:
        """Cuts spectrograms into the patches that are to be predicted, raw or standardised."""
        patches = patchify(spectrograms, self.hparams.encoder.patch_size)
        return standardise_patches(patches) if self.standardises else patches

    def draw_masks(self, generator: ClipGenerator, visible: dict[str, Tensor]) -> list[Tensor]:
        """Draws which patches to mask, [batch, masked], for each pass anew."""
        masker, grid_size = self.hparams.masker, self.hparams.encoder.grid_size
        return [masker(generator, grid_size, **visible) for _ in range(self.num_passes)]

    def compute_objectives(self, outputs: MaskedBatch, batch: ClipBatch, stage: Stage) -> Tensor:
        """Joins the losses of the objectives that have a head: L_d + weight * L_g."""
        predictions = outputs.predictions
        targets, redrawn = outputs.targets[0], outputs.targets[-1]
        constant = constant_patches(targets)  # [batch, masked]
        loss = torch.zeros((), device=targets.device)
        self.metrics = {"constant_patches": constant.float().mean()}
        if predictions.contrastive is not None:
            choice = self._choice(constant, outputs.included(0))
            contrastive = self.hparams.contrastive_loss(predictions.contrastive, targets, **choice)
            loss = loss + contrastive
            self.metrics["contrastive_loss"] = contrastive
            self.metrics["masked_patch_accuracy"] = masked_patch_accuracy(
                predictions.contrastive.detach(), targets, **choice
            )
        if predictions.reconstruction is not None:
            included = {} if outputs.visible_patches is None else {"included": outputs.included(-1)}
            reconstruction = self.hparams.reconstruction_loss(
                predictions.reconstruction, redrawn, **included
            )
            loss = loss + self.hparams.reconstruction_weight * reconstruction
            self.metrics["reconstruction_loss"] = reconstruction
        return loss

    def _choice(self, constant: Tensor, included: Tensor | None) -> dict[str, Any]:
        """Which retrieval the contrastive head is asked for, given constant and other patches."""
        if self.hparams.exclude_constant_patches:
            included = ~constant if included is None else included & ~constant
        return {"softmax_over": self.hparams.softmax_over, "included": included}

    # Validation

    def on_stage_end(self, stage: Stage, stage_loss: float, epoch: int | None = None) -> None:
        """Looks at an example after validation."""
        if stage == Stage.VALID and self._example is not None:
            batch, outputs = self._example
            self._show(outputs)
            self._watch(batch)
        self._example = None

    @property
    def metric_name(self) -> str:
        """The masked-patch accuracy or, without a contrastive head, the reconstruction loss."""
        has_accuracy = self.model.contrastive_head is not None
        return "masked_patch_accuracy" if has_accuracy else "reconstruction_loss"

    def score(self, metrics: Mapping[str, float]) -> float:
        """What is higher for a better model: the accuracy, or the negated error or loss."""
        if self.hparams.best_by == "loss":
            return -metrics["loss"]
        value = metrics[self.metric_name]
        return value if self.metric_name == "masked_patch_accuracy" else -value

    def evaluate_batch(self, batch: ClipBatch, stage: Stage) -> Tensor:
        """Returns the batch's sums of the loss, of every metric, of clips, and of what is masked.

        [2 + metrics + rows]: the last are masked patches by row of the grid.
        """
        with self.evaluation_ctx:
            outputs = self.compute_forward(batch, stage)
            loss = self.compute_objectives(outputs, batch, stage)
        if self._example is None:
            self._example = batch, outputs
        means = [loss, *self.metrics.values(), torch.ones_like(loss)]
        sums = len(batch) * torch.stack([value.float() for value in means])
        return torch.cat([sums, count_by_row(outputs.masked[0], self.hparams.encoder.grid_size)])

    def summarise(self, outputs: list[Tensor], stage: Stage) -> dict[str, Any]:
        """Averages over the clips of all processes.

        `masked_share_by_row` is a list: of each row of the grid, the lowest frequency first.
        """
        sums = sum_over_processes(outputs)
        rows, columns = self.hparams.encoder.grid_size
        means = (sums / sums[-rows - 1]).tolist()  # over clips
        shares = [round(count / columns, 6) for count in means[-rows:]]
        named = zip(["loss", *self.metrics], means[: -rows - 1], strict=True)
        return {**dict(named), "masked_share_by_row": shares}

    def _show(self, example: MaskedBatch) -> None:
        contrastive, reconstruction = example.predictions
        found = None
        if contrastive is not None:
            choice = self._choice(constant_patches(example.targets[0]), example.included(0))
            found = found_patches(contrastive, example.targets[0], **choice).float()
            if choice["included"] is not None:
                found = found.masked_fill(~choice["included"], float("nan"))
        encoder = self.hparams.encoder
        if self.standardises and reconstruction is not None:  # with each patch's own statistics
            patches = patchify(example.spectrograms, encoder.patch_size)
            patches = select_patches(patches, example.masked[-1])
            reconstruction = unstandardise_patches(reconstruction, patches)
        figure = draw_reconstructions(
            example.spectrograms,
            example.masked[-1],
            reconstruction,
            encoder.patch_size,
            encoder.grid_size,
            found=None if found is None else (example.masked[0], found),
            filterbank=getattr(self.front_end, "filterbank", None),
        )
        name = "found" if reconstruction is None else "reconstruction"
        self.log.figure(name, figure, self.optimizer_step)

    # Early signs of what is learnt

    def on_fit_start(self) -> None:
        """As the base's; then probes what the encoder knows before it is trained."""
        super().on_fit_start()
        was_probed = any(record["stage"] == "probe" for record in self.log.read())
        if self.probe is not None and self.optimizer_step == 0 and not was_probed:
            self._probe()

    def on_step_end(self) -> None:
        """Probes when it is time, then validates and saves as the base does."""
        if self.hparams.probe_data is not None:  # before saving: what is saved has been probed
            if self.is_finished or self.is_time(self.hparams.probe_interval):
                self._probe()
        super().on_step_end()

    def _watch(self, batch: ClipBatch) -> None:
        """Logs how much the embeddings of a batch differ; warns if they, or losses, hardly do."""
        if if_main_process():
            self.modules.eval()
            with torch.no_grad(), self.evaluation_ctx:
                parts = (self.model.encoder, self.front_end)
                embeddings = embed(*parts, batch, self.masks_padding)
            self.modules.train()
            watch(
                embeddings, self.log, self.optimizer_step, getattr(self.schedule, "warmup_steps", 0)
            )

    def _probe(self) -> None:
        self.log_training()
        if self.probe is not None:  # on the main process
            self.modules.eval()
            with self.evaluation_ctx:
                parts = (self.model.encoder, self.front_end)
                measured = self.probe.measure(*parts, self.masks_padding)
            self.modules.train()
            self.log.write("probe", {"step": self.optimizer_step, **measured})
        self.window.start()


def _name(masker: Any) -> str:
    named = getattr(masker, "func", masker)  # of a partial, its function
    return getattr(named, "__name__", type(named).__name__)
