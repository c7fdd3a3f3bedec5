"""Steps that every `train.py` takes, between what its YAML file names and what its data set needs.

Code of the experiments: unlike the parts, it reads `hparams`.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from speechbrain.utils.distributed import if_main_process, run_on_main
from speechbrain.utils.run_opts import RunOptions

from ssast_recipes.data.pipelines import ClipDataset, make_dataset
from ssast_recipes.data.table import ClipTable
from ssast_recipes.data.tokenizer import TOKENIZER_FILE, Tokenizer
from ssast_recipes.model.front_end import SpectrogramFrontEnd
from ssast_recipes.runs.shared_memory import check_shared_memory
from ssast_recipes.system.errors import RunError
from ssast_recipes.system.files import file_digest
from ssast_recipes.weights.front_ends import check_front_end
from ssast_recipes.weights.loading import (
    PretrainedWeights,
    load_pretrained_encoder,
    load_pretrained_heads,
    read_pretrained,
)

logger = logging.getLogger(__name__)

_MANIFESTS = ("train_manifests", "valid_manifests", "test_manifests")


def prepare(
    hparams: dict[str, Any], preparation: Callable[..., str], keys: Sequence[str] = ()
) -> None:
    """Writes the manifests, in the main process alone, and notes the data set in the run's record.

    Arguments
    ---------
    hparams : dict
        The keys below, and `record`, which gets `dataset`.
    preparation : callable
        A recipe's: it writes manifests, unless they are there, and returns the data set's name.
    keys : sequence of str
        What it is called with: keys of `hparams`, by these names.

    Example
    -------
    >>> hparams = {"data_folder": "/data", "record": {}}
    >>> prepare(hparams, lambda data_folder: f"what is in {data_folder}", ["data_folder"])
    >>> hparams["record"]
    {'dataset': 'what is in /data'}
    """
    values = {key: hparams[key] for key in keys}
    hparams["record"]["dataset"] = run_on_main(preparation, kwargs=values)
    hparams["prepared"] = run_on_main(_digests, args=[hparams])


def _digests(hparams: Mapping[str, Any]) -> dict[str, str]:
    """Checksums of the manifests that are there."""
    paths = {str(path) for key in _MANIFESTS for path in hparams.get(key) or ()}
    return {path: file_digest(path) for path in sorted(paths) if os.path.isfile(path)}


def _check_unchanged(hparams: Mapping[str, Any]) -> None:
    """Refuses manifests that were replaced before they were read: they are of other options."""
    before = hparams.get("prepared", {})
    now = _digests(hparams) if before else {}
    for path in before:
        if now.get(path) != before[path]:
            raise RunError(
                f"{path} was replaced while this run began, by another preparation with other "
                "options; give each its own --manifest_folder"
            )


def make_datasets(hparams: dict[str, Any]) -> dict[str, ClipDataset]:
    """Makes the train, valid and test sets, once preparation has written their manifests.

    Ends the run here if that is all that was asked for (`prepare_only`).

    Notes the numbers of clips in the run's record and, if labels are read, the `classes` and the
    `label_kind`: "multi" where the label encoder gives a clip a number for each class. If
    transcripts are, makes the `tokenizer`, of those of training; see `make_tokenizer`.

    Arguments
    ---------
    hparams : dict
        `{train,valid,test}_manifests`, lists of files; `read_waveform`, or for one split
        `{train,valid,test}_read_waveform`; `output_keys`, `seed`, `record`. If `target` is among
        the output keys, `label_encoder`, a callable (classes_file, num_classes) to an object with
        `classes` that turns labels into a tensor, and its `classes_file` and `num_classes`; or,
        if `text` is among them, too, `train_tokenizer`, a callable from texts to a `Tokenizer`.
        Optionally `clips_per_class` and `mixup`, of training; `prepare_only`.

    Returns
    -------
    dict of str to ClipDataset
        By split.

    Raises
    ------
    ValueError
        If the manifests or the classes are not what they should be.
    RunError
        If another preparation replaced the manifests since `prepare`.
    SystemExit
        With status 0, if the data were to be prepared and nothing else.
    """
    if hparams.get("prepare_only"):
        logger.info("The data are prepared; nothing is trained (--prepare_only)")
        raise SystemExit(0)
    encode_labels, tokenizer = None, None
    if "text" in hparams["output_keys"]:
        tokenizer = hparams["tokenizer"] = make_tokenizer(hparams)
    elif "target" in hparams["output_keys"]:
        encode_labels = hparams["label_encoder"](hparams["classes_file"], hparams["num_classes"])
        hparams["classes"] = encode_labels.classes
        # A class index, or a number for each class: whatever the loss, a model is used as labelled.
        is_index = encode_labels(encode_labels.classes[:1]).ndim == 0
        hparams["label_kind"] = "single" if is_index else "multi"
    datasets = {
        split: make_dataset(
            hparams[f"{split}_manifests"],
            hparams.get(f"{split}_read_waveform", hparams["read_waveform"]),
            encode_labels,
            hparams["output_keys"],
            hparams.get("clips_per_class") if split == "train" else None,
            hparams["seed"],
            hparams.get("mixup") if split == "train" else None,
            tokenizer,
        )
        for split in ("train", "valid", "test")
    }
    run_on_main(_check_unchanged, args=[hparams])
    for split, clips in datasets.items():
        # A clip that is scored is not replaced: its prediction would be another's.
        clips.substitutes = split == "train" or "target" not in hparams["output_keys"]
        if tokenizer is not None and (unknown := tokenizer.unknown(clips.table.texts)):
            logger.warning(
                "Warning: %d characters of the %s transcripts are in none of training, and count "
                "as errors: %s",
                *(sum(unknown.values()), split, " ".join(sorted(unknown)[:20])),
            )
    hparams["record"]["num_clips"] = {split: len(clips) for split, clips in datasets.items()}
    return datasets


def make_tokenizer(hparams: Mapping[str, Any]) -> Tokenizer:
    """Reads the run's `tokenizer.model`, or learns it, of the training transcripts alone.

    Arguments
    ---------
    hparams : mapping
        `output_folder`, `train_manifests`; `train_tokenizer`, a callable from texts to a
        `Tokenizer`; `record`, which gets its size and checksum, under `tokenizer`.

    Returns
    -------
    Tokenizer
        The same in all processes.

    Raises
    ------
    ValueError
        If a manifest has no transcripts, they do not give such a tokenizer, or the file is damaged.
    """
    path, train = Path(hparams["output_folder"]) / TOKENIZER_FILE, hparams.get("train_tokenizer")
    if train is None:
        raise ValueError("output_keys asks for text; give train_tokenizer, too")

    def learn() -> None:
        if not path.exists():
            texts = ClipTable.read(hparams["train_manifests"]).texts
            if texts is None:
                manifests = ", ".join(map(str, hparams["train_manifests"]))
                raise ValueError(f"{manifests}: without a column text, the transcripts")
            train(texts).write(path)

    run_on_main(learn)
    tokenizer = Tokenizer.read(path)
    told = {"num_tokens": tokenizer.num_tokens, "sha256": tokenizer.sha256}
    hparams["record"]["tokenizer"] = told
    return tokenizer


def load_pretrained(hparams: dict[str, Any]) -> None:
    """Fills the encoder with the pretrained weights that the YAML file names, if it names some.

    For pretraining, the heads are filled too, as far as the weights have them. Warns if the weights
    have heard the audio of the `test_fold`.

    Arguments
    ---------
    hparams : dict
        `encoder`, in pretraining `contrastive_head` and `reconstruction_head`, `record` and,
        optionally, `pretrained_encoder`: a path or nothing; `front_end` and its `sample_rate`;
        `test_fold`. The record, which holds
        the `dataset`, gets `pretrained_from`: name and checksum of the weights.

    Raises
    ------
    FileNotFoundError
        If there are no such weights.
    ValueError
        If they do not fit the encoder, or learnt behind another filterbank than `front_end`.
    """
    if hparams.get("pretrained_encoder"):
        weights = read_pretrained(hparams["pretrained_encoder"])
        if isinstance(front_end := hparams.get("front_end"), SpectrogramFrontEnd):
            _check_front_end(weights, front_end, hparams)
        source = load_pretrained_encoder(hparams["encoder"], weights)
        heads = {
            "contrastive_head": hparams.get("contrastive_head"),
            "reconstruction_head": hparams.get("reconstruction_head"),
        }
        heads = {name: head for name, head in heads.items() if head is not None}
        if heads:
            source = {**source, "heads": load_pretrained_heads(heads, weights)}
        run = weights.run
        hparams["record"]["pretrained_from"] = {**source, "run": run} if run else source
        logger.info("Pretrained encoder: %(name)s, SHA-256 %(sha256)s", source)
        if if_main_process():
            _warn_of_heard_fold(hparams, weights)


def _check_front_end(
    weights: PretrainedWeights, front_end: SpectrogramFrontEnd, hparams: Mapping[str, Any]
) -> None:
    try:
        check_front_end(weights.front_end, front_end, hparams.get("sample_rate", 16000), hparams)
    except ValueError as error:
        raise ValueError(f"pretrained_encoder {weights.path}: {error}") from None


def train_and_evaluate(
    hparams: dict[str, Any], run_options: RunOptions, datasets: dict[str, ClipDataset]
) -> dict[str, float]:
    """Makes the Brain that the YAML file names, trains it and measures it on the test set.

    Arguments
    ---------
    hparams : dict
        `brain_class`, `modules`, `opt_class`, `checkpointer`, `epoch_counter`,
        `{train,valid,test}_dataloader_opts`, and what the Brain needs.
    run_options : RunOptions
        SpeechBrain's.
    datasets : dict of str to ClipDataset
        As from `make_datasets`.

    Returns
    -------
    dict[str, float]
        The metric by selection; see the Brain's `evaluate`.

    Raises
    ------
    RunError
        If loading workers have too little shared memory for the batches.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun's
    check_shared_memory(hparams, datasets, processes)
    brain = hparams["brain_class"](
        modules=hparams["modules"],
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=run_options,
        checkpointer=hparams["checkpointer"],
    )
    brain.fit(
        hparams["epoch_counter"],
        datasets["train"],
        datasets["valid"],
        train_loader_kwargs=hparams["train_dataloader_opts"],
        valid_loader_kwargs=hparams["valid_dataloader_opts"],
    )
    return brain.evaluate(datasets["test"], test_loader_kwargs=hparams["test_dataloader_opts"])


def _warn_of_heard_fold(hparams: dict[str, Any], weights: PretrainedWeights) -> None:
    left_out, test_fold = weights.test_fold, hparams.get("test_fold")
    if None in (left_out, test_fold) or left_out == test_fold:
        return
    datasets = {weights.run.get("dataset"), hparams["record"].get("dataset")} - {None}
    if len({name.partition("-")[0] for name in datasets}) > 1:  # ESC-10's folds are ESC-50's
        return
    logger.warning(
        "Warning: %s was pretrained with test_fold %d, so on the audio of fold %d, which this run "
        "tests on; for a clean result give the encoder that left out fold %d",
        *(hparams["pretrained_encoder"], left_out, test_fold, test_fold),
    )
