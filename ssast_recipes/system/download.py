"""Downloads that can be interrupted, and that several processes may ask for."""

import os
import time
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tqdm import tqdm

from ssast_recipes.system.files import file_digest
from ssast_recipes.system.locking import one_at_a_time

ATTEMPTS = 5
PAUSE = 1.0  # seconds before the second attempt, doubled with every further one
TIMEOUT = 60.0  # seconds without a byte


def download(
    url: str,
    destination: str | os.PathLike,
    sha256: str | None = None,
    md5: str | None = None,
    size: int | None = None,
    progress: bool = True,
) -> Path:
    """Downloads a file, going on where an earlier attempt stopped.

    What has been received lies in ``<destination>.part`` until it is complete and its checksum
    verified. A server that cannot send the rest of a file has to send all of it again. Without a
    checksum nobody notices a file that changed on the server between two attempts: give one where
    the publisher does. A destination that is there already is not downloaded again; another process
    that downloads it is waited for.

    Arguments
    ---------
    url : str
        What to download.
    destination : str or path
        The file to be written; missing folders are made.
    sha256, md5 : str, optional
        The checksum, in hexadecimal digits, or as many of its first ones as are known.
    size : int, optional
        In bytes.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    Path
        The destination.

    Raises
    ------
    ValueError
        If the checksum or the size is another one.
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
    known = {"sha256": sha256, "md5": md5, "size": size}
    if not destination.exists():  # first without a lock: its folder may be for reading alone
        with one_at_a_time(destination):
            if not destination.exists():
                return _download(url, destination, known, progress)
    if mismatch := _mismatch(destination, known):
        raise ValueError(f"{destination} is there but {mismatch}: delete it to download anew")
    return destination


def _download(url: str, destination: Path, known: dict[str, Any], progress: bool) -> Path:
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
    if mismatch := _mismatch(part, known):
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
                disable=None if progress else True,
            ) as bar,
        ):
            while block := response.read(1 << 18):
                file.write(block)
                position += len(block)
                bar.update(len(block))
    if total is not None and position < total:
        raise ConnectionError(f"the connection broke off after {position} of {total} bytes")


def _mismatch(path: Path, known: dict[str, Any]) -> str | None:
    """Says what differs from what is known of a file, if something does."""
    for name, expected in known.items():
        if expected is None:
            continue
        if name == "size":
            actual, same = path.stat().st_size, path.stat().st_size == expected
        else:
            actual = file_digest(path, name)
            same = actual.startswith(expected.lower())
        if not same:
            return f"its {name} is {actual}, not {expected}"
    return None
