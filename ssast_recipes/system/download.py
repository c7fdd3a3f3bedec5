"""Downloads that can be interrupted, and archives that cannot write where they should not."""

import os
import shutil
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from gzip import BadGzipFile
from http.client import HTTPException
from itertools import dropwhile
from lzma import LZMAError
from pathlib import Path, PureWindowsPath
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tqdm import tqdm

from ssast_recipes.system.files import file_digest

ATTEMPTS = 5
PAUSE = 1.0  # seconds before the second attempt, doubled with every further one
TIMEOUT = 60.0  # seconds without a byte

BROKEN = (zipfile.BadZipFile, tarfile.TarError, BadGzipFile, LZMAError, zlib.error, EOFError)


def download(
    url: str,
    destination: str | os.PathLike,
    sha256: str | None = None,
    md5: str | None = None,
    progress: bool = True,
) -> Path:
    """Downloads a file, going on where an earlier attempt stopped.

    What has been received lies in ``<destination>.part`` until it is complete and its checksum
    verified. A server that cannot send the rest of a file has to send all of it again. Without a
    checksum nobody notices a file that changed on the server between two attempts: give one where
    the publisher does. A destination that is there already is not downloaded again.

    Arguments
    ---------
    url : str
        What to download.
    destination : str or path
        The file to be written; missing folders are made.
    sha256, md5 : str, optional
        The checksum, in hexadecimal digits.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    Path
        The destination.

    Raises
    ------
    ValueError
        If the checksum is another one.
    FileNotFoundError
        If the server does not have the file.
    ConnectionError
        If it cannot be reached or keeps breaking off.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "list.txt").write_text("abc")
    >>> url = (folder / "list.txt").as_uri()
    >>> md5 = "900150983cd24fb0d6963f7d28e17f72"
    >>> download(url, folder / "copy.txt", md5=md5, progress=False).read_text()
    'abc'
    """
    destination = Path(destination)
    checksums = {"sha256": sha256, "md5": md5}
    if destination.exists():
        if mismatch := _mismatch(destination, checksums):
            raise ValueError(f"{destination} is there but {mismatch}: delete it to download anew")
        return destination
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_name(destination.name + ".part")
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            _receive(url, part, progress)
            break
        except HTTPError as error:
            if error.code in (404, 410):
                raise FileNotFoundError(f"{url} does not exist: HTTP {error.code}") from None
            if error.code < 500 and error.code not in (408, 416, 429):
                raise ConnectionError(f"{url} is refused: {error}") from None
            reason = error
        except (URLError, ConnectionError, TimeoutError, HTTPException) as error:
            reason = error
    else:
        raise ConnectionError(
            f"cannot download {url}: {reason}; try again, what has come so far is kept, "
            f"or fetch it by other means to {destination}"
        )
    if mismatch := _mismatch(part, checksums):
        part.unlink()
        raise ValueError(f"{url}: {mismatch}; what was received is deleted")
    os.replace(part, destination)
    return destination


def _receive(url: str, part: Path, progress: bool) -> None:
    """One attempt to append the rest of the file to ``part``."""
    offset = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"Range": f"bytes={offset}-"} if offset else {})
    try:
        response = urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        if error.code != 416:
            raise
        # Nothing lies beyond the offset: `part` is the whole file, or one of another content.
        if error.headers.get("Content-Range") == f"bytes */{offset}":
            return
        part.unlink()
        raise
    with response:
        resumed = offset and response.status == 206
        position = offset if resumed else 0
        length = response.headers.get("Content-Length")
        total = position + int(length) if length is not None else None
        with (
            open(part, "ab" if resumed else "wb") as file,
            tqdm(
                desc=part.stem,
                initial=position,
                total=total,
                unit="B",
                unit_scale=True,
                disable=not progress,
            ) as bar,
        ):
            while block := response.read(1 << 18):
                file.write(block)
                position += len(block)
                bar.update(len(block))
    if total is not None and position < total:
        raise ConnectionError(f"the connection broke off after {position} of {total} bytes")


