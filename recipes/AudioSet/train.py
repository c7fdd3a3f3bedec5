"""Pretrains or fine-tunes on AudioSet, as the YAML file says.

python train.py hparams/pretrain_patch.yaml --data_folder /data/AudioSet
python train.py hparams/finetune_20k_patch.yaml --data_folder /data/AudioSet \
        --pretrained_encoder SSAST-Base-Patch-400.pth
"""

from collections.abc import Sequence

import speechbrain as sb
from audioset_prepare import prepare_audioset

from ssast_recipes.runs.command_line import read_experiment, run_experiment
from ssast_recipes.runs.folder import run_folder
from ssast_recipes.runs.steps import load_pretrained, make_datasets, prepare, train_and_evaluate

PREPARATION_KEYS = (  # of the YAML file
    "data_folder",
    "manifest_folder",
    "splits",
    "list_folder",
    "max_rejected",
)


def main(arguments: Sequence[str]) -> None:
    """Runs the experiment of a command line."""
    _, hparams, run_options, _ = read_experiment(arguments)
    with run_folder(hparams["output_folder"], hparams["configuration"]):
        sb.create_experiment_directory(hparams["output_folder"])
        prepare(hparams, prepare_audioset, PREPARATION_KEYS)
        datasets = make_datasets(hparams)
        load_pretrained(hparams)
        train_and_evaluate(hparams, run_options, datasets)


if __name__ == "__main__":
    run_experiment(main)
