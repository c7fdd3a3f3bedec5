"""Times the preparation of a corpus of many small files: an AudioSet, fabricated and deleted again.

python benchmarks/preparation.py --clips 200000

The files are links to a few short sounds, so that making them takes seconds and their content no
space: what is measured is walking the folders, matching names, reading headers and writing the
manifest, all from the operating system's cache. Each call runs in a process of its own.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soundfile

from ssast_recipes.data.synthetic.audioset import Segment, write_classes, write_segments

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "AudioSet"
NUM_CLASSES = 527
FILES_PER_FOLDER = 1000
LINKS_PER_FILE = 10_000  # file systems allow some ten thousand


def make_corpus(folder: Path, num_clips: int) -> None:
    """Makes lists and audio files of an unbalanced training set."""
    names = [f"Class {number}" for number in range(NUM_CLASSES)]
    mids = write_classes(folder / "class_labels_indices.csv", names)
    labels = np.random.default_rng(0).integers(0, NUM_CLASSES, (num_clips, 2)).tolist()
    segments = [
        Segment(f"-{number:010}", 30, [mids[label] for label in sorted({*pair})])
        for number, pair in enumerate(labels)
    ]
    write_segments(folder / "unbalanced_train_segments.csv", segments, duration=10.0)
    for number, segment in enumerate(segments):
        if number % LINKS_PER_FILE == 0:
            original = folder / f"{number}.wav"
            soundfile.write(original, np.zeros(1600, np.float32), 16000)
        parent = folder / "audio" / f"{number // FILES_PER_FOLDER:04}"
        if number % FILES_PER_FOLDER == 0:
            parent.mkdir(parents=True)
        os.link(original, parent / f"Y{segment.video}_30.000.wav")


def prepare(folder: Path) -> dict[str, float]:
    """Prepares the corpus; returns what it took."""
    sys.path.insert(0, str(RECIPE))
    from audioset_prepare import prepare_audioset

    start, cpu_start = time.perf_counter(), time.process_time()
    prepare_audioset(folder, folder / "manifests", splits=["unbalanced_train"])
    return {
        "s": time.perf_counter() - start,
        "CPU s": time.process_time() - cpu_start,
        "MiB at the peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clips", type=int, default=200_000)
    parser.add_argument("--cores", type=int, help="use only so many")
    options = parser.parse_args()
    if options.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    with tempfile.TemporaryDirectory() as name:
        start = time.perf_counter()
        make_corpus(Path(name), options.clips)
        print(f"{options.clips:,} files made in {time.perf_counter() - start:.0f} s", flush=True)
        for what in ("prepare", "prepare again"):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                taken = process.submit(prepare, Path(name)).result()
            numbers = ", ".join(f"{value:.1f} {unit}" for unit, value in taken.items())
            print(f"{what}: {numbers}; {options.clips / taken['s']:,.0f} clips/s", flush=True)


if __name__ == "__main__":
    main()
