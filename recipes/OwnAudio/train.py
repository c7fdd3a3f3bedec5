"""Pretrains or fine-tunes on your own audio, as the YAML file says.

python train.py hparams/pretrain.yaml --data_folder /data/recordings
python train.py hparams/finetune.yaml --data_folder /data/labels.csv --num_classes 10 \
        --pretrained_encoder results/OwnAudio/pretrain/1
"""

from collections.abc import Sequence

import speechbrain as sb

from ssast_recipes.runs.baselines import add_baselines
from ssast_recipes.runs.command_line import read_experiment, run_experiment
from ssast_recipes.runs.folder import run_folder
from ssast_recipes.runs.steps import load_pretrained, make_datasets, prepare, train_and_evaluate


def main(arguments: Sequence[str]) -> None:
    """Runs the experiment of a command line."""
    _, hparams, run_options, _ = read_experiment(arguments)
    with run_folder(hparams["output_folder"], hparams["configuration"]):
        sb.create_experiment_directory(hparams["output_folder"])
        prepare(hparams, hparams["prepare"])
        datasets = make_datasets(hparams)
        add_baselines(hparams, datasets)
        load_pretrained(hparams)
        train_and_evaluate(hparams, run_options, datasets)


if __name__ == "__main__":
    run_experiment(main)
