import os
import threading
from multiprocessing.pool import ThreadPool

import pytest
from safetensors import SafetensorError

from ssast_recipes.system.errors import explain
from ssast_recipes.system.files import beside, sweep_parts
from tests.processes import kill_while_writing


def test_what_fails_while_being_written_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("old")

    def broken_off():
        with beside(path) as part:
            part.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert [(item.name, item.read_text()) for item in tmp_path.iterdir()] == [("train.csv", "old")]


def test_threads_that_write_the_same_file_do_not_meet(tmp_path):
    barrier = threading.Barrier(2, timeout=10)

    def write(content):
        with beside(tmp_path / "a") as part:
            part.write_text(content)
            barrier.wait()

    with ThreadPool(2) as pool:
        pool.map(write, ["one", "two"])
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() in ("one", "two")


def test_a_file_may_be_read_by_whom_the_umask_lets(tmp_path):
    (tmp_path / "plain.txt").write_text("a")
    with beside(tmp_path / "strict.txt") as part:
        part.touch(mode=0o600)
    assert (tmp_path / "strict.txt").stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


def test_what_kills_left_is_swept(tmp_path):
    for name in ("a.tar", "b.tar"):
        kill_while_writing(tmp_path / name)
    assert len(list(tmp_path.glob("*.part"))) == 2
    sweep_parts(tmp_path, "b")
    assert [one.name[:5] for one in tmp_path.iterdir()] == ["a.tar"]
    sweep_parts(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_a_living_process_or_nobody_known_writes_is_not_swept(tmp_path):
    others = ["a.1-1-00000000.part", "a.1.1.part"]  # of another machine, of an earlier version
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / "download.zip.part").touch()  # to go on with
    with beside(tmp_path / "a") as part:
        part.touch()
        sweep_parts(tmp_path)
        assert part.exists()
    assert {one.name for one in tmp_path.iterdir()} == {"a", "download.zip.part", *others}
    for name in others:
        os.utime(tmp_path / name, (0, 0))
    sweep_parts(tmp_path)
    assert {one.name for one in tmp_path.iterdir()} == {"a", "download.zip.part"}
    sweep_parts(tmp_path / "none")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
        SafetensorError("Error while serializing: I/O error: No space left (os error 28)"),
        OSError(28, "No space left on device"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_full_disk_is_told_whichever_library_writes(tmp_path, error):
    with pytest.raises(OSError) as raised, beside(tmp_path / "a") as part:
        part.touch()
        raise error
    assert explain(raised.value).startswith(f"{tmp_path / 'a'}: No space left on device; free some")
    assert not list(tmp_path.iterdir())
