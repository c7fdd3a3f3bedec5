"""Five hundred damaged tables of labels, given to the command that people give theirs to."""

import io
import os
import random
import time

import numpy as np
import pandas
import pytest
import soundfile

from ssast_recipes.commands.main import main
from ssast_recipes.data.preparation.labelled_files import read_labelled_files
from tests.readers import mutations

HEADERS = {
    "plain": "path,label",
    "splits": "path,label,split",
    "groups": "path;label;group",
    "stretches": "path\tlabel\tstart\tend",
}
LABELS = ("dog", "sea", "dög", "rain")


def make_table(kind):
    """The text of a table of sixteen rows."""
    separator = next(one for one in ",;\t" if one in HEADERS[kind])
    rows = []
    for number in range(16):
        label = LABELS[number % 4]
        more = {
            "plain": [],
            "splits": [("train", "train", "val", "test")[number // 4]],
            "groups": [f"site {number // 2}"],
            "stretches": [f"{number * 0.01:g}", f"{number * 0.01 + 0.1:g}"],
        }[kind]
        several = kind == "plain" and number % 5 == 0
        rows.append(separator.join([f"{number}.wav", f"{label};loud" if several else label, *more]))
    return "\n".join([HEADERS[kind], *rows]) + "\n"


def count_labels(content):
    """How many labels a table holds, by another reader; None if that cannot read it."""
    text = content.decode("utf-8-sig")
    for separator in ",;\t":
        try:
            first = next(iter(pandas.read_csv(io.StringIO(text), sep=separator, nrows=0)), None)
            table = pandas.read_csv(
                io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, index_col=False
            )
        except (pandas.errors.ParserError, pandas.errors.EmptyDataError):
            continue
        names = {name.strip().lower(): name for name in table.columns}
        if first is not None and {"path", "label"} <= names.keys():
            filled = table[(table.map(str.strip) != "").any(axis=1)]
            return int(filled[names["label"]].map(lambda cell: cell.count(";") + 1).sum())
    return None


def fuzz(kind, folder, count, seed, capsys):
    """Plans by damaged tables; returns what was neither done nor told in one line."""
    for number in range(16):
        noise = np.random.default_rng(number).uniform(-0.1, 0.1, 6400)
        soundfile.write(folder / f"{number}.wav", noise, 16000)
    faults, table, num_planned, num_counted = [], folder / "labels.csv", 0, 0
    for number, content in enumerate(mutations(make_table(kind).encode(), count, seed)):
        table.write_bytes(content)
        output = folder / f"run{number}"
        began = time.perf_counter()
        try:
            status = main(["finetune", "none", str(table), "--plan", "--output", str(output)])
        except Exception as error:
            faults.append(f"{number}: {type(error).__name__}: {str(error)[:300]}")
            continue
        if time.perf_counter() - began > 10:
            faults.append(f"{number}: took {time.perf_counter() - began:.0f} s")
        said = capsys.readouterr()
        lines = [line for line in said.err.splitlines() if line.startswith("ssast: error: ")]
        if status:
            if len(lines) != 1 or not ("labels.csv" in lines[0] or "audio files can" in lines[0]):
                faults.append(f"{number}: {said.err[-300:]!r}")
            continue
        num_planned += 1
        expected = count_labels(content)
        found = sum(max(1, len(file.labels)) for file in read_labelled_files(table))
        num_counted += expected is not None
        if expected is not None and found != expected:
            faults.append(f"{number}: {found} labels of {expected}")
    assert num_planned > count // 20 and num_counted > num_planned // 2
    return faults


@pytest.mark.slow
@pytest.mark.parametrize("kind", HEADERS)
def test_damaged_tables_lose_no_row_silently(kind, tmp_path, capsys):
    seed = int(os.environ.get("SSAST_FUZZ_SEED", 3))
    assert fuzz(kind, tmp_path, 125, seed, capsys) == []


def test_the_other_reader_sees_what_is_lost():
    assert count_labels(make_table("plain").encode()) == 20
    assert count_labels(make_table("stretches").encode()) == 16
    whole = make_table("groups")
    lines = whole.splitlines(keepends=True)
    random.Random(0).shuffle(lines[1:])
    assert count_labels("".join(lines[:-1]).encode()) == 15
