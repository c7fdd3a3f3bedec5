"""Kills commands at random moments, damages what they left, and looks whether anything was lost.

python benchmarks/storm.py 40            # minutes; `make storm MINUTES=40`
python benchmarks/storm.py 2 --work pack --seed 7

Each round takes a piece of work (a pretraining or a fine-tuning, from files or shards, with no or
two loading workers, a preparation, a packing, a cross-validation), begins it in a fresh folder,
ends it a few times by SIGKILL or SIGTERM, the one process or all of its group, gives the same
command again, and lets it come to its end. In between a bit of the newest checkpoint's files may be
flipped. What it leaves has to be that of the same work left alone, to the bit; no process, no
half-written file may be left, and no traceback been printed. As root, a disk of few megabytes is
filled, too.
"""

import argparse
import atexit
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

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
MOST_KILLS = 4  # of one piece of work
SECONDS_TO_END = 60  # of what a killed process started
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
    expected: object = None


@dataclass
class Findings:
    """What was done, and what went wrong."""

    counts: Counter = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def fault(self, text: str) -> None:
        """Notes and tells what should not be."""
        self.faults.append(text)
        print(f"FAULT: {text}", flush=True)


def train(hparams: str, words: str, *more: object) -> Callable[[Path], list]:
    """The command of a run by its YAML file."""
    file = RECIPE / "hparams" / hparams
    common = [RECIPE / "train.py", file, *words.split(), *more]
    return lambda folder: [*common, "--output_folder", folder / "run"]


def run_result(folder: Path) -> object:
    """Of a run: its losses, its last weights, its results."""
    run = folder / "run"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    log = [{k: v for k, v in line.items() if k != "clips_per_second"} for line in lines]
    results = json.loads((run / "results.json").read_text())
    newest = max(run.glob("save/CKPT*"), key=lambda path: path.stat().st_mtime)
    weights = torch.load(newest / "model.ckpt", weights_only=True)
    tensors = {name: value.tolist() for name, value in weights.items() if torch.is_tensor(value)}
    return log, tensors, {key: results[key] for key in SAME}


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
    files = base / "manifests" / "fold1" / "pretrain.csv"
    shards = pack(files, base / "shards", Packing("wav", shard_bytes=70_000))
    work = []
    for kind, manifest in (("files", files), ("shards", shards)):
        for workers in (0, 2):
            more = [*data, "--num_workers", workers, "--train_manifests", f"[{manifest}]"]
            command = train("pretrain_patch.yaml", PRETRAIN, *more)
            work.append(Work(f"pretraining, {kind}, {workers} workers", command, run_result))
    for workers in (0, 2):
        command = train("finetune_patch.yaml", FINETUNE, *data, "--num_workers", workers)
        work.append(Work(f"fine-tuning, {workers} workers", command, run_result))
    main = ["-m", "ssast_recipes.commands.main"]
    many = base / "many.csv"
    clips = (base / "manifests" / "fold1" / "pretrain.csv").read_text().splitlines()
    rows = [f"{n}{row}" for n in range(60) for row in clips[1:]]
    many.write_text("\n".join([clips[0], *rows]) + "\n")
    words = ["--num-workers", "2", "--shard-megabytes", "3"]
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


def start(work: Work, folder: Path) -> subprocess.Popen:
    """Starts a piece of work in a group of its own; what it prints goes to a file."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "printed.txt", "ab") as printed:
        process = subprocess.Popen(
            [sys.executable, *map(str, work.command(folder))],
            stdout=printed,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
    atexit.register(end_group, process)  # if the storm is ended itself
    return process


def end_group(process: subprocess.Popen) -> None:
    """Kills what is left of a process that was not waited for, and of its group."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def has_members(group: int) -> bool:
    """Whether a process of a group is left."""
    with suppress(ProcessLookupError):
        os.killpg(group, 0)
        return True
    return False


def wait_for_group(process: subprocess.Popen, seconds: float) -> bool:
    """Waits for a process and all that it started; kills what does not end."""
    deadline = time.monotonic() + seconds
    while has_members(process.pid) and time.monotonic() < deadline:
        process.poll()
        time.sleep(0.02)
    ended = not has_members(process.pid)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return ended


