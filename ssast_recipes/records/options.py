"""Run options that are no keys of a YAML file: a comment in a run's own YAML file tells them."""

import json
import re
from collections.abc import Mapping
from typing import Any

# Those that decide numbers.
_OPTIONS = ("precision", "eval_precision", "max_grad_norm", "remove_vector_weight_decay")
_COMMENT = re.compile(r"^# run options: (\{.*\})$", re.MULTILINE)


def tell_options(options: Mapping[str, Any]) -> str:
    """Makes the comment of options that a run was given.

    Example
    -------
    >>> print(tell_options({"eval_precision": "bf16", "debug": True}), end="")
    # run options: {"eval_precision": "bf16"}
    """
    told = {key: options[key] for key in _OPTIONS if key in options}
    return f"# run options: {json.dumps(told, default=str)}\n"


def changed_options(before: str | bytes, now: str | bytes) -> set[str]:
    """Names the options in which two YAML texts' comments differ.

    Example
    -------
    >>> now = tell_options({"eval_precision": "bf16"})
    >>> changed_options(tell_options({}), now), changed_options(now, now)
    ({'eval_precision'}, set())
    >>> changed_options("# of a version that told none", now)
    set()
    """
    found = []
    for text in (before, now):
        text = text.decode(errors="replace") if isinstance(text, bytes) else text
        comment = _COMMENT.search(text)
        if comment is None:
            return set()
        try:
            found.append(json.loads(comment[1]))
        except (ValueError, RecursionError):
            return set(_OPTIONS)
    first, second = found
    return {key for key in _OPTIONS if first.get(key) != second.get(key)}
