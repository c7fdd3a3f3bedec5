"""Preparing a corpus: from what it lists to manifests, once."""

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ssast_recipes.data.headers import AudioCopy, AudioInfo
from ssast_recipes.data.manifest import (
    Clip,
    printable,
    read_manifest,
    write_classes,
    write_manifest,
)
from ssast_recipes.data.preparation.counts import Published, SplitCounts, format_report
from ssast_recipes.data.preparation.mark import mark_prepared, prepared
from ssast_recipes.data.preparation.scanning import check_rejected, scan_audio, write_rejected
from ssast_recipes.system.files import sweep_parts
from ssast_recipes.system.locking import one_at_a_time
from ssast_recipes.system.tables import iterate_rows
from ssast_recipes.system.words import Lines

logger = logging.getLogger(__name__)

MOST_STATS = 10_000  # a corpus that was exchanged or copied anew differs in all its files
# Threads that read headers wait for the disk, so their number is none of the cores'. Of a network
# disk's 5 ms a file, 64 make 10,000 files a second, about as many as Python can take in: two
# million in four minutes. Processes would read local disks twice as fast, and not fork safely.
HEADER_THREADS = 64


class Entry(NamedTuple):
    """A clip as a corpus lists it, before anybody looked at the audio file.

    Arguments
    ---------
    id : str
        Unique within its split; unique among all corpora, if they are to be joined.
    path : str
        Absolute path of the audio file.
    labels : tuple of str
        Class names; empty for an unlabelled clip.
    start : float
        Where in the file the clip begins, in seconds.
    duration : float, optional
        Its length in seconds; left out, up to the end of the file. If the file ends before, the
        clip ends there, too; if it ends before ``start``, the clip is left out.
    extra : mapping of str to str
        Further columns of the manifest; the same for all entries of a split.
    """

    id: str
    path: str
    labels: tuple[str, ...] = ()
    start: float = 0.0
    duration: float | None = None
    extra: Mapping[str, str] = MappingProxyType({})


def prepare_manifests(
    folder: str | os.PathLike,
    entries: Mapping[str, Sequence[Entry]],
    published: Published,
    classes: Sequence[str] = (),
    options: Mapping[str, Any] = MappingProxyType({}),
    max_rejected: float = 0.01,
    copy: Callable[[str], AudioCopy] | None = None,
    cut: Callable[[Mapping[str, AudioInfo]], Mapping[str, Sequence[Entry]]] | None = None,
) -> bool:
    """Looks through the audio files of a corpus and writes its manifests, if it was not done yet.

    Writes ``<split>.csv`` for each split, ordered by ID; ``classes.txt``, if there are classes;
    ``rejected.csv``, files that cannot be used and why; last, ``prepared.json``. Logs what there is
    beside what was published. A second call with the same entries, files and options does nothing;
    whether files are the same is told by size and time of modification, of ten thousand at most.
    Processes that prepare in one folder take turns.

    Arguments
    ---------
    folder : str or path
        Where to write.
    entries : mapping of str to sequence of Entry
        By split; a clip may be in several.
    published : Published
        To compare with.
    classes : sequence of str
        Class names in the order of their indices.
    options : mapping
        What else asks for preparing anew when it changes. Plain values, as JSON has them.
    max_rejected : float
        The share of unusable files up to which preparation goes on without them.
    copy : callable, optional
        Path to a copy of the file, such as a partial of ``resample_clip``; its options belong into
        ``options``. By default headers are read and files used where they are.
    cut : callable, optional
        From what was found of each path to the entries, by split, that are written instead of those
        given: for clips that depend on the lengths of files. Its options belong into ``options``.

    Returns
    -------
    bool
        Whether there was anything to do.

    Raises
    ------
    ValueError
        If a split has no clips, a label is no class, too many files are unusable, or all that were
        copied are silent.

    Example
    -------
    >>> import soundfile
    >>> folder = getfixture("tmp_path")
    >>> soundfile.write(folder / "a.wav", [0.0] * 8000, 16000)
    >>> entries = {"train": [Entry("a", str(folder / "a.wav"), ("dog",))]}
    >>> published = Published("Sounds", {"train": 1})
    >>> prepare_manifests(folder / "manifests", entries, published, ["dog"])
    True
    >>> prepare_manifests(folder / "manifests", entries, published, ["dog"])
    False
    >>> read_manifest(folder / "manifests" / "train.csv")[0].duration
    0.5
    """
    folder = Path(folder)
    entries = _sorted(entries)
    _check_entries(entries, published.name, classes)
    paths = sorted({entry.path for listed in entries.values() for entry in listed})
    fingerprint = {
        "options": dict(options),
        "max_rejected": max_rejected,
        "entries": _entries_digest(entries, classes),
        "files": _files_digest(paths),
    }

    def is_prepared() -> bool:
        now = {**fingerprint, "rejected": _rejected_digest(folder)}
        return prepared(folder, now) and (copy is None or _copies_are_there(folder, entries))

    if not is_prepared():  # the folder may be for reading alone
        with one_at_a_time(folder):
            if not is_prepared():
                files = _write(folder, entries, paths, published, classes, max_rejected, copy, cut)
                mark = {**fingerprint, "rejected": _rejected_digest(folder)}
                mark_prepared(folder, mark, files)
                return True
    logger.info("%s is prepared already", folder)
    return False


