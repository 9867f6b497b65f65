"""The files that the controller and the runner share: each side has the format once, and both are the same."""

import json
from dataclasses import asdict, fields
from pathlib import Path

from cumulus_runner.folder import Result
from cumulus_runner.orders import Input, Places, Run, read_plan
from cumulus_runner.orders import Plan as ReadPlan
from cumulus_runner.report import Report

from server.storage.folders import JobFolder
from server.storage.job_folder.run_plan import VERSION, Plan, PlannedInput, PlannedRun
from server.storage.report import RunReport, RunResult

FULL = Plan(
    job_id=7,
    attempt=2,
    worker="job-7-2",
    cpus=4,
    inputs=(
        PlannedInput(
            name="a.raw",
            shared=True,
            target="a.mzML",
            convert=("convert", "{source}"),
            unless_indexed=True,
            keep=True,
            accepts=("zlib",),
            rewrite=("rewrite", "{source}"),
            alone=True,
            group="spectra",
            expected="sha256:00",
        ),
    ),
    copy_inputs=True,
    end_tag="done",
    end_tag_location="output/log",
    lease_s=1.5,
    results_wait_s=2.5,
    log_limit=3,
    reserve=4,
    runs=(PlannedRun("a.raw", "a.mzML", "run a"),),
    app="Comet",
    stall_timeout_s=5.5,
    max_tasks=6,
    input_error_codes=(7, 8),
    input_error="bad",
    summary="found (?P<hits>.*)",
    summary_command="tail",
    warn_if_zero=("hits",),
    internet=True,
)


def _read(path: Path) -> ReadPlan:
    return read_plan(Places(str(path), str(path), str(path), str(path)))


def test_the_runner_reads_every_field_of_the_plan_as_the_controller_wrote_it(tmp_path: Path) -> None:
    defaults = Plan(0, 0, "", 0, ())
    assert all(getattr(FULL, one.name) != getattr(defaults, one.name) for one in fields(Plan) if one.name != "version")
    JobFolder(tmp_path).instructions.write_plan(FULL, "echo hi")
    assert asdict(_read(tmp_path)) == {name: value for name, value in asdict(FULL).items() if name != "version"}


def test_the_plan_has_a_version_and_the_runner_ignores_what_it_does_not_know(tmp_path: Path) -> None:
    JobFolder(tmp_path).instructions.write_plan(FULL, "echo hi")
    path = tmp_path / ".cumulus.plan"
    written = json.loads(path.read_text())
    assert written["version"] == VERSION
    known = _read(tmp_path)
    path.write_text(json.dumps({**written, "version": VERSION + 1, "more": {"of": "a later version"}}))
    assert _read(tmp_path) == known


def test_both_sides_have_the_same_fields() -> None:
    def names(one: type) -> set[str]:
        return {field.name for field in fields(one)}

    assert names(ReadPlan) == names(Plan) - {"version"}
    assert names(Input) == names(PlannedInput)
    assert names(Run) == names(PlannedRun)
    assert names(Result) == set(RunResult.model_fields) - {"version"}
    assert names(Report) == set(RunReport.model_fields)


def test_the_controller_reads_the_runner_s_result_and_report_as_they_were_written(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    result = Result(attempt=2, exit_code=3, stage="app", message="m", end_tag_seen=False, started=1.5, ended=2.5)
    report = Report(2, ["w"], [{"name": "a"}], [{"name": "b"}], [{"name": "c"}], [{"name": "d"}], [{"name": "e"}], {"cpus": 4})
    (tmp_path / ".cumulus.result").write_text(json.dumps(asdict(result)) + "\n")
    (tmp_path / ".cumulus.report").write_text(report.to_text())
    assert folder.reports.result(2) == RunResult(**asdict(result))
    found = folder.reports.run_report(2)
    assert found is not None
    assert json.loads(json.dumps(found.model_dump())) == asdict(report)


def test_a_result_of_a_later_runner_is_read_too(tmp_path: Path) -> None:
    (tmp_path / ".cumulus.result").write_text('{"version": 2, "attempt": 1, "exit_code": 0, "stage": "done", "more": []}')
    found = JobFolder(tmp_path).reports.result(1)
    assert found is not None
    assert (found.version, found.stage) == (2, "done")
