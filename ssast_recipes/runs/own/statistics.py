"""The mean and the deviation by which spectrograms are standardised."""

from collections.abc import Callable, Sequence

from torch import Tensor
from tqdm import tqdm

from ssast_recipes.data.batches import as_float
from ssast_recipes.data.manifest import Clip


def spectrogram_statistics(
    clips: Sequence[Clip],
    read_waveform: Callable[..., Tensor],
    log_mel: Callable[[Tensor], Tensor],
    progress: bool = False,
) -> tuple[float, float]:
    """Computes the mean and the standard deviation of all values of log-mel spectrograms.

    Arguments
    ---------
    clips : sequence of Clip
        The clips; those of the training set, or a sample of them.
    read_waveform : callable
        (path, start, duration, epoch, id) to samples, such as a `WaveformReader`.
    log_mel : callable
        Waveforms [1, samples] to log-mel spectrograms [1, frames, mel bins].
    progress : bool
        Whether to show a bar.

    Returns
    -------
    tuple[float, float]
        Mean and standard deviation, of frames that are audio: padding does not count.

    Raises
    ------
    ValueError
        If no clip is as long as a frame.

    Example
    -------
    >>> import torch
    >>> clips = [Clip("a", "/a.wav", 0.0, 1.0, 16000), Clip("b", "/b.wav", 0.0, 1.0, 16000)]
    >>> levels = {"/a.wav": 1.0, "/b.wav": 3.0}
    >>> spectrogram_statistics(
    ...     clips,
    ...     read_waveform=lambda path, *rest: torch.full([16000], levels[path]),
    ...     log_mel=lambda waveforms: waveforms.reshape(1, 100, 160)[:, :, :128],
    ... )
    (2.0, 1.0)
    """
    count, total, squares = 0, 0.0, 0.0
    for clip in tqdm(clips, desc="clips", disable=None if progress else True):
        waveform = read_waveform(clip.path, clip.start, clip.duration, 0, clip.id)
        values = log_mel(as_float(waveform).unsqueeze(0)).double()
        count += values.numel()
        total += values.sum().item()
        squares += values.square().sum().item()
    if count == 0:
        raise ValueError(f"none of the {len(clips)} clips is as long as a frame of the spectrogram")
    mean = total / count
    return mean, max(squares / count - mean**2, 0.0) ** 0.5
