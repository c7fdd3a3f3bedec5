"""`ssast finetune`: from an encoder and labels to a classifier."""

import argparse
import hashlib
import json
import shlex
from pathlib import Path

from ssast_recipes.records.hparams_text import write_hparams
from ssast_recipes.runs.own.finetuning import plan_finetuning
from ssast_recipes.runs.own.plans import name_after, positive_integer
from ssast_recipes.runs.own.request import (
    is_planned,
    keep_request,
    own_command,
    run_own,
)
from ssast_recipes.runs.recipes import recipe_folder
from ssast_recipes.system.machine import check_device


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.commands.main`."""
    parser.add_argument("encoder", metavar="ENCODER", help="run folder, model folder, or Hub name")
    parser.add_argument(
        "labels", type=Path, metavar="LABELS", help="folder of class folders, or CSV path,label"
    )
    parser.add_argument("--epochs", type=positive_integer, help="default: 25, or more of few files")
    parser.add_argument("--output", type=Path, help="default: results/finetune/NAME, after LABELS")
    parser.add_argument("--device", help="cpu, cuda; default: a GPU if there is one")
    parser.add_argument("--plan", action="store_true", help="write the YAML file and stop there")


def run(arguments: argparse.Namespace) -> None:
    """Looks at encoder and labels, writes `finetune.yaml`, trains, tests and reports."""
    from ssast_recipes.data.preparation.labelled_files import read_labelled_files

    check_device(arguments.device)
    labels = arguments.labels.absolute()
    output = (
        arguments.output or Path("results/finetune") / Path(name_after(labels)).stem
    ).absolute()
    hparams_file = output / "finetune.yaml"
    encoder = arguments.encoder
    encoder = str(Path(encoder).absolute()) if Path(encoder).exists() else encoder
    files = read_labelled_files(labels)
    classes = sorted({label for file in files for label in file.labels})
    request = {
        "encoder": encoder,
        "labels": str(labels),
        "epochs": arguments.epochs,
        "classes": f"{len(classes)}: {', '.join(classes)}",
    }
    digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    if is_planned(hparams_file, request, digest):
        print(f"Going on with {hparams_file}, as it stands", flush=True)
    else:
        name, values = plan_finetuning(request, files, output, arguments.device)
        source = recipe_folder("OwnAudio") / "hparams" / name
        write_hparams(source, hparams_file, {**values, "output_folder": str(output)})
        keep_request(hparams_file, request, digest)
        print(f"These values and the others are in {hparams_file}, to be changed", flush=True)
    if arguments.plan:
        command = shlex.join(own_command(hparams_file, arguments.device))
        print(f"To run it: {command}")
        return
    run_own(hparams_file, arguments.device)
    print(
        f"The classifier: {output / 'model'}; class by class: {output / 'per_class.csv'}. To use "
        f"it:\nssast classify {output} FILES…"
    )
