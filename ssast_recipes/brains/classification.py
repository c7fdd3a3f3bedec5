"""Fine-tuning an encoder, or a linear probe on it, to classify clips."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from speechbrain import Stage
from speechbrain.utils.distributed import if_main_process
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ssast_recipes.brains.brain import BaseBrain
from ssast_recipes.brains.evaluation import gather_in_order
from ssast_recipes.brains.leaving import kept_thresholds
from ssast_recipes.brains.optimising import head_groups
from ssast_recipes.data.batches import ClipBatch
from ssast_recipes.data.class_weights import balanced_class_weights
from ssast_recipes.model.drop_path import draw_branch_scales
from ssast_recipes.model.placement import place_at_random
from ssast_recipes.model.randomness import ClipGenerator
from ssast_recipes.objectives.losses import smooth_targets
from ssast_recipes.objectives.metrics import recalls
from ssast_recipes.objectives.ranking import multi_hot
from ssast_recipes.objectives.thresholds import best_thresholds
from ssast_recipes.records.predictions import write_predictions
from ssast_recipes.records.results import write_per_class

logger = logging.getLogger(__name__)

_RANGES = (
    ("placement", lambda place: place in ("start", "random"), "start or random"),
    ("label_smoothing", lambda share: 0 <= share < 1, "a share from 0 to below 1"),
    ("layer_decay", lambda factor: 0 < factor <= 1, "a factor above 0, at most 1"),
    ("drop_path", lambda rate: 0 <= rate < 1, "a probability from 0 to below 1"),
    ("head_warmup_steps", lambda steps: steps >= 0, "a number of steps, 0 for none"),
)


class ClassificationBrain(BaseBrain):
    """Trains a classifier and judges it by a metric, as the YAML file names them.

    Of one label a clip or of several: `loss`, `metric` and the targets that the data set yields
    (class indices [batch], or one a class [batch, classes]) are what differs, all three
    named in the YAML file.

    Needed in `hparams` besides the base's: `loss` (logits, targets), `metric` (logits, targets;
    higher is better), `metric_name`, `spec_augment`, `noise_and_roll` (callables on spectrograms
    and a `ClipGenerator`, or None), `head_lr_factor`, `classes`; in `modules`: `front_end` and
    `model` (a `ClassificationModel`). `optional` lists what may be left out.
    """

    optional = BaseBrain.optional | {
        "further_metrics": {},  # more of (logits, targets) to a scalar, by name, for the record
        "class_metrics": {"recall": recalls},  # the same to [classes], for per_class.csv
        "choose_thresholds": False,  # True: on the validation set, one a class, for ssast classify
        "class_weights": None,  # in the training loss: a list, one a class, or "balanced"
        "label_smoothing": 0.0,  # in the training loss
        "layer_decay": 1.0,  # a block's learning rate over that of the block above it
        "placement": "start",  # "random": in training, short clips stand anywhere
        "drop_path": 0.0,  # stochastic depth: how often the last block's branches are dropped
        "head_warmup_steps": 0,  # first steps, in which the classifier alone is trained
    }

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._class_weights: Tensor | None = None
        self._outputs: dict[str, Any] = {}
        self._kept: dict[str, dict[str, Any]] = {}
        given = vars(self.hparams)
        for name, is_fit, wanted in _RANGES:
            if not is_fit(given[name]):
                raise ValueError(f"{name} is {given[name]}; give {wanted}")

    @property
    def metric_name(self) -> str:
        """The name that the YAML file gives the metric."""
        return self.hparams.metric_name

    def make_dataloader(
        self, dataset: Dataset, stage: Stage, *args: Any, **kwargs: Any
    ) -> DataLoader:
        """As the base's; of the training set, also takes the weights of the classes."""
        if stage == Stage.TRAIN and self.hparams.class_weights is not None:
            self._class_weights = self._weigh_classes(dataset).to(self.device)
        return super().make_dataloader(dataset, stage, *args, **kwargs)

    def _weigh_classes(self, dataset: Dataset) -> Tensor:
        weights, classes = self.hparams.class_weights, self.hparams.classes
        if weights == "balanced":
            return balanced_class_weights(dataset.labels, classes)
        if isinstance(weights, str) or len(weights) != len(classes):
            raise ValueError(
                f"class_weights is {weights!r}; give balanced, or a list of {len(classes)} numbers"
            )
        return torch.tensor([float(weight) for weight in weights])

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The encoder at the optimiser's rate, the classifier at `head_lr_factor` times that.

        With `layer_decay`, the encoder's blocks are groups of their own: see `layer_groups`.
        """
        options = self.hparams.head_lr_factor, self.hparams.layer_decay
        return head_groups(self.model, self.model.classifier, *options)

    def optimizers_step(self) -> Tensor | None:
        """As the base's; in the first `head_warmup_steps`, of the classifier alone."""
        if self.optimizer_step < self.hparams.head_warmup_steps:
            # Without gradient, an optimiser passes a weight over: no moments, no weight decay.
            for parameter in self.model.encoder.parameters():
                parameter.grad = None
        return super().optimizers_step()

    def compute_forward(self, batch: ClipBatch, stage: Stage) -> Tensor:
        """Maps a batch of clips to logits [batch, classes]."""
        modules = self.modules_of(stage)
        front_end, model = modules.front_end, modules.model
        is_training = stage == Stage.TRAIN
        given = batch.waveforms, batch.num_samples
        spectrograms = front_end(*given, standardised=not is_training)
        num_frames = front_end.filterbank.num_frames(batch.num_samples)  # [batch]
        if not is_training:
            return model(spectrograms, num_frames)
        generator = ClipGenerator(self.hparams.seed, self.optimizer_step + 1, batch.places)
        starts = None
        if self.hparams.placement == "random":
            spectrograms, starts = place_at_random(spectrograms, num_frames, generator)
        if self.hparams.spec_augment is not None:
            spectrograms = self.hparams.spec_augment(spectrograms, generator)
        spectrograms = front_end.standardise(spectrograms)  # [batch, frames, mel bins]
        if self.hparams.noise_and_roll is not None:
            spectrograms = self.hparams.noise_and_roll(spectrograms, generator)
        more: dict[str, Tensor] = {} if starts is None else {"starts": starts}  # [batch]
        if self.hparams.drop_path:
            depth, rate = len(self.model.encoder.blocks), self.hparams.drop_path
            more["branch_scales"] = draw_branch_scales(generator, depth, rate)
        return model(spectrograms, num_frames, **more)

    def compute_objectives(self, outputs: Tensor, batch: ClipBatch, stage: Stage) -> Tensor:
        """The loss of logits [batch, classes], in 32-bit.

        In training weighted by class, and of smoothed labels, if the YAML file says so.
        """
        logits, targets = outputs.float(), batch.targets
        self.metrics = {}
        if stage == Stage.TRAIN:
            self.metrics = {self.metric_name: self.hparams.metric(logits.detach(), targets)}
            if self.hparams.label_smoothing:
                targets = smooth_targets(targets, logits.shape[1], self.hparams.label_smoothing)
            if self._class_weights is not None:
                # torch would divide by the batch's own weights: no two batches would count alike.
                options = {"weight": self._class_weights, "reduction": "none"}
                return self.hparams.loss(logits, targets, **options).mean()
        return self.hparams.loss(logits, targets)

    def evaluate_batch(self, batch: ClipBatch, stage: Stage) -> tuple[Tensor, Tensor, Tensor]:
        """Returns a batch's clip numbers [batch], logits [batch, classes] and targets."""
        with self.evaluation_ctx:
            logits = self.compute_forward(batch, stage)
        return batch.indices, logits.float(), batch.targets

    def summarise(
        self, outputs: list[tuple[Tensor, Tensor, Tensor]], stage: Stage
    ) -> dict[str, float]:
        """Computes loss and metric over the clips of all processes."""
        indices, logits, targets = gather_in_order(outputs)
        self._outputs = {"logits": logits, "targets": targets, "indices": indices}
        metrics = {self.metric_name: self.hparams.metric, **self.hparams.further_metrics}
        return {
            "loss": float(self.hparams.loss(logits, targets)),
            # 32-bit means would print as 0.42500001…; nobody counts a millionth of a clip.
            **{name: round(float(metric(logits, targets)), 6) for name, metric in metrics.items()},
        }

    def keep_outputs(self, selection: str, test_set: Any) -> None:
        """Keeps the logits of a checkpoint, with the names of the clips."""
        ids = [test_set.ids[index] for index in self._outputs["indices"].tolist()]
        self._kept[selection] = {**self._outputs, "ids": ids}

    def choose_thresholds(self) -> list[float] | None:
        """Those of the highest F1 on the validation set, if the YAML file asks for them.

        Where nothing is trained, those that the model folder has.
        """
        if not self.hparams.choose_thresholds:
            return None
        if self.valid_loader is None:
            return kept_thresholds(self.hparams.output_folder)
        self.evaluate_set(self.valid_loader, Stage.VALID, enable=False)
        logits, targets = self._outputs["logits"], self._outputs["targets"]
        scores = logits.softmax(dim=1) if targets.ndim == 1 else logits.sigmoid()
        return best_thresholds(scores, targets).tolist()

    def write_reports(self) -> dict[str, Any]:
        """Writes predictions and `per_class.csv`; counts the classes without a clip."""
        classes = self.hparams.classes
        counts = multi_hot(self._kept["last"]["targets"], len(classes)).sum(dim=0)
        missing = int((counts == 0).sum())
        if if_main_process():
            folder = Path(self.hparams.output_folder)
            write_predictions(folder / "predictions.csv", classes, self._kept)
            per_class = {
                selection: {
                    name: metric(kept["logits"], kept["targets"])
                    for name, metric in self.hparams.class_metrics.items()
                }
                for selection, kept in self._kept.items()
            }
            write_per_class(folder / "per_class.csv", classes, counts, per_class)
            for selection, columns in per_class.items():
                self._tell_worst(selection, columns, counts)
            if missing:
                logger.info(
                    "%d of %d classes have no clip in the test set; averages over classes leave "
                    "them out",
                    missing,
                    len(classes),
                )
        return {"classes_without_clips": missing}

    def _tell_worst(self, selection: str, columns: Mapping[str, Tensor], counts: Tensor) -> None:
        name, values = next(iter(columns.items()))
        worst = values.nan_to_num(float("inf")).argsort()[:5]
        told = [
            f"{self.hparams.classes[i]} {values[i]:.3g} ({counts[i]} clips)"
            for i in worst.tolist()
            if counts[i] > 0
        ]
        logger.info("Lowest %s, %s weights: %s", name, selection, "; ".join(told))
