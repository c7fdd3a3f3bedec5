"""Brains so small that a training step takes milliseconds, and noise for them to train on."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from speechbrain.utils.epoch_loop import EpochCounter
from torch import Tensor
from torch.utils.data import Dataset

from ssast_recipes.brains import ClassificationBrain, PretrainingBrain
from ssast_recipes.brains.checkpointer import AtomicCheckpointer
from ssast_recipes.brains.logs import TrainingLog
from ssast_recipes.data.sampling import ClipKey
from ssast_recipes.model.classifiers import ClassificationModel
from ssast_recipes.model.encoder import AudioSpectrogramTransformer
from ssast_recipes.model.filterbank import LogMelFilterbank
from ssast_recipes.model.front_end import SpectrogramFrontEnd
from ssast_recipes.model.heads import ClassificationHead, PatchPredictionHead
from ssast_recipes.model.masked_patches import MaskedPatchModel
from ssast_recipes.model.masking import RandomMasker
from ssast_recipes.objectives.losses import info_nce_loss, masked_reconstruction_loss
from ssast_recipes.objectives.metrics import accuracy
from ssast_recipes.objectives.schedules import EpochDecay, WarmupPlateau

NUM_CLASSES = 3
DEVICE = "cpu"  # the command line's --device, which conftest.py puts here
TARGET_LENGTH = 32  # frames: 16 patches of 16 x 16
CLIP_SAMPLES = 5500


class Clips(Dataset):
    """Clips of a hum, whose pitch is the class, in noise; asked for by `ClipKey`.

    `asked` remembers the keys; `spoiled` clips are not a number; `target` makes the target of a
    clip's number.
    """

    def __init__(
        self,
        num_clips: int,
        spoiled: Sequence[int] = (),
        target: Callable[[int], Tensor] = lambda index: torch.tensor(index % NUM_CLASSES),
    ):
        self.ids = [f"clip{index}" for index in range(num_clips)]
        self.labels = [(f"pitch{index % NUM_CLASSES}",) for index in range(num_clips)]
        self.spoiled, self.target = set(spoiled), target
        self.asked: list[ClipKey] = []

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: ClipKey) -> dict[str, Any]:
        self.asked.append(key)
        generator = torch.Generator().manual_seed(key.index)
        pitch = key.index % NUM_CLASSES
        seconds = torch.arange(CLIP_SAMPLES) / 16000
        waveform = torch.sin(2 * torch.pi * 400 * (1 + pitch) * seconds)
        waveform = waveform + 0.1 * torch.randn(CLIP_SAMPLES, generator=generator)
        return {
            "id": self.ids[key.index],
            "index": key.index,
            "place": key.place,
            "waveform": waveform * (float("nan") if key.index in self.spoiled else 1.0),
            "target": self.target(key.index),
        }


def tiny_encoder(**changes: Any) -> AudioSpectrogramTransformer:
    return AudioSpectrogramTransformer(
        **{"embed_dim": 16, "depth": 1, "num_heads": 2, "target_length": TARGET_LENGTH, **changes}
    )


def front_end() -> SpectrogramFrontEnd:
    return SpectrogramFrontEnd(LogMelFilterbank(), TARGET_LENGTH, mean=-5.0, std=4.0)


def pretraining_brain(
    folder: Path,
    run_opts: dict[str, Any] | None = None,
    encoder: dict[str, Any] | None = None,
    contrastive: bool = True,
    reconstruction: bool = True,
    lr: float = 0.01,
    **changes: Any,
) -> PretrainingBrain:
    """A Brain with the same fresh weights every time, that takes its checkpoints from `folder`."""
    torch.manual_seed(0)
    encoder = tiny_encoder(**(encoder or {}))
    heads = [PatchPredictionHead(encoder.embed_dim, encoder.patch_area) for _ in range(2)]
    model = MaskedPatchModel(
        encoder, heads[0] if contrastive else None, heads[1] if reconstruction else None
    )
    hparams = {
        "encoder": encoder,
        "num_steps": 6,
        "valid_interval": 100,
        "checkpoint_interval": 100,
        "masker": RandomMasker(10),
        "two_passes": False,
        "contrastive_loss": info_nce_loss,
        "softmax_over": "predictions",
        "exclude_constant_patches": False,
        "reconstruction_loss": masked_reconstruction_loss,
        "reconstruction_weight": 10,
        "schedule": WarmupPlateau(warmup_steps=0),
    }
    optimiser = partial(torch.optim.Adam, lr=lr)
    return _brain(
        PretrainingBrain, folder, model, encoder, optimiser, hparams, {}, run_opts, changes
    )


def classification_brain(
    folder: Path,
    run_opts: dict[str, Any] | None = None,
    encoder: dict[str, Any] | None = None,
    freeze_encoder: bool = False,
    num_classes: int = NUM_CLASSES,
    num_epochs: int = 2,
    lr: float = 0.01,
    **changes: Any,
) -> ClassificationBrain:
    """As `pretraining_brain`, of a classifier."""
    torch.manual_seed(0)
    encoder = tiny_encoder(**(encoder or {}))
    classifier = ClassificationHead(encoder.embed_dim, num_classes)
    model = ClassificationModel(encoder, classifier, freeze_encoder=freeze_encoder)
    counter = EpochCounter(num_epochs)
    hparams = {
        "encoder": encoder,
        "epoch_counter": counter,
        "checkpoint_interval": 0,
        "loss": torch.nn.functional.cross_entropy,
        "metric": accuracy,
        "metric_name": "accuracy",
        "spec_augment": None,
        "noise_and_roll": None,
        "head_lr_factor": 1,
        "classes": [f"pitch{number}" for number in range(num_classes)],
        "schedule": EpochDecay(first_epoch=1),
    }
    return _brain(
        ClassificationBrain,
        folder,
        model,
        encoder,
        partial(torch.optim.Adam, lr=lr),
        hparams,
        {"epoch_counter": counter},
        run_opts,
        changes,
    )


def _brain(
    brain_class, folder, model, encoder, optimiser, hparams, recoverables, run_opts, changes
):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hyperparams.yaml").write_text("lr: 0.01\n")
    hparams = {
        "seed": 1,
        "output_folder": str(folder),
        "record": {},
        "log_interval": 1,
        "training_log": TrainingLog(folder, tensorboard=False),
        "checkpoints_to_keep": 1,
        "max_grad_norm": 0,
        **hparams,
        **changes,
    }
    return brain_class(
        modules={"front_end": front_end(), "model": model},
        opt_class=hparams.pop("opt_class", optimiser),
        hparams=hparams,
        run_opts={"device": DEVICE, "noprogressbar": True, **(run_opts or {})},
        checkpointer=AtomicCheckpointer(folder / "save", {"model": model, **recoverables}),
    )


def fit(brain: Any, train: Dataset, valid: Dataset | None = None, batch_size: int = 4) -> Any:
    """Trains, and returns the Brain."""
    options = {"batch_size": batch_size}
    brain.fit(
        getattr(brain.hparams, "epoch_counter", None),
        train,
        valid,
        train_loader_kwargs=options,
        valid_loader_kwargs=options,
    )
    return brain


def losses(brain: Any, stage: str = "train") -> dict[int, float]:
    """What the log says of the loss, by step."""
    return {
        record["step"]: record["loss"] for record in brain.log.read() if record["stage"] == stage
    }


def exact(brain: Any) -> list[dict[str, Any]]:
    """Everything that a run wrote down and that is no matter of time."""
    return [
        {key: value for key, value in record.items() if key != "clips_per_second"}
        for record in brain.log.read()
    ]


def weights(brain: Any) -> dict[str, Tensor]:
    """A copy of the model's weights, by name."""
    return {name: value.detach().clone() for name, value in brain.modules.named_parameters()}


class Killed(BaseException):
    """Ends a training as SIGKILL would: nothing on the way out takes it for an error."""


def kill_at(brain: Any, step: int) -> None:
    """Makes training end, killed, when it is about to make a step (from 1)."""
    start = brain.on_fit_batch_start

    def on_fit_batch_start(batch, should_step):
        if brain.optimizer_step + 1 == step:
            raise Killed
        start(batch, should_step)

    brain.on_fit_batch_start = on_fit_batch_start