def _write(
    folder: Path,
    entries: dict[str, list[Entry]],
    paths: list[str],
    published: Published,
    classes: Sequence[str],
    max_rejected: float,
    copy: Callable[[str], AudioCopy] | None,
    cut: Callable[[Mapping[str, AudioInfo]], Mapping[str, Sequence[Entry]]] | None,
) -> list[str]:
    """Scans the files and writes what `prepare_manifests` says; returns the files' names."""
    sweep_parts(folder)
    copies: dict[str, AudioCopy] = {}
    if copy is None:
        found, rejected = scan_audio(paths, HEADER_THREADS)
    else:
        copies, rejected = scan_audio(paths, inspect=copy)
        found = {path: made.info for path, made in copies.items()}
        for made_in in {os.path.dirname(made.path) for made in copies.values()}:
            sweep_parts(made_in)
    rejected = dict(sorted((rejected | _behind_the_end(entries, found)).items()))
    write_rejected(folder / "rejected.csv", rejected)
    check_rejected(rejected, len(paths), max_rejected, folder / "rejected.csv")
    _warn_of_levels(copies)
    if cut is not None:
        entries = _sorted(cut(found))
    counts = {split: SplitCounts() for split in entries}
    for split, listed in entries.items():
        clips = _clips(listed, found, copies)
        write_manifest(folder / f"{split}.csv", counts[split].counting(clips))
        if not counts[split].num_clips:
            raise ValueError(
                f"none of the {len(listed)} clips of {published.name}'s split {split} can be used, "
                f"see {folder / 'rejected.csv'}"
            )
    files = [*(f"{split}.csv" for split in entries), "rejected.csv"]
    if classes:
        write_classes(folder / "classes.txt", classes)
        files.append("classes.txt")
    report = Lines(format_report(counts, published, classes))
    logger.info("%s, prepared in %s:\n%s", published.name, folder, report)
    if rejected:
        logger.warning(
            "%d of %d files left out as unusable, see %s: %s",
            len(rejected),
            len(paths),
            folder / "rejected.csv",
            _first_names(rejected),
        )
    return files


def _sorted(entries: Mapping[str, Sequence[Entry]]) -> dict[str, list[Entry]]:
    return {split: sorted(listed, key=attrgetter("id")) for split, listed in entries.items()}


