import pytest

from ssast_recipes.system.words import format_table


def test_cells_are_shown_as_they_are():
    rows = [["007", "1e3"], ["1,000", "True"], ["1.50", "nan"]]
    lines = format_table(["a", "b"], rows).splitlines()
    assert [line.split() for line in lines[2:]] == rows


def test_a_plain_table_has_no_rule_and_columns_as_wide_as_what_they_hold():
    table = format_table(["split", "clips"], [["train", "7"]], "plain", numbers=True)
    assert table == "split  clips\ntrain      7"


def test_numbers_of_a_page_are_flush_right():
    table = format_table(["", "n"], [["dog", "3"]], "pipe", numbers=True).splitlines()
    assert table[1].endswith("-:|") and table[1].startswith("|:-")


@pytest.mark.parametrize("layout", ["simple", "plain", "pipe"])
@pytest.mark.parametrize("numbers", [True, False])
def test_a_table_without_rows_is_its_head(layout, numbers):
    assert "a" in format_table(["a", "b"], [], layout, numbers).splitlines()[0]
    assert format_table([], [["x", 1]], "plain", numbers) == "x  1"
