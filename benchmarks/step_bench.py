"""The step that `pretraining_step.py` times: a model, its optimiser, its clips and its clock."""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ssast_recipes.data.batches import ClipBatch, collate
from ssast_recipes.data.pipelines import WaveformReader, make_dataset
from ssast_recipes.data.sampling import ClipKey, TrainingBatches
from ssast_recipes.model.autoencoder import MaskedAutoencoder, decoder_width
from ssast_recipes.model.builders import ast_encoder
from ssast_recipes.model.filterbank import LogMelFilterbank
from ssast_recipes.model.front_end import SpectrogramFrontEnd
from ssast_recipes.model.heads import PatchPredictionHead
from ssast_recipes.model.masked_patches import MaskedPatchModel
from ssast_recipes.model.masking import OfficialClusterMasker
from ssast_recipes.model.patches import patchify, select_patches
from ssast_recipes.model.randomness import ClipGenerator
from ssast_recipes.objectives.losses import info_nce_loss, masked_reconstruction_loss
from ssast_recipes.objectives.metrics import masked_patch_accuracy

KEYS = ("id", "index", "place", "waveform")
OBJECTIVES = ("masked-patches", "autoencoder")
STAGES = ("copy", "features", "masks and targets", "forward", "losses", "backward", "optimiser")
ADAM = {"lr": 1e-4, "betas": (0.95, 0.999), "weight_decay": 5e-7}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Noise(Dataset):
    """Clips of noise, 16 bits at 16 kHz, of so many samples."""

    def __init__(self, num_clips: int, num_samples: int):
        generator = torch.Generator().manual_seed(0)
        self.waveforms = torch.randint(
            -9000, 9000, (num_clips, num_samples), dtype=torch.int16, generator=generator
        )

    def __len__(self) -> int:
        return len(self.waveforms)

    def __getitem__(self, key: ClipKey) -> dict[str, Any]:
        clip = {"id": str(key.index), "index": key.index, "place": key.place}
        return {**clip, "waveform": self.waveforms[key.index]}


def load(options: argparse.Namespace, num_samples: int) -> Iterator[ClipBatch]:
    """Batches without end, of clips of so many samples at most, as training loads them."""
    if options.manifest:
        reader = WaveformReader(16000, max_duration=num_samples / 16000, crop="random")
        dataset = make_dataset([options.manifest], reader, output_keys=KEYS)
    else:
        dataset = Noise(64, num_samples)
    batches = TrainingBatches(
        len(dataset), options.batch, continuous=True, shards=getattr(dataset, "shards", None)
    )
    return iter(
        DataLoader(
            dataset,
            batch_sampler=batches,
            num_workers=options.workers,
            collate_fn=partial(collate, least_samples=num_samples),
            pin_memory=torch.device(options.device).type == "cuda",
        )
    )


def make_model(options: argparse.Namespace) -> MaskedPatchModel:
    """Makes what is to be trained: `MaskedPatchModel`, or a masked autoencoder."""
    encoder = ast_encoder(options.size, target_length=options.frames)
    if options.objective == "masked-patches":
        heads = [PatchPredictionHead(encoder.embed_dim, encoder.patch_area) for _ in range(2)]
        return MaskedPatchModel(encoder, *heads)
    width = decoder_width(encoder, options.decoder_dim)
    heads = [PatchPredictionHead(width, encoder.patch_area) for _ in range(2)]
    return MaskedAutoencoder(
        encoder, *heads, decoder_depth=options.decoder_depth, decoder_dim=width
    )


class Bench:
    """A model, its optimiser and its clock.

    Arguments
    ---------
    options : Namespace
        Of the command line.
    """

    def __init__(self, options: argparse.Namespace):
        self.options, self.device = options, torch.device(options.device)
        torch.manual_seed(0)
        self.plain = make_model(options).to(self.device)
        self.encoder = self.plain.encoder
        self.plain_front_end = SpectrogramFrontEnd(
            LogMelFilterbank(), options.frames, mean=-4.2677393, std=4.5689974
        ).to(self.device)
        self.model, self.front_end = self.plain, self.plain_front_end
        if options.compile:
            self.model = torch.compile(self.plain)
            self.front_end = torch.compile(self.plain_front_end)
        self.masker = OfficialClusterMasker(options.masked)
        fused = {"fused": True} if options.fused or self.device.type == "cuda" else {}
        self.optimiser = torch.optim.Adam(self.plain.parameters(), **ADAM, **fused)
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.number = 0

    def step(self, batch: ClipBatch, by_stage: bool = False, two_passes: bool = False) -> Tensor:
        """Makes one step, as `PretrainingBrain` does; returns the loss, on the device."""
        options, timed = self.options, self._timed if by_stage else _untimed
        self.number += 1
        with timed("copy"):
            batch = batch.to(self.device)
        dtype = DTYPES[options.precision]
        with torch.autocast(self.device.type, dtype=dtype, enabled=options.precision != "fp32"):
            with timed("features"):
                spectrograms = self.front_end(batch.waveforms, batch.num_samples)
            with timed("masks and targets"):
                patches = patchify(spectrograms, self.encoder.patch_size)
                generator = ClipGenerator(1, self.number, batch.places)
                grid = self.encoder.grid_size
                masked = [self.masker(generator, grid) for _ in range(1 + two_passes)]
                targets = [select_patches(patches, indices) for indices in masked]
            with timed("forward"):
                predictions = self.model(spectrograms, *masked)
            with timed("losses"):
                choice = {"softmax_over": "predictions"}
                contrastive, reconstruction = predictions
                loss = info_nce_loss(contrastive, targets[0], **choice)
                masked_patch_accuracy(contrastive.detach(), targets[0], **choice)
                loss = loss + 10 * masked_reconstruction_loss(reconstruction, targets[-1])
        with timed("backward"):
            loss.backward()
        with timed("optimiser"):
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
        return loss.detach()

    def synchronise(self) -> None:
        """Waits for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        self.synchronise()
        begin = time.perf_counter()
        yield
        self.synchronise()
        self.seconds[stage].append(time.perf_counter() - begin)

    def clock(self, function: Callable[[], Any]) -> float:
        """Seconds of a call, the device's work included."""
        self.synchronise()
        begin = time.perf_counter()
        function()
        self.synchronise()
        return time.perf_counter() - begin


@contextmanager
def _untimed(stage: str) -> Iterator[None]:
    yield
