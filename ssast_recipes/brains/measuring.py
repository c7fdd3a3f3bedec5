"""What a Brain measures: sets, the weights of a finished training, and what is left of them."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechbrain import Stage
from speechbrain.utils.checkpoints import Checkpoint
from torch.utils.data import DataLoader

from ssast_recipes.brains.evaluation import Selection, check_loss, evaluate_batches
from ssast_recipes.brains.leaving import leave_model, leave_results
from ssast_recipes.brains.logs import TrainingLog
from ssast_recipes.brains.mended import MendedBrain
from ssast_recipes.brains.rejection import RejectedClips
from ssast_recipes.brains.resuming import describe_interruption
from ssast_recipes.brains.selection import average_of
from ssast_recipes.data.batches import ClipBatch
from ssast_recipes.system.interruption import telling_interrupts


class MeasuringBrain(MendedBrain):
    """A Brain that evaluates on all processes; `BaseBrain` trains on it.

    Evaluating without a checkpoint is an error.

    Sub-classes implement what stands at the end.

    Needed in `hparams` besides what `MendedBrain` needs: `training_log`, `output_folder` and what
    `results.json` records.
    """

    optional = MendedBrain.optional | {
        "average_epochs": None,  # [first, last]: their mean weights are evaluated, too
        "max_rejected": 0.01,  # share of the clips that may turn out to be unreadable
    }

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.log = self.hparams.training_log
        if self.debug and self.checkpointer is not None:
            # Where SpeechBrain then keeps checkpoints: the run's own records stay as they are.
            record = Path(self.hparams.output_folder) / "hyperparams.yaml"
            self.hparams.output_folder = str(self.checkpointer.checkpoints_dir)
            if record.exists():
                shutil.copy(record, self.hparams.output_folder)
            self.log = TrainingLog(self.hparams.output_folder, tensorboard=False)
        self.rejected = RejectedClips(self.hparams.output_folder, self.hparams.max_rejected)
        self.position.parts["rejected"] = self.rejected
        self.average = average_of(self.hparams.average_epochs, self.by_steps)
        if self.average is not None:
            self.checkpointer.add_recoverable("average", self.average)

    def evaluate_set(self, loader: DataLoader, stage: Stage, enable: bool) -> dict[str, float]:
        """Evaluates on this process's batches and returns the metrics over those of all."""

        def measure(batch: ClipBatch) -> Any:
            self.rejected.add(batch.rejected)
            return self.evaluate_batch(batch.to(self.device), stage)

        name = stage.name.lower()
        self.modules.eval()
        most = self.debug_batches if self.debug else None
        outputs = evaluate_batches(measure, loader, most, name if enable else None)
        # Listed now: after the last validation nothing is logged that would.
        trained = self.train_sampler
        is_training = trained is not None
        num_clips = trained.num_clips if is_training else len(loader.dataset)
        self.rejected.check(num_clips, is_training)
        metrics = self.summarise(outputs, stage)
        check_loss(metrics, name, self.optimizer_step)
        return metrics

    def evaluate(
        self,
        test_set: Any,
        max_key: str | None = None,
        min_key: str | None = None,
        progressbar: bool | None = None,
        test_loader_kwargs: dict[str, Any] | None = None,
    ) -> dict[str, float]:
        """Evaluates the last, the averaged and the best weights, and leaves what a run leaves.

        That is `results.json`, reports, and the folder `model` with the best weights or else the
        last, to be used. Arguments as SpeechBrain's; the keys are unused.

        Returns
        -------
        dict[str, float]
            The metric by selection: "last"; "averaged" over epochs, if any are; "best" (highest
            on the validation set), if there is such a set.

        Raises
        ------
        FileNotFoundError
            If there is no checkpoint: random weights would be evaluated.
        """
        with telling_interrupts(self._describe_interruption):
            loader = self.make_dataloader(test_set, Stage.TEST, **(test_loader_kwargs or {}))

            def measure(name: str, step: int, epochs: int | list[int]) -> Selection:
                metrics = self.evaluate_set(loader, Stage.TEST, not self.noprogressbar)
                self.keep_outputs(name, test_set)
                return Selection(name, metrics[self.metric_name], metrics, step, epochs)

            last = self.on_evaluate_start()
            seconds = self.position.seconds  # of training alone
            found = [measure("last", last.meta["step"], last.meta["epoch"])]
            if self.average is not None and self.average.epochs:
                self.average.copy_to(self.model)
                found.append(measure("averaged", last.meta["step"], self.average.epochs))
            if self.checkpointer.find_checkpoint(max_key="valid_score") is not None:
                best = self.on_evaluate_start(max_key="valid_score")
                found.append(measure("best", best.meta["step"], best.meta["epoch"]))
            if found[-1].name == "averaged":  # without a best: these are no checkpoint's
                self.on_evaluate_start()
            values = {selection.name: selection.value for selection in found}
            self.log.write("test", {"step": last.meta["step"], **values})
            self.log.close()
            name, records = self.metric_name, self.log.read()
            details = {"seconds": seconds, **self.write_reports(), "num_processes": self.world_size}
            # Results last: who finds them takes the run for finished.
            thresholds = self.choose_thresholds()
            leave_model(self.hparams, self.model, self.front_end, name, found, thresholds)
            leave_results(self.hparams, name, found, details, records, self.device)
            return values

    def on_evaluate_start(
        self, max_key: str | None = None, min_key: str | None = None
    ) -> Checkpoint:
        """Loads the checkpoint to evaluate and returns it."""
        found = self.checkpointer.recover_if_possible(max_key=max_key, min_key=min_key)
        if found is None:
            raise FileNotFoundError(
                f"{self.checkpointer.checkpoints_dir}: no checkpoint to evaluate; train first"
            )
        return found

    def _describe_interruption(self) -> str:
        return describe_interruption(self.optimizer_step, self.checkpointer)

    # ---- what is measured: for sub-classes

    @property
    def metric_name(self) -> str:
        """Name of the metric that a run is judged by, among those of `summarise`."""
        raise NotImplementedError

    def score(self, metrics: Mapping[str, float]) -> float:
        """What is higher for a better model, and selects: by default, the metric."""
        return metrics[self.metric_name]

    def evaluate_batch(self, batch: ClipBatch, stage: Stage) -> Any:
        """Returns what `summarise` needs of a batch, on the device."""
        raise NotImplementedError

    def summarise(self, outputs: list[Any], stage: Stage) -> dict[str, float]:
        """Makes metrics of the outputs of `evaluate_batch`, gathered over all processes."""
        raise NotImplementedError

    def keep_outputs(self, selection: str, test_set: Any) -> None:
        """Called when weights have been evaluated: keeps what `write_reports` needs."""

    def choose_thresholds(self) -> list[float] | None:
        """The classes' thresholds to leave with a classifier, of the weights that it has now."""
        return None

    def write_reports(self) -> dict[str, Any]:
        """Writes what was kept, on the main process; returns more for `results.json`."""
        return {}
