"""What `ssast pretrain` plans: how to train on the audio, the machine and the time at hand."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssast_recipes.records.hparams import read_hparams, read_value
from ssast_recipes.records.hparams_text import write_hparams
from ssast_recipes.records.run import Run
from ssast_recipes.runs.own.front_ends import choose_front_end, inherit_front_end
from ssast_recipes.runs.own.geometry import (
    Geometry,
    choose_geometry,
    choose_target_length,
    count_frames,
    given_geometry,
)
from ssast_recipes.runs.own.plans import Corpus
from ssast_recipes.runs.own.request import keep_request, read_request
from ssast_recipes.runs.own.sizes import choose_model, describe
from ssast_recipes.runs.own.trials import trial_seconds, try_out
from ssast_recipes.system.errors import RunError
from ssast_recipes.system.machine import choose_device

if TYPE_CHECKING:  # at run time after the arguments, so that --help need not wait for torch
    import torch

    from ssast_recipes.data.headers import AudioInfo

_MINUTES = {"cpu": 30, "cuda": 240}  # that may be used unasked
OBJECTIVES = {"autoencoder": "pretrain.yaml", "ssast": "pretrain_ssast.yaml"}
_FEW = 0.01  # of the clips: if fewer have padding, it costs more to mask it than it is worth


def lengthen(hparams_file: Path, request: Mapping[str, Any]) -> None:
    """Lets a run that has begun go on for more steps, if that is all that is asked for anew.

    More minutes than were planned are as many more steps; steps may take the place of minutes.
    """
    before = read_request(hparams_file)
    changed = [key for key, value in request.items() if before.get(key) != value]
    if not changed or {*changed} - {"steps", "minutes"} or not Run(hparams_file.parent).has_begun:
        return
    planned = read_value(read_hparams(hparams_file)["num_steps"])
    minutes = before.get("planned_minutes")
    steps = None
    if "steps" in changed:
        steps = request["steps"]
    elif changed == ["minutes"] and request["minutes"] and minutes:
        steps = int(planned * request["minutes"] / minutes)
        minutes = request["minutes"]
    # Equal: a kill came between the two.
    if steps and isinstance(planned, int) and steps >= planned:
        write_hparams(hparams_file, hparams_file, {"num_steps": steps})
        keep_request(hparams_file, {**request, "planned_minutes": minutes}, before["files"])
        print(f"num_steps was {planned}, is {steps} in {hparams_file}", flush=True)


def choose_minutes(request: Mapping[str, Any], device: "torch.device") -> float | None:
    """How long a run may take, all included; None if steps alone are asked for."""
    if request["minutes"] is None and request["steps"]:
        return None
    return request["minutes"] or _default_minutes(device)


def _default_minutes(device: "torch.device") -> float:
    return _MINUTES.get(device.type, _MINUTES["cpu"])


def plan_pretraining(
    folder: Path,
    paths: Sequence[str],
    output: Path,
    request: Mapping[str, Any],
    device_name: str | None,
    source: Path,
    began: float,
) -> dict[str, Any]:
    """Measures audio and machine, says what was found and why what is chosen.

    Arguments
    ---------
    folder : Path
        Of the audio.
    paths : sequence of str
        The audio files in it and below it.
    output : Path
        The run's folder.
    request : mapping
        What the user asks for: see `ssast_recipes.commands.pretrain`.
    device_name : str, optional
        As of the command.
    source : Path
        The recipe's YAML file.
    began : float
        When the command did, by `time.monotonic`: its minutes run since then.

    Returns
    -------
    dict
        Values for the YAML file.

    Raises
    ------
    ValueError
        If too many files cannot be used, all are silent, or what is asked for does not fit them.
    """
    from ssast_recipes.data.preparation.manifests import HEADER_THREADS
    from ssast_recipes.data.preparation.scanning import check_rejected, scan_audio
    from ssast_recipes.model.filterbank import LogMelFilterbank
    from ssast_recipes.runs.own.survey import (
        draw_windows,
        measure_sample,
        tell_audio,
        tell_rejected,
    )

    if request["init_from"]:
        from ssast_recipes.weights.source import fetch_weights

        request = {**request, "init_from": str(fetch_weights(request["init_from"]))}
    found, rejected = scan_audio(paths, HEADER_THREADS)
    rejected_file = output / "rejected.csv"
    tell_audio(folder, paths, found)
    tell_rejected(rejected, rejected_file)
    check_rejected(rejected, len(paths), max_rejected=0.1, listed_in=rejected_file)
    device = choose_device(device_name)
    front_end, kinds, why = _choose_geometries(request, list(found.values()), device)
    length = kinds[0].target_length
    counts = [max(1, round(100 * info.duration / length)) for info in found.values()]
    frames = [
        count_frames(info.duration / count)
        for info, count in zip(found.values(), counts, strict=True)
        for _ in range(count)
    ]
    short = sum(number < length for number in frames) / len(frames)
    measured = measure_sample(draw_windows(found, counts), LogMelFilterbank(**front_end))
    seconds = sum(info.duration for info in found.values())
    corpus = Corpus(sum(counts), seconds, measured.seconds, _count_probed(request))
    values: dict[str, Any] = {
        "data_folder": str(folder),
        "pretrained_encoder": request["init_from"],
        "probe_data": request["probe_data"],
        **front_end,
        "padding": "masked" if short > _FEW else "released",
        "mean": round(measured.mean, 4),
        "std": round(measured.std, 4),
        "precision": "bf16" if device.type == "cuda" else "fp32",
    }
    minutes = choose_minutes(request, device)
    budget = None if minutes is None else 60 * minutes
    geometry = kinds[0]
    if len(kinds) > 1 and (each := trial_seconds(budget)):
        scores: dict[Geometry, float | None] = {}
        why = "frames, for trials took too long on this machine"
        try:
            for one in kinds:
                scores[one] = _try(one, values, corpus, request, device, source, output, each)
        except RunError as error:
            why = f"frames, for {error}"
        if len(scores) == len(kinds) and None not in scores.values():
            geometry = max(kinds, key=scores.__getitem__)  # of equals, the first
            told = ", ".join(f"{score:.3f} with {one}" for one, score in scores.items())
            labels = Path(request["probe_data"]).name
            why = f"ridge regression on {labels} after trials of {each:.0f} s: {told}"
    spent = time.monotonic() - began
    left = 60 * (minutes or _default_minutes(device)) - spent
    chosen = choose_model(values, geometry, corpus, request, device, left)
    top = values["high_frequency"] or values["sample_rate"] / 2
    print(
        f"Plan: {geometry}: {geometry.num_tokens} of a clip of {length / 100:g} s, "
        f"{chosen.values['num_masked_patches']} masked, padding {values['padding']}; "
        f"{geometry.num_mel_bins} mel bins up to {top / 1000:g} kHz ({why})"
    )
    for line in describe(chosen, corpus, minutes, time.monotonic() - began):
        print(f"  {line}", flush=True)
    return chosen.values


def _choose_geometries(
    request: Mapping[str, Any], infos: Sequence["AudioInfo"], device: "torch.device"
) -> tuple[dict[str, Any], list[Geometry], str]:
    """The filterbank's numbers; the geometries to choose from, the preferred first; and why."""
    patch = request["patch"] and tuple(request["patch"])
    if request["init_from"]:
        front_end, own = inherit_front_end(request)
        if request["geometry"] or (patch and patch != own):
            raise ValueError(
                f"{request['init_from']} has patches of {own[0]} mel bins x {own[1]} frames, which "
                "stay as they are: leave out --geometry and --patch, or --init-from"
            )
        patch = own
    else:
        front_end = choose_front_end(request, [info.sample_rate for info in infos])
    bins = front_end["num_mel_bins"]
    length = choose_target_length([info.duration for info in infos])
    if request["clip_seconds"]:
        length = max(1, round(100 * request["clip_seconds"]))
    if patch:
        why = "as the encoder that it goes on from" if request["init_from"] else "as asked for"
        return front_end, [given_geometry(patch, bins, length)], why
    kinds = [request["geometry"]] if request["geometry"] else ["frame", "patch"]
    is_fast = device.type == "cuda"
    choices = [choose_geometry(kind, bins, length, is_fast) for kind in kinds]
    if request["geometry"]:
        return front_end, choices, "as asked for"
    if request["probe_data"]:
        return front_end, choices, "frames, for there is no time for trials"
    # No judge without labels was found that is fair to both: losses of patches and of frames
    # measure different tasks. docs/your-own-audio.md has the measurements behind the rule.
    why = "the rule: frames gain much on speech and lose little on other sounds"
    return front_end, choices[:1], f"{why}; labels (--probe-data) or --geometry patch decide else"


