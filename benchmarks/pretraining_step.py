"""Times pretraining steps: clips a second, stage by stage, and against the released procedure.

python benchmarks/pretraining_step.py --size base --batch 24 --precision bf16 --compile --stages
python benchmarks/pretraining_step.py --size tiny --batch 4 --steps 5 --against released

Waveforms are noise of 16 bits, made beforehand and loaded by a DataLoader, so that of the loading
only batching and copying count; with --manifest they are read. On a GPU, which works while the
processor waits, the share of waiting is an upper bound.
"""

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from released_step import draw_cluster_mask, released_step
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, Dataset

from ssast_recipes.builders import SIZES, ast_encoder
from ssast_recipes.data.batches import ClipBatch, collate
from ssast_recipes.data.pipelines import WaveformReader, make_dataset
from ssast_recipes.data.sampling import ClipKey, TrainingBatches
from ssast_recipes.features import LogMelFilterbank, SpectrogramFrontEnd
from ssast_recipes.files import write_text
from ssast_recipes.flops import pretraining_flops
from ssast_recipes.heads import PatchPredictionHead
from ssast_recipes.losses import info_nce_loss, masked_reconstruction_loss
from ssast_recipes.masking import OfficialClusterMasker
from ssast_recipes.metrics import masked_patch_accuracy
from ssast_recipes.patches import patchify, select_patches
from ssast_recipes.pretraining import MaskedPatchModel
from ssast_recipes.randomness import ClipGenerator
from ssast_recipes.results import device_kind

KEYS = ("id", "index", "place", "waveform")
STAGES = ("copy", "features", "masks and targets", "forward", "losses", "backward", "optimiser")
AGAINST = (
    *("released", "two-passes", "explicit-attention", "python-masks", "unfused-adam", "eager"),
    "fp32",
)
ADAM = {"lr": 1e-4, "betas": (0.95, 0.999), "weight_decay": 5e-7}
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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
        encoder = ast_encoder(options.size, target_length=options.frames)
        width, area = encoder.embed_dim, encoder.patch_area
        heads = [PatchPredictionHead(width, area) for _ in range(2)]
        self.encoder = encoder
        self.plain = MaskedPatchModel(encoder, *heads).to(self.device)
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
        dtype = _DTYPES[options.precision]
        with torch.autocast(self.device.type, dtype=dtype, enabled=options.precision != "fp32"):
            with timed("features"):
                spectrograms = self.front_end(batch.waveforms, batch.num_samples)
            with timed("masks and targets"):
                patches = patchify(spectrograms, self.encoder.patch_size)
                generator = ClipGenerator(1, self.number, batch.places)
                masked = self.masker(generator, self.encoder.grid_size)
                again = self.masker(generator, self.encoder.grid_size) if two_passes else None
                targets = select_patches(patches, masked)
            with timed("forward"):
                predictions = self.model(spectrograms, masked, again)
            with timed("losses"):
                choice = {"softmax_over": "predictions"}
                loss = info_nce_loss(predictions.contrastive, targets, **choice)
                masked_patch_accuracy(predictions.contrastive.detach(), targets, **choice)
                redrawn = targets if again is None else select_patches(patches, again)
                loss = loss + 10 * masked_reconstruction_loss(predictions.reconstruction, redrawn)
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


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Runs the benchmark; returns what is to be told."""
    bench = Bench(options)
    batches = load(options, bench.plain_front_end.filterbank.num_samples(options.frames))
    for _ in range(options.warmup):
        bench.step(next(batches))
    bench.synchronise()
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    waiting, begin = 0.0, time.perf_counter()
    for _ in range(options.steps):
        asked = time.perf_counter()
        batch = next(batches)
        waiting += time.perf_counter() - asked
        bench.step(batch)
    bench.synchronise()
    seconds = time.perf_counter() - begin
    clips_per_second = options.batch * options.steps / seconds
    flops = pretraining_flops(bench.encoder.geometry(), options.masked)
    rate = measure_rate(bench.device, _DTYPES[options.precision])
    found = {
        "device": device_kind(options.device),
        "torch": torch.__version__,
        **{key: vars(options)[key] for key in ("size", "batch", "frames", "masked")},
        **{key: vars(options)[key] for key in ("precision", "compile", "workers", "steps")},
        "clips_per_second": clips_per_second,
        "seconds_per_step": seconds / options.steps,
        "waiting_for_data": waiting / seconds,
        "peak_memory_gb": peak_memory(bench.device) / 1e9,
        "gflop_per_clip": flops / 1e9,
        "model_tflops": flops * clips_per_second / 1e12,
        "matrix_product_tflops": rate / 1e12,
        "share_of_matrix_products": flops * clips_per_second / rate,
    }
    if options.stages:
        for _ in range(options.steps):
            bench.step(next(batches), by_stage=True)
        found["stage_milliseconds"] = {
            stage: 1e3 * statistics.median(bench.seconds[stage]) for stage in STAGES
        }
    if options.against:
        found |= compare(bench, batch)
    return found


def compare(bench: Bench, batch: ClipBatch) -> dict[str, Any]:
    """Alternates ours with something slower, step by step; medians.

    "released" is the whole released procedure, in 32-bit whatever the precision of ours; the others
    are ours with one change taken back.
    """
    options = bench.options
    with torch.no_grad():
        there = batch.to(bench.device)
        spectrograms = bench.plain_front_end(there.waveforms, there.num_samples)
    adam = torch.optim.Adam(bench.plain.parameters(), **ADAM)

    def without(change: str) -> None:
        eager = {"model": bench.plain, "front_end": bench.plain_front_end}
        before = {
            "explicit-attention": lambda: sdpa_kernel(SDPBackend.MATH),
            "python-masks": lambda: changed(bench, masker=PythonMasker(options.masked)),
            "unfused-adam": lambda: changed(bench, optimiser=adam),
            "eager": lambda: changed(bench, **eager),
            "fp32": lambda: changed(options, precision="fp32"),
        }
        with before[change]():
            bench.step(batch)

    others: dict[str, Callable[[], Any]] = {
        "released": lambda: released_step(bench.plain, adam, spectrograms, options.masked),
        "two-passes": lambda: bench.step(batch, two_passes=True),
    }
    other = others.get(options.against, lambda: without(options.against))
    ours, theirs = [], []
    for _ in range(1 + options.steps):
        ours.append(bench.clock(lambda: bench.step(batch)))
        theirs.append(bench.clock(other))
    ours_median, other_median = (statistics.median(seconds[1:]) for seconds in (ours, theirs))
    return {
        "against": options.against,
        "ours_seconds": ours_median,
        "other_seconds": other_median,
        "ours_over_other": ours_median / other_median,
    }


@contextmanager
def changed(thing: Any, **values: Any) -> Iterator[None]:
    """Gives an object other attributes for a while."""
    before = {name: getattr(thing, name) for name in values}
    vars(thing).update(values)
    yield
    vars(thing).update(before)


class PythonMasker:
    """Draws every clip's mask in Python, as the released code does.

    Arguments
    ---------
    num_masked : int
        Patches of a clip.
    """

    def __init__(self, num_masked: int):
        self.num_masked = num_masked

    def __call__(self, generator: ClipGenerator, grid_size: tuple[int, int]) -> Tensor:
        """Draws masks, [batch, masked]."""
        rows, columns = grid_size
        masks = [
            draw_cluster_mask(rows * columns, self.num_masked, columns)
            for _ in range(generator.batch_size)
        ]
        return torch.tensor(masks, device=generator.device)


def measure_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measures how many floating-point operations a second matrix products do, at best."""
    size = 8192 if device.type == "cuda" else 1024
    first, second = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(3 if device.type == "cuda" else 2):
        begin = time.perf_counter()
        for _ in range(10):
            product = first @ second
        product[0, 0].item()  # waits for the device
        best = min(best, (time.perf_counter() - begin) / 10)
    return 2 * size**3 / best


