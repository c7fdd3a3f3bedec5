"""Names that the YAML file of a run by version 0.1.0 has for parts, and their names of today."""

import importlib
import re
from functools import cache
from pathlib import Path

from ssast_recipes.records.hparams_text import included_files
from ssast_recipes.system.files import write_text
from ssast_recipes.system.reading import read_text

ROOMS = ("model", "objectives", "data", "data.preparation", "brains")
_TAG = re.compile(r"(!(?:new|name|apply):)ssast_recipes\.([\w.]+)")


def renew_names(hparams_file: Path) -> None:
    """Lets a YAML file, and what it includes, name parts by the rooms that export them today.

    Before there were rooms, parts were named by modules: `ssast_recipes.masking.RandomMasker`.

    Arguments
    ---------
    hparams_file : Path
        That `ssast pretrain` or `ssast finetune` wrote; left as it is if it has no other names.

    Example
    -------
    >>> path = getfixture("tmp_path") / "mine.yaml"
    >>> _ = path.write_text("masker: !new:ssast_recipes.masking.RandomMasker {}")
    >>> renew_names(path)
    >>> path.read_text()
    'masker: !new:ssast_recipes.model.RandomMasker {}'
    """
    for path in (hparams_file, *included_files(hparams_file)):
        before = read_text(path)
        now = _TAG.sub(lambda match: match[1] + todays_name(match[2]), before)
        if now != before:
            write_text(path, now)


def todays_name(name: str) -> str:
    """The name of a part of ours, whatever module it is named by; unchanged if there is none.

    Example
    -------
    >>> todays_name("data.labels.ClassEncoder.from_file")
    'ssast_recipes.data.ClassEncoder.from_file'
    >>> todays_name("mine.Grating")
    'ssast_recipes.mine.Grating'
    """
    parts = name.split(".")
    owner = -2 if len(parts) > 1 and parts[-2][:1].isupper() else -1  # of a class's function
    rooms = _rooms_of().get(parts[owner], [])
    room = ".".join(parts[:owner])
    if not rooms or room in rooms:
        return f"ssast_recipes.{name}"
    return f"ssast_recipes.{rooms[0]}.{'.'.join(parts[owner:])}"


@cache
def _rooms_of() -> dict[str, list[str]]:
    rooms: dict[str, list[str]] = {}
    for room in ROOMS:
        for name in importlib.import_module(f"ssast_recipes.{room}").__all__:
            rooms.setdefault(name, []).append(room)
    return rooms
