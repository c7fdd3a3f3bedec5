"""The recipe itself, killed by SIGKILL: it ends as a run left alone, to the bit."""

import contextlib
import importlib.util
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from speechbrain.utils.checkpoints import Checkpointer

from ssast_recipes.data.manifest import read_manifest
from ssast_recipes.data.preparation.packing import Packing, pack
from ssast_recipes.data.synthetic import make_esc50

REPOSITORY = Path(__file__).parents[2]
RECIPE = REPOSITORY / "recipes" / "ESC50"
STEPS = 60
VALID_INTERVAL = 20
OPTIONS = {
    "size": "tiny",
    "depth": 1,
    "embed_dim": 32,
    "num_heads": 2,
    "target_length": 64,
    "num_masked_patches": 20,
    "max_duration": 0.5,
    "batch_size": 4,
    "log_interval": 1,
    "checkpoint_interval": 3,
    "valid_interval": VALID_INTERVAL,
    "lr": 0.01,
    "warmup_steps": 8,
    "schedule": "{stairs: 2}",
    "max_rejected": 0.2,
}


class Run:
    """A pretraining by the recipe, in a folder, with so many loader workers and processes."""

    def __init__(
        self,
        folder: Path,
        corpus: Path,
        manifest: Path,
        workers: int = 0,
        processes: int = 1,
    ):
        self.folder, self.log, self.processes = folder, folder / "metrics.jsonl", processes
        options = OPTIONS | {
            "data_folder": corpus,
            "manifest_folder": corpus.parent / "manifests",
            "train_manifests": f"[{manifest}]",
            "output_folder": folder,
            "num_workers": workers,
            "batch_size": OPTIONS["batch_size"] // processes,
            "num_steps": STEPS,
        }
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        yaml_file = RECIPE / "hparams" / "pretrain_patch.yaml"
        self.script = [str(RECIPE / "train.py"), str(yaml_file), "--noprogressbar", *words]

    def start(self) -> subprocess.Popen:
        self.folder.mkdir(exist_ok=True)
        self.left_over = self.partial()
        launch = []
        if self.processes > 1:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            launch = ["-m", "torch.distributed.run", f"--nproc_per_node={self.processes}"]
            launch += ["--master_addr=127.0.0.1", f"--master_port={port}"]
        with open(self.folder / "output.txt", "a") as output:
            return subprocess.Popen(
                [sys.executable, *launch, *self.script],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
            )

    def finish(self) -> None:
        process = self.start()
        assert process.wait(timeout=200) == 0, self.output()

    def kill_when(self, is_time: Callable[[], bool]) -> int:
        """Kills the run at a moment; returns the step it had come to."""
        process = self.start()
        deadline = time.monotonic() + 200
        while not is_time():
            assert process.poll() is None, self.output()
            assert time.monotonic() < deadline
            time.sleep(0.0005)
        for pid in self.processes_running():
            os.kill(pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        while self.processes_running():
            time.sleep(0.001)
        return self.last_step()

    def processes_running(self) -> list[int]:
        """The launcher, the processes that it started in sessions of their own, all workers."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if str(self.folder).encode() + b"\0" in path.read_bytes():
                    found.append(int(path.parent.name))
        return sorted(found)

    def output(self) -> str:
        return (self.folder / "output.txt").read_text()[-3000:]

    def records(self, stage: str | None = None) -> list[dict]:
        if not self.log.exists():
            return []
        lines = self.log.read_text().splitlines(keepends=True)
        records = [json.loads(line) for line in lines if line.endswith("}\n")]
        return [record for record in records if stage in (None, record["stage"])]

    def last_step(self) -> int:
        return max((record["step"] for record in self.records()), default=0)

    def partial(self) -> set[Path]:
        return set((self.folder / "save").glob("partial-*"))

    def is_saving(self) -> bool:
        """Whether a checkpoint is being written, other than what was left of kills before."""
        return bool(self.partial() - self.left_over)

    def exact(self) -> list[dict]:
        """What was written down, but for speed."""
        drop = "clips_per_second"
        return [{k: v for k, v in record.items() if k != drop} for record in self.records()]

    def newest(self):
        return Checkpointer(self.folder / "save").find_checkpoint()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("esc50") / "corpus"
    return make_esc50(folder, 2, num_classes=4, duration=0.7, sample_rate=16000)


@pytest.fixture(scope="module")
def manifests(corpus) -> dict[str, Path]:
    """The training set as files and as shards of three clips, one of which is spoilt."""
    spec = importlib.util.spec_from_file_location("esc50_prepare", RECIPE / "esc50_prepare.py")
    preparation = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(preparation)
    files = corpus.parent / "manifests" / "fold1" / "pretrain.csv"
    most = OPTIONS["max_rejected"]
    preparation.prepare_esc50(corpus, files.parents[1], test_fold=1, max_rejected=most)
    size = round(3 * 0.7 * 32000)
    shards = pack(files, corpus.parent / "shards", Packing("wav", shard_bytes=size))
    clips = read_manifest(shards)
    assert len({clip.path.partition(":")[0] for clip in clips}) >= 8
    shard, offset, _ = clips[4].path.split(":")
    with open(shard, "r+b") as file:
        file.seek(int(offset))
        file.write(b"spoilt")
    return {"files": files, "shards": shards}


@pytest.fixture(scope="module")
def whole(corpus, manifests):
    """Runs left alone, by kind of manifest and number of processes, without loading workers."""
    runs = {}

    def get(kind: str, processes: int) -> Run:
        if (kind, processes) not in runs:
            folder = corpus.parent / f"whole_{kind}_{processes}"
            run = runs[kind, processes] = Run(folder, corpus, manifests[kind], 0, processes)
            run.finish()
            steps = [record["step"] for record in run.records("train")]
            assert steps == list(range(1, STEPS + 1))
        return runs[kind, processes]

    return get


def assert_same(run: Run, whole: Run) -> None:
    assert run.exact() == whole.exact()
    first, second = (torch.load(each.newest().paramfiles["model"]) for each in (run, whole))
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]) if torch.is_tensor(value) else value == second[name]
    results = [json.loads((each.folder / "results.json").read_text()) for each in (run, whole)]
    for key in ("value", "metrics", "steps", "history"):
        assert results[0][key] == results[1][key], key
    rejected = [each.folder / "rejected_in_training.csv" for each in (run, whole)]
    assert rejected[0].exists() == rejected[1].exists()
    if rejected[0].exists():
        assert rejected[0].read_text() == rejected[1].read_text()


def kill_and_finish(run: Run, seed: str, saving: bool, validating: bool, most: int = 3) -> None:
    draw = random.Random(seed)

    def reaches(low: int) -> Callable[[], bool]:
        step = draw.randint(low, low + 6)
        return lambda: run.last_step() >= step

    moments = [reaches(4), reaches(12)]
    if saving:
        # Twenty milliseconds at most, which may be missed: then at last before the end is near.
        moments.append(lambda: (run.last_step() >= 16 and run.is_saving()) or run.last_step() >= 45)
    if validating:
        before = VALID_INTERVAL * 2

        def is_validating():
            return before == run.last_step() and not any(
                record["step"] == before for record in run.records("valid")
            )

        moments.append(lambda: is_validating() or run.last_step() > before)
    if len(moments) == 2:
        moments.append(reaches(22))
    moments = moments[:most]
    for number, moment in enumerate(moments):
        assert run.kill_when(moment) < STEPS
        # What a kill while saving leaves: it would be the newest.
        partial = run.folder / "save" / f"partial-CKPT+2999+{number}"
        partial.mkdir()
        (partial / "CKPT.yaml").write_text("end-of-epoch: false\nunixtime: 1.0e+11\nstep: 99\n")
    run.finish()
    assert not list((run.folder / "save").glob("partial*"))
    # It was resumed each time, and not started anew.
    log = (run.folder / "log.txt").read_text()
    assert log.count("going on after step") == len(moments)


def test_a_killed_run_ends_as_one_left_alone(corpus, manifests, whole):
    run = Run(corpus.parent / "killed", corpus, manifests["shards"], workers=2)
    kill_and_finish(run, "killed", saving=False, validating=False, most=1)
    assert_same(run, whole("shards", 1))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("kind", ["files", "shards"])
@pytest.mark.parametrize("moment", ["any", "saving", "validating"])
def test_the_matrix_of_kills(corpus, manifests, whole, kind, workers, processes, moment):
    folder = corpus.parent / f"{moment}_{kind}_{workers}_{processes}"
    run = Run(folder, corpus, manifests[kind], workers, processes)
    kill_and_finish(run, folder.name, moment == "saving", moment == "validating")
    assert_same(run, whole(kind, processes))


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_with_one(corpus, manifests, whole):
    """The same clips in the same steps: equal but for the order in which numbers are added."""
    run = Run(corpus.parent / "two_then_one", corpus, manifests["shards"], 0, 2)
    reached = run.kill_when(lambda: run.last_step() >= 7)
    first = [record for record in run.exact() if record["stage"] == "train"]
    assert first == whole("shards", 2).exact()[: len(first)]
    one = Run(run.folder, corpus, manifests["shards"], 2, 1)
    one.finish()
    assert (run.folder / "log.txt").read_text().count("going on after step") == 1
    expected = {record["step"]: record["loss"] for record in whole("shards", 1).records("train")}
    found = {record["step"]: record["loss"] for record in one.records("train")}
    assert list(found) == list(range(1, STEPS + 1)) and reached < STEPS
    for step in range(1, 16):  # before rounding has had time to grow
        assert found[step] == pytest.approx(expected[step], rel=2e-3), step
