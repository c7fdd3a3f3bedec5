"""Times loading: clips a second from files and shards, by format and number of workers.

python benchmarks/loading.py --clips 400
python benchmarks/loading.py --manifest results/AudioSet/manifests/2m/unbalanced_train.csv

By default clips of noise are fabricated in a temporary folder, 10 s at 16 kHz and 16 bits, and read
from the operating system's cache. Besides, in one thread: decoding from memory, which no disk
slows, and log-mel features on the CPU, which is why they are made on the device.
"""

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch.utils.data import DataLoader

from ssast_recipes.data.batches import as_float, collate
from ssast_recipes.data.manifest import Clip, read_manifest, write_manifest
from ssast_recipes.data.pipelines import WaveformReader, make_dataset
from ssast_recipes.data.preparation.packing import Packing, pack
from ssast_recipes.data.sampling import TrainingBatches
from ssast_recipes.model.filterbank import LogMelFilterbank
from ssast_recipes.records.results import device_kind
from ssast_recipes.system.files import write_text

RATE = 16000
ROUNDS = 3
KEYS = ("id", "index", "place", "waveform")


def make_files(folder: Path, num_clips: int, seconds: float, kind: str) -> Path:
    """Writes clips as files of a format, and their manifest."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    clips = []
    for number in range(num_clips):
        # Noise whose level rises and falls: FLAC makes of it about what it makes of recordings.
        level = 0.05 * (1 + np.sin(np.linspace(0, 20, round(seconds * RATE))))
        samples = level * random.standard_normal(len(level)).clip(-3, 3)
        path = folder / f"{number}.{kind}"
        soundfile.write(path, samples, RATE, subtype="PCM_16")
        clips.append(Clip(str(number), str(path), 0.0, seconds, RATE))
    manifest = folder.with_suffix(".csv")
    write_manifest(manifest, clips)
    return manifest


def time_loading(manifest: Path, workers: int, batch: int, num_clips: int) -> float:
    """Clips a second that a DataLoader gives, as in training; its start does not count.

    The median of some rounds: what else runs on a machine disturbs some of them.
    """
    dataset = make_dataset([manifest], WaveformReader(RATE), output_keys=KEYS)
    batches = TrainingBatches(len(dataset), batch, continuous=True, shards=dataset.shards)
    loader = DataLoader(dataset, batch_sampler=batches, num_workers=workers, collate_fn=collate)
    iterator = iter(loader)
    for _ in range(1 + 3 * workers):  # what the workers have made ready
        next(iterator)
    count = -(-num_clips // batch)
    rates = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        for _ in range(count):
            next(iterator)
        rates.append(count * batch / (time.perf_counter() - begin))
    return statistics.median(rates)


def time_calls(function: Callable[[int], Any], count: int) -> float:
    """Calls a second, of a function of their numbers; the median of some rounds."""
    function(0)
    rates = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        for number in range(count):
            function(number)
        rates.append(count / (time.perf_counter() - begin))
    return statistics.median(rates)


def time_decoding(manifest: Path, count: int) -> float:
    """Clips a second that one thread decodes from memory."""
    paths = [clip.path for clip in read_manifest(manifest)[:count]]
    contents = [Path(path).read_bytes() for path in paths]

    def decode(number: int) -> None:
        soundfile.read(io.BytesIO(contents[number % len(contents)]), dtype="int16")

    return time_calls(decode, count)


def time_features(manifest: Path, count: int) -> float:
    """Spectrograms a second that one thread makes."""
    read, log_mel = WaveformReader(RATE), LogMelFilterbank()
    clips = read_manifest(manifest)[: min(count, 8)]
    waveforms = [as_float(read(c.path, c.start, c.duration, 0, c.id))[None] for c in clips]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rate = time_calls(lambda number: log_mel(waveforms[number % len(waveforms)]), count)
    torch.set_num_threads(threads)
    return rate


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Runs the benchmark; returns rates in clips a second."""
    found: dict[str, Any] = {"device": device_kind("cpu"), "seconds": options.seconds}
    found |= {"clips": options.clips, "loading": {}, "in_one_thread": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.manifest:
            manifests = {"manifest": options.manifest}
        else:
            manifests = {}
            for kind in ("wav", "flac"):
                files = make_files(folder / kind, options.clips, options.seconds, kind)
                size = round(options.clips * options.seconds * 2 * RATE / 4)
                packing = Packing(kind, shard_bytes=size)
                manifests[f"{kind} files"] = files
                manifests[f"{kind} shards"] = pack(files, folder / f"{kind}_shards", packing)
                found["in_one_thread"][f"{kind} decoded from memory"] = time_decoding(
                    files, options.clips
                )
        for source, manifest in manifests.items():
            found["loading"][source] = {
                str(workers): time_loading(manifest, workers, options.batch, options.clips)
                for workers in options.workers
            }
        any_manifest = next(iter(manifests.values()))
        found["in_one_thread"]["log-mel features"] = time_features(any_manifest, options.clips // 4)
    return found


def describe(found: dict[str, Any]) -> str:
    """Formats what was measured as a table."""
    counts = list(next(iter(found["loading"].values())))
    lines = [f"{'clips/s':<26}" + "".join(f"{f'{n} workers':>12}" for n in counts)]
    for source, rates in found["loading"].items():
        lines.append(f"{source:<26}" + "".join(f"{rate:>12,.0f}" for rate in rates.values()))
    lines += ["", f"{'in one thread':<26}{'clips/s':>12}"]
    for what, rate in found["in_one_thread"].items():
        lines.append(f"{what:<26}{rate:>12,.0f}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Runs the command line; returns what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--manifest", type=Path, help="clips of your own in place of noise")
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a clip")
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path, help="write what was measured to a file")
    options = parser.parse_args(arguments)
    found = measure(options)
    print(describe(found))
    if options.json:
        write_text(options.json, json.dumps(found, indent=2) + "\n")
    return found


if __name__ == "__main__":
    main()
