import hashlib
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from ssast_recipes.data.preparation import archives as module
from ssast_recipes.data.preparation.archives import Archive, fetch


@pytest.fixture
def server(tmp_path):
    return tmp_path / "server"


def pack(server, name, top, kind="gztar"):
    """Offers an archive with `<top>/yes/<name>.wav`; returns its path."""
    content = server / name
    (content / top / "yes").mkdir(parents=True)
    (content / top / "yes" / f"{name}.wav").write_text(name)
    return Path(shutil.make_archive(str(server / name), kind, content))


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", ["gztar", "tar", "zip"])
def test_archives_are_unpacked_side_by_side_and_deleted(server, tmp_path, kind):
    archives = [
        Archive(
            pack(server, part, f"Speech/{part}", kind).as_uri(),
            folder=f"Speech/{part}",
            top=f"Speech/{part}",
        )
        for part in ("clean", "other")
    ]
    fetch(archives, tmp_path / "data", progress=False)
    assert files(tmp_path / "data") == [
        "Speech/clean/yes/clean.wav",
        "Speech/other/yes/other.wav",
    ]


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    url = pack(server, "words", "").as_uri()
    (tmp_path / "data" / "v1").mkdir(parents=True)
    (tmp_path / "data" / "v1" / "mine.wav").touch()
    (tmp_path / "data" / "v2").mkdir()  # empty
    shutil.copytree(tmp_path / "data" / "v1", tmp_path / "data" / "v3.unchecked")  # of a kill
    fetch(
        [Archive("file:///nowhere.tar.gz", "v1"), Archive(url, "v2"), Archive(url, "v3")],
        tmp_path / "data",
        progress=False,
    )
    assert files(tmp_path / "data") == ["v1/mine.wav", "v2/yes/words.wav", "v3/yes/words.wav"]


def test_checksums_are_checked(server, tmp_path):
    archive = pack(server, "words", "")
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=f"its md5 is {md5}, not 0000"):
        fetch([Archive(archive.as_uri(), "v1", md5="0" * 32)], tmp_path / "data", progress=False)
    assert files(tmp_path / "data") == []
    fetch([Archive(archive.as_uri(), "v1", md5=md5)], tmp_path / "data", progress=False)
    assert files(tmp_path / "data") == ["v1/yes/words.wav"]


def test_content_that_fails_the_check_leaves_nothing(server, tmp_path):
    archive = Archive(pack(server, "words", "").as_uri(), "v1")
    seen = []

    def check(folder):
        seen.extend(files(folder))
        raise ValueError("no is missing")

    with pytest.raises(
        ValueError, match="words.tar.gz sent cannot be used and was deleted, .*: no is missing"
    ):
        fetch([archive], tmp_path / "data", check, progress=False)
    assert seen == ["yes/words.wav"]
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "target", "message"),
    [
        (tarfile.SYMTYPE, "../../secret", "its link words/a leads out"),
        (tarfile.LNKTYPE, "/etc/passwd", "its member /etc/passwd lies outside"),
        (tarfile.CHRTYPE, "", "its member words/a is a device"),
    ],
)
def test_a_compressed_tar_archive_cannot_reach_out(server, tmp_path, kind, target, message):
    server.mkdir()
    with tarfile.open(server / "words.tar.gz", "w:gz") as file:
        member = tarfile.TarInfo("words/a")
        member.type, member.linkname = kind, target
        file.addfile(member)
    archive = Archive((server / "words.tar.gz").as_uri(), "v1")
    with pytest.raises(ValueError, match=f"was deleted, .*is refused: {message}"):
        fetch([archive], tmp_path / "data", progress=False)
    assert list((tmp_path / "data").iterdir()) == []


def test_a_disk_that_is_too_small_is_told_before_anything_comes(tmp_path, monkeypatch):
    usage = shutil._ntuple_diskusage(10**11, 6 * 10**10, 4 * 10**10)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: usage)
    archives = [
        Archive("file:///nowhere/1.tar.gz", "one", size=10**10),
        Archive("file:///nowhere/2.tar.gz", "two", size=2 * 10**10),
    ]
    with pytest.raises(OSError, match="50.0 GB are needed .* 40.0 GB are free") as error:
        fetch(archives, tmp_path / "data", progress=False)
    assert error.value.filename == str(tmp_path / "data")
    (tmp_path / "data" / "two").mkdir(parents=True)
    (tmp_path / "data" / "two" / "a.wav").touch()
    with pytest.raises(ConnectionError, match="nowhere/1.tar.gz"):  # for one there is room
        monkeypatch.setattr("ssast_recipes.system.download.PAUSE", 0.0)
        fetch(archives, tmp_path / "data", progress=False)


SCRIPT = """
import sys, time
from pathlib import Path
from ssast_recipes.data.preparation.archives import Archive, fetch

def check(folder):
    print("checks", flush=True)
    while not Path(sys.argv[3]).exists():
        time.sleep(0.01)

fetch([Archive(sys.argv[1], "v1")], sys.argv[2], check, progress=False)
"""


def test_of_two_processes_one_unpacks_and_the_other_finds_it(server, tmp_path):
    url, go_on = pack(server, "words", "").as_uri(), tmp_path / "go on"
    processes = []
    for _ in range(2):
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", SCRIPT, url, tmp_path / "data", go_on],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        if len(processes) == 1:
            assert processes[0].stdout.readline() == "checks\n"
    line = processes[1].stderr.readline()
    assert (
        line == f"waiting for another process, which holds {tmp_path / 'data' / 'download.lock'}\n"
    )
    (server / "words.tar.gz").unlink()  # whoever asks again fails
    go_on.touch()
    for process in processes:
        assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == 0
    assert files(tmp_path / "data") == ["v1/yes/words.wav"]
