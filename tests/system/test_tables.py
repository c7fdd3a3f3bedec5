"""Tables: what is written comes back, and what is damaged is told by file and line."""

import csv
import subprocess
import sys

import pyarrow
import pytest

from ssast_recipes.system.tables import LONGEST_CELL, iterate_rows, read_arrow, read_csv, write_csv

CELLS = [
    *("a,b", 'the "sea"', '"', '""', "'", "line\nbreak", "c\rr", "both\r\n", "\r", "\n"),
    *(" before", "behind ", "\ttab", " ", "", "NA", "null", "nan", "None", "007", "1.50", "1e5"),
    *(
        "\u2028",
        "next\x85line",
        "\u2029",
        "\x0b\x0c\x1c",
        "\ufeffmark",
        "Töne",
        "日本",
        "#",
        "\\n",
        "$a",
    ),
]


def rows_of(path, **options):
    return [row for _, row in iterate_rows(path, **options)]


def test_names_of_any_letters_come_back(tmp_path):
    path = tmp_path / "a.csv"
    write_csv(path, ["ID", "a, b"], enumerate(CELLS))
    written = [[str(number), cell] for number, cell in enumerate(CELLS)]
    assert read_csv(path).values.tolist() == written
    assert [list(row.values()) for row in rows_of(path)] == written
    assert list(rows_of(path)[0]) == list(read_csv(path)) == ["ID", "a, b"]
    with open(path, newline="", encoding="utf-8") as file:  # as others read it
        assert list(csv.reader(file))[1:] == written
    write_csv(tmp_path / "again.csv", ["ID", "a, b"], read_csv(path).itertuples(index=False))
    assert (tmp_path / "again.csv").read_bytes() == path.read_bytes()


def test_a_table_of_a_column_and_names_that_are_cells(tmp_path):
    write_csv(tmp_path / "a.csv", ["c\rr"], [[""], [LONGEST_CELL * "ß"]])
    assert read_csv(tmp_path / "a.csv").values.tolist() == [[""], [LONGEST_CELL * "ß"]]
    assert list(read_csv(tmp_path / "a.csv")) == ["c\rr"]
    write_csv(tmp_path / "a.csv", ["ID", "label"], [])
    assert read_csv(tmp_path / "a.csv").shape == (0, 2)


def test_rows_that_straddle_the_blocks_in_which_a_file_is_read(tmp_path):
    """Line breaks in cells, all over a file of several blocks of 4 MB."""
    cells = [f"{number}\n" * (number % 400) for number in range(12_000)]
    write_csv(tmp_path / "a.csv", ["ID", "text"], enumerate(cells))
    assert (tmp_path / "a.csv").stat().st_size > 12e6
    assert read_csv(tmp_path / "a.csv")["text"].tolist() == cells


HEAD = b"ID,x,y\na,1,2\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEAD + b"b,1\n", ", line 3: expected 3 values$"),
        (HEAD + b"b,1,2,3\n", ", line 3: expected 3 values$"),
        (HEAD + b"b,1,2,\n", ", line 3: expected 3 values$"),
        (b"ID,x,y\na,1,2,3\n", ", line 2: expected 3 values$"),
        (HEAD + b'"b\n\n",1,2\nc,1\n', ", line 6: expected 3 values$"),
        (HEAD + b'b,"1,2\nc,1,2\n', ", line 4: expected 3 values$"),
        (HEAD + "b,ö,2\n".encode("latin-1"), r" is not UTF-8 text \(.*0xf6.*, line 3\); save it"),
        (
            HEAD + 9_998 * b"a,1,2\n" + b"\xff",
            r" is not UTF-8 text \(.*, line 10001\); save it as UTF-8$",
        ),
        ("ID,x,y\n".encode("utf-16"), r" is not UTF-8 text \(.*, line 1\); save it as UTF-8$"),
        (HEAD + b"b,\0,2\n", r" is no CSV file: line contains NUL \(line 3\)$"),
        (HEAD + bytes(4000), r" is no CSV file: line contains NUL \(line 3\)$"),
        (b"ID,\0,y\n", r" is no CSV file: line contains NUL \(line 1\)$"),
        (
            HEAD + b"b," + (LONGEST_CELL + 1) * b"a" + b",2\n",
            r" is no CSV file: field larger .* \(line 3\)$",
        ),
        (b"ID,y\n", r": the column\(s\) x are missing$"),
        (b"", r": the column\(s\) ID, x are missing$"),
        (b"ID,x,x\na,1,2\n", ": the column x is there twice$"),
    ],
)
def test_damage_is_told_by_its_line(tmp_path, content, message):
    (tmp_path / "m.csv").write_bytes(content)
    with pytest.raises(ValueError, match=f"^{tmp_path}/m.csv{message}"):
        read_csv(tmp_path / "m.csv", ["ID", "x"])
    with pytest.raises(ValueError, match=f"^{tmp_path}/m.csv{message}"):
        rows_of(tmp_path / "m.csv", columns=["ID", "x"])


def test_a_cell_that_is_no_number_is_told(tmp_path):
    (tmp_path / "m.csv").write_bytes(HEAD + b"b,one,2\n")
    with pytest.raises(ValueError, match=r"m.csv, line 3: x is 'one', not a number$"):
        read_arrow(tmp_path / "m.csv", ["x"], {"x": pyarrow.float64()})


def test_rows_of_people_may_be_ragged(tmp_path):
    (tmp_path / "m.csv").write_bytes(b"\xef\xbb\xbf" + HEAD + b"b,1\nc,1,2,3\n\n")
    rows = rows_of(tmp_path / "m.csv", encoding="utf-8-sig", is_ragged=True, names=["i", "j", "k"])
    assert rows == [
        {"i": "a", "j": "1", "k": "2"},
        {"i": "b", "j": "1", "k": None},
        {"i": "c", "j": "1", "k": "2", None: ["3"]},
    ]


def test_libraries_come_when_a_table_is_read():
    """Commands start in 0.3 s, and a loader's workers need no data frames."""
    code = (
        "import sys, ssast_recipes.data.dataset, ssast_recipes.records.predictions; "
        "assert not {'pandas', 'pyarrow', 'speechbrain'} & {*sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