def flip_a_bit(folder: Path, draws: random.Random) -> bool:
    """Damages a file of the newest of two checkpoints or more."""
    checkpoints = sorted(folder.glob("run/save/CKPT*"), key=lambda path: path.stat().st_mtime)
    if len(checkpoints) < 2:
        return False
    file = draws.choice(sorted(checkpoints[-1].iterdir()))
    content = bytearray(file.read_bytes())
    content[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
    file.write_bytes(content)
    return True


def weather(work: Work, folder: Path, draws: random.Random, findings: Findings) -> None:
    """Begins a piece of work, kills it some times, and lets it come to its end."""
    story = []
    for _ in range(draws.randint(1, MOST_KILLS)):
        process = start(work, folder)
        try:
            process.wait(draws.uniform(0, 1.1 * work.seconds))
            break  # it was faster
        except subprocess.TimeoutExpired:
            pass
        number = draws.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))
        to_all = draws.random() < 0.5
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number) if to_all else process.send_signal(number)
        findings.counts[f"{number.name} of {work.name}"] += 1
        findings.counts["kills"] += 1
        story.append(f"{number.name}{' to all' if to_all else ''}")
        if not wait_for_group(process, SECONDS_TO_END):
            findings.fault(f"{work.name}: a process outlived {', '.join(story)}")
        if draws.random() < 0.3 and flip_a_bit(folder, draws):
            findings.counts["flips"] += 1
            story.append("a flipped bit")
    process = start(work, folder)
    if not wait_for_group(process, 60 + 10 * work.seconds):
        findings.fault(f"{work.name}: did not end after {', '.join(story)}")
    told = f"{work.name} after {', '.join(story)}, in {folder}"
    printed = (folder / "printed.txt").read_text(errors="replace")
    if process.returncode:
        findings.fault(f"status {process.returncode}: {told}: {printed[-300:]}")
    elif work.result(folder) != work.expected:
        findings.fault(f"other results: {told}")
    if "Traceback" in printed:
        findings.fault(f"a traceback: {told}")
    left = [*folder.rglob("*.part"), *folder.rglob("partial-*"), *folder.rglob("*.unchecked")]
    if left:
        findings.fault(f"left over: {left[0]}: {told}")
    findings.counts["rounds"] += 1


def fill_disk(work: Work, folder: Path, findings: Findings) -> None:
    """Lets a run meet a full disk, and go on when there is room."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=2600k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        print("no disk can be mounted here: none is filled", flush=True)
        return
    try:
        process = start(work, folder)
        process.wait(60 + 10 * work.seconds)
        printed = (folder / "printed.txt").read_text(errors="replace")
        if "Traceback" in printed or process.returncode not in (0, 1):
            findings.fault(f"full disk: status {process.returncode}: {printed[-300:]}")
        findings.counts["full disks"] += process.returncode == 1
        subprocess.run(["mount", "-o", "remount,size=500m", str(folder)], check=True)
        process = start(work, folder)
        process.wait(60 + 10 * work.seconds)
        if process.returncode or work.result(folder) != work.expected:
            findings.fault(f"after a full disk: status {process.returncode}")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def main() -> int:
    """Storms for some minutes; returns 1 if something was lost."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("minutes", type=float)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", default="", help="only work whose name begins so")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    findings, draws = Findings(), random.Random(arguments.seed)
    base = Path(tempfile.mkdtemp(prefix="storm-"))
    print(f"seed {arguments.seed}, in {base}", flush=True)
    works = [work for work in make_work(base) if work.name.startswith(arguments.work)]
    begin = time.monotonic()
    for number in range(10**9):
        if time.monotonic() - begin > 60 * arguments.minutes:
            break
        work = works[number] if number < len(works) else draws.choice(works)
        if work.expected is None:
            folder = base / f"alone{number}"
            before = time.monotonic()
            process = start(work, folder)
            if not wait_for_group(process, 600) or process.returncode:
                printed = (folder / "printed.txt").read_text(errors="replace")
                raise SystemExit(f"{work.name}, left alone, failed: {printed[-2000:]}")
            work.seconds, work.expected = time.monotonic() - before, work.result(folder)
            print(f"{work.name}: {work.seconds:.1f} s", flush=True)
        weather(work, base / f"round{number}", draws, findings)
    runs = [work for work in works if work.result is run_result and work.expected is not None]
    if runs:
        fill_disk(runs[0], base / "small", findings)
    for name, count in sorted(findings.counts.items()):
        print(f"{count:5} {name}")
    print(f"{len(findings.faults)} faults" + (f", see {base}" if findings.faults else ""))
    if not findings.faults:
        shutil.rmtree(base)
    return bool(findings.faults)


if __name__ == "__main__":
    sys.exit(main())
