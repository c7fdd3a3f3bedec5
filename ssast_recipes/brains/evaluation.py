"""How a Brain measures data sets, and its checkpoints on a test set."""

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from speechbrain import Stage
from speechbrain.utils.checkpoints import Checkpoint
from speechbrain.utils.distributed import if_main_process
from torch.utils.data import DataLoader
from tqdm import tqdm

from ssast_recipes.brains.leaving import leave_model
from ssast_recipes.brains.logs import NonFiniteLossError
from ssast_recipes.data.batches import ClipBatch
from ssast_recipes.records.results import write_results

logger = logging.getLogger(__name__)


class Evaluation:
    """The part of `BaseBrain` that measures: on all processes, by one sequence of batches each.

    Sub-classes implement `evaluate_batch`, `summarise` and `metric_name`; those that keep more
    than numbers of a test set, also `keep_outputs` and `write_reports`.
    """

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
        """Called when a checkpoint has been evaluated: keeps what `write_reports` needs."""

    def write_reports(self) -> dict[str, Any]:
        """Writes what was kept, on the main process; returns more for `results.json`."""
        return {}

    def evaluate_set(self, loader: DataLoader, stage: Stage, enable: bool) -> dict[str, float]:
        """Evaluates on this process's batches and returns the metrics over those of all."""
        self.modules.eval()
        bar = tqdm(loader, desc=stage.name.lower(), disable=not enable, leave=False)
        with torch.no_grad():
            outputs = []
            for batch in bar:
                self.rejected.add(batch.rejected)
                outputs.append(self.evaluate_batch(batch.to(self.device), stage))
                if self.debug and len(outputs) == self.debug_batches:
                    break
            metrics = self.summarise(outputs, stage)
        if not math.isfinite(metrics["loss"]):
            raise NonFiniteLossError(
                f"the {stage.name.lower()} loss is not finite after step {self.optimizer_step}; "
                "lower the learning rate, set max_grad_norm, or check the data"
            )
        return metrics

    def on_evaluate_start(
        self, max_key: str | None = None, min_key: str | None = None
    ) -> Checkpoint:
        """Loads the checkpoint to evaluate and returns it.

        Raises
        ------
        FileNotFoundError
            If there is none: random weights would be evaluated.
        """
        found = self.checkpointer.recover_if_possible(max_key=max_key, min_key=min_key)
        if found is None:
            raise FileNotFoundError(
                f"{self.checkpointer.checkpoints_dir}: no checkpoint to evaluate; train first"
            )
        return found

    def evaluate(
        self,
        test_set: Any,
        max_key: str | None = None,
        min_key: str | None = None,
        progressbar: bool | None = None,
        test_loader_kwargs: dict[str, Any] | None = None,
    ) -> dict[str, float]:
        """Evaluates the last, the averaged and the best weights; writes `results.json`.

        Leaves the folder `model`, with the best weights or else the last, to be used.

        Arguments
        ---------
        test_set : ClipDataset
            The clips.
        max_key, min_key, progressbar
            Unused; SpeechBrain's.
        test_loader_kwargs : dict
            Options of `make_dataloader`.

        Returns
        -------
        dict[str, float]
            The metric by selection: "last"; "averaged" over epochs, if any are; "best" (highest
            on the validation set), if there is such a set.
        """
        loader = self.make_dataloader(test_set, Stage.TEST, **(test_loader_kwargs or {}))
        metrics, epochs, steps, seconds = {}, {}, {}, 0.0
        for selection, steps[selection], epochs[selection] in self._selections():
            if not metrics:
                seconds = self.seconds  # of training alone
            metrics[selection] = self.evaluate_set(
                loader, Stage.TEST, enable=not self.noprogressbar
            )
            self.keep_outputs(selection, test_set)
        values = {selection: found[self.metric_name] for selection, found in metrics.items()}
        self.log.write("test", {"step": steps["last"], **values})
        self.log.close()
        details = {"epochs": epochs, "steps": steps, "seconds": seconds, **self.write_reports()}
        self._write_results(values, {"metrics": metrics, **details})
        if selection == "averaged":  # without a best: these are no checkpoint's
            selection = "last"
            self.on_evaluate_start()
        if if_main_process():
            told = {"weights": selection, "step": steps[selection]}
            told |= {"metric": self.metric_name, "value": values[selection]}
            leave_model(self.hparams, self.model, self.front_end, told)
        return values

    def _selections(self) -> Iterator[tuple[str, int, int | list[int]]]:
        """Loads one after the other what is to be evaluated: names, steps and epochs."""
        last = self.on_evaluate_start()
        yield "last", last.meta["step"], last.meta["epoch"]
        if self.average is not None and self.average.epochs:
            self.average.copy_to(self.model)
            yield "averaged", last.meta["step"], self.average.epochs
        if self.checkpointer.find_checkpoint(max_key="valid_score") is not None:
            best = self.on_evaluate_start(max_key="valid_score")
            yield "best", best.meta["step"], best.meta["epoch"]

    def _write_results(self, values: dict[str, float], details: dict[str, Any]) -> None:
        if if_main_process():
            valid = [record for record in self.log.read() if record["stage"] == "valid"]
            # A kill between log line and checkpoint leaves the line of a step twice.
            history = list({record["step"]: record for record in valid}.values())
            details = {**details, "num_processes": self.world_size, "history": history}
            path = write_results(self.hparams, self.metric_name, values, details, self.device)
            told = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            logger.info("%s of the weights: %s; written to %s", self.metric_name, told, path)
