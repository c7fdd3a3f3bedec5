"""Whatever is wrong with a file: one line that names it, at once, or what it says is read."""

import logging
import os
from pathlib import Path

import pytest

from ssast_recipes.system.errors import RunError, explain
from tests.readers import READERS, mutations


def fuzz(name: str, folder: Path, count: int, seed: int) -> list[str]:
    """Reads damaged files; returns what was not told in one line that names the file."""
    reader, faults = READERS[name], []
    path = folder / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    reader.make(path)
    content = path.read_bytes()
    reader.read(path)  # whole, it is readable
    known = {path.name, folder.name, "CKPT+1"}
    for number, damaged in enumerate(mutations(content, count, seed)):
        path.write_bytes(damaged)
        try:
            reader.read(path)
        except (ValueError, OSError, RunError) as error:
            line = explain(error)
            if not any(one in str(error) for one in known):
                faults.append(f"{number}: names no file: {line[:300]}")
        except Exception as error:
            faults.append(f"{number}: {type(error).__name__}: {str(error)[:300]}")
    return faults


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_one_line_each(name, tmp_path, caplog):
    caplog.set_level(logging.CRITICAL)
    assert fuzz(name, tmp_path, 50, seed=1) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_a_thousand_damaged_files_are_one_line_each(name, tmp_path, caplog):
    caplog.set_level(logging.CRITICAL)
    assert fuzz(name, tmp_path, 1000, seed=int(os.environ.get("SSAST_FUZZ_SEED", 2))) == []
