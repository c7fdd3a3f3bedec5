"""The reference cases, and the checker that `make reference` runs on files of them."""

import copy
import json
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.reference import check, comparisons
from tests.reference.comparisons import Comparison, NothingToMatch

CASES_FILE = REPOSITORY / "tests" / "reference" / "released_model.json"
CASES = check.read_cases(CASES_FILE)
FACTS = "mask/patch_pretrunc/N400"


@pytest.mark.parametrize("key", [key for key in CASES if key != FACTS])
def test_case(key):
    for comparison in check.compare_case(key, CASES[key]):
        assert comparison.severity <= 1, str(comparison)


def test_facts_are_nothing_to_match():
    with pytest.raises(NothingToMatch, match="facts"):
        check.compare_case(FACTS, CASES[FACTS])


# --- the checker ---

# Quick cases, a field of each, and a relative error a little larger than may pass.
QUICK = [
    ("ft/hash/tiny/p16x16_s10x10/T128", "avgtok", 3e-5),
    ("ft/hash/tiny/p16x16_s10x10/T128", "cls", 3e-5),
    ("ft/hash/tiny/p16x16_s10x10/T128", "pos_sum", 3e-6),
    ("ft/hash/tiny/p16x16_s10x10/T128", "pos_samples", 3e-6),
    ("ft/hash/tiny/p16x16_s10x10/T128", "t_dim", 0.1),
    ("pos/f8to9", "pos_l2", 3e-6),
    ("nce/N100/a0.2", "nce", 6e-6),
    ("nce/N100/a0.2", "correct", 0.03),
    ("fbank/float/1.0s/T128", "samples", 1e-3),
    ("fbank/float/1.0s/T128", "std_valid", 1e-4),
    ("fbank/meta", "log_floor", 1e-5),
    ("mask/uniform_reference/N400", "row_freq", 0.1),
    ("mask/uniform_reference/N400", "neighbour_frac", 0.1),
]


@pytest.mark.parametrize("key, field, error", QUICK)
def test_a_wrong_number_fails(key, field, error):
    case = copy.deepcopy(CASES[key])
    value = case[field]
    if isinstance(value, list):
        largest = max(range(len(value)), key=lambda place: abs(value[place]))
        value[largest] *= 1 + error
    else:
        case[field] = value * (1 + error)
    passed, text = check.check_case(key, case)
    assert not passed
    assert text.startswith(f"{field} ")


def test_a_wrong_gradient_of_one_tensor_fails():
    key = "ftgrad/hash/tiny/p16x16_s10x10/T512/CE"
    case = copy.deepcopy(CASES[key])
    case["grad_l2"]["v.norm.weight"] *= 1.001
    passed, text = check.check_case(key, case)
    assert not passed and text.startswith("grad_l2 v.norm.weight ")


