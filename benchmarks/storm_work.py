"""What a storm kills: pieces of work, and what each has to leave however it came to its end."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils._pytree import tree_map

from ssast_recipes.data.manifest import read_manifest
from ssast_recipes.data.preparation.packing import Packing, pack
from ssast_recipes.data.synthetic import make_esc50
from ssast_recipes.system.recipes import recipe_folder

RECIPE = recipe_folder("ESC50")
SMALL = "--size tiny --depth 1 --embed_dim 32 --num_heads 2 --target_length 64 --max_duration 0.5"
SMALL += " --batch_size 4 --log_interval 1 --checkpoint_interval 3 --checkpoints_to_keep 3"
SMALL += " --max_rejected 0.2 --noprogressbar"
PRETRAIN = f"{SMALL} --num_masked_patches 20 --num_steps 60 --valid_interval 20 --lr 0.01"
PRETRAIN += " --warmup_steps 8"
FINETUNE = f"{SMALL} --num_classes 4 --number_of_epochs 6 --spec_augment null"
SAME = ("value", "metrics", "steps", "history")  # of results.json


@dataclass
class Work:
    """A command, and what of its folder has to be the same however often it was killed.

    Arguments
    ---------
    name : str
        What it is told as.
    command : callable
        From its folder to its words.
    result : callable
        From its folder to what is compared.
    """

    name: str
    command: Callable[[Path], list]
    result: Callable[[Path], object]
    seconds: float = 0.0  # that it took, left alone
    megabytes: float = 0.0  # that it left then
    expected: object = None


def train(hparams: str, words: str, *more: object) -> Callable[[Path], list]:
    """The command of a run by its YAML file."""
    file = RECIPE / "hparams" / hparams
    common = [RECIPE / "train.py", file, *words.split(), *more]
    return lambda folder: [*common, "--output_folder", folder / "run"]


def run_result(folder: Path) -> object:
    """Of a run: its losses, its last weights and moments, its results, the model to use."""
    run = folder / "run"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    log = [{k: v for k, v in line.items() if k != "clips_per_second"} for line in lines]
    results = json.loads((run / "results.json").read_text())
    newest = max(run.glob("save/CKPT*"), key=lambda path: path.stat().st_mtime)
    state = [
        torch.load(newest / f"{name}.ckpt", weights_only=True) for name in ("model", "optimizer")
    ]
    values = tree_map(lambda value: value.tolist() if torch.is_tensor(value) else value, state)
    model = files_result("run/model/*.safetensors")(folder)
    return log, values, {key: results[key] for key in SAME}, model


def files_result(pattern: str) -> Callable[[Path], object]:
    """Of anything else: its files to the byte, wherever they lie."""

    def result(folder: Path) -> dict[str, str]:
        here = str(folder).encode()
        contents = {path: path.read_bytes() for path in folder.rglob(pattern) if path.is_file()}
        return {
            str(path.relative_to(folder)): hashlib.sha256(content.replace(here, b"")).hexdigest()
            for path, content in sorted(contents.items())
        }

    return result


def crossval_result(folder: Path) -> object:
    """Of a cross-validation: what every fold left."""
    found = sorted(folder.glob("cv/*/results.json"))
    return [[json.loads(path.read_text())[key] for key in SAME] for path in found]


def make_work(base: Path) -> list[Work]:
    """Fabricates a corpus, prepares and packs it; returns what there is to do."""
    corpus = make_esc50(base / "corpus", 2, num_classes=4, duration=0.7, sample_rate=16000)
    data = ["--data_folder", corpus, "--manifest_folder", base / "manifests"]
    first = train("pretrain_patch.yaml", PRETRAIN, *data, "--prepare_only")(base / "first")
    subprocess.run([sys.executable, *map(str, first)], check=True, capture_output=True)
    work = []
    for name, hparams, words, manifest in (
        ("pretraining", "pretrain_patch.yaml", PRETRAIN, "pretrain.csv"),
        ("fine-tuning", "finetune_patch.yaml", FINETUNE, "train.csv"),
    ):
        files = base / "manifests" / "fold1" / manifest
        shards = pack(files, base / "shards", Packing("wav", shard_bytes=70_000))
        for kind, one in (("files", files), ("shards", shards)):
            for workers in (0, 2):
                more = [*data, "--num_workers", workers, "--train_manifests", f"[{one}]"]
                command = train(hparams, words, *more)
                work.append(Work(f"{name}, {kind}, {workers} workers", command, run_result))
    main = ["-m", "ssast_recipes.commands.main"]
    many = base / "many.csv"
    clips = (base / "manifests" / "fold1" / "pretrain.csv").read_text().splitlines()
    rows = [f"{n}{row}" for n in range(20) for row in clips[1:]]
    many.write_text("\n".join([clips[0], *rows]) + "\n")
    words = ["--num-workers", "2", "--shard-megabytes", "1"]
    work.append(
        Work("pack", lambda folder: [*main, "pack", many, folder / "packed", *words], packed_result)
    )
    own = ["--data_folder", corpus, "--prepare_only", *SMALL.split()]

    def prepare(folder: Path) -> list:
        place = ["--manifest_folder", folder / "manifests", "--output_folder", folder / "run"]
        file = RECIPE / "hparams" / "pretrain_patch.yaml"
        return [RECIPE / "train.py", file, *own, *place]

    work.append(Work("prepare", prepare, files_result("manifests/**/*.csv")))
    folds = ["--folds", "1-2", *FINETUNE.replace("epochs 6", "epochs 2").split(), *data]

    def crossval(folder: Path) -> list:
        file = RECIPE / "hparams" / "finetune_patch.yaml"
        return [*main, "crossval", RECIPE / "train.py", file, "--output", folder / "cv", *folds]

    work.append(Work("crossval", crossval, crossval_result))
    return work


def packed_result(folder: Path) -> object:
    """Of a packing: its shards' bytes, and what its manifest says without the folder."""
    clips = [(clip.id, Path(clip.path).name) for clip in read_manifest(folder / "packed/many.csv")]
    return files_result("packed/*.tar")(folder), clips
