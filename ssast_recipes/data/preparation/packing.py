"""Packing the clips of a manifest into shards, in parallel, going on where it was interrupted."""

import dataclasses
import io
import json
import logging
import multiprocessing
import os
import random
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from ssast_recipes.data.manifest import Clip, iterate_manifests, write_manifest
from ssast_recipes.data.pipelines import WaveformReader
from ssast_recipes.data.preparation.scanning import check_rejected
from ssast_recipes.data.preparation.sixteen_bits import encode
from ssast_recipes.data.shards import Member, UnreadableAudioError
from ssast_recipes.system.children import watch
from ssast_recipes.system.files import beside, file_digest, sweep_parts, write_text
from ssast_recipes.system.locking import one_at_a_time
from ssast_recipes.system.reading import read_json
from ssast_recipes.system.tables import write_reasons

logger = logging.getLogger(__name__)

FORMATS = ("flac", "wav")
# FLAC takes about this share of the bytes of the samples; a guess, on which only sizes depend.
_FLAC_SHARE = 0.6


class Packing(NamedTuple):
    """How clips are to be packed.

    Arguments
    ---------
    audio_format : str
        "flac", half as large, or "wav", faster to decode; both of 16 bits and one channel. What
        these cannot hold is stored as WAV of 32 bits, and told.
    sample_rate : int
        Other rates are resampled, once, in Hz.
    shard_bytes : int
        About the size of a shard.
    seed : int
        The order of the clips is drawn from it, so that neighbours in a shard have nothing in
        common.
    """

    audio_format: str = "flac"
    sample_rate: int = 16000
    shard_bytes: int = 10**9
    seed: int = 0


def pack(
    manifest: str | os.PathLike,
    folder: str | os.PathLike,
    packing: Packing = Packing(),  # noqa: B008
    num_workers: int = 1,
    max_rejected: float = 0.01,
) -> Path:
    """Writes the clips of a manifest to shards, and a manifest of these.

    Shards that are there already are not written again: an interrupted call goes on. Clips that
    cannot be read are left out and listed in `<name>_rejected.csv`.

    Arguments
    ---------
    manifest : path
        What to pack; `<name>` is its name without extension.
    folder : path
        Where `<name>-000000.tar`, … and `<name>.csv` are written, and notes in `<name>.packing`.
    packing : Packing
        How.
    num_workers : int
        Processes that read, resample and write.
    max_rejected : float
        The share of clips up to which packing goes on without them.

    Returns
    -------
    Path
        The manifest of the shards; labels and further columns are those of `manifest`.

    Raises
    ------
    ValueError
        If the folder holds a packing of other clips or another way, the manifest is wrong, or too
        many clips cannot be read.

    Example
    -------
    >>> import soundfile
    >>> folder = getfixture("tmp_path")
    >>> soundfile.write(folder / "a.wav", [0.0] * 8000, 8000)
    >>> clip = Clip("a", str(folder / "a.wav"), 0.0, 1.0, 8000, ("dog",))
    >>> write_manifest(folder / "train.csv", [clip])
    >>> packed = pack(folder / "train.csv", folder / "shards")
    >>> packed.name, [(clip.id, clip.sample_rate) for clip in iterate_manifests([packed])]
    ('train.csv', [('a', 16000)])
    """
    if packing.audio_format not in FORMATS:
        raise ValueError(f"shards hold {' or '.join(FORMATS)}, not {packing.audio_format!r}")
    manifest, folder = Path(manifest), Path(folder).absolute()
    packed = folder / f"{manifest.stem}.csv"
    if packed == manifest.absolute():
        raise ValueError(f"{manifest} would be replaced by the packed one; name another folder")
    work = folder / f"{manifest.stem}.packing"
    with one_at_a_time(work):
        _begin(work, manifest, packing)
        sweep_parts(folder, manifest.stem)
        sweep_parts(work)
        return _pack(manifest, packed, work, packing, num_workers, max_rejected)


def _pack(
    manifest: Path,
    packed: Path,
    work: Path,
    packing: Packing,
    num_workers: int,
    max_rejected: float,
) -> Path:
    folder = packed.parent
    tasks = list(_plan(list(iterate_manifests([manifest])), folder, manifest.stem, packing))
    waiting = [task for task in tasks if not task.is_done(work)]
    write = partial(_write_shard, work=work, packing=packing)
    with tqdm(
        total=len(tasks), initial=len(tasks) - len(waiting), desc="shards", disable=None
    ) as bar:
        for _ in _map(write, waiting, num_workers):
            bar.update()

    rejected = {}
    for task in tasks:
        rejected |= read_json(task.record(work, "json"), f"delete {work} to pack again")
    rejected_file = folder / f"{manifest.stem}_rejected.csv"
    write_reasons(rejected_file, rejected)
    check_rejected(rejected, sum(len(task.clips) for task in tasks), max_rejected, rejected_file)
    write_manifest(packed, iterate_manifests(task.record(work, "csv") for task in tasks))
    _tell_levels(tasks, work)
    return packed