def _mismatch(path: Path, checksums: dict[str, str | None]) -> str | None:
    """Says which checksum differs, if one does."""
    for algorithm, expected in checksums.items():
        if expected is not None:
            actual = file_digest(path, algorithm)
            if actual != expected.lower():
                return f"its {algorithm} is {actual}, not {expected}"
    return None


def extract(
    archive: str | os.PathLike, folder: str | os.PathLike, top: str = "", progress: bool = True
) -> Path:
    """Unpacks a zip or tar archive (compressed or not) to a folder, at once or not at all.

    Arguments
    ---------
    archive : str or path
        The archive; its content, not its name, says of which kind.
    folder : str or path
        The folder that will hold the members; it must be missing or empty.
    top : str
        The folder within the archive to be taken for ``folder``; left out, all of the archive.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    FileExistsError
        If the folder holds something.
    ValueError
        If this is no archive, a broken one, or one that would write outside the folder.

    Example
    -------
    >>> parent = getfixture("tmp_path")
    >>> with zipfile.ZipFile(parent / "corpus.zip", "w") as file:
    ...     file.writestr("corpus-main/meta/list.csv", "a,b")
    >>> folder = extract(parent / "corpus.zip", parent / "corpus", "corpus-main", progress=False)
    >>> (folder / "meta" / "list.csv").read_text()
    'a,b'
    """
    archive, folder = Path(archive), Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: {archive} is not unpacked into it")
    part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    try:
        _unpack(archive, part, top, progress)
        if not (part / top).is_dir():
            raise ValueError(f"{archive} holds no folder {top}")
        os.replace(part / top, folder)
    except BROKEN as error:
        raise ValueError(f"{archive} is broken, delete it and download anew: {error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _unpack(archive: Path, part: Path, top: str, progress: bool) -> None:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            _check_members(archive, _zip_members(file), top)
            for member in tqdm(file.infolist(), desc=archive.name, disable=not progress):
                file.extract(member, part)
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as file:
            _check_members(archive, _tar_members(file), top)
            for member in tqdm(file.getmembers(), desc=archive.name, disable=not progress):
                file.extract(member, part, filter="data")
    else:
        raise ValueError(f"{archive} is no whole zip or tar archive: delete it and download anew")


def _zip_members(file: zipfile.ZipFile) -> Iterator[tuple[str, str | None]]:
    """Names of the members, each with its target if it is a symbolic link."""
    for member in file.infolist():
        is_link = stat.S_ISLNK(member.external_attr >> 16)
        yield member.orig_filename, file.read(member).decode() if is_link else None


def _tar_members(file: tarfile.TarFile) -> Iterator[tuple[str, str | None]]:
    """Names of the members, each with its target if it is a symbolic link."""
    for member in file:
        if member.isdev():
            raise ValueError(f"{file.name} is refused: its member {member.name} is a device")
        if member.islnk():
            yield member.linkname, None
        yield member.name, member.linkname if member.issym() else None


def _check_members(archive: Path, members: Iterator[tuple[str, str | None]], top: str) -> None:
    """Refuses an archive of which a member or the target of a link lies outside.

    Names alone decide. That is sound since nothing may lie beneath a link, and targets may climb
    ("..") only at their start, where all folders are real ones.
    """
    paths, links = [], set()
    for name, target in members:
        path = PureWindowsPath(name)  # knows both kinds of slashes, and drives
        if path.anchor or ".." in path.parts:
            raise ValueError(f"{archive} is refused: its member {name} lies outside of it")
        paths.append(path)
        if target is not None:
            link = PureWindowsPath(target)
            names = list(dropwhile("..".__eq__, link.parts))
            climbs = len(link.parts) - len(names)
            depth = len(path.parts) - 1 - len(PureWindowsPath(top).parts)
            if link.anchor or ".." in names or climbs > max(depth, 0):
                raise ValueError(f"{archive} is refused: its link {name} leads out, to {target}")
            links.add(path)
    for path in paths:
        if not links.isdisjoint(path.parents):
            raise ValueError(f"{archive} is refused: its member {path} lies beneath a link")
