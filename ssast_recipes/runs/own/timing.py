"""How long a step of pretraining takes on this machine: the step itself, made a few times."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ssast_recipes.model.autoencoder import MaskedAutoencoder
from ssast_recipes.model.builders import ast_encoder
from ssast_recipes.model.filterbank import LogMelFilterbank
from ssast_recipes.model.front_end import SpectrogramFrontEnd
from ssast_recipes.model.heads import PatchPredictionHead
from ssast_recipes.model.masked_patches import MaskedPatchModel
from ssast_recipes.model.masking import RandomMasker
from ssast_recipes.model.patches import patchify, select_patches
from ssast_recipes.model.randomness import ClipGenerator
from ssast_recipes.objectives.losses import info_nce_loss, masked_reconstruction_loss

_LONGEST = 6.0  # seconds of timing, after which no further step is made
_ENCODER = ("size", "embed_dim", "depth", "num_heads", "num_mel_bins", "target_length")
_DECODER = ("decoder_dim", "decoder_depth", "decoder_heads", "decoder_positions")


def make_model(values: Mapping[str, Any]) -> MaskedPatchModel:
    """Builds the model that values of the recipe's YAML file are for, with fresh weights.

    Arguments
    ---------
    values : mapping
        Of the encoder, as `ast_encoder` takes them, and `patch_size`; of a masked autoencoder, its
        decoder's, beginning with `decoder_dim`.

    Returns
    -------
    MaskedPatchModel
        Or a `MaskedAutoencoder`.

    Example
    -------
    >>> values = {"size": "tiny", "depth": 1, "target_length": 64, "patch_size": [128, 2]}
    >>> make_model(values).encoder.grid_size
    (1, 32)
    """
    numbers = {key: values[key] for key in _ENCODER if key in values}
    encoder = ast_encoder(**numbers, patch_size=tuple(values["patch_size"]))
    width = values.get("decoder_dim", encoder.embed_dim)
    heads = [PatchPredictionHead(width, encoder.patch_area) for _ in range(2)]
    if "decoder_dim" not in values:
        return MaskedPatchModel(encoder, *heads)
    return MaskedAutoencoder(encoder, *heads, **{k: values[k] for k in _DECODER if k in values})


def measure_step(
    model: MaskedPatchModel,
    values: Mapping[str, Any],
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Times steps on noise, from waveforms to new weights: reading is not part of them.

    Arguments
    ---------
    model : MaskedPatchModel
        As of `make_model`.
    values : mapping
        `batch_size` clips, `num_masked_patches`, `padding`, `precision`: bf16 or fp32.
    device : torch.device
        Where to train.
    clock : callable
        To seconds; `time.process_time` does not count what other programs take.

    Returns
    -------
    float
        Seconds of a batch: the median of a few.
    """
    seconds = _time_steps(model.to(device).train(), values, device, clock)
    model.cpu()
    if device.type == "cuda":
        torch.cuda.empty_cache()  # it is the training process that needs the memory
    return statistics.median(seconds[1:])  # the first warms up


def _time_steps(
    model: MaskedPatchModel,
    values: Mapping[str, Any],
    device: torch.device,
    clock: Callable[[], float],
) -> list[float]:
    encoder, batch = model.encoder, values["batch_size"]
    keys = ("sample_rate", "low_frequency", "high_frequency")
    numbers = {key: values[key] for key in keys if key in values}
    filterbank = LogMelFilterbank(num_mel_bins=encoder.num_mel_bins, **numbers)
    front_end = SpectrogramFrontEnd(filterbank, encoder.target_length, -4.0, 4.0).to(device)
    waveforms = torch.randn(batch, filterbank.num_samples(encoder.target_length), device=device)
    visible = None
    if values["padding"] == "masked":
        visible = torch.ones(batch, encoder.num_patches, dtype=torch.bool, device=device)
    masker = RandomMasker(values["num_masked_patches"])
    places = torch.arange(batch, device=device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step(number: int) -> None:
        masked = masker(ClipGenerator(0, number, places), encoder.grid_size)
        spectrograms = front_end(waveforms)
        targets = select_patches(patchify(spectrograms, encoder.patch_size), masked)
        with torch.autocast(device.type, torch.bfloat16, enabled=values["precision"] == "bf16"):
            found = model(spectrograms, masked, visible_patches=visible)
        loss = info_nce_loss(found.contrastive, targets)
        (loss + 10 * masked_reconstruction_loss(found.reconstruction, targets)).backward()
        optimiser.step()
        optimiser.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    seconds: list[float] = []
    began = clock()
    while len(seconds) < 2 or (len(seconds) < 6 and clock() - began < _LONGEST):
        before = clock()
        step(len(seconds))
        seconds.append(clock() - before)
    return seconds
