import logging

import pytest

from ssast_recipes.system.errors import explain
from ssast_recipes.system.words import Lines, ShownRecord, format_table, shown


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


HOSTILE = "dog\x1b[2J\r\nerror: all is lost\x9b\u202e\udcff"
SHOWN = r"dog\x1b[2J\r\nerror: all is lost\x9b\u202e\udcff"


def test_what_would_not_be_seen_of_others_names_is_shown(caplog):
    assert shown(HOSTILE) == SHOWN and shown("Töne 犬 ♫") == "Töne 犬 ♫"
    assert format_table(["class"], [[HOSTILE]]).splitlines()[2:] == [SHOWN]
    line = explain(ValueError(f"{HOSTILE} is no class"))
    assert line.isprintable() and "\\x1b[2J error: all is lost\\x9b" in line


def test_a_log_shows_names_of_others_and_keeps_lines_of_ours(caplog, monkeypatch):
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(ShownRecord)
    try:
        logger = logging.getLogger("ssast_recipes.test")
        logger.warning("%s:\n%s, %.1f %d", HOSTILE, Lines("one\ntwo"), 0.25, 7)
        logger.warning("%(name)s", {"name": HOSTILE})
        logger.warning("%s", ValueError(HOSTILE))
    finally:
        logging.setLogRecordFactory(before)
    assert caplog.messages == [f"{SHOWN}:\none\ntwo, 0.2 7", SHOWN, SHOWN]
