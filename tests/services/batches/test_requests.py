"""What a batch asks for each of its jobs: files, the rows of a sheet, SDRF; and each fault with its row and column."""

from typing import Any

import pytest

from cumulus_client.batches import MAX_JOBS, NewBatch
from server.catalog.apps import Catalog
from server.errors import InvalidInput
from server.services.batches.faults import FaultyBatch
from server.services.batches.requests import Asked, asked_for
from server.settings import CHECKOUT
from tests.conftest import TEST_APPS

PROBE = Catalog(TEST_APPS).get("probe_1.0")
COMET = Catalog(CHECKOUT / "apps").get("comet_2019.015")
SDRF = (
    "source name\tcharacteristics[organism]\tassay name\tcomment[label]\tcomment[data file]\tfactor value[disease]\n"
    "sample 1\thomo sapiens\trun 1\tlabel free sample\ta.raw\tnormal\n"
    "sample 2\thomo sapiens\trun 2\tlabel free sample\tb.raw\tcancer\n"
)


def of_probe(form: dict[str, Any] | None = None, **given: Any) -> list[Asked]:
    batch = NewBatch(app="probe_1.0", form=form or {}, **given)
    return asked_for(PROBE, batch, batch.form)


def test_each_file_is_a_job_with_the_form_of_all() -> None:
    found = of_probe({"text": "hi"}, files=["/x/a.raw", "C:\\y\\b.raw"])
    assert [(one.label, one.form) for one in found] == [
        ("a.raw", {"text": "hi", "inputs": ["/x/a.raw"]}),
        ("b.raw", {"text": "hi", "inputs": ["C:\\y\\b.raw"]}),
    ]


def test_a_row_is_a_job_and_columns_are_fields_by_name_or_label() -> None:
    sheet = "inputs,Seconds to wait,HOW TO END,label,flavor\na.raw;b.raw,2,fail,first,m1.8xlarge\nc.raw,,,,\n"
    one, two = of_probe({"text": "hi"}, sheet=sheet, flavor="m1.4xlarge")
    assert (one.label, one.flavor) == ("first", "m1.8xlarge")
    assert one.form == {"text": "hi", "inputs": ["a.raw", "b.raw"], "seconds": "2", "outcome": "fail"}
    assert (two.label, two.flavor, two.form) == ("c.raw", "m1.4xlarge", {"text": "hi", "inputs": ["c.raw"]})


def test_a_column_is_for_the_field_that_somebody_says_or_for_none() -> None:
    found = of_probe(sheet="Datei,Bemerkung\na.raw,x\nb.raw,x\n", columns={"datei": "inputs", "Bemerkung": ""})
    assert [one.form for one in found] == [{"inputs": ["a.raw"]}, {"inputs": ["b.raw"]}]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sheet": "inputs,outcom\na,ok\n"}, "row 1, column 'outcom': Probe has no field 'outcom'; did you mean outcome?"),
        ({"sheet": "inputs,inputs\na,b\n"}, "row 1, column 'inputs': it is for inputs, as column 'inputs' is"),
        ({"sheet": "inputs,label,LABEL\na,b,c\n"}, "row 1, column 'LABEL': it is for label, as column 'label' is"),
        ({"sheet": "inputs\na\nb\na\n"}, "row 4: it is the same as row 2"),
        ({"sheet": "inputs,text\na,x\na,x\n"}, "row 3: it is the same as row 2"),
        ({"sheet": "inputs\na\n", "columns": {"file": "inputs"}}, "row 1, column 'file': the sheet has no such column"),
        ({"sheet": "x\na\n", "columns": {"x": "nothing"}}, "row 1, column 'x': Probe has no field 'nothing'"),
        ({"sheet": "inputs,text\na,x\n", "form": {"text": "y"}}, "row 1, column 'text': the form of all jobs has text, too"),
        ({"files": ["a", "b", "x/a"]}, "file 3: 'a' is file 1, too"),
        ({"files": ["a", ".."]}, "file 2: '..' does not name a file"),
    ],
)
def test_what_is_wrong_is_named_by_its_row_and_column(given: dict[str, Any], message: str) -> None:
    with pytest.raises(FaultyBatch) as refused:
        of_probe(**given)
    assert message in refused.value.message


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "files"),
        ({"files": ["a"], "sheet": "inputs\na\n"}, "files"),
        ({"files": ["a"], "columns": {"a": "b"}}, "columns"),
        ({"files": ["a"], "each": "text"}, "each"),
        ({"files": ["a"], "each": "nothing"}, "each"),
        ({"files": ["a"], "form": {"inputs": ["b"]}}, "each"),
        ({"sheet": "inputs\n" + "".join(f"{number}\n" for number in range(MAX_JOBS + 1))}, "sheet"),
    ],
)
def test_what_is_asked_for_at_once_is_refused_by_its_field(given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        of_probe(**given)
    assert refused.value.field == field


def test_the_data_files_of_sdrf_go_into_the_field_of_files() -> None:
    found = of_probe(sheet=SDRF)
    assert [(one.place, one.label, one.form) for one in found] == [
        ("row 2", "run 1", {"inputs": ["a.raw"]}),
        ("row 3", "run 2", {"inputs": ["b.raw"]}),
    ]


def test_the_field_of_spectra_gets_the_files_where_an_app_has_other_files_too() -> None:
    sheet = SDRF.replace(".raw", ".mzML")
    found = asked_for(COMET, NewBatch(app="comet_2019.015", sheet=sheet), {})
    assert [one.form["spectra"] for one in found] == [["a.mzML"], ["b.mzML"]]


def test_a_comment_that_is_called_like_a_field_is_for_it_unless_nothing_is_said() -> None:
    header, *rows = SDRF.splitlines()
    sheet = "\n".join([f"{header}\tcomment[text]", f"{rows[0]}\tword", f"{rows[1]}\tNot Available"])
    assert [one.form.get("text") for one in of_probe(sheet=sheet)] == ["word", None]


def test_the_samples_of_a_multiplexed_run_are_one_job() -> None:
    rows = [f"sample {number}\thuman\trun 1\tTMT{126 + number}\ta.raw\tnormal" for number in range(6)]
    (found,) = of_probe(sheet="\n".join([SDRF.splitlines()[0], *rows]))
    assert (found.label, found.form) == ("run 1", {"inputs": ["a.raw"]})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "comment[data file]",
            "comment[file uri]",
            "row 1, column 'comment[data file]': the sheet is SDRF and lacks",
        ),
        ("b.raw", "not available", "row 3, column 'comment[data file]': there is no data file"),
        (
            "sample 2\thomo sapiens\trun 2\tlabel free sample\tb.raw",
            "sample 1\thomo sapiens\trun 1\tlabel free sample\ta.raw",
            "row 3: it has the names, the label and the data file of row 2",
        ),
    ],
)
def test_faults_of_sdrf(old: str, new: str, message: str) -> None:
    with pytest.raises(FaultyBatch) as refused:
        of_probe(sheet=SDRF.replace(old, new))
    assert message in refused.value.message


def test_samples_of_one_file_that_differ_in_a_field_are_refused() -> None:
    rows = [f"sample {number}\thuman\trun 1\tTMT{126 + number}\ta.raw\tnormal\t{number}" for number in range(2)]
    with pytest.raises(FaultyBatch) as refused:
        of_probe(sheet="\n".join([f"{SDRF.splitlines()[0]}\tcomment[seconds]", *rows]))
    assert refused.value.message == "row 3, column 'comment[seconds]': it differs from row 2, which has the same data file"
