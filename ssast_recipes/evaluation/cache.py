"""Embeddings on disk: computed once for the same weights, front end and audio."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ssast_recipes.data.manifest import Clip
from ssast_recipes.data.shards import split_location
from ssast_recipes.evaluation.frozen import CLIP, STEPS, FrozenEncoder
from ssast_recipes.system.errors import explain
from ssast_recipes.system.files import beside, file_digest, sweep_parts, write_text
from ssast_recipes.system.reading import read_json

CHUNK = 256  # clips of a file: what an interruption may cost
MOST_MISSING = 0.1  # the share of clips that may be unreadable
VERSION = 1  # to be raised when embeddings of the same encoder change
_THREADS = 8
_DIGESTS = "digests.json"


class Embeddings(NamedTuple):
    """Vectors of clips, [clips, layers, width] or [clips, layers, moments, width]; else zeros.

    `present` [clips] bool tells which can be; `reasons` why others cannot.
    """

    values: Tensor
    present: Tensor
    reasons: list[str]


def embed_clips(
    encoder: FrozenEncoder,
    clips: Sequence[Clip],
    folder: Path,
    detail: str = CLIP,
    workers: int = 2,
    advance: Callable[[int], Any] = lambda count: None,
    tell: Callable[[str], Any] = lambda line: None,
) -> Embeddings:
    """Embeds clips, as far as the cache does not hold them.

    Arguments
    ---------
    encoder : FrozenEncoder
        Whose key is part of the files' names.
    clips : sequence of Clip
        In an order that is always the same. The content of their files is the rest of the names:
        files that were moved are known again, and changed ones are not.
    folder : Path
        The cache.
    detail : str
        How finely: see `FrozenEncoder.embed`. Moments are kept in 16 bits.
    workers : int
        How many threads read files ahead.
    advance : callable
        Told how many clips are done more.
    tell : callable
        Told, in a line, of a file of the cache that is damaged; it is computed again.

    Returns
    -------
    Embeddings

    Raises
    ------
    ValueError
        If the encoder returns values that are no finite numbers, or vectors of several sizes, or if
        more than a tenth of the clips cannot be read.
    """
    sweep_parts(folder)
    digests = content_digests(sorted({clip.path for clip in clips}), folder)
    parts: list[Embeddings] = []
    for first in range(0, len(clips), CHUNK):
        chunk = clips[first : first + CHUNK]
        told = [(digests[clip.path], clip.start, clip.duration) for clip in chunk]
        text = json.dumps([VERSION, encoder.key, detail, told], sort_keys=True)
        path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.safetensors"
        part = None
        if path.exists():
            try:
                part = _load(path, len(chunk))
            except ValueError as error:
                tell(f"{path} is damaged ({error}): computed again")
        if part is None:
            part, is_final = _compute(encoder, chunk, detail, workers, advance)
            if is_final:
                _save(path, part)
        else:
            advance(len(chunk))
        parts.append(part)
    sizes = {part.values.shape[1:] for part in parts if part.present.any()}
    if len(sizes) > 1:
        raise ValueError(f"{encoder.name}: embeddings of several sizes: {sorted(sizes)}")
    shape = sizes.pop() if sizes else torch.Size([1, 1])
    values = [
        part.values
        if part.present.any()
        else torch.zeros(len(part.values), *shape, dtype=part.values.dtype)
        for part in parts
    ]
    found = Embeddings(
        torch.cat(values),
        torch.cat([part.present for part in parts]),
        [reason for part in parts for reason in part.reasons],
    )
    if len(found.reasons) > MOST_MISSING * len(clips):
        raise ValueError(
            f"{len(found.reasons)} of {len(clips)} clips cannot be read, the first: "
            f"{found.reasons[0]}"
        )
    return found


def _compute(
    encoder: FrozenEncoder,
    clips: Sequence[Clip],
    detail: str,
    workers: int,
    advance: Callable[[int], Any],
) -> tuple[Embeddings, bool]:
    """Embeds clips; and whether that is final: what the machine could not read may be there yet."""
    rows: list[Tensor | None] = []
    reasons, is_final = [], True
    for clip, row in zip(clips, encoder.embed(clips, detail, workers), strict=True):
        if isinstance(row, Exception):
            reasons.append(explain(row) or repr(row))
            is_final = is_final and not isinstance(row, OSError)
            row = None
        elif not row.isfinite().all():
            raise ValueError(
                f"{encoder.name}: its embedding of {clip.path} holds values that are not finite "
                "numbers; the encoder is broken, or its training diverged"
            )
        rows.append(row)
        advance(1)
    shapes = {row.shape for row in rows if row is not None}
    if len(shapes) > 1:
        raise ValueError(f"{encoder.name}: embeddings of several sizes: {sorted(shapes)}")
    blank = torch.zeros(shapes.pop() if shapes else (1, 1))
    kind = torch.float16 if detail == STEPS else torch.float32
    values = torch.stack([blank if row is None else row for row in rows]).to(kind)
    present = torch.tensor([row is not None for row in rows])
    return Embeddings(values, present, reasons), is_final


def _save(path: Path, part: Embeddings) -> None:
    tensors = {"values": part.values.contiguous(), "present": part.present.to(torch.uint8)}
    told = {"sha256": _digest(tensors), "reasons": json.dumps(part.reasons)}
    with beside(path) as unfinished:
        safetensors.torch.save_file(tensors, unfinished, metadata=told)


def _load(path: Path, count: int) -> Embeddings:
    """Reads a file of the cache; raises ValueError if it is not as it was written."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            told = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in ("values", "present")}
        reasons = json.loads(told.get("reasons", ""))
    except (safetensors.SafetensorError, ValueError, RecursionError, OSError) as error:
        raise ValueError(" ".join(str(error).split())) from None
    if told.get("sha256") != _digest(tensors) or len(tensors["present"]) != count:
        raise ValueError("its checksum differs")
    return Embeddings(tensors["values"], tensors["present"].bool(), reasons)


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {list(tensors[name].shape)} {tensors[name].dtype}".encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


