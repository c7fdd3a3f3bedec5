"""The overrides of a command line, held against the YAML file that they override."""

import difflib
import re
from collections.abc import Collection
from pathlib import Path

from speechbrain.utils.run_opts import HELP_TEXTS

from ssast_recipes.records.hparams import Map, Node, Scalar, compose
from ssast_recipes.records.kinds import check_values

_REFERENCE = re.compile(r"<(\w+)[^<>]*>")  # as HyperPyYAML has it


def check_overrides(hparams_file: str, overrides: str) -> set[str]:
    """Refuses what HyperPyYAML would misunderstand, or refuse in words that help nobody.

    Arguments
    ---------
    hparams_file : str
        Path of a YAML file.
    overrides : str
        Its keys and their values on the command line, as YAML.

    Returns
    -------
    set of str
        The keys of the YAML file.

    Raises
    ------
    ValueError
        If either is not YAML, a key is unknown, given twice or has no value, a placeholder is left,
        an override names another object than the YAML file does, or a value is of a wrong kind or
        out of range.
    """
    written = compose(Path(hparams_file).read_bytes(), hparams_file)
    given = []
    if overrides:
        first = overrides.split()[0]
        if not first.endswith(":"):  # SpeechBrain writes `key: value` for --key value
            raise ValueError(f"{first!r} after {hparams_file}: expected --key value")
        given = compose(overrides, "the command line")
    tags = {key: node.tag for key, node in written}
    seen = set()
    for key, node in given:
        if key not in tags:
            keys = [name for name in (*tags, *HELP_TEXTS) if not name.startswith("_")]
            near = difflib.get_close_matches(key, keys, n=1)
            advice = f"did you mean --{near[0]}?" if near else "look there for its keys"
            raise ValueError(f"--{key}: {hparams_file} has no such key; {advice}")
        if key in seen:
            raise ValueError(f"--{key} is given twice; keep one")
        seen.add(key)
        if isinstance(node, Scalar) and not node.value and node.style is None:
            raise ValueError(f"--{key} has no value; give one, as in --{key} null")
        # HyperPyYAML would hand the arguments to the object that the file names.
        names_object = isinstance(node, Map) and node.tag.startswith("!")
        if names_object and node.tag != tags[key]:
            raise ValueError(
                f"--{key} {node.tag} …: the command line can give an object other arguments, "
                f"not name another one; write it into a copy of {hparams_file}"
            )
    for key, node in (*written, *given):
        if found := _find_reference(node, tags):
            raise ValueError(
                f"{key}: {node.value} holds {found}, in whose place the value of that key would be "
                "put; rename it"
            )
    for key, tag in tags.items():
        if tag == "!PLACEHOLDER" and key not in seen:
            raise ValueError(f"{key} has no value in {hparams_file}; give --{key} …")
    check_values(hparams_file, written, given)
    return set(tags)


def _find_reference(node: Node, keys: Collection[str]) -> str | None:
    """What of a plain text HyperPyYAML would take for a reference, wherever the text is used."""
    if not isinstance(node, Scalar) or node.tag.startswith("!"):
        return None
    found = (one[0] for one in _REFERENCE.finditer(node.value) if one[1] in keys)
    return next(found, None)
