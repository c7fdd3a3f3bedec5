"""Commands that start processes, killed by SIGKILL: whatever they started ends, too."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ssast_recipes.data.manifest import Clip, write_manifest
from ssast_recipes.data.synthetic import make_esc50
from tests.conftest import REPOSITORY
from tests.processes import has_members, running, wait_until

ESC50 = REPOSITORY / "recipes" / "ESC50"
TINY = "--size tiny --depth 1 --embed_dim 32 --num_heads 2 --target_length 64 --max_duration 0.5"
TINY += " --batch_size 4 --num_classes 4 --max_rejected 0.2 --noprogressbar"


def group_of(leader: int) -> list[str]:
    """The command lines of a process group, without its leader's."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == leader:
            continue
        try:
            if os.getpgid(int(folder.name)) == leader:
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except (ProcessLookupError, FileNotFoundError):
            pass
    return found


def sounds(folder: Path) -> Path:
    """Two classes, a folder each."""
    for label, pitch in (("dog", 300), ("sea", 900)):
        (folder / label).mkdir(parents=True)
        for number in range(12):
            wave = 0.1 * np.sin(np.arange(16000) * 2 * np.pi * (pitch + number) / 16000)
            soundfile.write(folder / label / f"{number}.wav", wave, 16000)
    return folder


def demo(folder):
    return ["demo", "--quick", "--output", folder / "demo"]


def reproduce(folder):
    return ["reproduce", "table1", "--scale", "smoke", "--output", folder / "tables"]


def crossval(folder):
    corpus = make_esc50(folder / "corpus", 2, num_classes=4, duration=0.7, sample_rate=16000)
    words = [*TINY.split(), "--data_folder", corpus, "--manifest_folder", folder / "manifests"]
    files = [ESC50 / "train.py", ESC50 / "hparams" / "finetune_patch.yaml"]
    return ["crossval", *files, "--output", folder / "folds", *words, "--number_of_epochs", 500]


def pretrain(folder):
    return ["pretrain", sounds(folder / "sounds"), "--steps", 5000, "--output", folder / "encoder"]


def finetune(folder):
    words = ["--epochs", 5000, "--output", folder / "classifier"]
    return ["finetune", "none", sounds(folder / "sounds"), *words]


def pack(folder):
    soundfile.write(folder / "a.wav", np.random.default_rng(0).uniform(-0.1, 0.1, 160_000), 16000)
    path = str(folder / "a.wav")
    clips = [Clip(f"c{number}", path, 0.0, 10.0, 16000, ()) for number in range(5000)]
    write_manifest(folder / "many.csv", clips)
    return ["pack", folder / "many.csv", folder / "shards", "--num-workers", 2]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="Linux tells of processes")
@pytest.mark.parametrize(
    ("command", "child"),
    [
        (demo, "train.py"),
        (reproduce, "train.py"),
        (crossval, "train.py"),
        (pretrain, "train.py"),
        (finetune, "train.py"),
        (pack, "spawn_main"),
    ],
)
def test_what_a_killed_command_started_ends(command, child, tmp_path):
    words = ["-m", "ssast_recipes.commands.main", *command(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    with open(tmp_path / "printed", "w") as printed:
        options = {"stdout": printed, "stderr": printed, "env": environment, "cwd": tmp_path}
        with running([sys.executable, *words], **options) as process:

            def is_at_work():
                assert process.poll() is None, (tmp_path / "printed").read_text()[-2000:]
                return any(child in line for line in group_of(process.pid))

            wait_until(is_at_work)
            time.sleep(1)
            assert is_at_work()
            process.kill()
            process.wait()
            wait_until(lambda: not has_members(process.pid), seconds=60)
