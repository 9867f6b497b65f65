"""What the words and exit codes of an app mean, and apps that take their files one by one."""

import json
import string
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.runner.conftest import Worker, own

from cumulus_runner.findings import _figures, _named, as_number, label  # isort: skip
from cumulus_runner.searching import TooSlow, bounded  # isort: skip

HOPELESS = r"(a|a)*$"  # of which no reader of XML sees it
LONG = "a" * 60 + "!"


def report(worker: Worker) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((worker.job / ".cumulus.report").read_text())
    return found


def run(name: str, command: str) -> dict[str, str]:
    return {"name": name, "target": name, "command": command}


def test_exit_codes_and_words_that_mean_a_bad_input_are_told_in_the_app_s_own_words(worker: Worker) -> None:
    result = worker.run("echo reading; echo a.mzML has no spectra >&2; exit 65", input_error_codes=[65, 66])
    assert (result["stage"], result["exit_code"], result["message"]) == ("rejected", 65, "a.mzML has no spectra")
    result = worker.run("echo cannot read b.mzML; exit 1", attempt=2, input_error="^cannot read")
    assert (result["stage"], result["message"]) == ("rejected", "cannot read b.mzML")
    assert worker.run("echo other; exit 1", attempt=3, input_error="^cannot read", input_error_codes=[65])["stage"] == "app"


@pytest.mark.parametrize("words", ["cmd: 1: Cannot fork", "bash: fork: retry: Resource temporarily unavailable"])
def test_a_script_that_could_not_start_its_commands_is_no_success(worker: Worker, words: str) -> None:
    result = worker.run(f"echo '{words}' >&2", max_tasks=50)
    assert (result["stage"], result["exit_code"]) == ("app", 1)
    assert (
        result["message"] == f"it could not start more than 50 processes and threads at once (exit code 0); last lines: {words}"
    )


def test_words_that_mean_a_bad_input_count_also_where_the_app_ends_well(worker: Worker) -> None:
    assert worker.run("echo cannot read b.mzML", input_error="^cannot read")["stage"] == "rejected"


def test_a_line_of_an_earlier_attempt_says_nothing_of_this_one(worker: Worker) -> None:
    worker.run("echo cannot read b.mzML; exit 1")
    assert worker.run("echo fine", attempt=2, input_error="cannot read")["stage"] == "done"


def test_figures_are_read_from_the_log_and_stand_at_its_end(worker: Worker) -> None:
    command = "echo 5 spectra so far; echo 1,684 spectra so far; echo Valid models = 75 >&2; echo end"
    worker.run(command, summary=r"^(?P<spectra>[\d,]+) spectra|models = (?P<valid_models>\d+)|never (?P<absent>\d+)")
    assert report(worker)["figures"] == [
        {"name": "spectra", "label": "spectra", "value": 1684},
        {"name": "valid_models", "label": "valid models", "value": 75},
    ]
    own_lines = [line.partition(" - ")[2] for line in worker.log.splitlines() if line.startswith("[SERVER]")]
    at = own_lines.index("spectra: 1,684")
    assert own_lines[at + 1] == "valid models: 75"
    assert report(worker)["warnings"] == []


def test_a_command_of_the_author_may_count_and_works_in_the_output_folder(worker: Worker) -> None:
    worker.run(
        "echo a > r.tsv; echo b >> r.tsv", summary_command='echo "rows: $(wc -l < r.tsv)"; echo share = 0.25; echo no figure'
    )
    assert {one["name"]: one["value"] for one in report(worker)["figures"]} == {"rows": 2, "share": 0.25}


def test_a_command_that_fails_is_told_and_costs_nothing(worker: Worker) -> None:
    assert worker.run("true", summary_command="echo rows: 5; echo no table >&2; exit 3")["stage"] == "done"
    assert report(worker)["figures"] == []
    assert "the command that counts what was found did not succeed: exit code 3: rows: 5 / no table" in worker.log


