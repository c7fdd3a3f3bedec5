import csv
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ssast_recipes.data.synthetic import make_esc50
from tests.processes import has_members, running, wait_until

from .distributed_worker import (
    compile_with_checkpointing,
    evaluate_with_buffers,
    fine_tune,
    recognise,
    tag,
)
from .tiny import losses, weights

REPOSITORY = Path(__file__).parents[2]
RECIPE = REPOSITORY / "recipes" / "ESC50"


def torchrun(script: Path, *arguments: str, timeout: float = 120) -> str:
    """Runs a script in two processes and returns what they print; they must end by themselves."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = [
        *("-m", "torch.distributed.run", "--nproc_per_node=2", "--master_addr=127.0.0.1"),
        f"--master_port={port}",
    ]
    return _run([*launch, str(script), *arguments], timeout)


def _run(command: list[str], timeout: float) -> str:
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"hangs: {process.communicate()[0][-3000:]}")
    assert process.returncode == 0, output[-3000:]
    return output


# ---- pretraining by the recipe


OPTIONS = {
    "size": "tiny",
    "depth": 1,
    "embed_dim": 32,
    "num_heads": 2,
    "target_length": 64,
    "num_masked_patches": 20,
    "max_duration": 0.5,
    "num_steps": 6,
    "log_interval": 1,
    "valid_interval": 3,
    "checkpoint_interval": 2,
    "num_workers": 0,
    "warmup_steps": 0,
    "reconstruction_head": "null",  # nothing to draw
}


def recipe_words(folder: Path, name: str, batch_size: int) -> list[str]:
    """The command line behind train.py, for the corpus in a folder."""
    places = {"data_folder": folder / "corpus", "manifest_folder": folder / "manifests"}
    chosen = {**OPTIONS, **places, "output_folder": folder / name, "batch_size": batch_size}
    words = [word for key, value in chosen.items() for word in (f"--{key}", str(value))]
    return [str(RECIPE / "hparams" / "pretrain_patch.yaml"), "--noprogressbar", *words]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> dict[int, Path]:
    """Output folders of the same pretraining in one process and in two."""
    folder = tmp_path_factory.mktemp("distributed")
    make_esc50(folder / "corpus", 2, num_classes=4, duration=0.7, sample_rate=16000)
    _run([str(RECIPE / "train.py"), *recipe_words(folder, "one", 8)], timeout=120)
    torchrun(RECIPE / "train.py", *recipe_words(folder, "two", 4))
    return {1: folder / "one", 2: folder / "two"}


def records(folder: Path, stage: str) -> dict[int, dict]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return {record["step"]: record for record in found if record["stage"] == stage}


def test_two_processes_train_as_one_with_the_whole_batch(pretrained):
    one, two = (records(pretrained[number], "train") for number in (1, 2))
    assert list(one) == list(two) == [1, 2, 3, 4, 5, 6]
    for step in one:
        assert two[step]["epoch"] == one[step]["epoch"]
        for key in ("loss", "contrastive_loss", "constant_patches"):
            assert two[step][key] == pytest.approx(one[step][key], rel=1e-4), (step, key)


def test_two_processes_validate_as_one(pretrained):
    one, two = (records(pretrained[number], "valid") for number in (1, 2))
    assert list(one) == list(two) == [3, 6]
    for step in one:
        assert_close(one[step], two[step])


def assert_close(expected, found):
    """Numbers, and lists of them, to float tolerance."""
    assert found.keys() == expected.keys()
    for key in found.keys() - {"stage"}:
        assert found[key] == pytest.approx(expected[key], rel=1e-4), key


def test_results_are_written_once_and_agree(pretrained):
    one, two = (json.loads((pretrained[n] / "results.json").read_text()) for n in (1, 2))
    for selection in ("last", "best"):
        assert_close(one["metrics"][selection], two["metrics"][selection])
    assert two["steps"] == one["steps"]
    assert len((pretrained[2] / "metrics.jsonl").read_text().splitlines()) == 11
    assert len(list((pretrained[2] / "tensorboard").iterdir())) == 1
    saved = sorted(path.name for path in (pretrained[2] / "save").iterdir())
    assert saved and not any(name.startswith("partial") for name in saved)


# ---- fine-tuning


@pytest.fixture(scope="module")
def fine_tuned(tmp_path_factory) -> tuple[Path, list[dict]]:
    """The folder of a fine-tuning in two processes, and what each of them told."""
    folder = tmp_path_factory.mktemp("fine_tuned")
    torchrun(REPOSITORY / "tests" / "brains" / "distributed_worker.py", str(folder))
    return folder, [torch.load(folder / f"rank{rank}.pt") for rank in (0, 1)]


def test_processes_share_out_every_epoch_and_the_places_in_its_batches(fine_tuned):
    first, second = (rank["asked"] for rank in fine_tuned[1])
    for epoch in (1, 2):
        shares = [[key for key in asked if key[0] == epoch] for asked in (first, second)]
        indices = [index for share in shares for _, index, _, _ in share]
        assert sorted(indices) == list(range(10))
        # Batches of two, two and one clip a process.
        assert [place for _, _, place, _ in shares[0]] == [0, 1, 0, 1, 0]
        assert [place for _, _, place, _ in shares[1]] == [2, 3, 2, 3, 1]


def test_two_processes_fine_tune_and_evaluate_as_one(fine_tuned, tmp_path):
    folder, ranks = fine_tuned
    brain, _, _, values = fine_tune(tmp_path / "one")
    expected = weights(brain)
    for rank in ranks:
        assert rank["values"] == values
        assert rank["weights"].keys() == {_wrapped(name) for name in expected}
        for name, value in expected.items():
            torch.testing.assert_close(rank["weights"][_wrapped(name)], value, rtol=1e-3, atol=1e-5)
    two = type(brain.log)(folder / "two")
    one = {
        record["step"]: record["loss"] for record in brain.log.read() if record["stage"] == "valid"
    }
    for record in two.read():
        if record["stage"] == "train":
            assert record["loss"] == pytest.approx(losses(brain)[record["step"]], rel=1e-4)
        if record["stage"] == "valid":
            assert record["loss"] == pytest.approx(one[record["step"]], rel=1e-4)
    tables = [_predictions(path) for path in (folder / "two", tmp_path / "one")]
    assert list(tables[0]) == list(tables[1]) and len(tables[0]) == 14  # in the same order
    for key, scores in tables[0].items():
        assert scores == pytest.approx(tables[1][key], rel=1e-3, abs=1e-4)


def test_processes_share_out_the_clips_to_evaluate(fine_tuned):
    tested = [rank["tested"] for rank in fine_tuned[1]]
    assert tested == [[0, 2, 4, 6] * 2, [1, 3, 5] * 2]  # the last and the best checkpoint


def _wrapped(name):
    return name.replace("model.", "model.module.", 1)


def _predictions(folder):
    with open(folder / "predictions.csv", newline="") as file:
        rows = list(csv.reader(file))[1:]
    table = {tuple(row[:4]): [float(score) for score in row[4:]] for row in rows}
    assert len(table) == len(rows)
    return table


def test_two_processes_draw_tag_and_measure_as_one(fine_tuned, tmp_path):
    asked, values, valid = tag(tmp_path)
    first, second = (rank["tagged"] for rank in fine_tuned[1])
    assert first[1] == second[1] == values
    # Each step is two clips of the one, then two of the other.
    halves = [asked[i : i + 2] for i in range(0, 10, 2) for asked in (first[0], second[0])]
    shared = [key for half in halves for key in half]
    assert shared == asked and len(asked) == 20
    two = (fine_tuned[0] / "tagged" / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in two if '"stage": "valid"' in line]
    assert [record["step"] for record in records] == [2, 4, 5]
    for record, expected in zip(records, valid, strict=True):
        assert record.pop("stage") == expected.pop("stage")
        assert record == pytest.approx(expected, rel=1e-4)


def test_two_processes_recognise_as_one_that_accumulates(fine_tuned, tmp_path):
    asked, expected, values, valid = recognise(tmp_path / "one")
    first, second = (rank["recognised"] for rank in fine_tuned[1])
    assert first[2] == second[2] == values
    assert sorted(first[0] + second[0]) == sorted(asked) and first[0] != second[0]
    for name, value in expected.items():
        torch.testing.assert_close(first[1][_wrapped(name)], value, rtol=1e-3, atol=1e-4)
    assert [record["step"] for record in valid] == [2, 4]
    for record, one in zip(first[3], valid, strict=True):
        assert record.pop("stage") == one.pop("stage")
        assert record == pytest.approx(one, rel=1e-3)
    texts = [
        (folder / "transcripts.csv").read_text()
        for folder in (fine_tuned[0] / "spoken", tmp_path / "one")
    ]
    assert texts[0] == texts[1] and texts[0].count("\n") == 1 + 2 * 7


def test_processes_go_on_from_the_same_checkpoint_though_one_cannot_read_the_newest(fine_tuned):
    assert [rank["recovered"] for rank in fine_tuned[1]] == [2, 2]


def test_a_bad_loss_on_one_process_stops_both(fine_tuned):
    errors = [rank["error"] for rank in fine_tuned[1]]
    assert errors[0] == errors[1]
    assert "not finite at step 1, 2;" in errors[0]


def test_a_model_with_buffers_is_evaluated_on_unequally_many_batches(fine_tuned, tmp_path):
    """And not by DistributedDataParallel, whose forward sends buffers from process to process."""
    values, losses, _ = evaluate_with_buffers(tmp_path / "one")
    for rank in fine_tuned[1]:
        found_values, found_losses, passes = rank["with_buffers"]
        assert found_values == values
        assert found_losses == pytest.approx(losses, rel=1e-4)
        assert passes == [True] * 4  # two epochs of two steps


@pytest.mark.slow
def test_two_processes_compile_what_computes_its_blocks_again(tmp_path):
    worker = REPOSITORY / "tests" / "brains" / "distributed_worker.py"
    torchrun(worker, str(tmp_path), "compiled", timeout=300)
    train, valid, none = compile_with_checkpointing(tmp_path / "one")
    assert list(train) == [1, 2, 3, 4, 5, 6] and list(valid) == [3, 6] and none == 0
    main, other = (torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    assert main[0] == pytest.approx(train, rel=1e-4)
    assert main[1] == pytest.approx(valid, rel=1e-4)
    assert main[2] == other[2] == 4  # front end and model, in training and in validation


@pytest.mark.slow
def test_a_process_that_hangs_ends_the_others_after_the_time_that_was_told(tmp_path):
    """Of two hours, as docs/scaling.md tells, the test makes 20 seconds."""
    worker = REPOSITORY / "tests" / "brains" / "distributed_worker.py"
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", worker]
    command = [sys.executable, *launch, tmp_path, "stopped"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    with open(tmp_path / "printed", "w") as printed:
        with running(command, stdout=printed, stderr=printed, env=environment) as process:
            assert process.wait(timeout=300) == 1
            # The stopped one heeds no SIGTERM: torchrun kills it, half a minute later.
            wait_until(lambda: not has_members(process.pid), seconds=60)
    told = [line for line in (tmp_path / "printed").read_text().splitlines() if "error: " in line]
    assert told[0].startswith("distributed_worker.py: error: another process of this run ended or")
    assert "Timed out waiting 20000ms" in told[0] and "goes on from the last" in told[0]


# ---- two machines


@pytest.mark.slow
def test_two_machines_that_meet_on_loopback_train_as_two_processes(pretrained):
    """Each has a launcher of its own; they find each other by a rendezvous."""
    folder = pretrained[2].parent
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    launch = [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1"),
        *("--rdzv_backend=c10d", f"--rdzv_endpoint={endpoint}", "--rdzv_id=test"),
        *("--local_addr=127.0.0.1", str(RECIPE / "train.py"), *recipe_words(folder, "nodes", 4)),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    machines = []
    for number in range(2):
        with open(folder / f"machine{number}.txt", "w") as output:
            machines.append(
                subprocess.Popen(launch, stdout=output, stderr=subprocess.STDOUT, env=environment)
            )
    try:
        for number, machine in enumerate(machines):
            status = machine.wait(timeout=150)
            assert status == 0, (folder / f"machine{number}.txt").read_text()[-3000:]
    finally:
        for machine in machines:
            machine.kill()
    two, nodes = (records(each, "train") for each in (pretrained[2], folder / "nodes"))
    assert list(nodes) == [1, 2, 3, 4, 5, 6]
    for step, record in nodes.items():
        assert record["loss"] == pytest.approx(two[step]["loss"], rel=1e-5), step
    assert (folder / "nodes" / "results.json").exists()


@pytest.mark.slow
def test_accumulating_trains_as_two_processes(pretrained):
    folder = pretrained[2].parent
    words = [*recipe_words(folder, "accumulated", 4), "--grad_accumulation_factor", "2"]
    _run([str(RECIPE / "train.py"), *words], timeout=120)
    two, accumulated = (records(each, "train") for each in (pretrained[2], folder / "accumulated"))
    for step, record in two.items():
        assert accumulated[step]["loss"] == pytest.approx(record["loss"], rel=1e-4), step