def run_checker(path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tests.reference.check", str(path)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


def test_the_checker_counts_and_fails(tmp_path, capsys):
    keys = ["nce/N100/a0.2", "pos/t_odd_cut", FACTS]
    cases = {key: copy.deepcopy(CASES[key]) for key in keys}
    cases["pos/broken"] = {"status": "the released rule raised IndexError"}
    path = tmp_path / "cases.json"
    path.write_text(json.dumps(cases))
    assert check.main([str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok   nce/N100/a0.2: nce ")
    assert "(tolerance 2e-06)" in lines[0]
    assert lines[2].startswith(f"ok   {FACTS}: nothing to match (")
    assert lines[3].startswith("ok   pos/broken: nothing to match (")
    assert lines[4:] == ["4 passed, 0 failed"]

    cases["nce/N100/a0.2"]["nce"] *= 1.0001
    path.write_text(json.dumps(cases))
    done = run_checker(path)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("FAIL nce/N100/a0.2: nce 1.0e-04 (tolerance 2e-06)")
    assert lines[-1] == "3 passed, 1 failed"


@pytest.mark.parametrize(
    "key, case, message",
    [
        ("fft/hash/tiny", {"a": 1}, "unknown family 'fft': it is one of ft, ftgrad, "),
        ("ft/hash/huge/p16x16_s10x10/T128", {"avgtok": [0.0]}, "does not read as ft/{hash|sin}/"),
        ("ft/hash/tiny/p16x16/T128", {"avgtok": [0.0]}, "does not read as ft/"),
        ("pretrain/hash/tiny/p16x16", {"joint": 1.0}, "/p{rows}x{columns}/N{masked}"),
        ("train5/cos/tiny/p16x16/N400", {"joint": [1.0]}, "does not read as train5/{hash|sin}/"),
        ("ftgrad/hash/tiny/p16x16_s10x10/T512/MSE", {"loss": 1.0}, "{BCE|CE}"),
        ("nce/N100", {"nce": 1.0}, "does not read as nce/N{masked}/a{share}"),
        ("fbank/mp3/1.0s/T128", {"mean": 1.0}, "does not read as fbank/{float|pcm16|mixup"),
        ("fbank/mixup0.3/1.0s/T128", {"mean": 1.0}, "two waveforms"),
        ("mask/rows/N400", {"row_freq": [1.0]}, "does not read as mask/{family}/N{masked}"),
        ("mask/patch_by_cluster/N400", {"row_freq": [1.0]}, "/c{factor}"),
        ("pos/new", {"pos_sum": 1.0}, "KeyError: 'status'"),
        ("nce/N100/a0.2", {"nec": 4.5}, "no number that is known how to compare"),
        ("nce/N100/a0.2", {"nce": "high"}, "nce: not numbers: high"),
        ("nce/N100/a0.2", {"nce": [4.5, 4.5]}, "nce: 2 numbers in the case, 1 of ours"),
        ("nce/N100/a0.2", [4.5], "the case is a list, not an object"),
        ("nce/N100/a0.2", {"nce": None}, "nce nan"),
        ("nce/N100/a0.2", {"nce": float("nan")}, "nce nan"),
        ("nce/N100/a0.2", {"nce": 0.0}, "nce inf"),
    ],
)
def test_what_cannot_be_checked_fails_in_one_line(key, case, message):
    passed, text = check.check_case(key, case)
    assert not passed
    assert message in text and "\n" not in text


@pytest.mark.parametrize(
    "key, reason",
    [("pos/rows", "blurs grids of 12 rows"), ("pos/rows_broken", "fails: reshape")],
)
def test_positions_that_the_released_rule_gets_wrong_are_nothing_to_match(key, reason):
    case = {"status": "reshape" if "broken" in key else "ok", "pretrain_grid": [12, 64]}
    passed, text = check.check_case(key, case)
    assert passed and reason in text


def test_numbers_left_alone_are_named():
    passed, text = check.check_case("nce/N100/a0.2", CASES["nce/N100/a0.2"] | {"speed": 3})
    assert passed and text.endswith("; not compared: acc, speed")


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "No such file"),
        (b"", "Expecting value"),
        (b"{'a': 1}", "Expecting property name"),
        (b"\xff\xfe", "utf-8"),
        (b"[1]", "not a JSON object of cases by key"),
        (b"{}", "not a JSON object of cases by key"),
    ],
)
def test_unreadable_files_are_one_line(content, message, tmp_path, capsys):
    path = tmp_path / "cases.json"
    if content is not None:
        path.write_bytes(content)
    assert check.main([str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"{path}: cannot be read as reference cases: ")
    assert message in captured.err and captured.err.count("\n") == 1


def test_deviations_are_those_of_the_tolerances():
    theirs, ours = {"list": [1.0, -4.0], "small": 1e-6}, {"list": [1.2, -4.1], "small": 2e-6}
    in_a_list, alone = comparisons.relative(theirs, ours, tolerance=0.1)
    assert in_a_list.deviation == pytest.approx(0.2 / 4)
    assert alone.deviation == pytest.approx(1.0)
    floored = comparisons.relative(theirs, ours, tolerance=0.1, floor=1e-3)[1]
    assert floored.deviation == pytest.approx(1e-3)
    assert comparisons.absolute(theirs, ours, 0.1)[0].deviation == pytest.approx(0.2)
    # Each value has its own tolerance, and the one that uses most of it is told.
    (worst,) = comparisons.within(theirs, {"list": [1.2, -4.1]}, {"list": [1.0, 0.2]})
    assert worst == Comparison("list", pytest.approx(0.1), pytest.approx(0.2))
    assert worst.severity == pytest.approx(0.5)


def test_exact_numbers_have_no_tolerance():
    assert comparisons.exact({"count": 3}, {"count": 3})[0].severity == 0
    assert comparisons.exact({"count": 3}, {"count": 3.0001})[0].severity == float("inf")
