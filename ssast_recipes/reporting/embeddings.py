"""The page's map of clips: their embeddings, projected to two dimensions."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from markupsafe import Markup
from torch import Tensor
from tqdm import tqdm

from ssast_recipes.data.batches import as_float
from ssast_recipes.data.manifest import Clip
from ssast_recipes.data.pipelines import WaveformReader
from ssast_recipes.data.shards import UnreadableAudioError
from ssast_recipes.inference.encoding import AudioEncoder
from ssast_recipes.reporting.charts import COLOURS, colour, scatter_chart
from ssast_recipes.reporting.rendering import render


def embeddings_section(
    folder: Path, clips: Sequence[Clip], count: int, device: str | None, kind: str = "test"
) -> Markup:
    """Embeds clips with the run's model, and draws them where their two main components put them.

    Arguments
    ---------
    folder : Path
        The run's folder, with a `model`.
    clips : sequence of Clip
        Of the test set, or of validation.
    count : int
        How many to embed at most, evenly from the sequence.
    device : str, optional
        Where to compute.
    kind : str
        What the clips are called: test or validation clips.

    Returns
    -------
    Markup
        The map.

    Raises
    ------
    FileNotFoundError, ValueError
        If the run left no model, or it is not readable, or fewer than three clips are.
    """
    encoder = AudioEncoder.from_pretrained(folder, device=device)
    chosen = [clips[i] for i in spread(len(clips), count)]
    embedded, vectors = [], []
    filterbank, length = encoder.front_end.filterbank, encoder.front_end.target_length
    samples = (length - 1) * filterbank.samples_per_shift + filterbank.samples_per_frame
    reader = WaveformReader(encoder.sample_rate, max_duration=samples / encoder.sample_rate)
    for first in tqdm(range(0, len(chosen), encoder.batch_size), desc="embedding", disable=None):
        waveforms = []
        for clip in chosen[first : first + encoder.batch_size]:
            try:
                waveform = reader(clip.path, clip.start, clip.duration, epoch=0, clip_id=clip.id)
            except UnreadableAudioError:  # it is no longer at hand
                continue
            waveforms.append(as_float(waveform))
            embedded.append(clip)
        if waveforms:
            vectors.append(encoder.encode_batch(waveforms, encoder.sample_rate))
    if len(embedded) < 3:
        raise ValueError(f"the audio of {len(embedded)} {kind} clips is at hand, too few for a map")
    whole = torch.cat(vectors)
    if not whole.isfinite().all():
        raise ValueError("the model's embeddings are not finite numbers: training diverged")
    return draw_map(embedded, whole, len(clips), kind)


def draw_map(clips: Sequence[Clip], vectors: Tensor, total: int, kind: str) -> Markup:
    """Draws clips where the two main components of their embeddings put them.

    Arguments
    ---------
    clips : sequence of Clip
        Three at least.
    vectors : Tensor
        Their embeddings, [clips, width].
    total : int
        Of how many clips they are some.
    kind : str
        What these are called.

    Returns
    -------
    Markup
        The map.
    """
    points, shares = principal_components(vectors)
    labels = [clip.labels[0] if clip.labels else "" for clip in clips]
    common = [name for name, _ in Counter(filter(None, labels)).most_common(len(COLOURS))]
    numbers = {name: number for number, name in enumerate(sorted(common))}
    names = [f"{clip.id}: {', '.join(clip.labels) or 'no label'}" for clip in clips]
    first, second = (
        f"component {i + 1} ({100 * share:.0f} % of the variance)" for i, share in enumerate(shares)
    )
    drawn = scatter_chart(
        points.tolist(), [numbers.get(label) for label in labels], names, first, second
    )
    keys = [(name, colour(number)) for name, number in numbers.items()]
    if keys and any(label not in numbers for label in labels):
        keys.append(("others", colour(None)))
    return render(
        "embeddings.html.jinja",
        drawn=drawn,
        keys=keys,
        clips=len(clips),
        total=total,
        kind=kind,
        several=any(len(clip.labels) > 1 for clip in clips),
    )


def principal_components(vectors: Tensor) -> tuple[Tensor, list[float]]:
    """Projects vectors to the two directions in which they vary most.

    Arguments
    ---------
    vectors : Tensor
        [clips, width], at least two of each.

    Returns
    -------
    points : Tensor
        [clips, 2]; of each direction's two signs, the one with the larger positive end.
    shares : list[float]
        Of the variance, by direction.

    Example
    -------
    >>> points, shares = principal_components(torch.tensor([[0.0, 1.0], [1.0, 1.0], [8.0, 1.0]]))
    >>> points[:, 0].tolist(), [round(share, 3) for share in shares]
    ([-3.0, -2.0, 5.0], [1.0, 0.0])
    """
    centred = (vectors - vectors.mean(dim=0)).double()
    _, sizes, directions = torch.linalg.svd(centred, full_matrices=False)
    points = centred @ directions[:2].T  # [clips, 2]
    flipped = points.amax(dim=0) < -points.amin(dim=0)
    points = torch.where(flipped, -points, points)
    variances = sizes.square()
    return points.float(), (variances[:2] / variances.sum().clamp(min=1e-12)).tolist()


def spread(total: int, count: int) -> list[int]:
    """Chooses so many places, evenly.

    Example
    -------
    >>> spread(10, 4), spread(2, 4)
    ([0, 2, 5, 7], [0, 1])
    """
    count = min(total, count)
    return [place * total // count for place in range(count)]
