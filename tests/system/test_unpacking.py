"""Archives: what is unpacked, and what of it is refused."""

import hashlib
import io
import tarfile
import zipfile

import pytest

from ssast_recipes.system.unpacking import extract


def names(folder):
    return sorted(path.name for path in folder.iterdir())


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
    for name in ("b.wav", "c.wav"):  # the latter's target is told from the archive's top
        assert (folder / "audio" / name).samefile(folder / "audio" / "a.wav")


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


def test_a_link_longer_than_any_path_leads_nowhere(tmp_path):
    """CVE-2025-4517: beyond the system's longest path, links are taken for what they are not."""
    long, steps, members, path = "d" * 247, "abcdefghijklmnop", [], ""
    for step in steps:
        members += [(f"{path}{long}", (tarfile.DIRTYPE, "")), (f"{path}{step}", long)]
        path += f"{long}/"
    deep = "/".join(steps) + "/" + "l" * 254
    members += [(deep, "../" * len(steps)), ("escape", f"{deep}/../outside"), ("escape/evil", b"")]
    (tmp_path / "outside").mkdir()
    archive = make_tar(tmp_path / "archive", members)
    with pytest.raises(ValueError, match="archive is refused: its member .* lies beneath a link"):
        extract(archive, tmp_path / "data")
    assert names(tmp_path) == ["archive", "outside"] and names(tmp_path / "outside") == []


def test_a_hard_link_to_nothing_and_a_link_in_a_zip_are_told(tmp_path):
    archive = make_tar(tmp_path / "a.tar", [*MEMBERS, ("hard", (tarfile.LNKTYPE, "absent"))])
    with pytest.raises(ValueError, match="a.tar is broken, .*absent"):
        extract(archive, tmp_path / "data")
    archive = make_zip(tmp_path / "a.zip", [*MEMBERS, ("corpus/b.wav", "audio/a.wav")])
    with pytest.raises(ValueError, match="a.zip is refused: its link corpus/b.wav is in a zip"):
        extract(archive, tmp_path / "data")
    assert names(tmp_path) == ["a.tar", "a.zip"]


def test_what_cannot_be_unpacked_is_told(tmp_path):
    archive = make_zip(tmp_path / "a.zip", MEMBERS)
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # as of a member that is encrypted
    content[6] |= 1
    archive.write_bytes(content)
    with pytest.raises(ValueError, match="a.zip is broken, delete it .* is encrypted, password"):
        extract(archive, tmp_path / "data")
    with pytest.raises(ValueError, match="b.zip holds nothing: delete it and download anew"):
        extract(make_zip(tmp_path / "b.zip", []), tmp_path / "data")
    assert names(tmp_path) == ["a.zip", "b.zip"]


def test_what_a_killed_process_left_is_not_mixed_in(tmp_path):
    (tmp_path / "data.part").mkdir()
    (tmp_path / "data.part" / "old").touch()
    extract(make_zip(tmp_path / "a.zip", MEMBERS), tmp_path / "data")
    assert names(tmp_path / "data") == ["corpus"] and names(tmp_path) == ["a.zip", "data"]
