"""Looking at a folder of one's own audio: what there is, how loud it is, what cannot be used."""

import os
import random
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ssast_recipes.data.batches import as_float
from ssast_recipes.data.headers import AudioInfo
from ssast_recipes.data.manifest import Clip
from ssast_recipes.data.pipelines import WaveformReader
from ssast_recipes.data.preparation.listing import walk_folders
from ssast_recipes.data.preparation.scanning import write_rejected
from ssast_recipes.data.preparation.sixteen_bits import SMALLEST_STEP
from ssast_recipes.data.shards import UnreadableAudioError
from ssast_recipes.model.filterbank import LogMelFilterbank
from ssast_recipes.runs.own.levels import survey_levels
from ssast_recipes.runs.own.statistics import spectrogram_statistics

_MOST_KINDS = 8  # that are counted one by one
_WINDOW = 10  # seconds of a labelled recording that are looked at
SAMPLE = 200  # clips that are read to measure their level and silence


def tell_audio(
    folder: Path,
    paths: Sequence[str],
    found: Mapping[str, AudioInfo],
) -> None:
    """Prints how much audio a folder holds, and of which kinds.

    Arguments
    ---------
    folder : Path
        The folder.
    paths : sequence of str
        The audio files in it and below it.
    found : mapping
        Which of them are good, from `scan_audio`.
    """
    audio = set(paths)
    others = [
        name
        for parent, names in walk_folders(folder)
        for name in names
        if os.path.join(parent, name) not in audio
    ]
    told = f" ({_count_extensions(others)})" if others else ""
    print(f"{folder}: {len(found):,} audio files, {_describe(found)}")
    print(f"  {_lengths(found)}; {len(others):,} other file(s) passed over{told}")


def survey_labelled(found: Mapping[str, AudioInfo]) -> None:
    """Prints which kinds of audio files there are, and what is odd about their levels.

    Arguments
    ---------
    found : mapping
        The good ones, from `scan_audio`.

    Raises
    ------
    ValueError
        If all of a sample are silent.
    """
    if not found:
        return
    print(f"  {_describe(found)}; {_lengths(found)}")
    counts = [max(1, round(info.duration / _WINDOW)) for info in found.values()]
    survey_levels(draw_windows(found, counts))


def _describe(found: Mapping[str, AudioInfo]) -> str:
    hours = sum(info.duration for info in found.values()) / 3600
    rates = Counter(f"{info.sample_rate / 1000:g} kHz" for info in found.values())
    return f"{hours:.2f} hours ({_count_extensions(found)}; {_counts(rates)})"


def _count_extensions(paths: Iterable[str]) -> str:
    return _counts(Counter(Path(path).suffix.lower().lstrip(".") or "without" for path in paths))


def _counts(counter: Counter[str]) -> str:
    parts = [f"{count:,} {name}" for name, count in counter.most_common(_MOST_KINDS)]
    left = counter.total() - sum(count for _, count in counter.most_common(_MOST_KINDS))
    return ", ".join([*parts, f"{left:,} others"] if left else parts)


def _lengths(found: Mapping[str, AudioInfo]) -> str:
    lengths = sorted(info.duration for info in found.values()) or [0.0]
    return (
        f"from {lengths[0]:.2f} to {lengths[-1]:.2f} s, half of them up to "
        f"{lengths[len(lengths) // 2]:.2f} s"
    )


def tell_rejected(rejected: Mapping[str, str], rejected_file: Path) -> None:
    """Prints which files cannot be used, and lists them in a file, if there are any.

    Arguments
    ---------
    rejected : mapping
        Path to the reason, from `scan_audio`.
    rejected_file : Path
        The CSV file to be written.
    """
    if rejected:
        write_rejected(rejected_file, rejected)
        print(f"  {len(rejected):,} file(s) cannot be used ({_count_extensions(rejected)})")
    for reason in list(rejected.values())[:10]:
        print(f"  cannot be used: {reason}")
    if len(rejected) > 10:
        print(f"  and {len(rejected) - 10:,} more, see {rejected_file}")


def draw_windows(found: Mapping[str, AudioInfo], counts: Sequence[int]) -> list[Clip]:
    """Draws windows of recordings, evenly over all audio.

    Arguments
    ---------
    found : mapping
        Paths of recordings, and what their headers say.
    counts : sequence of int
        How many windows each is cut into.

    Returns
    -------
    list of Clip
        `SAMPLE` at most, one of a recording.

    Example
    -------
    >>> [(clip.start, clip.duration) for clip in draw_windows({"/a": AudioInfo(800, 100, 1)}, [1])]
    [(0.0, 8.0)]
    """
    draws = random.Random(0)
    infos = list(found.items())
    chosen = draws.choices(range(len(infos)), counts, k=SAMPLE)
    clips = []
    for index in sorted(set(chosen)):
        path, info = infos[index]
        length = info.duration / counts[index]
        start = draws.randrange(counts[index]) * length
        clips.append(Clip(str(index), path, start, length, info.sample_rate))
    return clips


class Measured(NamedTuple):
    """What a sample of clips is like."""

    mean: float  # of the log-mel spectrograms
    std: float
    seconds: float  # that reading a clip takes, on average


def measure_sample(sample: Sequence[Clip], log_mel: LogMelFilterbank) -> Measured:
    """Measures log-mel spectrograms; prints how much of the sample is silent, and what is damaged.

    Arguments
    ---------
    sample : sequence of Clip
        From `draw_windows`.
    log_mel : LogMelFilterbank
        Makes the spectrograms.

    Returns
    -------
    Measured

    Raises
    ------
    ValueError
        If all of it is silent, or shorter than a frame.
    """
    read = WaveformReader(log_mel.sample_rate)
    waveforms = {}
    began = time.perf_counter()
    for clip in sample:
        try:
            waveform = as_float(read(clip.path, clip.start, clip.duration, 0, clip.id))
        except UnreadableAudioError as error:
            print(f"  cannot be used: {error}")
        else:
            waveforms[clip] = waveform
    seconds = (time.perf_counter() - began) / max(1, len(sample))
    silent = sum(waveform.abs().max() < SMALLEST_STEP for waveform in waveforms.values())
    if waveforms and silent == len(waveforms):
        raise ValueError(
            f"all of {len(waveforms)} clips drawn from the audio are silent from end to end; there "
            "is nothing to learn"
        )
    by_id = {clip.id: waveform for clip, waveform in waveforms.items()}
    mean, std = spectrogram_statistics(
        list(waveforms),
        lambda path, start, duration, epoch, clip_id: by_id[clip_id],
        log_mel,
    )
    print(
        f"  of {len(waveforms)} clips {silent / max(1, len(waveforms)):.0%} are silent; log-mel "
        f"mean {mean:.2f}, deviation {std:.2f}",
        flush=True,
    )
    survey_levels(sample, kept=log_mel.frequency_range[1])
    return Measured(mean, std, seconds)
