"""The page's part on pretraining: what was masked, redrawn and found, step by step."""

import io
import math
import re
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ssast_recipes.reporting.folder import RunFolder, is_number
from ssast_recipes.reporting.rendering import data_uri, render

_NAME = re.compile(r"(?P<kind>\w+)_(?P<step>\d+)\.png")
_MOST_PICTURES = 6
_LARGEST = 4 * 2**20  # bytes of a picture; those of a run have less than one million
_JPEG_QUALITY = 88
_LOWEST = 20.0  # Hz, of the filterbank


def pictures_section(run: RunFolder) -> Markup | None:
    """Shows pictures of validation, from the first to the last.

    Arguments
    ---------
    run : RunFolder
        The run.

    Returns
    -------
    Markup or None
        Six pictures at most, spread evenly; None if there are none. The run's `notes` tell what is
        not a picture.
    """
    found = {}
    for path in sorted(run.path.glob("pictures/*.png")):
        named = _NAME.fullmatch(path.name)
        if named and named["kind"] in ("reconstruction", "found"):
            found[int(named["step"])] = path
    steps = sorted(found)
    if len(steps) > _MOST_PICTURES:
        places = [round(i * (len(steps) - 1) / (_MOST_PICTURES - 1)) for i in range(_MOST_PICTURES)]
        steps = [steps[place] for place in places]
    shown = [_picture(run, step, found[step]) for step in reversed(steps)]
    shown = [picture for picture in shown if picture is not None]
    return render("pictures.html.jinja", pictures=shown) if shown else None


def _picture(run: RunFolder, step: int, path: Path) -> dict[str, Any] | None:
    from matplotlib.image import imread, imsave

    file = io.BytesIO()
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError
        pixels = imread(path, format="png")[:, :, :3]  # [height, width, colours]
        # A quarter of the PNG's bytes: these pictures look like noise to its compression.
        imsave(file, pixels, format="jpg", pil_kwargs={"quality": _JPEG_QUALITY})
    except (OSError, ValueError, LookupError, SyntaxError):  # the last is Pillow's, of a bad PNG
        run.notes.append(f"pictures/{path.name} is no picture of a validation, and left out.")
        return None
    height, width, _ = pixels.shape
    address = data_uri(file.getvalue(), "image/jpeg")
    return {"step": step, "address": address, "width": width, "height": height}


def frequencies_section(run: RunFolder) -> Markup | None:
    """Shows which share of each frequency row validation masked, the highest on top.

    Returns
    -------
    Markup or None
        A table; None if the log does not tell.
    """
    logged = [record.get("masked_share_by_row") for record in run.records]
    shares = next((one for one in reversed(logged) if isinstance(one, list) and one), None)
    if shares is None or not all(is_number(share) and 0 <= share <= 1 for share in shares):
        return None
    mean = sum(shares) / len(shares)
    edges = _row_edges(run, len(shares))
    rows = []
    for row in reversed(range(len(shares))):
        name = f"{row + 1}"
        if edges is not None:
            name = f"{edges[row]:,.0f} – {edges[row + 1]:,.0f} Hz"
        rows.append((name, shares[row]))
    first = "frequencies" if edges is not None else "row of patches, from below"
    caption = f"Share of patches masked in validation, by frequency; {100 * mean:.1f} % altogether"
    return render("frequencies.html.jinja", first=first, rows=rows, caption=caption)


def _row_edges(run: RunFolder, num_rows: int) -> list[float] | None:
    """Where the rows begin and end in Hz, if the front end is the recipes' own."""
    try:
        rate = float(run.setting("sample_rate") or "")
    except ValueError:
        return None
    if not 2 * _LOWEST < rate < math.inf:
        return None
    low, high = mel(_LOWEST), mel(rate / 2)
    return [hertz(low + row / num_rows * (high - low)) for row in range(num_rows + 1)]


def mel(frequency: float) -> float:
    """Kaldi's mel scale.

    Example
    -------
    >>> round(mel(1000.0)), round(hertz(mel(1000.0)))
    (1000, 1000)
    """
    return 1127.0 * math.log1p(frequency / 700.0)


def hertz(mels: float) -> float:
    """The frequency of a place on Kaldi's mel scale."""
    return 700.0 * math.expm1(mels / 1127.0)
