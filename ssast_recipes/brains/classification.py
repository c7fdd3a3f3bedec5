"""Fine-tuning an encoder, or a linear probe on it, to classify clips."""

from pathlib import Path
from typing import Any

import torch
from speechbrain import Stage
from speechbrain.utils.distributed import if_main_process
from torch import Tensor
from torch.utils.data import DataLoader

from ssast_recipes.brains.base import BaseBrain
from ssast_recipes.data.batches import ClipBatch
from ssast_recipes.randomness import ClipGenerator
from ssast_recipes.results import write_predictions


class ClassificationBrain(BaseBrain):
    """Trains a classifier and judges it by a metric, as the YAML file names them.

    Validates and saves after every epoch, and every `checkpoint_interval` steps between if that
    is above 0. Needed in `hparams` besides the base's: `loss` (logits, targets), `metric` (logits,
    targets), `metric_name`, `spec_augment`, `noise_and_roll` (callables on spectrograms and a
    `ClipGenerator`, or None), `head_lr_factor`, `classes`; in `modules`: `front_end` and
    `model` (a `ClassificationModel`).
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._outputs: dict[str, Any] = {}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The encoder at the optimiser's rate, the classifier at `head_lr_factor` times that."""
        model = getattr(self.modules.model, "module", self.modules.model)
        head = [p for p in model.classifier.parameters() if p.requires_grad]
        in_head = set(head)
        body = [p for p in model.parameters() if p.requires_grad and p not in in_head]
        groups = [{"params": body}, {"params": head, "lr_factor": self.hparams.head_lr_factor}]
        return [group for group in groups if group["params"]]

    def compute_forward(self, batch: ClipBatch, stage: Stage) -> Tensor:
        """Maps a batch of clips to logits [batch, classes]."""
        front_end = self.modules.front_end
        spectrograms = front_end.raw(batch.waveforms, batch.num_samples)
        if stage != Stage.TRAIN:
            return self.modules.model(front_end.standardise(spectrograms))
        generator = ClipGenerator(self.hparams.seed, self.optimizer_step + 1, batch.places)
        if self.hparams.spec_augment is not None:
            spectrograms = self.hparams.spec_augment(spectrograms, generator)
        spectrograms = front_end.standardise(spectrograms)  # [batch, frames, mel bins]
        if self.hparams.noise_and_roll is not None:
            spectrograms = self.hparams.noise_and_roll(spectrograms, generator)
        return self.modules.model(spectrograms)

    def compute_objectives(self, outputs: Tensor, batch: ClipBatch, stage: Stage) -> Tensor:
        """The loss of logits [batch, classes], in 32-bit."""
        targets = batch.targets
        self.metrics = {}
        if stage == Stage.TRAIN:
            self.metrics = {
                self.hparams.metric_name: self.hparams.metric(outputs.detach(), targets)
            }
        return self.hparams.loss(outputs.float(), targets)

    def on_step_end(self) -> None:
        """Saves within an epoch if `checkpoint_interval` says so."""
        interval = self.hparams.checkpoint_interval
        if interval > 0 and self.optimizer_step % interval == 0:
            self.save({"step": self.optimizer_step, "epoch": self.epoch}, end_of_epoch=False)

    def _fit_valid(self, valid_set: DataLoader, epoch: int, enable: bool) -> None:
        record = {"step": self.optimizer_step, "epoch": epoch}
        if valid_set is not None:
            record |= self.evaluate_set(valid_set, Stage.VALID, enable)
            self.log.write("valid", record)
            record["valid_score"] = record[self.hparams.metric_name]
        self.save(record, end_of_epoch=True)

    def evaluate_batch(self, batch: ClipBatch, stage: Stage) -> tuple[Tensor, Tensor, Tensor]:
        """Returns a batch's clip numbers [batch], logits [batch, classes] and targets."""
        with self.evaluation_ctx:
            logits = self.compute_forward(batch, stage)
        return batch.indices, logits.float(), batch.targets

    def summarise(
        self, outputs: list[tuple[Tensor, Tensor, Tensor]], stage: Stage
    ) -> dict[str, float]:
        """Computes loss and metric over the clips of all processes."""
        indices, logits, targets = (
            torch.cat(column).cpu() for column in zip(*outputs, strict=True)
        )
        if self.distributed_launch:
            parts: list[Any] = [None] * self.world_size
            torch.distributed.all_gather_object(parts, (indices, logits, targets))
            indices, logits, targets = (torch.cat(column) for column in zip(*parts, strict=True))
        order = indices.argsort()
        logits, targets = logits[order], targets[order]
        self._outputs = {"logits": logits, "targets": targets, "indices": indices[order]}
        metric = self.hparams.metric(logits, targets)
        return {
            "loss": float(self.hparams.loss(logits, targets)),
            # 32-bit means would print as 0.42500001…; nobody counts a millionth of a clip.
            self.hparams.metric_name: round(float(metric), 6),
        }

    def evaluate(
        self,
        test_set: Any,
        max_key: str | None = None,
        min_key: str | None = None,
        progressbar: bool | None = None,
        test_loader_kwargs: dict[str, Any] | None = None,
    ) -> dict[str, float]:
        """Evaluates the last and the best checkpoint; writes `results.json`, `predictions.csv`.

        Arguments
        ---------
        test_set : ClipDataset
            The clips to classify.
        max_key, min_key, progressbar
            Unused; SpeechBrain's.
        test_loader_kwargs : dict
            Options of `make_dataloader`.

        Returns
        -------
        dict[str, float]
            The metric by selection: "last" and "best" (highest on the validation set).
        """
        loader = self.make_dataloader(test_set, Stage.TEST, **(test_loader_kwargs or {}))
        values, selections, epochs, steps, seconds = {}, {}, {}, {}, 0.0
        for selection, key in {"last": None, "best": "valid_score"}.items():
            checkpoint = self.on_evaluate_start(max_key=key)
            epochs[selection] = checkpoint.meta["epoch"]
            steps[selection] = checkpoint.meta["step"]
            seconds = max(seconds, self.seconds)
            metrics = self.evaluate_set(loader, Stage.TEST, enable=not self.noprogressbar)
            values[selection] = metrics[self.hparams.metric_name]
            ids = [test_set.data_ids[index] for index in self._outputs["indices"].tolist()]
            selections[selection] = {**self._outputs, "ids": ids}
        self.log.write("test", {"step": steps["last"], **values})
        self.log.close()
        if if_main_process():
            path = Path(self.hparams.output_folder) / "predictions.csv"
            write_predictions(path, self.hparams.classes, selections)
        self.write_results(
            self.hparams.metric_name, values, epochs=epochs, steps=steps, seconds=seconds
        )
        return values