@pytest.mark.parametrize(("figure", "warns"), [("0", True), ("0.0", True), ("1", False), ("none", False)])
def test_a_figure_of_0_that_is_marked_is_warned_of(worker: Worker, figure: str, warns: bool) -> None:
    plan = {"summary": r"found (?P<PSMs>\S+)", "warn_if_zero": ["PSMs"], "app": "Comet"}
    assert worker.run(f"echo found {figure}", **plan)["stage"] == "done"
    assert report(worker)["warnings"] == (["Comet reports 0 PSMs"] if warns else [])
    assert (" - warning: Comet reports 0 PSMs" in worker.log) is warns


def test_each_file_is_run_by_itself_and_a_bad_one_spoils_no_other(worker: Worker) -> None:
    for name in ("a", "b", "c"):
        (worker.job / "input" / name).touch()
    runs = [
        run("a", "echo found 3; echo x > a.txt; touch ../temp/left; echo end"),
        run("b", "ls ../temp; echo b is blank >&2; exit 65"),
        run("c", "ls ../temp; echo found 4; echo end"),
    ]
    plan = {"summary": r"found (?P<PSMs>\d+)", "warn_if_zero": ["PSMs"], "input_error_codes": [65], "end_tag": "end"}
    result = worker.run("not used", own("a"), own("b"), own("c"), runs=runs, **plan)
    assert (result["stage"], result["exit_code"], result["end_tag_seen"]) == ("done", 0, True)
    told = report(worker)
    assert [(one["name"], one["outcome"]) for one in told["files"]] == [("a", "done"), ("b", "failed"), ("c", "done")]
    assert told["warnings"] == ["b could not be read: b is blank"]
    totals = {"name": "PSMs", "label": "PSMs", "value": 7}
    assert told["figures"] == [totals, {**totals, "value": 3, "file": "a"}, {**totals, "value": 4, "file": "c"}]
    assert "left" not in worker.lines
    for text in ("file 2 of 3: b", "a: done: PSMs: 3", "b: failed: b is blank", "PSMs: 7"):
        assert f" - {text}\n" in worker.log


def test_the_end_tag_of_one_file_is_not_another_one_s(worker: Worker) -> None:
    runs = [run("a", "echo end"), run("b", "echo nothing")]
    result = worker.run("", runs=runs, end_tag="end")
    assert result["stage"] == "done"
    assert [one["outcome"] for one in report(worker)["files"]] == ["done", "failed"]
    runs = [run("a", "echo end > tag"), run("b", "true"), run("c", "echo end > tag2; mv tag2 tag")]
    worker.run("", runs=runs, attempt=2, end_tag="end", end_tag_location="tag")
    assert [one["outcome"] for one in report(worker)["files"]] == ["done", "failed", "done"]


@pytest.mark.parametrize(
    ("commands", "stage", "code"),
    [
        (["exit 65", "exit 65"], "rejected", 65),
        (["exit 65", "exit 3"], "app", 65),
        (["exit 3", "exit 4"], "app", 3),
    ],
)
def test_where_no_file_succeeds_the_job_fails(worker: Worker, commands: list[str], stage: str, code: int) -> None:
    runs = [run(f"f{number}", f"echo bad {number}; {command}") for number, command in enumerate(commands)]
    result = worker.run("", runs=runs, input_error_codes=[65])
    assert (result["stage"], result["exit_code"]) == (stage, code)
    assert result["message"].startswith("the app has succeeded with none of 2 files: f0: ")
    assert "bad 1" in result["message"]
    assert report(worker)["warnings"] == []


def test_where_the_end_tag_of_none_was_seen_the_controller_is_told_so(worker: Worker) -> None:
    result = worker.run("", runs=[run("a", "true"), run("b", "true")], end_tag="end")
    assert (result["stage"], result["end_tag_seen"]) == ("done", False)


def test_one_file_that_hangs_costs_no_other(worker: Worker) -> None:
    runs = [run("a", "sleep 61"), run("b", "echo fine")]
    assert worker.run("", runs=runs, stall_timeout_s=0.4)["stage"] == "done"
    assert [one["outcome"] for one in report(worker)["files"]] == ["failed", "done"]
    assert "a failed: the app was ended: it did nothing" in report(worker)["warnings"][0]


