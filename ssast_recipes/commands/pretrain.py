"""`ssast pretrain`: from a folder of audio to an encoder."""

import argparse
import shlex
import time
from pathlib import Path

from ssast_recipes.records.hparams_text import write_hparams
from ssast_recipes.runs.own import front_ends
from ssast_recipes.runs.own.earlier_names import renew_names
from ssast_recipes.runs.own.geometry import KINDS
from ssast_recipes.runs.own.plans import name_after, positive_integer, positive_number
from ssast_recipes.runs.own.pretraining import (
    OBJECTIVES,
    choose_minutes,
    lengthen,
    plan_pretraining,
)
from ssast_recipes.runs.own.request import (
    find_encoder,
    is_planned,
    keep_request,
    own_command,
    run_own,
)
from ssast_recipes.system.machine import check_device, choose_device
from ssast_recipes.system.recipes import recipe_folder

_ASKED = ("objective", "geometry", "patch", "clip_seconds", "size", "steps", "minutes")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.commands.main`."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="audio, in folders as you like")
    parser.add_argument(
        "--minutes",
        type=positive_number,
        help="that it may take, all included; default: 30, on a GPU 240",
    )
    parser.add_argument(
        "--steps", type=positive_integer, help="at most; without --minutes, exactly"
    )
    parser.add_argument(
        "--objective",
        choices=OBJECTIVES,
        help="default: autoencoder, which sees what is not masked; ssast: as published",
    )
    cut = parser.add_mutually_exclusive_group()
    cut.add_argument(
        "--geometry",
        choices=KINDS,
        help="default: with --probe-data, what a trial of each says; otherwise frame",
    )
    cut.add_argument(
        "--patch",
        type=positive_integer,
        nargs=2,
        metavar=("F", "T"),
        help="size of a patch: mel bins and frames of 10 ms",
    )
    parser.add_argument(
        "--clip-seconds", type=positive_number, help="default: 19 of 20 files fit, 10.24 at most"
    )
    parser.add_argument(
        "--sample-rate", type=positive_integer, help="in Hz, to which audio is resampled; 16000"
    )
    parser.add_argument(
        "--num-mel-bins", type=positive_integer, help="default: 128, or fewer below 8 kHz"
    )
    parser.add_argument(
        "--low-frequency", type=positive_number, help="in Hz, of the lowest mel bin; default: 20"
    )
    parser.add_argument(
        "--high-frequency",
        type=positive_number,
        help="in Hz, of the highest mel bin; default: half the sample rate, if audio fills it",
    )
    parser.add_argument(
        "--size",
        choices=["tiny", "small", "base"],
        help="as published; default: what there is time for",
    )
    parser.add_argument(
        "--output", type=Path, help="default: results/pretrain/NAME, after the folder"
    )
    parser.add_argument(
        "--init-from", metavar="WEIGHTS", help="go on from an encoder: of finetune's kinds"
    )
    parser.add_argument(
        "--probe-data",
        metavar="LABELS",
        help="class folders or a CSV path,label: what is learnt is tried on them meanwhile",
    )
    parser.add_argument("--device", help="cpu, cuda; default: a GPU if there is one")
    parser.add_argument("--plan", action="store_true", help="write the YAML file and stop there")


def run(arguments: argparse.Namespace) -> None:
    """Looks through the audio, writes `pretrain.yaml` and trains."""
    from ssast_recipes.data.preparation.own_audio import find_audio

    began = time.monotonic()
    check_device(arguments.device)
    folder = arguments.folder.absolute()
    output = (arguments.output or Path("results/pretrain") / name_after(folder)).absolute()
    request = {
        "folder": str(folder),
        **{key: vars(arguments)[key] for key in _ASKED + front_ends.ASKED},
    }
    request["init_from"] = arguments.init_from and find_encoder(arguments.init_from)
    request["probe_data"] = arguments.probe_data and str(Path(arguments.probe_data).absolute())
    hparams_file = output / "pretrain.yaml"
    paths = find_audio(folder)
    lengthen(hparams_file, request)
    if is_planned(hparams_file, request, str(len(paths))):
        renew_names(hparams_file)
        print(f"Going on with {hparams_file}, as it stands", flush=True)
    else:
        yaml = OBJECTIVES[request["objective"] or "autoencoder"]
        source = recipe_folder("OwnAudio") / "hparams" / yaml
        values = plan_pretraining(folder, paths, output, request, arguments.device, source, began)
        write_hparams(source, hparams_file, {**values, "output_folder": str(output)})
        minutes = choose_minutes(request, choose_device(arguments.device))
        keep_request(hparams_file, {**request, "planned_minutes": minutes}, str(len(paths)))
        print(f"These values and the others are in {hparams_file}, to be changed", flush=True)
    command = shlex.join(own_command(hparams_file, arguments.device))
    if arguments.plan:
        print(f"To run it: {command}")
        return
    run_own(hparams_file, arguments.device)
    print(
        f"The encoder: {output / 'model'}. Next, with labels (a folder of class folders, or a CSV "
        f"file path,label):\nssast finetune {shlex.quote(str(output))} LABELS\n"
        f"To try other values: {command} --output_folder ANOTHER --lr 1e-4"
    )