def _count_probed(request: Mapping[str, Any]) -> int:
    if not request["probe_data"]:
        return 0
    from ssast_recipes.brains.monitoring import MOST_CLIPS
    from ssast_recipes.data.preparation.labelled_files import read_labelled_files

    return min(MOST_CLIPS, len(read_labelled_files(request["probe_data"])))


def _try(
    geometry: Geometry,
    values: Mapping[str, Any],
    corpus: Corpus,
    request: Mapping[str, Any],
    device: "torch.device",
    source: Path,
    output: Path,
    seconds: float,
) -> float | None:
    """Tries a geometry in so many seconds, all included; None if that was not enough."""
    began = time.monotonic()
    print(f"  trying {geometry} for {seconds:.0f} s …", flush=True)
    small = {**request, "steps": None, "minutes": seconds / 60}
    # The trial's own reading and timing come first.
    planned = choose_model(values, geometry, corpus, small, device, seconds, is_trial=True)
    left = seconds - (time.monotonic() - began)
    steps = max(1, int(planned.values["num_steps"] * left / seconds))
    planned.values.update(
        {"num_steps": steps, "valid_interval": steps, "checkpoint_interval": steps},
        probe_interval=0,
        warmup_steps=max(1, min(100, steps // 10)),
        pretrained_encoder=None,
    )
    return try_out(source, output, planned.values, device.type, seconds)
