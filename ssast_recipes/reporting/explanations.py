"""Pictures of why a classifier decided so, over the spectrogram."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from ssast_recipes.brains.pictures import show_units
from ssast_recipes.data.manifest import Clip
from ssast_recipes.data.shards import UnreadableAudioError
from ssast_recipes.inference.classifying import AudioClassifier
from ssast_recipes.inference.explaining import Explanation, explain_class, spread_attributions
from ssast_recipes.inference.reading import read_clip
from ssast_recipes.reporting.rendering import data_uri

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OPACITY = 0.55
_NUM_RANDOM = 3  # orders of deletion, of a page's clips


def draw_explanation(explanation: Explanation, classifier: AudioClassifier) -> Figure:
    """Draws what spoke for a class, and the check by deletion.

    Arguments
    ---------
    explanation : Explanation
        Of `explain_class`.
    classifier : AudioClassifier
        That it is of: its front end and its patches.

    Returns
    -------
    Figure
        The spectrogram; over it, in red, the patches that spoke for the class and, in blue, against
        it; the class's probability while patches are taken away.
    """
    figure = Figure(figsize=(10, 7.2), layout="constrained")
    above, middle = figure.subplots(3, 1, height_ratios=(1, 1, 0.9))[:2]
    below = figure.axes[2]
    encoder = classifier.model.encoder
    spectrogram = explanation.spectrogram.numpy().T
    spread = spread_attributions(explanation, encoder.patch_size, encoder.patch_stride).numpy().T
    for axis in (above, middle):
        colours = {"cmap": "magma" if axis is above else "gray"}
        axis.imshow(spectrogram, origin="lower", aspect="auto", **colours)
        axis.set_ylabel("mel bin")
        axis.set_xlabel("frame")
    most = max(float(abs(spread).max()), 1e-12)
    middle.imshow(
        *(spread,),
        origin="lower",
        aspect="auto",
        cmap="RdBu_r",
        vmin=-most,
        vmax=most,
        alpha=_OPACITY,
        interpolation="nearest",
    )
    # Names of classes are others': no formulas.
    told = f"{explanation.label}: {explanation.score:.2f}"
    above.set_title(told, loc="left").set_parse_math(False)
    middle.set_title("spoke for it (red), against it (blue)", loc="left")
    show_units([above, middle], classifier.front_end.filterbank)
    _draw_check(below, explanation)
    return figure


def _draw_check(axis: "Axes", explanation: Explanation) -> None:
    count = len(explanation.deleted) - 1
    shares = [100 * point / count for point in range(count + 1)]
    axis.plot(shares, explanation.deleted, label="those that spoke most for it first")
    axis.plot(shares, explanation.deleted_at_random, label="in random order", linestyle="--")
    axis.set_xlabel("patches taken away / %")
    axis.set_ylabel("probability")
    axis.set_ylim(0, 1)
    axis.legend()
    verdict = "confirmed" if explanation.is_confirmed else "not confirmed: do not trust the picture"
    axis.set_title(f"check by deletion: {verdict}", loc="left")


def explain_clips(
    folder: Path, wanted: Mapping[str, str], clips: Mapping[str, Clip], device: str | None
) -> dict[str, str]:
    """Explains clips by a run's classifier, for a page.

    Arguments
    ---------
    folder : Path
        The run's, with a `model`.
    wanted : mapping of str to str
        By the clip's ID, the class to explain.
    clips : mapping of str to Clip
        By ID; those that are not there, or cannot be read, are left out.
    device : str, optional
        Where to compute.

    Returns
    -------
    dict of str to str
        By ID, an address that holds a picture.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no classifier, or not of these classes.
    """
    found: dict[str, str] = {}
    there = {name: label for name, label in wanted.items() if name in clips}
    classifier = AudioClassifier.from_pretrained(folder, device) if there else None
    for name, label in there.items():
        try:
            waveform = read_clip(clips[name], classifier.sample_rate)
        except UnreadableAudioError:
            continue
        options = {"label": label, "num_random": _NUM_RANDOM}
        explanation = explain_class(classifier, waveform, classifier.sample_rate, **options)
        file = io.BytesIO()
        draw_explanation(explanation, classifier).savefig(file, format="png", dpi=70)
        found[name] = data_uri(file.getvalue(), "image/png")
    return found
