"""Pretrains on LibriSpeech, alone or with other corpora, or learns to recognise what is said.

python train.py hparams/pretrain_patch.yaml --data_folder /data/LibriSpeech
python train.py hparams/pretrain_patch.yaml --data_folder /data/LibriSpeech \
        --train_manifests "[results/Librispeech/manifests/train.csv, /data/other/train.csv]"
python train.py hparams/asr_ctc_frame.yaml --data_folder /data/LibriSpeech
"""

from collections.abc import Sequence
from functools import partial

import speechbrain as sb
from librispeech_prepare import prepare_librispeech

from ssast_recipes.runs.command_line import read_experiment, run_experiment
from ssast_recipes.runs.folder import run_folder
from ssast_recipes.runs.steps import load_pretrained, make_datasets, prepare, train_and_evaluate

PREPARATION_KEYS = (  # of the YAML file
    "data_folder",
    "manifest_folder",
    "subsets",
    "download",
    "max_rejected",
)


def main(arguments: Sequence[str]) -> None:
    """Runs the experiment of a command line."""
    _, hparams, run_options, _ = read_experiment(arguments)
    with run_folder(hparams["output_folder"], hparams["configuration"]):
        sb.create_experiment_directory(hparams["output_folder"])
        transcripts = hparams.get("transcripts", False)
        preparation = partial(prepare_librispeech, transcripts=transcripts)
        prepare(hparams, preparation, PREPARATION_KEYS)
        datasets = make_datasets(hparams)
        load_pretrained(hparams)
        train_and_evaluate(hparams, run_options, datasets)


if __name__ == "__main__":
    run_experiment(main)
