"""Downloads from a server on loopback that breaks off, refuses, and lets processes wait."""

import hashlib
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ssast_recipes.system import download as module
from ssast_recipes.system.download import download

CONTENT = bytes(range(256)) * 4000  # 1 MB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT at /file on loopback, badly if asked to."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/file"
        self.content = CONTENT
        self.with_ranges = True
        self.with_length = True
        self.drops = []  # the connection breaks off after so many bytes, one answer each
        self.statuses = []  # of the first answers
        self.ranges = []  # the Range headers that came in
        self.half = None  # after so many bytes the first answer waits
        self.go_on = threading.Event()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        if self.path != "/file":
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if not (asked and server.with_ranges):
            start = 0
            self.send_response(200)
        elif start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.end_headers()
            return
        else:
            self.send_response(206)
            end, total = len(server.content) - 1, len(server.content)
            self.send_header("Content-Range", f"bytes {start}-{end}/{total}")
        body = server.content[start:]
        if server.with_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.half is not None and not asked:
            self.wfile.write(body[: server.half])
            server.go_on.wait(60)
            body = body[server.half :]
        try:
            self.wfile.write(body[: server.drops.pop(0)] if server.drops else body)
        except ConnectionError:  # a client that was killed
            pass

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.0)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_and_alone(server, tmp_path):
    path = download(server.url, tmp_path / "new" / "file.zip", sha256=SHA256.upper())
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["file.zip"]
    assert server.ranges == [None]


def test_progress_is_shown_in_a_terminal_unless_told_otherwise(
    server, tmp_path, capsys, monkeypatch
):
    download(server.url, tmp_path / "c")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    download(server.url, tmp_path / "a", progress=False)
    assert capsys.readouterr().err == ""
    download(server.url, tmp_path / "b")
    assert "1.02M/1.02M" in capsys.readouterr().err


