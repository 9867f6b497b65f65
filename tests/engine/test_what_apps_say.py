"""What apps say of their input and of what they found, and apps that hang or multiply: from the XML to who reads of it."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from server.app import Controller
from server.cli.main import main
from server.db.models import Job
from server.reasons import Reason
from server.services.jobs.figures import described, parse_figures, per_file
from server.settings import Settings
from server.states import JobState
from tests.api.serving import listening
from tests.conftest import eventually, state_of, submission, turning

APP = """<tool id="search_1.0" name="Search" version="1.0" end_tag="" stall_timeout_s="1" input_error="65: ^cannot read"
      summary="^(?P&lt;PSMs>[0-9,]+) PSMs" summary_command="echo files: $(ls | wc -l)" warn_if_zero="PSMs, files"
      command="sh -u -c 'case $(cat &quot;$1&quot;) in hang) sleep 61;; blank) exit 65;; none) echo 0 PSMs;;
        bomb) i=0; while [ $i -lt 60 ]; do sleep 61 &amp; i=$((i + 1)); done; wait;; *) echo 1,234 PSMs;; esac;
        touch &quot;${1##*/}.txt&quot;' search">
  <section name="s" title="S">
    <filelist name="spectra" label="Spectra" multiple="true" is_folder="false" is_raw_input="false" per_file="true"
              repeated_command="'%value%'"/>
  </section>
</tool>
"""


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    (tmp_path / "apps").mkdir()
    (tmp_path / "apps" / "search.xml").write_text(APP)
    settings.apps = tmp_path / "apps"
    settings.max_tasks = 40
    return settings


@pytest.fixture
def running(controller: Controller) -> Iterator[Controller]:
    with turning(controller):
        yield controller


def finished(controller: Controller, **files: str) -> Job:
    """A job with these files, at its end."""
    form = json.dumps({"spectra": [f"/x/{name}" for name in files]})
    job = controller.jobs.submit(*submission(app="search_1.0", settings=form))
    folder = controller.storage.folder(job.folder)
    for name, text in files.items():
        (folder.input / name).write_text(text)
    folder.mark_arrived()
    controller.loop.wake()
    eventually(lambda: state_of(job.id).is_final)
    found: Job = Job.get_by_id(job.id)
    assert found.attempt == 1
    return found


def details(controller: Controller, job: Job) -> dict[str, Any]:
    with listening(controller) as port:
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", f"/joblist/{job.id}/10")
        rows = json.loads(connection.getresponse().read())
        connection.close()
    row: dict[str, Any] = next(row for row in rows if row["id"] == job.id)
    return row


def run(controller: Controller, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    settings = controller.settings
    for name, value in (("HOME", settings.home), ("CLOUD", "local"), ("APPS", settings.apps), ("FLAVORS", settings.flavors)):
        monkeypatch.setenv(f"CUMULUS_{name}", str(value))
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    return done


@pytest.mark.system
def test_a_bad_file_costs_no_other_and_everybody_reads_of_it(running: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    job = finished(running, a="spectra", b="blank", c="none")
    assert job.state == JobState.DONE
    assert job.warning.splitlines() == ["Search reports 0 PSMs in c", "b could not be read: exit code 65"]
    figures = [{"name": "PSMs", "label": "PSMs", "value": 1234}, {"name": "files", "label": "files", "value": 3}]
    assert parse_figures(job.figures) == figures
    row = details(running, job)
    assert (row["status"], row["warning"], row["figures"]) == ("DONE", job.warning, figures)
    *_, first, last = row["log"].splitlines()
    assert "[SERVER]" in first
    assert first.endswith(" UTC - DONE WITH A WARNING: Search reports 0 PSMs in c")
    assert last == " b could not be read: exit code 65"
    assert {name for name, _ in row["files"]} == {"a.txt", "c.txt"}
    shown = json.loads(run(running, monkeypatch, "show", str(job.id), "--json").stdout)
    assert [(one["name"], one["outcome"]) for one in shown["per_file"]] == [("a", "done"), ("b", "failed"), ("c", "done")]
    assert "b: exit code 65" in run(running, monkeypatch, "show", str(job.id)).stdout
    (listed,) = json.loads(run(running, monkeypatch, "jobs", "--json").stdout)
    assert (listed["warning"], listed["figures"]) == (job.warning, figures)
    assert "Warning: Search reports 0 PSMs in c" in " ".join(run(running, monkeypatch, "jobs").stdout.split())
    followed = run(running, monkeypatch, "logs", "-f", str(job.id))
    assert "done with a warning: Search reports 0 PSMs in c" in followed.stderr
    assert (
        "done with a warning" in run(running, monkeypatch, "get", str(job.id), "--to", str(running.settings.home / "to")).stderr
    )


@pytest.mark.system
@pytest.mark.parametrize(
    ("content", "reason", "words"),
    [
        ("blank", Reason.INPUT_REJECTED, "exit code 65"),
        ("hang", Reason.STALLED, "it did nothing for"),
        ("bomb", Reason.APP_FAILED, "more than 40 processes and threads"),
    ],
)
def test_what_the_app_cannot_do_is_tried_once(running: Controller, content: str, reason: Reason, words: str) -> None:
    job = finished(running, a=content)
    assert (job.state, job.reason) == (JobState.FAILED, reason)
    assert job.message.startswith(f"{reason.text} {reason.blame.phrase} ")
    assert words in job.message
    log = details(running, job)["log"]
    assert log.splitlines()[-1].endswith(job.message.splitlines()[-1])
    assert ("Search seems to hang since" in log) is (content == "hang")


def test_a_job_without_findings_has_no_more_keys_than_the_client_knows(controller: Controller) -> None:
    job = controller.jobs.submit(*submission(app="search_1.0", settings="{}"))
    assert not {"warning", "figures"} & details(controller, job).keys()


@pytest.mark.parametrize("text", ["", "no json", "{}", "null", '["x", {"value": "1"}]', "[" * 100_000])
def test_what_is_no_figure_in_a_row_is_left_out(text: str) -> None:
    assert parse_figures(text) == []


def test_figures_are_words_for_people() -> None:
    figures = [{"name": "PSMs", "label": "PSMs", "value": 1234}, {"name": "share", "value": 0.5}, {"name": "bad", "value": None}]
    assert described(figures) == "1,234 PSMs, 0.5 share"
    files = [{"name": "a", "outcome": "done", "message": ""}, {"name": "b", "outcome": "failed", "message": "why"}]
    assert list(per_file(files, [{"name": "PSMs", "value": 5, "file": "a"}])) == [("a", "done", "5 PSMs"), ("b", "failed", "why")]
