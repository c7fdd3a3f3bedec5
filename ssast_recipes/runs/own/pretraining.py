"""What `ssast pretrain` plans: how to train on the audio and the machine at hand."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssast_recipes.records.hparams import read_hparams, read_value
from ssast_recipes.records.hparams_text import write_hparams
from ssast_recipes.records.run import Run
from ssast_recipes.runs.own.plans import (
    MASKED_SHARE,
    NUM_MEL_BINS,
    PATCH_SIZE,
    choose_batch,
    choose_steps,
    choose_target_length,
    count_evaluations,
    kept_bytes,
    num_patches,
)
from ssast_recipes.runs.own.request import (
    keep_request,
    read_request,
)
from ssast_recipes.system.machine import choose_device, free_memory, num_cores
from ssast_recipes.system.words import format_seconds

if TYPE_CHECKING:  # at run time after the arguments, so that --help need not wait for torch
    import torch

# Published: Base and Small with batches of 24 at 1e-4, Tiny released with 120 at 5e-4. On a CPU
# steps count for more than clips.
_LEARNING_RATES = {"tiny": 5e-4, "small": 1e-4, "base": 1e-4}
_HOURS = {"cpu": 2, "cuda": 24}  # that may be used unasked
_VALIDATIONS = 20
_EVALUATED = 1 / 3  # of a clip's training, without its backward pass


def lengthen(hparams_file: Path, request: Mapping[str, Any]) -> None:
    """Lets a run that has begun go on for more steps, if that is all that is asked for anew."""
    before = read_request(hparams_file)
    changed = [key for key, value in request.items() if before.get(key) != value]
    if changed != ["steps"] or not request["steps"] or not Run(hparams_file.parent).has_begun:
        return
    planned = read_value(read_hparams(hparams_file)["num_steps"])
    if isinstance(planned, int) and request["steps"] > planned:
        write_hparams(hparams_file, hparams_file, {"num_steps": request["steps"]})
        keep_request(hparams_file, request, before["files"])
        print(f"num_steps was {planned}, is {request['steps']} in {hparams_file}", flush=True)


def plan_pretraining(
    folder: Path,
    paths: Sequence[str],
    output: Path,
    request: Mapping[str, Any],
    device_name: str | None,
) -> dict[str, Any]:
    """Measures audio and machine, says what was found, and returns values of the YAML file."""
    from ssast_recipes.brains.monitoring import MOST_CLIPS
    from ssast_recipes.data.preparation.labelled_files import read_labelled_files
    from ssast_recipes.data.preparation.manifests import HEADER_THREADS
    from ssast_recipes.data.preparation.scanning import check_rejected, scan_audio
    from ssast_recipes.runs.own.survey import (
        draw_windows,
        measure_sample,
        tell_audio,
        tell_rejected,
    )

    found, rejected = scan_audio(paths, HEADER_THREADS)
    rejected_file = output / "rejected.csv"
    tell_audio(folder, paths, found)
    tell_rejected(rejected, rejected_file)
    check_rejected(rejected, len(paths), max_rejected=0.1, listed_in=rejected_file)
    device = choose_device(device_name)
    sizes = _choose_size(request, device)
    durations = [info.duration for info in found.values()]
    target_length = choose_target_length(durations)
    seconds = target_length / 100
    counts = [max(1, round(duration / seconds)) for duration in durations]
    mean, std = measure_sample(draw_windows(found, counts))
    values: dict[str, Any] = {
        "data_folder": str(folder),
        "pretrained_encoder": request["init_from"],
        "probe_data": request["probe_data"],
        **sizes,
        "target_length": target_length,
        "num_masked_patches": round(MASKED_SHARE * num_patches(target_length)),
        "mean": round(mean, 4),
        "std": round(std, 4),
        "lr": _LEARNING_RATES[sizes["size"]],
        "num_workers": min(4, num_cores()),
        "precision": "bf16" if device.type == "cuda" else "fp32",
    }
    probed = 0
    if request["probe_data"]:
        probed = min(MOST_CLIPS, len(read_labelled_files(request["probe_data"])))
    return values | _plan_training(values, sum(counts), probed, device, request["steps"])


def _choose_size(request: Mapping[str, Any], device: "torch.device") -> dict[str, Any]:
    """The size asked for or, with weights to go on from, theirs."""
    if request["size"] or not request["init_from"]:
        return {"size": request["size"] or ("base" if device.type == "cuda" else "tiny")}
    from ssast_recipes.model.builders import size_options
    from ssast_recipes.weights.loading import read_pretrained

    return size_options(read_pretrained(request["init_from"]).geometry)


def _plan_training(
    values: Mapping[str, Any],
    num_clips: int,
    num_probed: int,
    device: "torch.device",
    steps: int | None,
) -> dict[str, Any]:
    from ssast_recipes.data.preparation.own_audio import MOST_VALID, VALID_SHARE
    from ssast_recipes.model.builders import ast_encoder

    length = values["target_length"]
    numbers = {key: values.get(key) for key in ("size", "embed_dim", "depth", "num_heads")}
    encoder = ast_encoder(**numbers, target_length=length, patch_size=PATCH_SIZE).to(device)
    weights = sum(parameter.numel() for parameter in encoder.parameters())
    tokens = num_patches(length) + 2
    kept = kept_bytes(len(encoder.blocks), tokens, encoder.embed_dim)
    wanted = 120 if values["size"] == "tiny" and device.type == "cuda" else 24
    batch = choose_batch(wanted, num_clips, weights, kept, free_memory(device))
    clips = batch.size * batch.accumulation
    per_clip = _seconds_per_clip(encoder, batch.size, device, values["precision"])
    held_out = min(MOST_VALID, max(1, round(VALID_SHARE * num_clips)))

    def evaluating(steps: int, interval: int) -> float:
        return _EVALUATED * per_clip * count_evaluations(steps, interval, held_out, num_probed)

    hours = _HOURS.get(device.type, 2) - evaluating(_VALIDATIONS, 1) / 3600
    steps = steps or choose_steps(num_clips, clips, clips * per_clip, hours)
    interval = min(steps, max(50, steps // _VALIDATIONS))
    seconds = steps * clips * per_clip + evaluating(steps, interval)
    disk = 3 * 12 * weights + 4 * weights  # newest, best and the one being written; the model
    print(
        f"Plan: {_name_size(numbers)} ({weights / 1e6:.1f} million weights) on {device.type}; "
        f"{num_clips:,} clips of {length / 100:g} s, {values['num_masked_patches']} of "
        f"{num_patches(length)} patches masked; {steps:,} steps of {clips} clips "
        f"({steps * clips / num_clips:.1f} passes); about {format_seconds(seconds)}, "
        f"{disk / 1e9:.2g} GB of disk"
    )
    return {
        "batch_size": batch.size,
        "grad_accumulation_factor": batch.accumulation,
        "num_steps": steps,
        "warmup_steps": min(1000, steps // 10),
        "valid_interval": interval,
        "checkpoint_interval": interval,
        "probe_interval": max(1, steps // 5),
        "log_interval": min(50, max(1, steps // 100)),
    }


def _name_size(numbers: Mapping[str, Any]) -> str:
    if numbers["embed_dim"] is None:
        return numbers["size"]
    return f"{numbers['embed_dim']} wide, {numbers['depth']} deep"


def _seconds_per_clip(encoder: Any, batch: int, device: "torch.device", precision: str) -> float:
    """Times forward and backward passes of the encoder, which take nearly all of a step.

    A GPU gets the whole batch, which keeps it busy; on a CPU four clips tell as much.
    """
    import torch

    batch = batch if device.type == "cuda" else min(batch, 4)
    spectrograms = torch.randn(batch, encoder.target_length, NUM_MEL_BINS, device=device)
    seconds = []
    for _ in range(4):  # the first warms up
        began = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            tokens = encoder(spectrograms).patch_tokens
        tokens.sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    encoder.zero_grad()
    del spectrograms, tokens
    if device.type == "cuda":
        encoder.cpu()
        torch.cuda.empty_cache()  # it is the training process that needs the memory
    return min(seconds[1:]) / batch
