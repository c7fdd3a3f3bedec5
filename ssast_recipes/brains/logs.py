"""What a run writes down while it trains."""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from speechbrain.utils.distributed import if_main_process
from torch import Tensor, nn

from ssast_recipes.data.sampling import TrainingBatches
from ssast_recipes.objectives.schedules import shorten_warmup
from ssast_recipes.records.results import device_kind
from ssast_recipes.records.run import read_metrics
from ssast_recipes.system.errors import RunError
from ssast_recipes.system.files import beside, write_text

if TYPE_CHECKING:  # nobody waits for them who does not use them
    from matplotlib.figure import Figure
    from torch.utils.tensorboard import SummaryWriter

    from ssast_recipes.brains.trackers import Tracker

logger = logging.getLogger(__name__)


class TrainingLog:
    """Keeps `metrics.jsonl` (exact numbers), `train_log.txt` (to read) and TensorBoard files.

    All methods may be called on every process; only the main one writes.

    Arguments
    ---------
    folder : str or Path
        The run's output folder.
    tensorboard : bool
        Whether to write TensorBoard files to `<folder>/tensorboard`.
    trackers : sequence of Tracker
        Who gets the same numbers and pictures, such as `WandBTracker`.

    Example
    -------
    >>> log = TrainingLog(getfixture("tmp_path"), tensorboard=False)
    >>> log.write("train", {"step": 10, "loss": 1.25})
    >>> log.read()
    [{'stage': 'train', 'step': 10, 'loss': 1.25}]
    """

    def __init__(
        self, folder: str | Path, tensorboard: bool = True, trackers: Sequence["Tracker"] = ()
    ):
        self.folder = Path(folder)
        self.trackers = tuple(trackers)
        self.path = self.folder / "metrics.jsonl"
        self.tensorboard = tensorboard
        self._writer: SummaryWriter | None = None
        self._purge_step: int | None = None  # TensorBoard forgets what lies behind

    def write(self, stage: str, record: dict[str, Any]) -> None:
        """Adds a record; `record["step"]` says when."""
        if not if_main_process():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if stage == "test":  # only the last evaluation counts
            self._keep(lambda record: record["stage"] != "test")
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": stage, **record}) + "\n")
        if stage != "train":
            line = _line({"stage": stage, **record})
            logger.info(line)
            with open(self.folder / "train_log.txt", "a", encoding="utf-8") as file:
                file.write(f"{line}\n")
        if self.tensorboard:
            for key, value in record.items():
                if key != "step" and isinstance(value, float | int):
                    self.writer.add_scalar(f"{stage}/{key}", value, record["step"])
        for tracker in self.trackers:
            tracker.write(self.folder, stage, record)

    def figure(self, name: str, figure: "Figure", step: int) -> None:
        """Shows a figure in TensorBoard and saves it as `<folder>/pictures/<name>_<step>.png`."""
        if not if_main_process():
            return
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.image import imsave

        path = self.folder / "pictures" / f"{name}_{step:08d}.png"
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())  # [height, width, 4]
        with beside(path) as part:
            imsave(part, pixels, format="png")
        if self.tensorboard:
            self.writer.add_image(name, pixels, step, dataformats="HWC")
        for tracker in self.trackers:
            tracker.figure(self.folder, name, pixels, step)

    @property
    def writer(self) -> "SummaryWriter":
        """The TensorBoard writer, opened when first needed."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            folder = str(self.folder / "tensorboard")
            self._writer = SummaryWriter(folder, purge_step=self._purge_step)
        return self._writer

    def read(self) -> list[dict[str, Any]]:
        """Returns all records, oldest first."""
        return read_metrics(self.path)

    def rewind(self, step: int, validates_again: bool = False) -> None:
        """Forgets what came after a step: a run that resumes there writes it again.

        So it does with the validation of that step, if the checkpoint is older than that.
        """
        if not if_main_process():
            return

        def is_kept(record: dict[str, Any]) -> bool:
            return record["step"] < step + (record["stage"] == "train" or not validates_again)

        records = self._keep(is_kept)
        self._purge_step = step + 1
        last = max((one["step"] for one in records if one["stage"] == "train"), default=0)
        if last < step:  # a checkpoint is saved after a line
            logger.warning(
                "%s ends with step %d of the %d that were trained: what it said of the others is "
                "lost",
                *(self.path, last, step),
            )

    def _keep(self, wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Forgets all other records; returns those that are kept."""
        records = list(filter(wanted, self.read()))
        text = "".join(json.dumps(record) + "\n" for record in records)
        if not self.path.exists() or text == self.path.read_text(encoding="utf-8"):
            return records
        write_text(self.path, text)
        lines = (f"{_line(record)}\n" for record in records if record["stage"] != "train")
        write_text(self.folder / "train_log.txt", "".join(lines))
        return records

    def close(self) -> None:
        """Flushes the TensorBoard files, and ends what trackers began."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        for tracker in self.trackers:
            tracker.close()


def _line(record: dict[str, Any]) -> str:
    values = (f"{key} {_short(value)}" for key, value in record.items() if key != "stage")
    return f"{record['stage']}: {', '.join(values)}"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"[{' '.join(map(_short, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class NonFiniteLossError(RunError):
    """The loss, or what it did to the weights, became infinite or not a number."""


class LossWindow:
    """Metrics of the batches since the last log line, read from the device all at once.

    Each batch weighs as many clips as it has, as it does in the gradient.

    Arguments
    ---------
    world_size : int
        Number of processes to average over.

    Example
    -------
    >>> window = LossWindow()
    >>> window.add({"loss": torch.tensor(3.0)}, step=1, num_clips=8)
    >>> window.add({"loss": torch.tensor(1.0)}, step=2, num_clips=24)
    >>> window.read()["loss"]
    1.5
    """

    def __init__(self, world_size: int = 1):
        self.world_size = world_size
        self.start()

    def start(self) -> None:
        """Empties the window and starts its clock."""
        self.names: list[str] = []
        self.rows: list[Tensor] = []
        self.steps: list[int] = []
        self.num_clips: list[int] = []
        self.norms: list[Tensor] = []
        self.began = time.perf_counter()

    def add(self, metrics: Mapping[str, Tensor], step: int, num_clips: int) -> None:
        """Adds a batch: scalar tensors, `loss` first, its step and this process's clips."""
        self.names = list(metrics)
        self.rows.append(torch.stack([value.detach().float() for value in metrics.values()]))
        self.steps.append(step)
        self.num_clips.append(num_clips)

    def add_norm(self, norm: Tensor | None) -> None:
        """Adds the norm, [], that a step's gradients had: of all processes, the same on each."""
        if norm is not None:
            self.norms.append(norm)

    def read(self) -> dict[str, float]:
        """Returns the means over clips and processes, and clips a second; then starts anew.

        With norms of gradients, also `gradient_norm`, their mean over the steps that were made: in
        16 bits, one that is not finite makes none.

        Raises
        ------
        NonFiniteLossError
            If a loss is not finite, naming the steps.
        """
        rows = torch.stack(self.rows)  # [batches, metrics]
        if self.world_size > 1:
            torch.distributed.all_reduce(rows)
            rows /= self.world_size
        rows = rows.cpu()
        finite = zip(self.steps, rows[:, 0].isfinite().tolist(), strict=True)
        bad = sorted({step for step, is_finite in finite if not is_finite})
        if bad:
            raise NonFiniteLossError(
                f"the loss is not finite at step {', '.join(map(str, bad[:5]))}; lower the "
                "learning rate, set max_grad_norm, or check the data"
            )
        clips = torch.tensor(self.num_clips, dtype=torch.float64)  # all processes have as many
        values = clips @ rows.double() / clips.sum()
        means = dict(zip(self.names, values.tolist(), strict=True))
        if self.norms:
            norms = torch.stack(self.norms)
            norm = float(norms[norms.isfinite()].mean())
            means |= {"gradient_norm": norm} if math.isfinite(norm) else {}
        num_clips = self.world_size * sum(self.num_clips)
        means["clips_per_second"] = num_clips / (time.perf_counter() - self.began)
        self.start()
        return means


