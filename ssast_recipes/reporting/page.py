"""The page itself: its sections, in order, and its looks."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from markupsafe import Markup

from ssast_recipes import __version__
from ssast_recipes.reporting.classes import confusion_section, per_class_section
from ssast_recipes.reporting.clips import clips_section, worst_clips
from ssast_recipes.reporting.curves import curves_section
from ssast_recipes.reporting.embeddings import embeddings_section
from ssast_recipes.reporting.explanations import explain_clips
from ssast_recipes.reporting.folder import RunFolder, read_run
from ssast_recipes.reporting.masking import frequencies_section, pictures_section
from ssast_recipes.reporting.overview import (
    configuration_section,
    kind_of_clips,
    results_section,
    title_of,
)
from ssast_recipes.reporting.rendering import render
from ssast_recipes.reporting.transcripts import rates_section, transcripts_section
from ssast_recipes.system.errors import explain
from ssast_recipes.weights.formats.config import ModelConfig, read_config
from ssast_recipes.weights.formats.folder import find_model_folder

_Made = TypeVar("_Made")


def make_page(
    folder: Path,
    num_clips: int = 8,
    num_points: int = 400,
    device: str | None = None,
    num_explained: int = 3,
) -> str:
    """Makes the page of a run.

    Arguments
    ---------
    folder : Path
        The run's output folder.
    num_clips : int
        How many of the worst clips to show.
    num_points : int
        How many test clips to embed at most.
    device : str, optional
        Where to compute embeddings; by default a GPU if there is one.
    num_explained : int
        Of how many of the worst clips to show what spoke for the class that they were taken for.

    Returns
    -------
    str
        HTML.

    Raises
    ------
    FileNotFoundError
        If the folder is no run's.
    """
    run = read_run(folder)
    sections = {
        "Results": results_section(run),
        "Configuration": configuration_section(run),
        "Curves": curves_section(run),
        "Masked, redrawn, found": pictures_section(run),
        "Masked by frequency": frequencies_section(run),
        **_test_sections(run, num_clips, num_points, device, num_explained),
    }
    return render(
        "page.html.jinja",
        title=title_of(run),
        folder=run.path,
        sections={name: made for name, made in sections.items() if made is not None},
        notes=run.notes,
        made_by="ssast report",
        version=__version__,
    )


def _test_sections(
    run: RunFolder, num_clips: int, num_points: int, device: str | None, num_explained: int
) -> dict[str, Markup | None]:
    """What is told of single test clips, as far as the run left them and they are at hand."""
    if not run.results:
        return {}
    config: ModelConfig | None = _attempt(
        run, "The model", lambda: read_config(find_model_folder(run.path))
    )
    selection = str(config.provenance.get("weights")) if config else None
    sections: dict[str, Markup | None] = {}
    clips = _attempt(run, "Test clips", run.test_clips) or {}
    if run.is_recognition:
        sections["Error rates"] = rates_section(run.results, selection)
        rows = _attempt(run, "Transcripts", lambda: run.transcripts(selection))
        if rows is not None and num_clips:
            sections["Worst transcripts"] = transcripts_section(rows, clips, num_clips)
        return sections
    if not run.is_pretraining:
        predictions = _attempt(run, "Predictions", lambda: run.predictions(selection))
        if predictions is not None:
            sections["Confusions"] = confusion_section(predictions)
        sections["Classes"] = _attempt(run, "Classes", lambda: per_class_section(run, selection))
        if predictions is not None and num_clips:
            kind = config.label_kind if config else None
            kind = kind or ("single" if predictions.targets.ndim == 1 else "multi")
            bad = worst_clips(predictions, kind, num_clips)
            wanted = {one.id: one.likeliest[0][0] for one in bad[:num_explained]}
            explained = _attempt(
                run, "Explanations", lambda: explain_clips(run.path, wanted, clips, device)
            )
            sections["Worst clips"] = clips_section(
                bad, clips, predictions.weights, explained or {}
            )
    if config is not None and clips and num_points:
        sections["Embeddings"] = _attempt(
            run,
            "Embeddings",
            lambda: embeddings_section(
                run.path, list(clips.values()), num_points, device, kind_of_clips(run)
            ),
        )
    return sections


def _attempt(run: RunFolder, name: str, make: Callable[[], _Made]) -> _Made | None:
    """Makes something or, if what the run left does not do for it, notes why not."""
    try:
        return make()
    except (OSError, ValueError) as error:
        run.notes.append(f"{name}: {explain(error)}")
        return None
