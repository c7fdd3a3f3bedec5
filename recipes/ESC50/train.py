"""Pretrains on ESC-50's audio, or fine-tunes and evaluates on ESC-50, as the YAML file says.

python train.py hparams/pretrain_patch.yaml --data_folder /data/ESC-50-master
python train.py hparams/finetune_patch.yaml --data_folder /data/ESC-50-master \
        --pretrained_encoder results/ESC50/pretrain_patch/fold1/1
"""

from collections.abc import Sequence
from typing import Any

import speechbrain as sb
from esc50_prepare import prepare_esc50
from speechbrain.utils.distributed import run_on_main
from speechbrain.utils.run_opts import RunOptions

from ssast_recipes.runs.command_line import read_experiment, run_experiment
from ssast_recipes.runs.folder import run_folder
from ssast_recipes.runs.steps import load_pretrained, make_datasets, train_and_evaluate


def main(arguments: Sequence[str]) -> None:
    """Runs the experiment of a command line."""
    hparams_file, hparams, run_options, overrides = read_experiment(arguments)
    with run_folder(hparams["output_folder"], hparams["configuration"]):
        sb.create_experiment_directory(hparams["output_folder"], hparams_file, overrides)
        run(hparams, run_options)


def run(hparams: dict[str, Any], run_options: RunOptions) -> None:
    """Prepares the data, trains and evaluates."""
    hparams["record"]["dataset"] = run_on_main(
        prepare_esc50,
        kwargs={
            "data_folder": hparams["data_folder"],
            "manifest_folder": hparams["manifest_folder"],
            "test_fold": hparams["test_fold"],
            "download": hparams["download"],
            "download_sha256": hparams["download_sha256"],
            "sample_rate": hparams["sample_rate"],
            "max_rejected": hparams["max_rejected"],
        },
    )
    datasets = make_datasets(hparams)
    load_pretrained(hparams)
    train_and_evaluate(hparams, run_options, datasets)


if __name__ == "__main__":
    run_experiment(main)