def content_digests(paths: Sequence[str], folder: Path) -> dict[str, str]:
    """Checksums of files' content, of which those seen before are not read again.

    Arguments
    ---------
    paths : sequence of str
        As of manifests. A file in a shard is told by its place, and the shard's size and time.
    folder : Path
        Where `digests.json` keeps what was read, with the files' sizes and times.

    Returns
    -------
    dict of str to str
        By path; of a file that cannot be read, empty.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "a.wav").write_bytes(b"abc")
    >>> content_digests([str(folder / "a.wav"), "/no/such.wav"], folder / "cache")
    {'...a.wav': 'ba7816bf...', '/no/such.wav': ''}
    """
    try:
        kept: dict[str, Any] = read_json(folder / _DIGESTS, "it is made again")
    except (OSError, ValueError):
        kept = {}

    def find(path: str) -> tuple[list[int], str]:
        member = split_location(path)
        try:
            status = os.stat(path if member is None else member.shard)
            stamp = [status.st_size, status.st_mtime_ns]
            before = kept.get(path)
            if isinstance(before, list) and before[:1] == [stamp] and isinstance(before[1], str):
                return stamp, before[1]
            return stamp, file_digest(path) if member is None else f"{path} {stamp}"
        except (OSError, IndexError):
            return [], ""

    with ThreadPoolExecutor(_THREADS) as pool:
        found = dict(zip(paths, pool.map(find, paths), strict=True))
    known = {path: list(one) for path, one in found.items()}
    if any(kept.get(path) != one for path, one in known.items()):
        write_text(folder / _DIGESTS, json.dumps(kept | known))
    return {path: digest for path, (_, digest) in found.items()}


def iterate_present(present: Tensor, places: Sequence[int]) -> Iterator[int]:
    """Yields those places whose clips could be read."""
    known = present.tolist()
    return (place for place in places if known[place])