def _check_entries(
    entries: Mapping[str, Sequence[Entry]], name: str, classes: Sequence[str]
) -> None:
    known = set(classes)
    if len(known) < len(classes):
        raise ValueError(f"{name}: a class is named twice among the {len(classes)}")
    if not entries:
        raise ValueError(f"{name}: there is no clip for any split; is all data there?")
    for split, listed in entries.items():
        if not listed:
            raise ValueError(f"{name}: there is no clip for the split {split}; is all data there?")
        if not classes:
            continue
        for entry in listed:
            if not known.issuperset(entry.labels):
                raise ValueError(
                    f"{name}: the labels {', '.join(entry.labels)} of clip {entry.id} are not all "
                    f"among the {len(classes)} classes"
                )


def _entries_digest(entries: Mapping[str, Sequence[Entry]], classes: Sequence[str]) -> str:
    digest = hashlib.sha256(repr(list(classes)).encode())
    for split, listed in entries.items():
        for entry in listed:
            digest.update(repr((split, *entry[:-1], *entry.extra.items())).encode())
    return digest.hexdigest()


def _files_digest(paths: Sequence[str]) -> str:
    """Changes when files do, without reading them, and of many without asking for each."""
    return _stats_digest(paths[:: -(-len(paths) // MOST_STATS)])


def _rejected_digest(folder: Path) -> str:
    """Changes when one of the files that were rejected is replaced, as their list advises."""
    try:
        rows = iterate_rows(folder / "rejected.csv", ["path"])
        return _stats_digest([row["path"] for _, row in rows])
    except (FileNotFoundError, ValueError):
        return ""


def _stats_digest(paths: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            continue  # scanning will say why
        digest.update(os.fsencode(f"{path} {status.st_size} {status.st_mtime_ns}\n"))
    return digest.hexdigest()


def _copies_are_there(folder: Path, splits: Iterable[str]) -> bool:
    """Whether nobody deleted the copies to which the manifests point."""
    return all(
        os.path.exists(clip.path)
        for split in splits
        for clip in read_manifest(folder / f"{split}.csv")
    )


def _behind_the_end(
    entries: Mapping[str, Sequence[Entry]], found: Mapping[str, AudioInfo]
) -> dict[str, str]:
    """Files that end before one of their clips begins, by path, and why they are rejected."""
    return {
        entry.path: f"{entry.path} ends before clip {entry.id} begins at {entry.start:g} s"
        for listed in entries.values()
        for entry in listed
        if entry.start and entry.path in found and found[entry.path].duration <= entry.start
    }


def _warn_of_levels(copies: Mapping[str, AudioCopy]) -> None:
    silent = [path for path, copy in copies.items() if copy.is_silent]
    if silent and len(silent) == len(copies):
        raise ValueError(
            f"all {len(silent)} clips in {os.path.commonpath(silent)} are silent from end to end: "
            "there is nothing to learn; copy or convert the corpus anew"
        )
    if silent:
        first = _first_names(silent)
        logger.warning(
            "%d of %d files kept though silent throughout: %s", len(silent), len(copies), first
        )
    clipped = [path for path, copy in copies.items() if copy.num_clipped]
    if clipped:
        logger.warning(
            "%d of %d files reach full scale, in %d samples, and may be clipped there: %s",
            len(clipped),
            len(copies),
            sum(copy.num_clipped for copy in copies.values()),
            _first_names(clipped),
        )


def _first_names(paths: Iterable[str]) -> str:
    return ", ".join(printable(Path(path).name) for path in list(paths)[:3])


def _clips(
    listed: Iterable[Entry], found: Mapping[str, AudioInfo], copies: Mapping[str, AudioCopy]
) -> Iterator[Clip]:
    """The clips that can be used; one by one, since two million of them at once take gigabytes."""
    for entry in listed:
        info = found.get(entry.path)
        if info is None or info.duration <= entry.start:
            continue
        rest = info.duration - entry.start
        yield Clip(
            id=entry.id,
            path=copies[entry.path].path if copies else entry.path,
            start=entry.start,
            duration=rest if entry.duration is None else min(entry.duration, rest),
            sample_rate=info.sample_rate,
            labels=entry.labels,
            extra=entry.extra,
        )
