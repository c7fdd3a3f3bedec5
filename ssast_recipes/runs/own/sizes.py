"""How large a model, and how many steps of it, there is time for."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ssast_recipes.runs.own.budget import (
    FEW_STEPS,
    MANY_STEPS,
    choose_lengths,
    choose_steps,
    fill_time,
    run_seconds,
    with_reading,
)
from ssast_recipes.runs.own.geometry import Geometry
from ssast_recipes.runs.own.plans import Corpus, choose_batch, choose_reading, kept_bytes
from ssast_recipes.system.machine import free_memory
from ssast_recipes.system.words import counted, format_seconds

if TYPE_CHECKING:
    import torch

MASKED_SHARE = {"autoencoder": 0.75, "ssast": 400 / 512}  # MAE's, and SSAST's
# Without a GPU, the largest is taken that has time for `MANY_STEPS`; measured were 128 wide and 4
# blocks on speech, 192 wide and 6 blocks on sounds.
_CPU_SIZES = (
    {"size": "tiny", "embed_dim": 192, "depth": 6, "num_heads": 6},
    {"size": "tiny", "embed_dim": 128, "depth": 4, "num_heads": 4},
)
_GPU_SIZES = ((20, "base"), (2, "small"), (0, "tiny"))  # from so many hours of audio on
_CLUSTERS = ([3, 4, 5], [2, 3], [1])  # as published, or smaller on grids where these vary little
_LEAST_BATCH = 16
_TOO_FEW_STEPS = 300
_PROBES = 6


class Chosen(NamedTuple):
    """A model, and how it is trained."""

    values: dict[str, Any]  # for the YAML file
    num_weights: int
    step_seconds: float
    seconds: float  # in all, once planned
    why: str


def choose_model(
    values: Mapping[str, Any],
    geometry: Geometry,
    corpus: Corpus,
    request: Mapping[str, Any],
    device: "torch.device",
    left: float,
    is_trial: bool = False,
) -> Chosen:
    """Times models on this machine and takes the largest that has time for enough steps.

    Arguments
    ---------
    values : mapping
        For the YAML file, so far: the front end's, `padding`, `precision`.
    geometry : Geometry
        What clips are cut into.
    corpus : Corpus
        What there is to hear.
    request : mapping
        `objective`, `size`, `init_from`, `steps`, `minutes`.
    device : torch.device
        Where to train.
    left : float
        Seconds that there are.
    is_trial : bool
        Of the smallest model, that is looked at with `probe_data` before and after alone.

    Returns
    -------
    Chosen
    """
    objective = request["objective"] or "autoencoder"
    fixed = {
        **values,
        "target_length": geometry.target_length,
        "patch_size": list(geometry.patch_size),
        "num_masked_patches": max(1, round(MASKED_SHARE[objective] * geometry.num_tokens)),
        **choose_reading(corpus.seconds, device, values.get("sample_rate", 16000)),
    }
    if objective == "ssast":
        fixed["cluster_factors"] = _choose_clusters(geometry, fixed["num_masked_patches"])
    is_limited = request["minutes"] is not None or not request["steps"]
    wanted = request["steps"] or choose_steps(corpus.num_clips, 64, 1e-9, 1.0)
    tried: list[Chosen] = []
    num_probes = 2 if is_trial else _PROBES
    sizes = _candidates(request, corpus, device)
    for size in sizes[-1:] if is_trial else sizes:
        one = _plan(fixed | size, geometry, corpus, request, device, objective, left, num_probes)
        tried.append(one)
        if one.values["num_steps"] >= min(MANY_STEPS, wanted):
            break
    chosen = tried[-1]
    if is_limited and objective == "autoencoder" and device.type != "cuda":
        chosen = _with_more_steps(chosen, corpus, left, num_probes, wanted)
    why = _why(request, tried, min(MANY_STEPS, wanted), corpus, device)
    if not is_limited:  # steps alone are asked for, whatever time they take
        steps = request["steps"]
        seconds = run_seconds(chosen.values, steps, chosen.step_seconds, corpus, num_probes)
        chosen = chosen._replace(seconds=seconds)
        chosen.values.update(choose_lengths(steps))
    return chosen._replace(why=why)


def _why(
    request: Mapping[str, Any],
    tried: Sequence[Chosen],
    enough: int,
    corpus: Corpus,
    device: "torch.device",
) -> str:
    if request["size"]:
        return "as asked for"
    if request["init_from"]:
        return "as the encoder that it goes on from"
    if device.type == "cuda":
        return f"for {corpus.seconds / 3600:.1f} hours of audio, a rule of thumb"
    if len(tried) > 1:
        larger, steps = _name(tried[-2]), tried[-2].values["num_steps"]
        return f"{larger} would make {counted(steps, 'step')} in this time, fewer than {enough:,}"
    return f"there is time for {enough:,} steps"


def _with_more_steps(
    chosen: Chosen, corpus: Corpus, left: float, num_probes: int, wanted: int
) -> Chosen:
    """Halves the batch until there are some thousand steps: clips are no targets of each other."""
    values, per_clip = dict(chosen.values), chosen.step_seconds / chosen.values["batch_size"]
    while (
        values["num_steps"] < min(FEW_STEPS, wanted) and values["batch_size"] // 2 >= _LEAST_BATCH
    ):
        values["batch_size"] //= 2
        step_seconds = per_clip * values["batch_size"]
        seconds = fill_time(values, step_seconds, corpus, left, num_probes, wanted)
        chosen = chosen._replace(values=values, step_seconds=step_seconds, seconds=seconds)
    return chosen


def describe(
    chosen: Chosen, corpus: Corpus, minutes: float | None, spent: float
) -> tuple[str, str]:
    """Says in two lines which model is trained for how long."""
    values = chosen.values
    clips = values["batch_size"] * values["grad_accumulation_factor"]
    steps = values["num_steps"]
    passes = steps * clips / corpus.num_clips
    disk = (
        3 * 12 * chosen.num_weights + 4 * chosen.num_weights
    )  # newest, best, being written; model
    limit = "" if minutes is None else f" of {minutes:g} min"
    few = ""
    if minutes is not None and steps < _TOO_FEW_STEPS:
        few = "; so few steps teach little: give more --minutes"
    kind = "masked autoencoder" if "decoder_dim" in values else "SSAST"
    return (
        f"{kind}, {_name(chosen)} ({chosen.num_weights / 1e6:.1f} million weights; {chosen.why})",
        f"{counted(steps, 'step')} of {counted(clips, 'clip')} ({passes:.1f} passes over "
        f"{corpus.num_clips:,}), {1000 * chosen.step_seconds:.0f} ms each: about "
        f"{format_seconds(chosen.seconds + spent)}{limit}, {disk / 1e9:.2g} GB of disk{few}",
    )


def _candidates(
    request: Mapping[str, Any], corpus: Corpus, device: "torch.device"
) -> list[dict[str, Any]]:
    """The sizes to choose from, the largest first."""
    if request["size"] and request["init_from"]:
        raise ValueError("--size: the size is that of the weights of --init-from; leave one out")
    if request["size"]:
        return [{"size": request["size"]}]
    if request["init_from"]:
        from ssast_recipes.model.builders import size_options
        from ssast_recipes.weights.loading import read_pretrained

        return [size_options(read_pretrained(request["init_from"]).geometry)]
    if device.type != "cuda":
        return [dict(size) for size in _CPU_SIZES]
    hours = corpus.seconds / 3600
    return [{"size": next(name for least, name in _GPU_SIZES if hours >= least)}]


def _plan(
    values: dict[str, Any],
    geometry: Geometry,
    corpus: Corpus,
    request: Mapping[str, Any],
    device: "torch.device",
    objective: str,
    left: float,
    num_probes: int,
) -> Chosen:
    """Times one model, and counts the steps that there is time for."""
    from ssast_recipes.model.builders import SIZES
    from ssast_recipes.runs.own.timing import make_model, measure_step

    on_gpu = device.type == "cuda"
    width = values.get("embed_dim") or SIZES[values["size"]]["embed_dim"]
    tokens = geometry.num_tokens + 2
    if objective == "autoencoder":
        deep = {"decoder_depth": 2, "decoder_dim": width // 2} if on_gpu else {}
        decoder = {"decoder_depth": 1, "decoder_dim": 64, **deep}
        values |= decoder | {"decoder_heads": decoder["decoder_dim"] // 32}
        values["lr"] = float(f"{min(1e-3, 1e-3 * 192 / width):.2g}")
        wanted, tokens = 64, tokens - values["num_masked_patches"]
    else:
        # Published: Base and Small with batches of 24 at 1e-4, Tiny released with 120 at 5e-4.
        values["lr"] = 5e-4 if width <= 192 else 1e-4
        wanted = 120 if on_gpu and width <= 192 else 24
    model = make_model(values)
    weights = sum(parameter.numel() for parameter in model.parameters())
    kept = kept_bytes(len(model.encoder.blocks), tokens, width)
    if objective == "autoencoder":
        numbers = values["decoder_depth"], geometry.num_tokens + 2, values["decoder_dim"]
        kept += kept_bytes(*numbers)
    batch = choose_batch(wanted, corpus.num_clips, weights, kept, free_memory(device))
    values |= {"batch_size": batch.size, "grad_accumulation_factor": batch.accumulation}
    compute = batch.accumulation * measure_step(model, values, device)
    clips = batch.size * batch.accumulation
    step_seconds = with_reading(compute, clips * corpus.seconds_to_read, values)
    seconds = fill_time(values, step_seconds, corpus, left, num_probes, request["steps"])
    return Chosen(values, weights, step_seconds, seconds, "")


def _choose_clusters(geometry: Geometry, num_masked: int) -> list[int]:
    """The sides of clusters, as large as masks vary enough with."""
    from ssast_recipes.model.mask_statistics import measure_masks
    from ssast_recipes.model.masking import ClusterMasker

    if geometry.kind == "frame":
        return [1]  # published frame-based models have single frames masked
    fitting = [one for one in _CLUSTERS if max(one) <= max(geometry.grid_size)] or [[1]]
    for factors in fitting:
        masker = ClusterMasker(num_masked, tuple(factors))
        if not measure_masks(masker, geometry.grid_size).is_degenerate:
            return list(factors)
    return list(fitting[-1])


def _name(chosen: Chosen) -> str:
    values = chosen.values
    if values.get("embed_dim") is None:
        return values["size"]
    return f"{values['embed_dim']} wide with {values['depth']} blocks"
