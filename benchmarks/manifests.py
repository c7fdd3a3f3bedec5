"""Times reading a large manifest, and measures what a training process and its workers then hold.

python benchmarks/manifests.py --clips 2000000 --workers 4

The manifest is fabricated in a temporary folder: paths as AudioSet's, one to four of 527 classes a
clip, few of them frequent. A process of its own reads it; workers forked from it, as a DataLoader
forks its own, touch clips all over it, together as many as there are, which is an epoch. What they
share with their parent is held once; a worker's "private" memory is what it copied by touching.
Linux alone tells of it.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ssast_recipes.data.manifest import Clip, write_manifest

NUM_CLASSES = 527
MIB = 1 << 20


def make_manifest(path: Path, num_clips: int) -> None:
    """Writes a manifest as AudioSet's."""
    random = np.random.default_rng(0)
    names = [f"Class {n}" + (", fabricated" if n % 3 == 0 else "") for n in range(NUM_CLASSES)]
    shares = 1 / np.arange(1, NUM_CLASSES + 1)
    drawn = random.choice(NUM_CLASSES, (num_clips, 4), p=shares / shares.sum()).tolist()
    counts = random.integers(1, 5, num_clips).tolist()
    seconds = random.uniform(9.9, 10.0, num_clips).round(6).tolist()

    def clip(n: int) -> Clip:
        folder = f"/data/AudioSet/audio/unbalanced_train/{n // 1000:04}"
        labels = tuple(dict.fromkeys(names[label] for label in drawn[n][: counts[n]]))
        return Clip(f"-{n:010}", f"{folder}/Y-{n:010}_30.000.wav", 0.0, seconds[n], 16000, labels)

    write_manifest(path, map(clip, range(num_clips)))


def memory() -> dict[str, float]:
    """Resident and private memory of this process, in MiB."""
    found = {"resident": 0.0, "private": 0.0}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        kind = {"Rss": "resident", "Private_Clean": "private", "Private_Dirty": "private"}.get(name)
        if kind:
            found[kind] += int(value.split()[0]) / 1024
    return found


def _touch(table: Any, worker: int, workers: int, queue: Any) -> None:
    """Takes a worker's share of an epoch, in an order that needs no memory of its own."""
    before, begin = memory()["private"], time.perf_counter()
    count = len(table)
    step = next(n for n in range(count * 3 // 8 + 1, count * 2) if np.gcd(n, count) == 1)
    numbers = range(worker, count, workers)
    for number in numbers:
        table[number * step % count]
    seconds = time.perf_counter() - begin
    queue.put({"private": memory()["private"] - before, "clips/s": len(numbers) / seconds})


def measure(manifest: Path, workers: int, queue: Any) -> None:
    """Reads a manifest, and lets workers use it."""
    from ssast_recipes.data.dataset import ClipDataset
    from ssast_recipes.data.pipelines import WaveformReader

    before, begin, busy = memory(), time.perf_counter(), time.process_time()
    dataset = ClipDataset([manifest], WaveformReader())
    seconds, busy, after = time.perf_counter() - begin, time.process_time() - busy, memory()
    found = {"clips": len(dataset), "s": seconds, "CPU s": busy}
    found["bytes a clip"] = (after["private"] - before["private"]) * MIB / len(dataset)
    found["resident before, MiB"], found["resident, MiB"] = before["resident"], after["resident"]
    fork, told = multiprocessing.get_context("fork"), multiprocessing.get_context("fork").Queue()
    processes = [
        fork.Process(target=_touch, args=(dataset.table, worker, workers, told))
        for worker in range(workers)
    ]
    for process in processes:
        process.start()
    touched = [told.get() for _ in processes]
    for process in processes:
        process.join()
    found["private growth of each worker, MiB"] = sorted(one["private"] for one in touched)
    found["clips/s of each worker"] = sorted(one["clips/s"] for one in touched)
    begin = time.perf_counter()
    dataset.digest  # noqa: B018, what a checkpoint knows the clips by
    found["digest, s"] = time.perf_counter() - begin
    queue.put(found)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Runs the command line; returns what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clips", type=int, default=2_000_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--manifest", type=Path, help="one of your own; if it is not there, made")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        manifest = options.manifest or Path(name) / "train.csv"
        if not os.path.exists(manifest):
            make_manifest(manifest, options.clips)
        spawn = multiprocessing.get_context("spawn")  # a process that has read nothing yet
        queue = spawn.Queue()
        process = spawn.Process(target=measure, args=(manifest, options.workers, queue))
        process.start()
        found = queue.get()
        process.join()
    print(json.dumps(found, indent=2, default=float))
    return found


if __name__ == "__main__":
    main()
