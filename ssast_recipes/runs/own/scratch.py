"""The model that `ssast finetune none LABELS` trains from scratch."""

from collections import Counter
from collections.abc import Mapping, Sequence

from ssast_recipes.data.headers import AudioInfo
from ssast_recipes.data.manifest import Clip
from ssast_recipes.data.pipelines import WaveformReader
from ssast_recipes.data.shards import UnreadableAudioError
from ssast_recipes.model.filterbank import LogMelFilterbank
from ssast_recipes.runs.own.choices import choose_clip_frames
from ssast_recipes.runs.own.statistics import spectrogram_statistics
from ssast_recipes.runs.own.survey import draw_windows
from ssast_recipes.weights.formats.config import Architecture, FrontEndConfig

_SAMPLE_RATE = 16000
_FRAMES = 2  # of a patch as high as the spectrogram: from scratch, they learn faster (docs)
_WINDOW = 10  # seconds of a recording that are heard for mean and deviation
_MOST_SHORT = 64  # tokens, up to which the smaller model is taken


def describe_scratch(
    found: Mapping[str, AudioInfo], durations: Sequence[float]
) -> tuple[Architecture, FrontEndConfig]:
    """Describes a small encoder of frames, and a front end that fits the audio.

    Arguments
    ---------
    found : mapping
        Path to what its header says, of the training files: of these, mean and deviation.
    durations : sequence of float
        Lengths of all files in seconds.

    Returns
    -------
    tuple
        128 wide with 4 blocks for short clips, 192 wide with 6 for longer ones; 64 mel bins up to
        what telephone speech has, or 128 bins.
    """
    rates = Counter(info.sample_rate for info in found.values())
    top = rates.most_common(1)[0][0] / 2  # Hz: what the audio can have
    is_narrow = top <= 4000
    bins, high = (64 if is_narrow else 128), (top if top < _SAMPLE_RATE / 2 else 0.0)
    filterbank = LogMelFilterbank(_SAMPLE_RATE, bins, high_frequency=high)
    read = WaveformReader(_SAMPLE_RATE)
    windows = [max(1, round(info.duration / _WINDOW)) for info in found.values()]
    sample = [clip for clip in draw_windows(found, windows) if _is_readable(clip, read)]
    mean, std = spectrogram_statistics(sample, read, filterbank)
    frames = choose_clip_frames(durations, _FRAMES, of_encoder=0)
    is_short = frames // _FRAMES <= _MOST_SHORT
    width, depth, heads = (128, 4, 4) if is_short else (192, 6, 6)
    patch = (bins, _FRAMES)
    architecture = Architecture(width, depth, heads, bins, frames, patch, patch)
    numbers = (filterbank.low_frequency, filterbank.high_frequency, frames)
    front_end = FrontEndConfig(
        _SAMPLE_RATE, bins, 25.0, 10.0, *numbers, round(mean, 4), max(round(std, 4), 1e-4), False
    )
    return architecture, front_end


def _is_readable(clip: Clip, read: WaveformReader) -> bool:
    try:
        read(clip.path, clip.start, clip.duration, 0, clip.id)
    except UnreadableAudioError:
        return False
    return True
