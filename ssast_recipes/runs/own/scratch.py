"""The model that `ssast finetune none LABELS` trains from scratch."""

from collections.abc import Mapping, Sequence

from ssast_recipes.data.headers import AudioInfo
from ssast_recipes.data.manifest import Clip
from ssast_recipes.data.pipelines import WaveformReader
from ssast_recipes.data.shards import UnreadableAudioError
from ssast_recipes.model.filterbank import LogMelFilterbank
from ssast_recipes.runs.own.geometry import (
    SAMPLE_RATE,
    choose_geometry,
    choose_mel_range,
    choose_target_length,
)
from ssast_recipes.runs.own.statistics import spectrogram_statistics
from ssast_recipes.runs.own.survey import draw_windows
from ssast_recipes.weights.formats.config import Architecture, FrontEndConfig

_WINDOW = 10  # seconds of a recording that are heard for mean and deviation
_MOST_SHORT = 64  # tokens, up to which the smaller model is taken


def describe_scratch(
    found: Mapping[str, AudioInfo], durations: Sequence[float]
) -> tuple[Architecture, FrontEndConfig]:
    """Describes a small encoder of frames, and a front end that fits the audio.

    Frames, because no trial says what suits: from scratch they learnt faster than patches both on
    digits and on ESC-10. Mel bins, clips and frames are what `ssast pretrain` would choose.

    Arguments
    ---------
    found : mapping
        Path to what its header says, of the training files: of these, mean and deviation.
    durations : sequence of float
        Lengths of all files in seconds.

    Returns
    -------
    tuple
        128 wide with 4 blocks for clips of up to 64 tokens, 192 wide with 6 for longer ones.
    """
    num_mel_bins, high = choose_mel_range([info.sample_rate for info in found.values()])
    filterbank = LogMelFilterbank(SAMPLE_RATE, num_mel_bins, high_frequency=high)
    read = WaveformReader(SAMPLE_RATE)
    windows = [max(1, round(info.duration / _WINDOW)) for info in found.values()]
    sample = [clip for clip in draw_windows(found, windows) if _is_readable(clip, read)]
    mean, std = spectrogram_statistics(sample, read, filterbank)
    length = choose_target_length(durations)
    geometry = choose_geometry("frame", num_mel_bins, length, is_fast=False)
    width, depth, heads = (128, 4, 4) if geometry.num_tokens <= _MOST_SHORT else (192, 6, 6)
    patch = geometry.patch_size
    numbers = (filterbank.low_frequency, high, length, round(mean, 4), max(round(std, 4), 1e-4))
    return (
        Architecture(width, depth, heads, num_mel_bins, length, patch, patch),
        FrontEndConfig(
            SAMPLE_RATE, num_mel_bins, 25.0, 10.0, *numbers, pad_before_standardising=False
        ),
    )


def _is_readable(clip: Clip, read: WaveformReader) -> bool:
    try:
        read(clip.path, clip.start, clip.duration, 0, clip.id)
    except UnreadableAudioError:
        return False
    return True
