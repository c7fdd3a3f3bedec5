"""How long `ssast evaluate`'s probes take on embeddings of a large task.

python benchmarks/probes.py --clips 10000 --width 768 --classes 50
"""

import argparse
import time

import torch

from ssast_recipes.evaluation.probes import PROBES, Labelled


def main() -> None:
    """Prints wall and processor seconds of each probe, four fifths of the clips being known."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--classes", type=int, default=50)
    parser.add_argument("--probes", nargs="+", default=["knn", "linear"], choices=PROBES)
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(arguments.clips) % arguments.classes
    centres = torch.randn(arguments.classes, arguments.width, generator=generator)
    noise = torch.randn(arguments.clips, arguments.width, generator=generator)
    vectors = centres[labels] + 8 * noise
    targets = torch.nn.functional.one_hot(labels, arguments.classes)
    known = torch.arange(arguments.clips) % 7 < 5.6  # of every class
    print(f"{arguments.clips:,} clips x {arguments.width}, {torch.get_num_threads()} threads")
    for name in arguments.probes:
        wall, processor = time.perf_counter(), time.process_time()
        scores = PROBES[name](Labelled(vectors[known], targets[known]), vectors[~known], None)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        right = (scores.argmax(dim=1) == labels[~known]).float().mean()
        print(f"{name}: {wall:.1f} s, of processors {processor:.1f} s, accuracy {right:.3f}")


if __name__ == "__main__":
    main()
