"""What `ssast finetune --task transcribe` plans: how to learn to recognise what a table says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssast_recipes.runs.own.choices import choose_learning_rate, choose_num_steps
from ssast_recipes.runs.own.finetuning import SCRATCH
from ssast_recipes.runs.own.request import check_frames
from ssast_recipes.system.machine import choose_device
from ssast_recipes.system.words import format_table

_SEED = 1  # of the YAML file, by which splits are drawn
_BATCH_SECONDS = {"cuda": 100, "cpu": 40}
_VALIDATIONS = 10


def plan_transcription(
    request: Mapping[str, Any], output: Path, device_name: str | None
) -> dict[str, Any]:
    """Says what there is; returns the values of OwnAudio's `transcribe.yaml`.

    Arguments
    ---------
    request : mapping
        `labels`, the table; `encoder`; `epochs`, if it is given.
    output : Path
        Where rejected files are listed.
    device_name : str, optional
        The command line's.

    Raises
    ------
    FileNotFoundError, ValueError
        If the table, the audio or the encoder are not what recognition takes.
    """
    from ssast_recipes.data.preparation.labelled_files import check_there, clip_durations
    from ssast_recipes.data.preparation.manifests import HEADER_THREADS
    from ssast_recipes.data.preparation.own_transcripts import read_transcripts_table
    from ssast_recipes.data.preparation.scanning import check_rejected, scan_audio
    from ssast_recipes.data.preparation.splitting import split_files
    from ssast_recipes.model.builders import size_options
    from ssast_recipes.runs.own.scratch import describe_scratch
    from ssast_recipes.runs.own.survey import tell_rejected
    from ssast_recipes.weights.encoders import describe_encoder

    table = request["labels"]
    files, texts = read_transcripts_table(table)
    check_there(table, files)
    found, rejected = scan_audio([file.path for file in files], HEADER_THREADS)
    tell_rejected(rejected, output / "rejected.csv")
    check_rejected(rejected, len(files), 0.1, output / "rejected.csv")
    splits, told = split_files(files, _SEED, source=table)
    durations = clip_durations(files, found)
    trained = [file for file in splits["train"] if file in durations]
    characters = sorted(set("".join(texts[file.path] for file in trained)))
    if not characters:
        raise ValueError(f"{table}: the training files have no text")
    counts = {name: sum(file in durations for file in part) for name, part in splits.items()}
    print(
        f"{table}: {len(files):,} files, {sum(durations.values()) / 60:.1f} minutes; training "
        f"{counts['train']:,}, validation {counts['valid']:,}, test {counts['test']:,} ({told}); "
        f"{len(characters)} characters: {''.join(characters)}"
    )
    device = choose_device(device_name)
    if request["encoder"] == SCRATCH:
        heard = {file.path: found[file.path] for file in trained}
        geometry, front_end = describe_scratch(heard, list(durations.values()))
        folder = None
    else:
        encoder = describe_encoder(request["encoder"])
        if encoder.told:
            print(encoder.told)
        check_frames(encoder)
        folder, geometry, front_end = encoder.path, encoder.architecture, encoder.front_end
        if geometry.patch_size[0] != geometry.num_mel_bins:
            height, length = geometry.patch_size
            raise ValueError(
                f"{request['encoder']} has patches of {height} x {length}, which are no moments; "
                "recognition takes an encoder of frames: ssast pretrain FOLDER --geometry frames"
            )
    longest = max(durations.values())
    seconds = max(_BATCH_SECONDS.get(device.type, 40), round(longest + 0.5))
    mean = sum(durations[file] for file in trained) / len(trained)
    clips = max(1, int(seconds / mean))
    if request["epochs"]:
        steps = max(1, round(request["epochs"] * len(trained) / clips))
    else:
        steps = choose_num_steps(len(trained), clips, geometry.embed_dim)
    lr = choose_learning_rate(geometry.embed_dim, geometry.depth)
    # Weights that were chosen on the test files would be judged too well.
    can_select = splits["valid"] is not splits["test"]
    print(
        f"Plan: {steps:,} steps of up to {seconds:g} s, {clips} files or so "
        f"({steps * clips / len(trained):.1f} passes); "
        f"{'from scratch, ' if folder is None else ''}{geometry.embed_dim} wide, {geometry.depth} "
        f"blocks, a token each {10 * geometry.patch_size[1]} ms; judged by the word error rate, "
        f"the {'best by validation' if can_select else 'last'} weights are kept"
    )
    return {
        **size_options(vars(geometry)),
        "seed": _SEED,
        "data_folder": table,
        "pretrained_encoder": None if folder is None else str(folder),
        "num_tokens": len(characters) + 1,
        "sample_rate": front_end.sample_rate,
        "num_mel_bins": front_end.num_mel_bins,
        "low_frequency": front_end.low_frequency,
        "high_frequency": front_end.high_frequency,
        "mean": front_end.mean,
        "std": front_end.std,
        "pad_before_standardising": front_end.pad_before_standardising,
        "target_length": front_end.target_length,
        "positions": "sinusoidal" if folder is None else "learned",
        "patch_size": list(geometry.patch_size),
        "num_steps": steps,
        "warmup_steps": min(1000, steps // 10),
        "valid_interval": max(1, steps // _VALIDATIONS) if can_select else 0,
        "checkpoint_interval": max(1, steps // _VALIDATIONS),
        "log_interval": max(1, min(20, steps // 20)),
        "max_batch_seconds": seconds,
        "lr": lr,
        "head_lr_factor": 1 if folder is None else 10,
        "num_workers": 0 if device.type == "cpu" else 4,
        "precision": "bf16" if device.type == "cuda" else "fp32",
    }


def tell_recognition(results: Mapping[str, Any]) -> str:
    """Tells the error rates of a run's kept weights, in percent.

    Example
    -------
    >>> rates = {"WER": 0.5, "CER": 0.25}
    >>> results = {"num_clips": {"test": 8}, "metrics": {"last": rates}}
    >>> print(tell_recognition(results))
    in %, 8 test files
    --------------------  ----
    word error rate       50.0
    character error rate  25.0
    --------------------  ----
    """
    metrics = results["metrics"]
    rates = metrics.get("best", metrics["last"])
    rows = [
        ["word error rate", f"{100 * rates['WER']:.1f}"],
        ["character error rate", f"{100 * rates['CER']:.1f}"],
    ]
    return (
        f"in %, {results['num_clips']['test']:,} test files\n{format_table([], rows, numbers=True)}"
    )
