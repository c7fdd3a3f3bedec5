"""`ssast finetune`: from an encoder and labels to a classifier, or transcripts to a recogniser."""

import argparse
import shlex
from pathlib import Path

from ssast_recipes.records.hparams_text import write_hparams
from ssast_recipes.records.run import Run
from ssast_recipes.runs.own.comparison import compare, comparison_jobs, has_begun
from ssast_recipes.runs.own.cross_validation import cross_validate_own, folds_begun
from ssast_recipes.runs.own.earlier_names import renew_names
from ssast_recipes.runs.own.finetuning import SCRATCH, plan_finetuning
from ssast_recipes.runs.own.outcome import tell_outcome
from ssast_recipes.runs.own.plans import name_after, positive_integer
from ssast_recipes.runs.own.request import (
    check_order,
    find_encoder,
    is_planned,
    keep_request,
    own_command,
    read_request,
    run_own,
)
from ssast_recipes.runs.own.transcription import plan_transcription, tell_recognition
from ssast_recipes.system.files import file_digest
from ssast_recipes.system.machine import check_device
from ssast_recipes.system.recipes import recipe_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.commands.main`."""
    parser.add_argument(
        "encoder",
        metavar="ENCODER",
        help="run folder, model folder, Hugging Face's folder or Hub name (owner/name@revision), "
        "weights file, or a name of ssast import --help; none: from scratch",
    )
    parser.add_argument(
        "labels",
        type=Path,
        metavar="LABELS",
        help="class folders, a table path,label, or recordings with label tracks; with --task "
        "transcribe, a table path,text",
    )
    parser.add_argument(
        "--task", choices=("classify", "transcribe"), default="classify", help="default: classify"
    )
    parser.add_argument(
        "--epochs", type=positive_integer, help="default: by labels and encoder; see the plan"
    )
    parser.add_argument(
        "--folds", type=positive_integer, help="cross-validate by so many folds, by groups"
    )
    parser.add_argument(
        "--background",
        metavar="CLASS",
        help="of time-stamped labels: name of a class of what is not labelled",
    )
    parser.add_argument("--output", type=Path, help="default: results/finetune/NAME, after LABELS")
    parser.add_argument("--device", help="cpu, cuda; default: a GPU if there is one")
    parser.add_argument("--plan", action="store_true", help="write the YAML file and stop there")
    parser.add_argument(
        "--compare", action="store_true", help="also trains from scratch; both by several seeds"
    )
    parser.add_argument(
        "--seeds", type=positive_integer, help="with --compare: how many; default: 3"
    )


def run(arguments: argparse.Namespace) -> None:
    """Looks at encoder and labels, writes `finetune.yaml`, trains, tests and reports."""
    encoder = arguments.encoder
    if arguments.compare and encoder == SCRATCH:
        raise ValueError("--compare needs an encoder to compare with training from scratch")
    if arguments.seeds and not arguments.compare:
        raise ValueError("--seeds goes with --compare")
    if arguments.folds and arguments.compare:
        raise ValueError("--folds and --compare are two evaluations; give one of them")
    check_device(arguments.device)
    if arguments.task == "transcribe":
        _transcribe(arguments)
        return
    labels = arguments.labels.absolute()
    kind = "compare" if arguments.compare else "folds" if arguments.folds else "finetune"
    output = (arguments.output or Path("results", kind, Path(name_after(labels)).stem)).absolute()
    hparams_file = output / "finetune.yaml"
    check_order(encoder, arguments.labels)
    if encoder != SCRATCH:
        encoder = find_encoder(encoder)
    _plan(arguments, encoder, labels, hparams_file)
    if arguments.compare:
        _compare(arguments, hparams_file)
        return
    if arguments.folds:
        _cross_validate(arguments, hparams_file)
        return
    if arguments.plan:
        command = shlex.join(own_command(hparams_file, arguments.device))
        print(f"To run it: {command}")
        return
    run_own(hparams_file, arguments.device)
    print(f"\n{tell_outcome({'this classifier': [Run(output).results]})}\n")
    print(
        f"The classifier: {output / 'model'}; class by class: {output / 'per_class.csv'}. To use "
        f"it:\nssast classify {shlex.quote(str(output))} FILES…"
    )


def _transcribe(arguments: argparse.Namespace) -> None:
    """Plans, trains and tests a recogniser."""
    if arguments.compare or arguments.folds or arguments.background:
        raise ValueError("--compare, --folds and --background are for --task classify")
    table, encoder = arguments.labels.absolute(), arguments.encoder
    named = Path("results", "transcribe", Path(name_after(table)).stem)
    output = (arguments.output or named).absolute()
    hparams_file = output / "transcribe.yaml"
    if encoder != SCRATCH:
        encoder = find_encoder(encoder)
    request = {"encoder": encoder, "labels": str(table), "epochs": arguments.epochs}
    digest = file_digest(table) if table.is_file() else ""
    if is_planned(hparams_file, request, digest):
        print(f"Going on with {hparams_file}, as it stands", flush=True)
    else:
        values = plan_transcription(request, output, arguments.device)
        source = recipe_folder("OwnAudio") / "hparams" / "transcribe.yaml"
        write_hparams(source, hparams_file, {**values, "output_folder": str(output)})
        keep_request(hparams_file, request, digest)
        print(f"These values and the others are in {hparams_file}, to be changed", flush=True)
    if arguments.plan:
        print(f"To run it: {shlex.join(own_command(hparams_file, arguments.device))}")
        return
    run_own(hparams_file, arguments.device)
    print(f"\n{tell_recognition(Run(output).results)}\n")
    print(
        f"The recogniser: {output / 'model'}; what it recognised: {output / 'transcripts.csv'}. "
        f"To use it:\nssast transcribe {shlex.quote(str(output))} FILES…"
    )


def _plan(arguments: argparse.Namespace, encoder: str, labels: Path, hparams_file: Path) -> None:
    """Writes the YAML file, unless it is there for the same request."""
    from ssast_recipes.data.preparation.labelled_files import (
        check_there,
        files_digest,
        read_labelled_files,
    )

    notes: list[str] = []
    files = read_labelled_files(labels, notes)
    check_there(labels, files)
    classes = sorted({label for file in files for label in file.labels})
    request = {
        "encoder": encoder,
        "labels": str(labels),
        "epochs": arguments.epochs,
        "classes": f"{len(classes)}: {', '.join(classes)}",
        "folds": arguments.folds,
        "background": arguments.background,
    }
    digest = files_digest(files)
    if is_planned(hparams_file, request, digest):
        renew_names(hparams_file)
        print(f"Going on with {hparams_file}, as it stands", flush=True)
        return
    if has_begun(hparams_file) or folds_begun(hparams_file):
        before = read_request(hparams_file)
        keys = [key for key in request if before.get(key) != request[key]] or ["files"]
        raise ValueError(
            f"{hparams_file.parent} holds a comparison begun with other {', '.join(keys)}; choose "
            "another --output"
        )
    for note in notes:
        print(note)
    output = hparams_file.parent
    name, values = plan_finetuning(request, files, output, arguments.device)
    source = recipe_folder("OwnAudio") / "hparams" / name
    write_hparams(source, hparams_file, {**values, "output_folder": str(output)})
    keep_request(hparams_file, request, digest)
    print(f"These values and the others are in {hparams_file}, to be changed", flush=True)


def _compare(arguments: argparse.Namespace, hparams_file: Path) -> None:
    seeds, device = arguments.seeds or 3, arguments.device
    if arguments.plan:
        for jobs in comparison_jobs(hparams_file, seeds, device).values():
            for job in jobs:
                print(f"To run {job.name}: {shlex.join(job.command)}")
        return
    table, file = compare(hparams_file, seeds, device)
    print(f"\n{table}\n\nwritten to {file}; the runs are beside it")


def _cross_validate(arguments: argparse.Namespace, hparams_file: Path) -> None:
    if arguments.plan:
        for number in range(1, arguments.folds + 1):
            words = own_command(hparams_file, arguments.device)
            words += ["--test_fold", str(number)]
            words += ["--output_folder", str(hparams_file.parent / f"fold{number}")]
            print(f"To run fold {number}: {shlex.join(words)}")
        return
    table, file = cross_validate_own(hparams_file, arguments.folds, arguments.device)
    print(f"\n{table}\n\nwritten to {file}; the folds are beside it")
