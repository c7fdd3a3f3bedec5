"""Archives that cannot write where they should not."""

import errno
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from tqdm import tqdm


def extract(
    archive: str | os.PathLike, folder: str | os.PathLike, top: str = "", progress: bool = True
) -> Path:
    """Unpacks a zip or tar archive (compressed or not) to a folder, at once or not at all.

    Processes that may unpack to the same folder take turns: see `one_at_a_time`.

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
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, part, progress)
        elif tarfile.is_tarfile(archive):
            _unpack_tar(archive, part, top, progress)
        else:
            raise ValueError(
                f"{archive} is no whole zip or tar archive: delete it and download anew"
            )
        if not (part / top).is_dir():
            what = f"no folder {top}" if top else "nothing"
            raise ValueError(f"{archive} holds {what}: delete it and download anew")
        os.replace(part / top, folder)
    except tarfile.FilterError as error:
        member, name = error.tarinfo, PurePosixPath(top, error.tarinfo.name)
        fault = f"member {name} is a device"
        if not member.isdev():
            fault = f"link {name} leads out, to {member.linkname}"
        raise ValueError(f"{archive} is refused: its {fault}") from None
    except Exception as error:  # a damaged file raises whatever reading it stumbles over
        # The disk's own are let pass, but for those of a place where the archive says that it ends.
        is_disk = isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)
        if is_disk or isinstance(error, MemoryError) or str(archive) in str(error):
            raise
        raise ValueError(f"{archive} is broken, delete it and download anew: {error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _unpack_zip(archive: Path, part: Path, progress: bool) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        _check_names(archive, [member.orig_filename for member in members])
        for member in members:
            if stat.S_ISLNK(member.external_attr >> 16):  # zipfile would write a text file
                raise ValueError(f"{archive} is refused: its link {member.filename} is in a zip")
        for member in tqdm(members, desc=archive.name, disable=None if progress else True):
            file.extract(member, part)


def _unpack_tar(archive: Path, part: Path, top: str, progress: bool) -> None:
    """Unpacks what lies below ``top``, so that no link leads out of that."""
    folder = part / top
    with tarfile.open(archive) as file:
        members = file.getmembers()
        names = [member.name for member in members]
        names += [member.linkname for member in members if member.islnk()]
        _check_names(archive, names, [member.name for member in members if member.issym()])
        members = [
            _seen_from(top, member)
            for member in members
            if PurePosixPath(member.name).is_relative_to(top)
        ]
        for member in members:  # all of them before the first is written
            tarfile.data_filter(member, str(folder))
        for member in tqdm(members, desc=archive.name, disable=None if progress else True):
            file.extract(member, folder, filter="data")


def _seen_from(top: str, member: tarfile.TarInfo) -> tarfile.TarInfo:
    target = member.linkname
    if member.islnk():  # which names its target as seen from the archive's top
        target = os.path.relpath(target, top or ".")
    name = str(PurePosixPath(member.name).relative_to(top))
    return member.replace(name=name, linkname=target, deep=False)


def _check_names(archive: Path, names: Iterable[str], links: Iterable[str] = ()) -> None:
    """Refuses what zipfile and tarfile let pass.

    Both unpack an absolute path as a relative one, under a name that nobody expects, and zipfile
    one with "..". Files beneath a link are how tarfile's filter was led out of the folder before
    Python 3.11.13 and 3.12.11 (CVE-2025-4517).
    """
    links = {PureWindowsPath(name) for name in links}
    for name in names:
        path = PureWindowsPath(name)  # knows both kinds of slashes, and drives
        if path.anchor or ".." in path.parts:
            raise ValueError(f"{archive} is refused: its member {name} lies outside of it")
        if not links.isdisjoint(path.parents):
            raise ValueError(f"{archive} is refused: its member {name} lies beneath a link")
