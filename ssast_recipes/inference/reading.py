"""Recordings to classify or to embed, piece by piece: hours of audio need not be held at once."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import soundfile
import torch
from torch import Tensor

from ssast_recipes.data.batches import as_float
from ssast_recipes.data.headers import AudioInfo, audio_info
from ssast_recipes.data.manifest import Clip
from ssast_recipes.data.pipelines import WaveformReader
from ssast_recipes.data.rates import check_rate, resample
from ssast_recipes.data.shards import open_audio, read_samples

_PIECE = 1 << 22  # samples of all channels that are read at a time: 47 s of 44.1 kHz in stereo


def read_audio(path: str | Path) -> tuple[Tensor, int]:
    """Reads a whole audio file.

    Arguments
    ---------
    path : str or Path
        Any format that soundfile reads.

    Returns
    -------
    waveform : Tensor
        [samples] float32, the mean of the channels.
    sample_rate : int
        In Hz.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no audio, empty or cut off.
    """
    info = audio_info(path)
    return torch.cat([*_read_blocks(path, info)]), info.sample_rate


def read_clip(clip: Clip, sample_rate: int) -> Tensor:
    """Reads a clip of a manifest, only the seconds needed, at another sample rate.

    Arguments
    ---------
    clip : Clip
        Which stretch of which file.
    sample_rate : int
        The rate wanted, in Hz.

    Returns
    -------
    Tensor
        [samples] float32, the mean of the channels.

    Raises
    ------
    ValueError
        As a `WaveformReader`, if the clip cannot be read.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, torch.zeros(8000).numpy(), 8000)
    >>> read_clip(Clip("a", str(path), 0.25, 0.5, 8000), sample_rate=16000).shape
    torch.Size([8000])
    """
    reader = WaveformReader(sample_rate)
    return as_float(reader(clip.path, clip.start, clip.duration, epoch=0, clip_id=clip.id))


def read_pieces(
    path: str | Path,
    sample_rate: int,
    seconds: float | None = None,
    info: AudioInfo | None = None,
) -> Iterator[Tensor]:
    """Reads an audio file from its start to its end, piece by piece, at another sample rate.

    Arguments
    ---------
    path : str or Path
        Any format that soundfile reads, of any length.
    sample_rate : int
        The rate wanted, in Hz.
    seconds : float, optional
        How much to read, from the start; by default all.
    info : AudioInfo, optional
        Of `audio_info`, if the file was looked at before.

    Yields
    ------
    Tensor
        [samples] float32, the mean of the channels. Where they meet, nothing is heard: they are
        those of the whole file, resampled.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no audio, empty or cut off, holds what is no finite number, or is of a rate that
        cannot be resampled. It names the file.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, torch.zeros(8000, 2).numpy(), 8000)
    >>> [piece.shape for piece in read_pieces(path, sample_rate=16000)]
    [torch.Size([16000])]
    """
    info = info or audio_info(path)
    try:
        check_rate(info.sample_rate)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    blocks = _read_blocks(path, info, seconds)
    yield from resample_blocks(blocks, info.sample_rate, sample_rate)


def _read_blocks(
    path: str | Path, info: AudioInfo, seconds: float | None = None
) -> Iterator[Tensor]:
    """Mono blocks [samples] of whole seconds, but for the last."""
    left = math.inf if seconds is None else max(1, round(seconds * info.sample_rate))
    until = info.duration if seconds is None else min(seconds, info.duration)
    try:
        with open_audio(path, until=until) as audio:
            size = max(1, _PIECE // (info.sample_rate * info.num_channels)) * info.sample_rate
            is_first = True
            while True:
                size = int(min(size, left))
                samples = read_samples(audio, size, "float32")
                left -= len(samples)
                if len(samples) or is_first:
                    block = torch.from_numpy(samples).mean(dim=1)
                    if not block.isfinite().all():
                        raise ValueError(f"{path} holds samples that are not finite numbers")
                    yield block
                if len(samples) < size or left <= 0:
                    return
                is_first = False
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path} cannot be decoded: {error.error_string}") from None


def resample_blocks(blocks: Iterable[Tensor], from_rate: int, to_rate: int) -> Iterator[Tensor]:
    """Resamples a recording block by block, as if it were whole.

    Each is resampled with a second of its neighbours, which is then cut off: filters are shorter,
    and whole seconds are whole numbers of samples at any rate.

    Arguments
    ---------
    blocks : iterable of Tensor
        [samples] each; all but the last of whole seconds.
    from_rate, to_rate : int
        In Hz.

    Yields
    ------
    Tensor
        [samples], as many as there are blocks.

    Example
    -------
    >>> whole = torch.sin(torch.arange(8000.0))
    >>> parts = torch.cat([*resample_blocks(whole.split(2000), 1000, 1600)])
    >>> torch.testing.assert_close(parts, resample(whole, 1000, 1600, torch.float32))
    """
    if from_rate == to_rate:
        yield from blocks
        return
    before, held = torch.zeros(0), None
    for block in blocks:
        if held is not None:
            yield _resample_within(before, held, block[:from_rate], from_rate, to_rate)
            before = held[-from_rate:]
        held = block
    if held is not None:
        yield _resample_within(before, held, held[:0], from_rate, to_rate)


def _resample_within(
    before: Tensor, block: Tensor, after: Tensor, from_rate: int, to_rate: int
) -> Tensor:
    together = torch.cat([before, block, after])
    whole = resample(together, from_rate, to_rate, torch.float32)
    first = len(before) // from_rate * to_rate
    end = first + len(block) // from_rate * to_rate if len(after) else len(whole)
    return whole[first:end]


def read_ahead(recordings: Iterable[Iterator[Any]], workers: int) -> Iterator[Iterator[Any]]:
    """Reads recordings in other threads, some before they are asked for.

    Decoding and resampling let other threads work meanwhile. Of each recording ahead, one piece is
    in memory.

    Arguments
    ---------
    recordings : iterable of iterators
        Pieces of recordings, such as `read_pieces` yields.
    workers : int
        How many threads.

    Yields
    ------
    iterator
        The same pieces of the same recordings; what reading one raises is raised by its iterator.

    Example
    -------
    >>> [list(pieces) for pieces in read_ahead([iter("ab"), iter(""), iter("c")], workers=2)]
    [['a', 'b'], [], ['c']]
    """
    pool = ThreadPoolExecutor(workers)
    try:
        waiting: deque[tuple[Iterator[Any], Future]] = deque()
        for pieces in recordings:
            waiting.append((pieces, pool.submit(next, pieces, None)))
            if len(waiting) > 2 * workers:
                yield _go_on(pool, *waiting.popleft())
        while waiting:
            yield _go_on(pool, *waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _go_on(pool: ThreadPoolExecutor, pieces: Iterator[Any], following: Future) -> Iterator[Any]:
    while (piece := following.result()) is not None:
        following = pool.submit(next, pieces, None)
        yield piece
