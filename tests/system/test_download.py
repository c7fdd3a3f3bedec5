import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ssast_recipes.system import download as module
from ssast_recipes.system.download import download, extract

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
        self.wfile.write(body[: server.drops.pop(0)] if server.drops else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.0)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_and_alone(server, tmp_path):
    path = download(server.url, tmp_path / "new" / "file.zip", sha256=SHA256.upper())
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["file.zip"]
    assert server.ranges == [None]


def test_progress_is_shown_unless_told_otherwise(server, tmp_path, capsys):
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


def make_zip(path, members):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members:
            if isinstance(content, str):  # a symbolic link to there
                info = zipfile.ZipInfo(name)
                info.external_attr = 0o120777 << 16
                file.writestr(info, content)
            else:
                file.writestr(name, content)
    return path


def make_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as file:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            elif isinstance(content, tuple):
                info.type, info.linkname = content
            else:
                info.size = len(content)
            file.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return path


MEMBERS = [("corpus/audio/a.wav", b"audio"), ("corpus/meta.csv", b"a,b")]


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize("folder_is_there", [False, True])
def test_an_archive_is_unpacked(tmp_path, kind, folder_is_there):
    archive = tmp_path / "archive"  # the name says nothing
    if kind == "zip":
        make_zip(archive, MEMBERS)
    else:
        make_tar(archive, MEMBERS, "w:gz" if kind == "tar.gz" else "w")
    if folder_is_there:
        (tmp_path / "data").mkdir()
    assert extract(archive, tmp_path / "data") == tmp_path / "data"
    assert (tmp_path / "data" / "corpus" / "audio" / "a.wav").read_bytes() == b"audio"
    extract(archive, tmp_path / "top", top="corpus")
    assert (tmp_path / "top" / "meta.csv").read_bytes() == b"a,b"
    assert names(tmp_path) == ["archive", "data", "top"]


OUTSIDE = [
    ("../evil", b""),
    ("corpus/../../evil", b""),
    ("/evil", b""),
    ("..\\evil", b""),
    ("C:\\evil", b""),
    ("corpus/link", "/etc/passwd"),
    ("corpus/link", "../../evil"),
    ("corpus/link", "audio/../../.."),
]


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("member", OUTSIDE)
def test_an_archive_that_leads_outside_is_refused_before_anything_is_written(
    tmp_path, monkeypatch, make, member
):
    archive = make(tmp_path / "archive", [*MEMBERS, member])
    for kind in (zipfile.ZipFile, tarfile.TarFile):
        monkeypatch.setattr(kind, "extract", None)
    with pytest.raises(ValueError, match="archive is refused: its (member|link)"):
        extract(archive, tmp_path / "data")
    assert names(tmp_path) == ["archive"]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("corpus/hard", (tarfile.LNKTYPE, "../../etc/passwd"))], "member ../../etc/passwd"),
        ([("corpus/null", (tarfile.CHRTYPE, ""))], "member corpus/null is a device"),
        ([("corpus/pipe", (tarfile.FIFOTYPE, ""))], "member corpus/pipe is a device"),
        # Harmless by its name, but the first link moves the second one up.
        ([("a/b/c", "../.."), ("up", "a/b/c/..")], "its link up leads out"),
        ([("a/b/c", "../.."), ("a/b/c/evil", b"")], "lies beneath a link"),
        ([("a/b/c/evil", b""), ("a/b/c", "../..")], "lies beneath a link"),
    ],
)
def test_a_tar_archive_with_other_tricks_is_refused(tmp_path, members, message):
    archive = make_tar(tmp_path / "archive", members)
    with pytest.raises(ValueError, match=message):
        extract(archive, tmp_path / "data")
    assert names(tmp_path) == ["archive"]


def test_links_that_stay_inside_are_kept(tmp_path):
    links = [
        ("corpus/audio/b.wav", "../audio/a.wav"),
        ("corpus/audio/c.wav", (tarfile.LNKTYPE, "corpus/audio/a.wav")),
    ]
    folder = extract(make_tar(tmp_path / "a.tar", MEMBERS + links), tmp_path / "data", top="corpus")
    for name in ("b.wav", "c.wav"):
        assert (folder / "audio" / name).read_bytes() == b"audio"


def test_a_link_out_of_the_part_that_is_taken_is_refused(tmp_path):
    members = [*MEMBERS, ("corpus/link", "../other"), ("other", b"")]
    archive = make_tar(tmp_path / "archive", members)
    with pytest.raises(ValueError, match="its link corpus/link leads out, to ../other"):
        extract(archive, tmp_path / "data", top="corpus")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_broken_archive_leaves_nothing(tmp_path, kind):
    noise = hashlib.shake_256(b"").digest(100_000)
    members = [("a", b"whole"), ("b", noise)]
    if kind == "zip":
        archive = make_zip(tmp_path / "archive", members)
        archive.write_bytes(archive.read_bytes().replace(noise, noise[::-1]))
    else:
        archive = make_tar(tmp_path / "archive", members, "w:gz")
        archive.write_bytes(archive.read_bytes()[:50_000])
    with pytest.raises(ValueError, match="archive is broken, delete it and download anew"):
        extract(archive, tmp_path / "data")
    assert names(tmp_path) == ["archive"]


def test_what_is_no_archive_or_lacks_the_folder_is_refused(tmp_path):
    (tmp_path / "page.zip").write_text("<html>Sign in</html>")
    with pytest.raises(ValueError, match="page.zip is no whole zip or tar archive"):
        extract(tmp_path / "page.zip", tmp_path / "data")
    archive = make_zip(tmp_path / "corpus.zip", MEMBERS)
    with pytest.raises(ValueError, match="corpus.zip holds no folder corpus-main"):
        extract(archive, tmp_path / "data", top="corpus-main")
    assert names(tmp_path) == ["corpus.zip", "page.zip"]


def test_a_folder_in_use_is_left_alone(tmp_path):
    archive = make_zip(tmp_path / "corpus.zip", MEMBERS)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").touch()
    with pytest.raises(FileExistsError, match="data is not empty"):
        extract(archive, tmp_path / "data")
    assert names(tmp_path / "data") == ["mine"]
