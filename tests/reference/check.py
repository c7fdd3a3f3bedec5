"""Compares this toolkit with reference numbers: `python -m tests.reference.check FILE.json`.

The file holds cases by key, as `released_model.json` beside this module does. One line is printed
a case; the exit status is 1 if a case fails, and 2 if the file cannot be read.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.reference import data_cases, fine_tuning_cases, pretraining_cases
from tests.reference.comparisons import Comparison, NothingToMatch

FAMILIES: dict[str, Callable[[str, Mapping[str, Any]], list[Comparison]]] = {
    "ft": fine_tuning_cases.check_fine_tuning_forward,
    "ftgrad": fine_tuning_cases.check_fine_tuning_gradients,
    "pretrain": pretraining_cases.check_pretraining,
    "train5": pretraining_cases.check_training,
    "pos": fine_tuning_cases.check_positions,
    "nce": pretraining_cases.check_info_nce,
    "fbank": data_cases.check_spectrogram,
    "mask": data_cases.check_masks,
}


def read_cases(path: Path) -> dict[str, dict[str, Any]]:
    """The cases of a file, by key; raises OSError or ValueError if it holds none."""
    cases = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(cases, dict) or not cases:
        raise ValueError("not a JSON object of cases by key")
    return cases


def check_case(key: str, case: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether a case passes, and what to say about it in one line."""
    try:
        comparisons = compare_case(key, case)
    except NothingToMatch as reason:
        return True, f"nothing to match ({reason})"
    # Whatever is wrong with one case, the others are to be checked.
    except Exception as error:
        return False, f"{type(error).__name__}: {' '.join(str(error).split())}"
    worst = max(comparisons, key=lambda comparison: comparison.severity)
    compared = {comparison.quantity.split()[0] for comparison in comparisons}
    rest = ", ".join(sorted(case.keys() - compared))
    text = f"{worst}, the worst of {len(comparisons)}" + (f"; not compared: {rest}" if rest else "")
    return worst.severity <= 1, text


def compare_case(key: str, case: Mapping[str, Any]) -> list[Comparison]:
    """Computes our numbers for a case and compares them with its own.

    Arguments
    ---------
    key : str
        The case's key, beginning with its family.
    case : Mapping[str, Any]
        The reference numbers.

    Returns
    -------
    list[Comparison]
        One for each quantity compared, at least one.

    Raises
    ------
    NothingToMatch
        If the case states facts that ours need not share.
    ValueError
        If the family is unknown, the key does not parse, or nothing in the case is known.
    """
    family = key.split("/")[0]
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}: it is one of {', '.join(FAMILIES)}")
    if not isinstance(case, Mapping):
        raise ValueError(f"the case is a {type(case).__name__}, not an object")
    comparisons = FAMILIES[family](key, case)
    if not comparisons:
        raise ValueError("the case holds no number that is known how to compare")
    return comparisons


def main(argv: Sequence[str] | None = None) -> int:
    """Checks the file named on the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("file", type=Path, metavar="FILE.json", help="the reference cases")
    path = parser.parse_args(argv).file
    try:
        cases = read_cases(path)
    except (OSError, ValueError) as error:
        print(f"{path}: cannot be read as reference cases: {error}", file=sys.stderr)
        return 2
    num_passed = 0
    for key, case in cases.items():
        passed, text = check_case(key, case)
        num_passed += passed
        print(f"{'ok  ' if passed else 'FAIL'} {key}: {text}", flush=True)
    print(f"{num_passed} passed, {len(cases) - num_passed} failed")
    return 0 if num_passed == len(cases) else 1


if __name__ == "__main__":
    sys.exit(main())
