"""Where else a run's numbers and pictures go: Weights & Biases, MLflow; both off unless asked for.

What they get is what `TrainingLog` writes down. A run that resumes goes on in the same place: its
name there stands in the output folder. What fails there never ends a training.
"""

import importlib.util
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from ssast_recipes.records.settings import read_settings
from ssast_recipes.system.files import write_text

logger = logging.getLogger(__name__)

_LONGEST = 500  # characters of a setting, which older MLflow servers take


class Tracker:
    """What `TrainingLog` sends to; a tracker of one's own has these methods, called as here.

    Arguments
    ---------
    package : str
        What is imported at the first line that is sent.
    """

    def __init__(self, package: str):
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f"trackers: the package {package} is not installed; "
                "pip install 'ssast-recipes[trackers]'"
            )
        self.package = package
        self._is_open = self._is_lost = False

    def write(self, folder: Path, stage: str, record: Mapping[str, Any]) -> None:
        """Sends the numbers of a record of `metrics.jsonl`; `record["step"]` says when."""
        numbers = {
            key: float(value)
            for key, value in record.items()
            if key != "step" and isinstance(value, float | int)
        }
        self._try(folder, lambda: self.send(stage, numbers, record["step"]))

    def figure(self, folder: Path, name: str, pixels: np.ndarray, step: int) -> None:
        """Sends a picture [height, width, 4], 0 to 255."""
        self._try(folder, lambda: self.send_figure(name, pixels, step))

    def close(self) -> None:
        """Ends the run there, if it was begun."""
        if self._is_open:
            self._is_open = False
            self._guard(self.end)

    def begin(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        """Begins a run there, or goes on with it, under the name that it goes by there."""
        raise NotImplementedError

    def send(self, stage: str, numbers: Mapping[str, float], step: int) -> None:
        """Sends numbers."""
        raise NotImplementedError

    def send_figure(self, name: str, pixels: np.ndarray, step: int) -> None:
        """Sends a picture."""
        raise NotImplementedError

    def end(self) -> None:
        """Ends the run there."""
        raise NotImplementedError

    def _try(self, folder: Path, send: Any) -> None:
        if not self._is_open and not self._is_lost:
            self._is_open = self._guard(lambda: self._begin(folder))
        if self._is_open:
            self._is_open = self._guard(send)

    def _begin(self, folder: Path) -> None:
        hparams = folder / "hyperparams.yaml"
        text = hparams.read_text(encoding="utf-8") if hparams.exists() else ""
        kept = folder / f"{self.package}_run.txt"
        if not kept.exists():
            write_text(kept, f"{self.new_run(folder)}\n")
        self.begin(folder, kept.read_text(encoding="utf-8").strip(), read_settings(text))

    def new_run(self, folder: Path) -> str:
        """Makes a name that a run goes by there."""
        return uuid4().hex

    def _guard(self, action: Any) -> bool:
        try:
            action()
        except Exception as error:
            self._is_lost = True
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            logger.warning(
                "Warning: %s gets nothing more of this run, which goes on: %s", self.package, line
            )
            return False
        return True


class WandBTracker(Tracker):
    """Sends to Weights & Biases, by SpeechBrain's `WandBLogger`.

    Arguments
    ---------
    project : str
        Of Weights & Biases.
    **options
        For `wandb.init`, such as `entity`, `name` (the output folder's, if not given), or
        `mode: offline`.

    Raises
    ------
    ValueError
        If wandb is not installed.

    Example
    -------
    >>> log = TrainingLog("results", trackers=[WandBTracker("sounds")])  # doctest: +SKIP
    """

    def __init__(self, project: str, **options: Any):
        super().__init__("wandb")
        self.options = {"project": project, **options}

    def begin(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        """Begins or goes on; steps may come again, after a run was resumed."""
        import wandb
        from speechbrain.utils.train_logger import WandBLogger

        given = {"name": folder.name, "dir": str(folder), "config": dict(settings), **self.options}
        run = wandb.init(id=name, resume="allow", **given)
        run.define_metric("*", step_metric="step")
        self.logger = WandBLogger(lambda: run)

    def send(self, stage: str, numbers: Mapping[str, float], step: int) -> None:
        """Sends numbers as `stage/name`."""
        named = {f"{stage}/{key}": value for key, value in numbers.items()}
        self.logger.log_stats({"step": step, **named})

    def send_figure(self, name: str, pixels: np.ndarray, step: int) -> None:
        """Sends a picture."""
        import wandb

        self.logger.log_stats({"step": step, name: wandb.Image(pixels)})

    def end(self) -> None:
        """Waits until all is sent."""
        self.logger.run.finish()


class MLflowTracker(Tracker):
    """Sends to MLflow.

    Arguments
    ---------
    experiment : str
        Of MLflow; it is created if it is not there.
    uri : str, optional
        Of the tracking server or database; not given, MLflow's own (`MLFLOW_TRACKING_URI`).

    Raises
    ------
    ValueError
        If mlflow is not installed.

    Example
    -------
    >>> tracker = MLflowTracker("sounds", uri="sqlite:///mlflow.db")  # doctest: +SKIP
    >>> log = TrainingLog("results", trackers=[tracker])  # doctest: +SKIP
    """

    def __init__(self, experiment: str, uri: str | None = None):
        super().__init__("mlflow")
        self.experiment, self.uri = experiment, uri

    def new_run(self, folder: Path) -> str:
        """Creates a run, which names itself, in the experiment."""
        client = self._client()
        found = client.get_experiment_by_name(self.experiment)
        number = client.create_experiment(self.experiment) if not found else found.experiment_id
        return client.create_run(number, run_name=folder.name).info.run_id

    def begin(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        """Begins or goes on; settings are its parameters."""
        self.folder, self.run, self.client = folder, name, self._client()
        self.client.update_run(name, status="RUNNING")
        known = self.client.get_run(name).data.params
        for key, value in settings.items():
            if key not in known:
                self.client.log_param(name, key, str(value)[:_LONGEST])

    def send(self, stage: str, numbers: Mapping[str, float], step: int) -> None:
        """Sends numbers as `stage/name`."""
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        metrics = [Metric(f"{stage}/{key}", value, now, step) for key, value in numbers.items()]
        self.client.log_batch(self.run, metrics=metrics)

    def send_figure(self, name: str, pixels: np.ndarray, step: int) -> None:
        """Sends the file that `TrainingLog` has written."""
        path = self.folder / "pictures" / f"{name}_{step:08d}.png"
        self.client.log_artifact(self.run, str(path), "pictures")

    def end(self) -> None:
        """Marks the run as finished."""
        self.client.set_terminated(self.run)

    def _client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self.uri)
