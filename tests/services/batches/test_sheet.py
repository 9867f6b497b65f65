"""Sample sheets as text: what is a table, and what is said of one that is none."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.services.batches.faults import FaultyBatch
from server.services.batches.sheet import plain, read_sheet

CELLS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20).map(str.strip)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_what_separates_columns_is_found_in_the_header(separator: str) -> None:
    sheet = read_sheet(separator.join(("a", "b", "c")) + "\n" + separator.join(("1", '"2"', "")) + "\n")
    assert sheet.columns == ("a", "b", "c")
    assert [(row.place, row.cells) for row in sheet.rows] == [("row 2", ("1", "2", ""))]


def test_a_separator_within_quotes_is_none() -> None:
    assert read_sheet('"a,b,c,d";e\n1;2\n').columns == ("a,b,c,d", "e")


def test_a_mark_at_the_beginning_and_windows_lines_are_taken() -> None:
    sheet = read_sheet("\ufeffa,b\r\n1,2\r\n\r\n3,4\r\n")
    assert sheet.columns == ("a", "b")
    assert [(row.place, row.cells) for row in sheet.rows] == [("row 2", ("1", "2")), ("row 4", ("3", "4"))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "row 1: the sheet is empty"),
        ("\n\n", "row 1: the sheet is empty"),
        (",,\n1,2,3\n", "row 1: the sheet is empty"),
        ("a,b\n", "row 1: the sheet has no rows below its header"),
        ("a,b\n,\n", "row 1: the sheet has no rows below its header"),
        ("a,b\n1\n", "row 2: it has 1 cells, the header has 2"),
        ("a,b\n1,2\n1,2,3\n", "row 3: it has 3 cells, the header has 2"),
        ('a,b\n1,"2\n', "row 2: this is not CSV"),
        ('a,b\n1,"2"x\n', "row 2: this is not CSV"),
        ("a,b\n1,\0\n", "row 2: "),
        (",".join("x" * 1001) + "\n" + ",".join("x" * 1001), "row 1: the sheet has 1001 columns"),
    ],
)
def test_what_is_no_table_is_refused_with_its_row(text: str, message: str) -> None:
    with pytest.raises(FaultyBatch) as refused:
        read_sheet(text)
    assert message in refused.value.message
    assert refused.value.field == "sheet"


def test_each_row_of_another_length_is_named_up_to_ten() -> None:
    with pytest.raises(FaultyBatch) as refused:
        read_sheet("a,b\n" + "1\n" * 30)
    assert "row 2: " in refused.value.message
    assert refused.value.message.endswith("and 20 more")
    assert len(refused.value.faults) == 30


@pytest.mark.parametrize(
    ("name", "same"), [("Comment[Data File]", "comment[data file]"), (" comment [data  file ] ", "comment[data file]")]
)
def test_names_of_columns_are_compared_without_case_and_blanks(name: str, same: str) -> None:
    assert plain(name) == plain(same)


@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=20))
def test_what_was_written_as_csv_is_read_again(rows: list[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([["one", "two", "three"], *rows])
    filled = [tuple(row) for row in rows if any(row)]
    if filled:
        assert [row.cells for row in read_sheet(text.getvalue()).rows] == filled


@given(st.text(max_size=300))
def test_any_text_is_a_table_or_is_refused(text: str) -> None:
    try:
        sheet = read_sheet(text)
    except FaultyBatch:
        return
    assert all(len(row.cells) == len(sheet.columns) for row in sheet.rows)
