"""Times pretraining steps: clips a second, stage by stage, and against the released procedure.

python benchmarks/pretraining_step.py --size base --batch 24 --precision bf16 --compile --stages
python benchmarks/pretraining_step.py --size tiny --batch 4 --steps 5 --against released
python benchmarks/pretraining_step.py --size tiny --objective autoencoder --against released

Waveforms are noise of 16 bits, made beforehand and loaded by a DataLoader, so that of the loading
only batching and copying count; with --manifest they are read. On a GPU, which works while the
processor waits, the share of waiting is an upper bound.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from step_bench import DTYPES, OBJECTIVES, STAGES, Bench, load
from step_comparison import AGAINST, compare

from ssast_recipes.model.builders import SIZES
from ssast_recipes.records.results import device_kind
from ssast_recipes.reporting.tables.costs import pretraining_flops
from ssast_recipes.system.files import write_text


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
    decoder = None
    if options.objective == "autoencoder":
        width = bench.plain.decoder.embed_dim
        decoder = {"depth": options.decoder_depth, "embed_dim": width}
    flops = pretraining_flops(bench.encoder.geometry(), options.masked, decoder=decoder)
    rate = measure_rate(bench.device, DTYPES[options.precision])
    found = {
        "device": device_kind(options.device),
        "torch": torch.__version__,
        **{key: vars(options)[key] for key in ("size", "objective", "batch", "frames", "masked")},
        "decoder": decoder,
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
    decoder = found["decoder"]
    rows = {
        "device": found["device"],
        "model": f"{found['size']}, {found['frames']} frames, {found['masked']} masked"
        + (
            f", decoder of {decoder['depth']} blocks {decoder['embed_dim']} wide" if decoder else ""
        ),
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
    parser.add_argument("--objective", choices=OBJECTIVES, default=OBJECTIVES[0])
    parser.add_argument("--decoder-depth", type=int, default=2, help="of an autoencoder: blocks")
    parser.add_argument("--decoder-dim", type=int, help="width; by default the encoder's")
    parser.add_argument("--batch", type=int, default=4, help="clips a step")
    parser.add_argument("--frames", type=int, default=1024)
    parser.add_argument("--masked", type=int, default=400)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=DTYPES, default="fp32")
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
