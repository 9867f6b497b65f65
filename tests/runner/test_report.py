"""The report beside a run's result."""

import json

import pytest
from cumulus_runner import report as reports
from cumulus_runner.report import Report


def test_a_report_that_is_too_long_to_be_read_is_written_without_the_list_of_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MAX_TEXT", 2000)
    report = Report(3, results=[{"path": str(number), "size": 1, "sha256": "0"} for number in range(5)])
    report.warn("look at this")
    assert len(json.loads(report.to_text())["results"]) == 5
    report.results *= 100
    found = json.loads(report.to_text())
    assert (found["attempt"], found["warnings"], found["results"], found["results_left_out"]) == (3, ["look at this"], [], 500)
    assert len(report.to_text()) < 2000