def test_a_file_that_is_there_is_checked_and_not_downloaded_again(server, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    assert download(server.url, path, sha256=SHA256) == path
    with pytest.raises(ValueError, match=f"{path} is there but its md5 .* not {'0' * 32}: delete"):
        download(server.url, path, md5="0" * 32)
    assert path.read_bytes() == CONTENT
    assert server.ranges == []


def test_a_partial_file_is_completed(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    path = download(server.url, tmp_path / "file", sha256=SHA256)
    assert path.read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]
    assert names(tmp_path) == ["file"]


def test_a_server_that_cannot_send_ranges_starts_anew(server, tmp_path):
    server.with_ranges = False
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    assert download(server.url, tmp_path / "file").read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


def test_a_dropped_connection_is_taken_up_where_it_broke(server, tmp_path):
    server.drops = [600_000, 200_000]
    path = download(server.url, tmp_path / "file")
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=600000-", "bytes=800000-"]


def test_a_dropped_connection_to_a_server_without_ranges_starts_anew(server, tmp_path):
    server.with_ranges = False
    server.drops = [300_000, 200_000]
    assert download(server.url, tmp_path / "file").read_bytes() == CONTENT


def test_after_a_few_attempts_it_ends_and_keeps_what_came(server, tmp_path):
    server.drops = [100] * module.ATTEMPTS
    with pytest.raises(
        ConnectionError, match="cannot download http.*broke off after .* bytes.*kept"
    ):
        download(server.url, tmp_path / "file")
    assert len(server.ranges) == module.ATTEMPTS
    assert names(tmp_path) == ["file.part"]
    assert download(server.url, tmp_path / "file").read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={100 * module.ATTEMPTS}-"


def test_a_partial_file_that_lacks_nothing_is_taken(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    assert download(server.url, tmp_path / "file", sha256=SHA256).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


def test_a_partial_file_longer_than_the_file_is_thrown_away(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT + b"more")
    assert download(server.url, tmp_path / "file").read_bytes() == CONTENT


def test_a_server_that_does_not_say_the_length_is_read_to_the_end(server, tmp_path):
    server.with_length = False
    assert download(server.url, tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_wrong_checksum_deletes_what_was_received(server, tmp_path, algorithm):
    with pytest.raises(ValueError, match=f"/file: its {algorithm} is .*, not 123abc; .* deleted"):
        download(server.url, tmp_path / "file", **{algorithm: "123abc"})
    assert names(tmp_path) == []


def test_a_resumed_file_of_other_content_fails_its_checksum(server, tmp_path):
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    with pytest.raises(ValueError, match="sha256"):
        download(server.url, tmp_path / "file", sha256=SHA256)
    assert download(server.url, tmp_path / "file", sha256=SHA256).read_bytes() == CONTENT


def test_a_missing_file_is_said_at_once(server, tmp_path):
    with pytest.raises(FileNotFoundError, match="/absent does not exist: HTTP 404"):
        download(server.url.replace("/file", "/absent"), tmp_path / "file")
    assert len(server.ranges) == 1
    assert names(tmp_path) == []


def test_a_refusal_is_said_at_once_and_an_overloaded_server_asked_again(server, tmp_path):
    server.statuses = [403]
    with pytest.raises(ConnectionError, match="/file is refused: HTTP Error 403"):
        download(server.url, tmp_path / "file")
    assert len(server.ranges) == 1
    server.statuses = [503, 429]
    assert download(server.url, tmp_path / "file").read_bytes() == CONTENT


def test_no_connection_is_one_clear_line(server, tmp_path):
    closed = Server()
    closed.server_close()
    with pytest.raises(ConnectionError, match=f"cannot download {closed.url}: .*refused") as error:
        download(closed.url, tmp_path / "file")
    assert "\n" not in str(error.value)


# --- two processes at one file ---


SCRIPT = """
import sys
from ssast_recipes.system import download as module
module.PAUSE = 0.0
print(module.download(*sys.argv[1:], progress=False).stat().st_size)
"""


def start(url, path):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, url, str(path), SHA256],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def pair(server, tmp_path):
    """One process that has received half of a file, and one that waits for it."""
    server.half = 500_000
    first = start(server.url, tmp_path / "file")
    part = tmp_path / "file.part"
    wait_for(lambda: part.exists() and part.stat().st_size > 250_000)
    second = start(server.url, tmp_path / "file")
    line = second.stderr.readline()
    assert line == f"waiting for another process, which holds {part.with_name('file.lock')}\n"
    yield first, second
    for process in (first, second):
        process.kill()
        process.communicate()


def test_of_two_processes_one_downloads_and_the_other_finds_it(server, tmp_path, pair):
    server.go_on.set()
    for process in pair:
        assert process.communicate(timeout=60) == (f"{len(CONTENT)}\n", "")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.ranges == [None]
    assert names(tmp_path) == ["file"]


def test_when_one_is_killed_the_other_goes_on_where_it_was(server, tmp_path, pair):
    pair[0].kill()
    pair[0].wait()
    server.go_on.set()
    assert pair[1].communicate(timeout=60) == (f"{len(CONTENT)}\n", "")
    first, second = server.ranges
    assert first is None and 250_000 < int(second.strip("bytes=-")) <= 500_000
    assert names(tmp_path) == ["file"]


def test_what_is_there_needs_no_lock(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(CONTENT)
    monkeypatch.setattr(module, "one_at_a_time", None)  # whose file a read-only folder refuses
    download(server.url, tmp_path / "file", sha256=SHA256)


def test_a_size_and_the_beginning_of_a_checksum_are_checked(server, tmp_path):
    download(server.url, tmp_path / "a", sha256=SHA256[:8], size=len(CONTENT))
    with pytest.raises(ValueError, match="its size is 1024000, not 102400; .* deleted"):
        download(server.url, tmp_path / "b", size=102400)
    with pytest.raises(ValueError, match=f"its sha256 is {SHA256}, not {SHA256[1:8]}"):
        download(server.url, tmp_path / "b", sha256=SHA256[1:8])