def test_a_single_file_reads_as_an_app_that_runs_once(worker: Worker) -> None:
    result = worker.run("", runs=[run("a", "echo no; exit 3")])
    assert result["message"] == "exit code 3; last lines: no"
    worker.run("", runs=[run("a", "echo found 0")], attempt=2, summary=r"found (?P<n>\d)", warn_if_zero=["n"], app="Comet")
    assert report(worker)["warnings"] == ["Comet reports 0 n"]
    assert [one.get("file") for one in report(worker)["figures"]] == [None]


def test_a_blank_file_is_named(worker: Worker) -> None:
    runs = [run("a", "echo found 5"), run("b", "echo found 0")]
    worker.run("", runs=runs, summary=r"found (?P<n>\d)", warn_if_zero=["n"], app="Comet")
    assert report(worker)["warnings"] == ["Comet reports 0 n in b"]


def test_a_pattern_that_takes_for_ever_ends(worker: Worker) -> None:
    begin = time.monotonic()
    with pytest.raises(TooSlow):
        bounded(lambda: bool(__import__("re").search(HOPELESS, LONG)), 0.3)
    assert time.monotonic() - begin < 5
    assert worker.run(f"echo {LONG}", end_tag="^a+!$")["stage"] == "done"


def test_an_end_tag_that_takes_for_ever_fails_the_app(tmp_path: Path) -> None:
    from cumulus_runner.endtag import find_end_tag
    from cumulus_runner.errors import StageFailed
    from cumulus_runner.orders import Places, Plan

    places = Places(str(tmp_path), str(tmp_path), str(tmp_path), str(tmp_path))
    Path(places.log).write_text(LONG + "\n")
    plan = Plan(1, 1, "", 1, (), False, HOPELESS, None)
    with pytest.raises(StageFailed, match="could not be searched in 0 s"):
        find_end_tag(plan, places, limit_s=0.2)


def test_a_search_that_fails_says_so() -> None:
    with pytest.raises(RuntimeError):
        bounded(lambda: 1 / 0)
    assert bounded(lambda: {"a": ["x" * 200_000]}) == {"a": ["x" * 200_000]}


@pytest.mark.parametrize(
    ("text", "value"),
    [("12", 12), ("-3", -3), ("1,234", 1234), ("1'234'567", 1234567), ("1.5e3", 1500.0), ("0.0", 0.0), (" 7 ", 7)],
)
def test_numbers_are_read_as_programs_write_them(text: str, value: float) -> None:
    assert as_number(text) == value
    assert isinstance(as_number(text), type(value))


@pytest.mark.parametrize("text", ["", "nan", "inf", "1,2", "12,34,567", "0x1", "1e999", "١", "--1", "1 2", "9" * 400])
def test_what_is_no_number_is_none(text: str) -> None:
    assert as_number(text) is None


@given(st.text(max_size=60))
def test_any_text_is_a_number_or_none_that_json_can_hold(text: str) -> None:
    value = as_number(text)
    assert value is None or json.loads(json.dumps(value, allow_nan=False)) == value


NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,20}", fullmatch=True)


@given(st.dictionaries(NAMES, st.integers(0, 10**12), min_size=1, max_size=6), st.lists(st.text(string.printable, max_size=30)))
def test_every_named_group_is_a_figure_whatever_stands_between(figures: dict[str, int], noise: list[str]) -> None:
    import re

    pattern = re.compile("|".join(f"^{name} = (?P<{name}>[0-9]+)$" for name in figures))
    lines = [line for name, value in figures.items() for line in ("", f"{name} = 1", f"{name} = {value}")]
    assert _figures(pattern, [*noise, *lines]) == {name: str(value) for name, value in figures.items()}


@given(NAMES, st.integers(0, 10**15), st.sampled_from([": ", " = ", ":", "="]))
def test_a_line_of_a_command_is_a_figure(name: str, value: int, between: str) -> None:
    found = _named(f"{name}{between}{value}")
    assert found == (name, str(value))
    assert as_number(found[1]) == value
    assert "_" not in label(name)