def peak_memory(device: torch.device) -> float:
    """Peak of what was allocated on a GPU, or of the process's memory, in bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource

    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def describe(found: dict[str, Any]) -> str:
    """Formats what was measured as a table."""
    rows = {
        "device": found["device"],
        "model": f"{found['size']}, {found['frames']} frames, {found['masked']} masked",
        "step": f"{found['batch']} clips, {found['precision']}"
        + (", compiled" if found["compile"] else ""),
        "clips/s": f"{found['clips_per_second']:,.2f}",
        "ms a step": f"{1e3 * found['seconds_per_step']:,.1f}",
        "waiting for data": f"{found['waiting_for_data']:.1%}",
        "memory at the peak": f"{found['peak_memory_gb']:.2f} GB",
        "operations": f"{found['gflop_per_clip']:.1f} GFLOP a clip, "
        f"{found['model_tflops']:.3g} TFLOP/s",
        "of matrix products": f"{found['share_of_matrix_products']:.0%} of "
        f"{found['matrix_product_tflops']:.3g} TFLOP/s",
    }
    for stage, milliseconds in found.get("stage_milliseconds", {}).items():
        rows[f"  {stage}"] = f"{milliseconds:,.2f} ms"
    if "against" in found:
        rows[f"ours / {found['against']}"] = (
            f"{found['ours_over_other']:.2f} ({found['ours_seconds']:.2f} s / "
            f"{found['other_seconds']:.2f} s a step, medians, alternating)"
        )
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Runs the command line; returns what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--batch", type=int, default=4, help="clips a step")
    parser.add_argument("--frames", type=int, default=1024)
    parser.add_argument("--masked", type=int, default=400)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=_DTYPES, default="fp32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--fused", action="store_true", help="fused Adam on a CPU, too")
    parser.add_argument("--manifest", type=Path, help="read these clips in place of noise")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--stages", action="store_true", help="time every stage, too")
    parser.add_argument(
        "--against",
        choices=AGAINST,
        help="alternate with the released procedure, or with ours but for one change",
    )
    parser.add_argument("--json", type=Path, help="write what was measured to a file")
    options = parser.parse_args(arguments)
    if options.compile and options.against == "explicit-attention":
        parser.error("explicit-attention: a compiled model keeps its kernel; leave out --compile")
    # As SpeechBrain has it in training; for the released procedure and the matrix products, too.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    found = measure(options)
    print(describe(found))
    if options.json:
        write_text(options.json, json.dumps(found, indent=2) + "\n")
    return found


if __name__ == "__main__":
    main()
