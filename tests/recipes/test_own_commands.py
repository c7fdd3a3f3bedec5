"""`ssast pretrain` and `ssast finetune`: what they check, plan, keep, and how they end."""

import numpy as np
import pytest
import soundfile
import torch

from ssast_recipes.cli import main
from ssast_recipes.machine import control_group_memory, free_memory


@pytest.fixture
def write_sounds():
    """`write_sounds(folder, number)` writes so many half seconds of noise."""

    def write(folder, number=10):
        folder.mkdir(parents=True)
        random = np.random.default_rng(0)
        for index in range(number):
            soundfile.write(folder / f"{index}.wav", random.uniform(-0.1, 0.1, 8000), 16000)
        return folder

    return write


@pytest.mark.parametrize("command", [["pretrain", "NOWHERE"], ["finetune", "NOWHERE", "NOWHERE"]])
def test_a_device_that_is_not_there_is_told_first(monkeypatch, capsys, command):
    assert main([*command, "--device", "gpu"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("ssast: error: --device gpu cannot be used: ") and "cpu, cuda" in error
    assert error.count("\n") == 1
    if not torch.cuda.is_available():
        assert main([*command, "--device", "cuda"]) == 1
        assert "--device cuda cannot be used: " in capsys.readouterr().err


# ---- memory


def write_group(folder, limit, usage, cache, names):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"anon {usage - cache}\n{names[2]} {cache}\n")


@pytest.mark.parametrize(
    ("line", "base", "names"),
    [
        ("0::", "", ("memory.max", "memory.current", "inactive_file")),
        (
            "4:memory:",
            "memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ],
)
def test_memory_is_what_control_groups_leave(tmp_path, line, base, names):
    assert control_group_memory(tmp_path) == float("inf")  # of another system
    groups = tmp_path / "sys" / "fs" / "cgroup" / base
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(f"1:cpu:/\n{line}/job/step\n")
    write_group(groups / "job" / "step", "max", 300, 0, names)
    assert control_group_memory(tmp_path) == float("inf")
    write_group(groups / "job", 1000, 700, 200, names)  # of its use, 200 are files'
    assert control_group_memory(tmp_path) == 500
    write_group(groups / "job" / "step", 400, 300, 0, names)
    assert control_group_memory(tmp_path) == 100
    write_group(groups, 90, 0, 0, names)
    assert control_group_memory(tmp_path) == 90


def test_free_memory_minds_control_groups(monkeypatch):
    monkeypatch.setattr("ssast_recipes.machine.control_group_memory", lambda: 5.0)
    assert free_memory(torch.device("cpu")) == 5.0
