import threading
from multiprocessing.pool import ThreadPool

import pytest

from ssast_recipes.system.files import beside


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