def _tell_levels(tasks: list["_Task"], work: Path) -> None:
    """Warns of clips that 16 bits do not hold."""
    clipped: dict[str, int] = {}
    as_float: list[str] = []
    for task in tasks:
        if task.record(work, "levels").exists():  # not of shards of earlier versions
            levels = read_json(task.record(work, "levels"), f"delete {work} to pack again")
            clipped |= levels["clipped"]
            as_float += levels["float"]
    total = sum(len(task.clips) for task in tasks)
    if as_float:
        logger.warning(
            "%d of %d clips are far louder or quieter than samples of 16 bits can be and are "
            "stored as WAV of 32 bits, such as %s",
            len(as_float),
            total,
            ", ".join(as_float[:3]),
        )
    if clipped:
        logger.warning(
            "%d of %d clips are louder than full scale in places: %d samples were cut off at it, "
            "such as in %s",
            len(clipped),
            total,
            sum(clipped.values()),
            ", ".join(list(clipped)[:3]),
        )


class _Task(NamedTuple):
    """A shard to write."""

    shard: Path
    first: int  # the number of its first clip
    clips: list[Clip]

    def record(self, work: Path, kind: str) -> Path:
        """The shard's manifest (csv), what is rejected and why (json), what is too loud."""
        return work / f"{self.shard.stem}.{kind}"

    def is_done(self, work: Path) -> bool:
        return self.shard.exists() and self.record(work, "csv").exists()


def _begin(work: Path, manifest: Path, packing: Packing) -> None:
    plan = json.dumps({"manifest": file_digest(manifest), **packing._asdict()}, indent=2)
    file = work / "plan.json"
    if file.exists() and file.read_text(encoding="utf-8") != plan:
        raise ValueError(
            f"{work.parent} holds shards of another {manifest.name}, or made with other options, "
            f"see {file}; name another folder"
        )
    write_text(file, plan)


def _plan(clips: list[Clip], folder: Path, name: str, packing: Packing) -> Iterator[_Task]:
    """Deals the clips, in random order, to shards."""
    random.Random(packing.seed).shuffle(clips)
    bytes_a_second = 2 * packing.sample_rate
    if packing.audio_format == "flac":
        bytes_a_second *= _FLAC_SHARE
    number, first, size = 0, 0, 0.0
    for end, clip in enumerate(clips, start=1):
        size += clip.duration * bytes_a_second
        if size >= packing.shard_bytes or end == len(clips):
            yield _Task(folder / f"{name}-{number:06d}.tar", first, clips[first:end])
            number, first, size = number + 1, end, 0.0


def _map(function: Callable[[_Task], None], tasks: list[_Task], num_workers: int) -> Iterator[None]:
    if num_workers <= 1:
        yield from map(function, tasks)
        return
    # Not forked: the threads of torch do not survive that.
    context = multiprocessing.get_context("spawn")
    watched, held = context.Pipe(duplex=False)  # `held` by this process alone, as long as it lives
    with (
        held,
        watched,
        ProcessPoolExecutor(num_workers, context, _begin_worker, (watched,)) as pool,
    ):
        try:
            yield from pool.map(function, tasks)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _begin_worker(watched: Connection) -> None:
    """Lets a worker end with its parent: of a killed one, the queue of tasks would never tell."""
    watch(os.dup(watched.fileno()))
    torch.set_num_threads(1)


def _write_shard(task: _Task, work: Path, packing: Packing) -> None:
    read = WaveformReader(packing.sample_rate)
    packed: list[Clip] = []
    rejected: dict[str, str] = {}
    clipped: dict[str, int] = {}
    as_float: list[str] = []
    with beside(task.shard) as part, tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, clip in enumerate(task.clips, start=task.first):
            try:
                waveform = read(clip.path, clip.start, clip.duration, epoch=0, clip_id=clip.id)
            except UnreadableAudioError as error:
                rejected[clip.id] = str(error)
                continue
            duration = len(waveform) / packing.sample_rate
            known = {"id": clip.id, "labels": clip.labels, "duration": duration, **clip.extra}
            key = f"{number:09d}"
            encoded = encode(waveform, packing.sample_rate, packing.audio_format)
            if encoded.num_clipped:
                clipped[clip.id] = encoded.num_clipped
            if encoded.is_float:
                as_float.append(clip.id)
            place = _add(tar, f"{key}.{encoded.extension}", encoded.content)
            _add(tar, f"{key}.json", json.dumps(known).encode())
            location = Member(str(task.shard), *place).location
            rate = packing.sample_rate
            changes = {"path": location, "start": 0.0, "duration": duration, "sample_rate": rate}
            packed.append(dataclasses.replace(clip, **changes))
    write_text(task.record(work, "json"), json.dumps(rejected))
    write_text(task.record(work, "levels"), json.dumps({"clipped": clipped, "float": as_float}))
    write_manifest(task.record(work, "csv"), packed)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> tuple[int, int]:
    """Adds a member; returns where its data begin, and their size. The same data, the same tar."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    header = tar.offset
    tar.addfile(info, io.BytesIO(data))
    return header + tarfile.BLOCKSIZE, len(data)  # a name so short takes one block
