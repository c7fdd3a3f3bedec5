"""Manifests of shards that are there already, such as those that WebDataset wrote."""

import json
import os
import tarfile
from collections import defaultdict
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ssast_recipes.data.headers import audio_info
from ssast_recipes.data.manifest import Clip, printable, write_manifest
from ssast_recipes.data.preparation.scanning import check_rejected
from ssast_recipes.data.recognition import (
    START,
    is_audio_name,
    is_audio_start,
    is_foreign_name,
)
from ssast_recipes.data.shards import Member
from ssast_recipes.system.tables import write_reasons

_TEXTS = (".json", ".cls")
_LARGEST_TEXT = 2**24  # bytes of what is said of a clip


def index_shards(
    shards: Sequence[str | os.PathLike],
    manifest: str | os.PathLike,
    num_workers: int = 1,
    max_rejected: float = 0.01,
) -> tuple[int, int]:
    """Writes a manifest of the audio in tar files, which stay as they are.

    Members of a clip share a name up to its first dot, as WebDataset has it: an audio file in any
    format that soundfile reads, told by its name or its first bytes, and, optionally, `.json` with
    `id` and `labels` (a list, or `label`) or `.cls` with one label. Clips without `id` get that of
    the shard's name and their own; of shards with the same name, in different folders, the folders
    are put before. What cannot be used is listed in `<manifest>_rejected.csv`, such as a second
    audio file of the same name up to its first dot; of a tar file that was cut off, what is whole
    is used.

    Arguments
    ---------
    shards : sequence of paths
        Uncompressed tar files.
    manifest : path
        The CSV file to write.
    num_workers : int
        Threads that read.
    max_rejected : float
        The share of clips that may be unusable.

    Returns
    -------
    tuple[int, int]
        How many clips there are, and how many were rejected.

    Raises
    ------
    FileNotFoundError
        If a tar file is not there.
    ValueError
        If there is no audio, two clips have the same ID, or too many are unusable.

    Example
    -------
    >>> import io, soundfile
    >>> folder, wav = getfixture("tmp_path"), io.BytesIO()
    >>> soundfile.write(wav, [0.0] * 8000, 16000, format="WAV")
    >>> with tarfile.open(folder / "a.tar", "w") as tar:
    ...     info = tarfile.TarInfo("dog.wav")
    ...     info.size = wav.tell()
    ...     tar.addfile(info, io.BytesIO(wav.getvalue()))
    >>> index_shards([folder / "a.tar"], folder / "train.csv")
    (1, 0)
    """
    paths = list(dict.fromkeys(Path(shard).absolute() for shard in shards))
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not there, or not a file")
    clips: list[Clip] = []
    rejected: dict[str, str] = {}
    with ThreadPool(num_workers) as pool:
        scanned = pool.imap(_scan, _named(paths))
        for good, bad in tqdm(scanned, total=len(paths), desc="shards", disable=None):
            clips += good
            rejected |= bad
    manifest = Path(manifest)
    listed_in = manifest.with_name(f"{manifest.stem}_rejected.csv")
    write_reasons(listed_in, {printable(name): printable(why) for name, why in rejected.items()})
    if not clips and not rejected:
        raise ValueError(f"there is no audio in {len(paths)} tar file(s), such as {paths[0]}")
    check_rejected(rejected, len(clips) + len(rejected), max_rejected, listed_in)
    write_manifest(manifest, clips)
    return len(clips), len(rejected)


def _named(shards: Sequence[Path]) -> list[tuple[Path, str]]:
    """Shards, and what the IDs of their clips begin with: a name that no other one has."""
    parents: dict[str, list[Path]] = defaultdict(list)
    for shard in shards:
        parents[shard.stem].append(shard.parent)
    above = {stem: os.path.commonpath(folders) for stem, folders in parents.items()}
    return [(shard, os.path.relpath(shard.with_suffix(""), above[shard.stem])) for shard in shards]


def _scan(named: tuple[Path, str]) -> tuple[list[Clip], dict[str, str]]:
    """The clips of a shard, and what cannot be used of it, by ID."""
    shard, shard_name = named
    audio: dict[str, tuple[str, Member]] = {}
    known: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)  # by key, with stems
    takes: dict[str, set[str]] = defaultdict(set)  # the stems of all audio of a key
    rejected: dict[str, str] = {}
    size = os.path.getsize(shard)
    try:
        with tarfile.open(shard, "r:") as tar:
            for info in tar:
                folder, name = os.path.split(info.name)
                key = os.path.join(folder, name.partition(".")[0])
                stem = os.path.splitext(info.name)[0]
                if not info.isfile():
                    continue
                if reason := _why_not(info, size):
                    rejected[f"{shard_name}/{info.name}"] = f"{shard}: {info.name} {reason}"
                elif _is_audio(tar, info):
                    takes[key].add(stem)
                    first, _ = audio.get(key, (info.name, None))
                    member = Member(str(shard), info.offset_data, info.size)
                    # Of one name, the later takes the place of the first; a video that lies beside
                    # its sound is no second clip.
                    if first == info.name or (is_foreign_name(first) and is_audio_name(name)):
                        audio[key] = (info.name, member)
                    elif not (is_foreign_name(name) and is_audio_name(first)):
                        rejected[f"{shard_name}/{info.name}"] = (
                            f"{shard}: {info.name} is another audio file of the clip {key}, after "
                            f"{first}: names are told apart up to their first dot; rename it"
                        )
                elif name.endswith(".json"):
                    known[key].append((stem, _object(tar.extractfile(info).read())))
                elif name.endswith(".cls"):
                    label = tar.extractfile(info).read().decode(errors="replace").strip()
                    known[key].insert(0, (stem, {"label": label}))  # JSON says more
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged file raises whatever reading it stumbles over
        rejected[f"{shard_name}{shard.suffix}"] = f"{shard}: not whole: {error}"
    clips = []
    for key, (name, member) in audio.items():
        others = takes[key] - {os.path.splitext(name)[0]}
        about: dict[str, Any] = {}
        for stem, said in known[key]:
            if stem not in others:  # else it tells of audio that is not used
                about.update(said)
        clip_id = f"{shard_name}/{key}" if about.get("id") in (None, "") else str(about["id"])
        try:
            clips.append(_clip(clip_id, member, about))
        except ValueError as error:
            rejected[clip_id] = str(error)
    return clips, rejected


def _why_not(info: tarfile.TarInfo, size: int) -> str | None:
    """Why a member of a tar file of so many bytes is not to be read, which may claim any size."""
    if info.issparse():
        return "is sparse: its bytes do not lie in one piece; pack it anew"
    if info.offset_data + info.size > size:
        return "is cut off: the tar file ends before it does"
    if info.size > _LARGEST_TEXT and info.name.endswith(_TEXTS):
        return f"takes {info.size} bytes, too many to tell of a clip"
    return None


def _is_audio(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bool:
    """Whether a member is audio by its name or its first bytes, also such as is not read here."""
    name = os.path.basename(info.name)
    if name.endswith(_TEXTS) or name.startswith("."):
        return False
    known = is_audio_name(name) or is_foreign_name(name)
    return known or is_audio_start(tar.extractfile(info).read(START))


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _clip(clip_id: str, member: Member, known: dict[str, Any]) -> Clip:
    info = audio_info(member.location)
    labels = known.get("labels")
    labels = known.get("label") if labels is None else labels
    labels = labels if isinstance(labels, list) else [labels]
    return Clip(
        id=clip_id,
        path=member.location,
        start=0.0,
        duration=info.duration,
        sample_rate=info.sample_rate,
        labels=tuple(str(label) for label in labels if label is not None),
    )
