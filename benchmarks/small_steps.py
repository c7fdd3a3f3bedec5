"""How many steps each pretraining of a table has in equal time, for its `num_steps`.

python benchmarks/small_steps.py speech --seconds 60

Times a step of each row on noise, as `ssast pretrain` does, but in CPU seconds and one thread, so
that other programs matter little; row after row, in rounds, so that what these do change falls on
all alike.
Rows that differ in their targets or their heads alone are timed once, with both heads.
"""

import argparse
import statistics
import time
from typing import Any

import torch

from ssast_recipes.reporting.tables.experiments import expected_settings
from ssast_recipes.reporting.tables.rows import Pretraining, read_table
from ssast_recipes.runs.own.timing import make_model, measure_step

_KEYS = (
    *("size", "embed_dim", "depth", "num_heads", "num_mel_bins", "target_length", "patch_size"),
    *("decoder_dim", "decoder_depth", "decoder_heads", "decoder_positions"),
    *("low_frequency", "high_frequency", "batch_size", "num_masked_patches", "padding"),
)


def step_values(pretraining: Pretraining) -> dict[str, Any]:
    """What `make_model` and `measure_step` have to know of a row's pretraining."""
    settings = expected_settings(pretraining.experiment, pretraining.options)
    return {key: settings[key] for key in _KEYS if key in settings} | {"precision": "fp32"}


def main() -> None:
    """Reads the command line, times, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", help="its name, or a YAML file")
    parser.add_argument("--seconds", type=float, default=60, help="of each pretraining")
    parser.add_argument("--rounds", type=int, default=2, help="of timing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for row in read_table(given.table).rows if row.pretraining]
    values = {row.name: step_values(row.pretraining) for row in rows}
    kinds = {str(sorted(one.items())): one for one in values.values()}
    models = {kind: make_model(one) for kind, one in kinds.items()}
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(given.rounds):
        for kind, one in kinds.items():
            found[kind].append(
                measure_step(models[kind], one, torch.device("cpu"), time.process_time)
            )
    for name, one in values.items():
        seconds = statistics.median(found[str(sorted(one.items()))])
        print(f"{name}: {1000 * seconds:.0f} ms a step, num_steps: {int(given.seconds / seconds)}")


if __name__ == "__main__":
    main()