def peak_memory(device: str | torch.device) -> dict[str, float]:
    """The most that tensors have taken of a GPU's memory so far, as `peak_memory_gib`.

    Of other devices nothing: what a process takes there is not what it computes with alone.

    Example
    -------
    >>> peak_memory("cpu")
    {}
    """
    if torch.device(device).type != "cuda":
        return {}
    return {"peak_memory_gib": round(torch.cuda.max_memory_allocated(device) / 2**30, 3)}


def tell_model(modules: nn.Module, device: str, precision: str, world_size: int) -> None:
    """Logs what trains, and on what, in a line."""
    parameters = [(one.numel(), one.requires_grad) for one in modules.parameters()]
    total = sum(count for count, _ in parameters)
    trained = sum(count for count, is_trained in parameters if is_trained)
    logger.info(
        "%s%s, %s; %s parameters%s",
        device_kind(device),
        f", {world_size} processes" if world_size > 1 else "",
        precision,
        f"{total:,}",
        "" if trained == total else f", {trained:,} of them trained",
    )


def tell_warmup(schedule: Any, num_steps: int) -> None:
    """Shortens a warm-up that would not end within a training, and says so."""
    before = getattr(schedule, "warmup_steps", 0)
    if shorten_warmup(schedule, num_steps):
        logger.warning(
            "Warning: the learning rate would stay in its warm-up, of %d warmup_steps in %d steps; "
            "it is shortened to %d",
            before,
            num_steps,
            schedule.warmup_steps,
        )


def tell_length(
    batches: TrainingBatches, num_steps: int | None, num_valid_clips: int | None, done: int
) -> None:
    """Logs on how much is trained, in a line.

    Arguments
    ---------
    batches : TrainingBatches
        Of a process.
    num_steps : int or None
        Steps of the whole run; None where epochs are counted.
    num_valid_clips : int or None
        How many clips validation has.
    done : int
        Steps that were made before.
    """
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
        f", going on after step {done:,}" if done else "",
    )
