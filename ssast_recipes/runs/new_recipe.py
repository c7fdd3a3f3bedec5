"""A recipe for a new data set: files to begin with, which run at once."""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from ssast_recipes.system.recipes import recipe_folder

_FILES = {
    "prepare.py.jinja": "{slug}_prepare.py",
    "train.py.jinja": "train.py",
    "README.md.jinja": "README.md",
    "test.py.jinja": "test_{slug}.py",
}
_MEASURE = "!PLACEHOLDER # ssast statistics {manifests}/train.csv measures it"
# What differs from ESC-50's YAML files: a line for a key, nothing for a key that goes.
_SHARED = {
    "data_folder": "data_folder: !PLACEHOLDER # e.g. /data/{name}",
    "manifest_folder": "manifest_folder: {manifests}",
    "download": None,
    "download_sha256": None,
    "test_fold": None,
    "train_manifests": "train_manifests: [!ref <manifest_folder>/train.csv]",
    "valid_manifests": "valid_manifests: [!ref <manifest_folder>/valid.csv]",
    "mean": f"mean: {_MEASURE}",
    "std": f"std: {_MEASURE}",
    "    fold": None,
}
_YAML = {
    "pretrain_patch.yaml": {
        "#": "# Pretraining on {name}, patch-based. Numbers are ESC-50's until you change them.",
        "output_folder": "output_folder: !ref results/{name}/pretrain_patch/<seed>",
        "    protocol": "    protocol: pretraining on the training clips",
    },
    "finetune_patch.yaml": {
        "#": "# Fine-tuning on {name}, patch-based. Numbers are ESC-50's until you change them.",
        "output_folder": "output_folder: !ref results/{name}/finetune_patch/<seed>",
        "test_manifests": "test_manifests: [!ref <manifest_folder>/test.csv]",
        "classes_file": "classes_file: !ref <manifest_folder>/classes.txt",
        "num_classes": "num_classes: !PLACEHOLDER # how many there are",
        "    protocol": "    protocol: the corpus' own split",
        "    best_is_chosen_on": "    best_is_chosen_on: the validation set",
    },
}


def write_recipe(folder: Path) -> list[Path]:
    """Writes a recipe: preparation, `train.py`, YAML files, README and a test.

    Arguments
    ---------
    folder : Path
        Where; a new folder, called like the data set.

    Returns
    -------
    list of Path
        The files. Outside of the repository's recipes, `hparams/model.yaml` is one of them: the
        part that is included there.

    Raises
    ------
    FileExistsError
        If the folder is there.
    ValueError
        If its name cannot be a part of a Python name.

    Example
    -------
    >>> files = write_recipe(getfixture("tmp_path") / "MySounds")
    >>> [path.name for path in files if path.suffix == ".py"]
    ['mysounds_prepare.py', 'test_mysounds.py', 'train.py']
    """
    name = folder.name
    if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(f"{name!r} cannot name a recipe: take letters, digits and _, as in MyData")
    if folder.exists():
        raise FileExistsError(f"{folder} is there already; name a new folder")
    part = folder.with_name(f"{name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of an attempt that was killed
    (part / "hparams").mkdir(parents=True)
    words = {"name": name, "slug": name.lower(), "manifests": f"results/{name}/manifests"}
    _fill_templates(part, words)
    model = recipe_folder("shared") / "model.yaml"
    is_at_home = (folder.parent / "shared" / "model.yaml").is_file()
    for file, changed in _YAML.items():
        text = (recipe_folder("ESC50") / "hparams" / file).read_text(encoding="utf-8")
        text = _change_lines(text, _SHARED | changed, words)
        if not is_at_home:
            text = text.replace(f"!include:../../shared/{model.name}", f"!include:{model.name}")
        (part / "hparams" / file).write_text(text, encoding="utf-8")
    if not is_at_home:
        shutil.copy(model, part / "hparams")
    os.replace(part, folder)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _fill_templates(folder: Path, words: Mapping[str, str]) -> None:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(recipe_folder("shared") / "new"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    for template, name in _FILES.items():
        text = templates.get_template(template).render(**words)
        (folder / name.format(**words)).write_text(text, encoding="utf-8")


def _change_lines(text: str, changed: Mapping[str, str | None], words: Mapping[str, str]) -> str:
    """Other lines in the place of those that begin with a key; "#" is the comment on top."""
    lines, missing = text.splitlines(), set(changed)
    top = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    made = [changed["#"].format(**words)]
    for line in lines[top:]:
        key = line.partition(":")[0]
        if key not in changed:
            made.append(line)
            continue
        missing.discard(key)
        if changed[key] is not None:
            made.append(changed[key].format(**words))
    if missing != {"#"}:
        raise KeyError(f"ESC-50's YAML file has no {', '.join(sorted(missing - {'#'}))}")
    return "\n".join(made) + "\n"
