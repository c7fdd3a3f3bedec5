"""What a run writes down while it trains."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave
from speechbrain.utils.distributed import if_main_process
from torch.utils.tensorboard import SummaryWriter

from ssast_recipes.files import beside, write_text

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

    Example
    -------
    >>> log = TrainingLog(getfixture("tmp_path"), tensorboard=False)
    >>> log.write("train", {"step": 10, "loss": 1.25})
    >>> log.read()
    [{'stage': 'train', 'step': 10, 'loss': 1.25}]
    """

    def __init__(self, folder: str | Path, tensorboard: bool = True):
        self.folder = Path(folder)
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

    def figure(self, name: str, figure: Figure, step: int) -> None:
        """Shows a figure in TensorBoard and saves it as `<folder>/pictures/<name>_<step>.png`."""
        if not if_main_process():
            return
        path = self.folder / "pictures" / f"{name}_{step:08d}.png"
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())  # [height, width, 4]
        with beside(path) as part:
            imsave(part, pixels, format="png")
        if self.tensorboard:
            self.writer.add_image(name, pixels, step, dataformats="HWC")

    @property
    def writer(self) -> SummaryWriter:
        """The TensorBoard writer, opened when first needed."""
        if self._writer is None:
            folder = str(self.folder / "tensorboard")
            self._writer = SummaryWriter(folder, purge_step=self._purge_step)
        return self._writer

    def read(self) -> list[dict[str, Any]]:
        """Returns all records, oldest first."""
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]

    def rewind(self, step: int) -> None:
        """Forgets what came after a step: a run that resumes there writes it again."""
        if not if_main_process():
            return
        self._keep(lambda record: record["step"] <= step)
        self._purge_step = step + 1

    def _keep(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        if not self.path.exists():
            return
        records = list(filter(wanted, self.read()))
        text = "".join(json.dumps(record) + "\n" for record in records)
        if text == self.path.read_text(encoding="utf-8"):
            return
        write_text(self.path, text)
        lines = (f"{_line(record)}\n" for record in records if record["stage"] != "train")
        write_text(self.folder / "train_log.txt", "".join(lines))

    def close(self) -> None:
        """Flushes the TensorBoard files."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _line(record: dict[str, Any]) -> str:
    values = (f"{key} {_short(value)}" for key, value in record.items() if key != "stage")
    return f"{record['stage']}: {', '.join(values)}"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"[{' '.join(map(_short, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
