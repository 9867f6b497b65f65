"""A shared input is converted once for all jobs: real runner, local cloud, a converter that counts its runs."""

import errno
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server.app import Controller
from server.db.models import Conversion, Event, Job, Worker
from server.db.queries import living_workers
from server.engine.situation import Situations
from server.reasons import Reason
from server.services.principal import Principal
from server.settings import CHECKOUT, Settings
from server.states import JobState
from server.storage import conversions
from server.storage.inputs.delivery import deliver
from tests.conftest import eventually, state_of, submission, turning
from tests.runner.cases import Form, blank, mzml

pytestmark = pytest.mark.system

APP = """\
<tool id="join_1.0" name="Join" version="1.0" category="Tests" description="Joins mzML files"
      command="true;" end_tag="" version_command="echo 1.0">
  <section name="what" title="What to do" expanded="true">
    <filelist name="shared" label="Spectra" multiple="true" is_folder="false" is_raw_input="true" convert_to_mzml="true"
              accepts="index-free" repeated_command="%READ%"/>
    <filelist name="own" label="Own spectra" multiple="true" is_folder="false" is_raw_input="false" convert_to_mzml="true"
              accepts="index-free" repeated_command="%READ%"/>
    <number name="seconds" label="Seconds to wait" value="0" min="0" max="3600" step="0.1" command="sleep %value%;"/>
  </section>
</tool>
""".replace("%READ%", "sed -n 's/.*!-- \\(.*\\) --.*/\\1/p; /indexedmzML/p' '%value%' >> '%output_dir%/result.txt' || exit 4;")
RAW = "\x01\xa1F\0i\0n\0n\0i\0g\0a\0n\0\n".encode("latin-1")
SPECTRA = CHECKOUT / "examples" / "bsa" / "BSA1.mzML.gz"
needs_msconvert = pytest.mark.skipif(not shutil.which("msconvert"), reason="msconvert (Debian's libpwiz-tools) is not installed")


class Converter:
    """A shell script in the place of ThermoRawFileParser: notes each run, waits for a gate, may fail."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.runs = folder / "runs"
        self.gate = folder / "gate"
        self.failures = folder / "failures"
        script = f"""\
echo "$$ $1" >> {self.runs}
echo half > "$2/$3"
while test -e {self.gate}; do sleep 0.02; done
if test -s {self.failures}; then sed -i 1d {self.failures}; echo bad spectrum >&2; exit 4; fi
printf '{blank("converted %s")}' "$(tail -n 1 "$1")" > "$2/$3"
"""
        self.command = ("sh", "-c", script, "convert", "{source}", "{folder}", "{name}")

    def count(self) -> int:
        return len(self.runs.read_text().splitlines()) if self.runs.exists() else 0

    def hold(self) -> None:
        """From here on conversions do not end."""
        self.gate.touch()

    def let_go(self) -> None:
        self.gate.unlink()

    def fail(self, times: int) -> None:
        self.failures.write_text("x\n" * times)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    apps = tmp_path / "apps"
    apps.mkdir()
    (apps / "join_1.0.xml").write_text(APP)
    return settings.model_copy(update={"apps": apps})


@pytest.fixture
def converter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Converter:
    made = Converter(tmp_path / "converter")
    monkeypatch.setitem(conversions._CONVERTERS, ".raw", ("sh", lambda _: made.command))
    return made


@pytest.fixture
def running(controller: Controller) -> Iterator[Controller]:
    """A controller whose loop runs."""
    with turning(controller):
        yield controller


@pytest.fixture
def raw(controller: Controller) -> Path:
    path = controller.storage.data / "a.raw"
    path.write_bytes(RAW + b"spectra\n")
    return path


def begin(controller: Controller, *names: str, own: tuple[str, ...] = (), seconds: float = 0) -> int:
    """Submit a job on files of the data folder."""
    form = {"shared": list(names), "own": list(own), "seconds": str(seconds)}
    job = controller.jobs.submit(*submission(app="join_1.0", settings=json.dumps(form)))
    folder = controller.storage.folder(job.folder)
    for name in own:
        (folder.input / name).write_bytes(RAW + b"own\n")
    folder.mark_arrived()
    controller.loop.wake()
    return int(job.id)


def is_in(job_id: int, *states: JobState) -> Callable[[], bool]:
    return lambda: state_of(job_id) in states


def path_of(controller: Controller, job_id: int) -> Path:
    return controller.storage.folder(Job.get_by_id(job_id).folder).path


def result(controller: Controller, job_id: int) -> str:
    """What the job read, once it is done."""
    eventually(lambda: state_of(job_id).is_final)
    assert state_of(job_id) is JobState.DONE, Job.get_by_id(job_id).message
    return (path_of(controller, job_id) / "output" / "result.txt").read_text()


def results_kept(controller: Controller) -> list[str]:
    folder = controller.storage.root / "converted"
    return sorted(re.findall("!-- (.*) --", path.read_text())[0] + "\n" for path in folder.iterdir()) if folder.exists() else []


def stays_queued(job_id: int, controller: Controller, turns: int = 4) -> bool:
    """Whether the job gets no machine though the loop looks at it."""
    for _ in range(turns):
        controller.loop.wake()
        time.sleep(0.05)
    return state_of(job_id) is JobState.QUEUED


@pytest.mark.usefixtures("raw")
def test_a_later_job_takes_what_an_earlier_one_converted(running: Controller, converter: Converter) -> None:
    first = begin(running, "a.raw")
    assert result(running, first) == "converted spectra\n"
    second = begin(running, "a.raw")
    assert result(running, second) == "converted spectra\n"
    assert converter.count() == 1
    assert results_kept(running) == ["converted spectra\n"]
    plan = json.loads((path_of(running, second) / ".cumulus.plan").read_text())
    assert [(one["name"], one["shared"], one["convert"]) for one in plan["inputs"]] == [("a.mzML", False, None)]
    assert not list((path_of(running, first) / ".cumulus.converted").iterdir())


@pytest.mark.usefixtures("raw")
def test_two_jobs_at_once_convert_once(running: Controller, converter: Converter) -> None:
    converter.hold()
    first, second = begin(running, "a.raw"), begin(running, "a.raw")
    eventually(lambda: converter.count() == 1)
    assert stays_queued(second, running)
    converter.let_go()
    assert [result(running, first), result(running, second)] == ["converted spectra\n"] * 2
    assert converter.count() == 1


@pytest.mark.usefixtures("raw")
def test_a_waiting_job_goes_on_before_the_converting_one_has_ended(running: Controller, converter: Converter) -> None:
    first = begin(running, "a.raw", seconds=60)
    second = begin(running, "a.raw")
    assert result(running, second) == "converted spectra\n"
    assert state_of(first) is JobState.RUNNING
    assert converter.count() == 1
    running.jobs.cancel(Principal.desktop("ada"), first)


@pytest.mark.usefixtures("raw")
def test_a_waiting_job_lets_others_pass(running: Controller, converter: Converter) -> None:
    (running.storage.data / "b.raw").write_bytes(RAW + b"others\n")
    converter.hold()
    first, second, third = begin(running, "a.raw"), begin(running, "a.raw"), begin(running, "b.raw")
    eventually(lambda: converter.count() == 2)
    assert state_of(second) is JobState.QUEUED
    converter.let_go()
    assert [result(running, job) for job in (first, second, third)] == [*["converted spectra\n"] * 2, "converted others\n"]
    assert converter.count() == 2


@pytest.mark.usefixtures("raw")
def test_where_the_first_fails_the_second_converts(running: Controller, converter: Converter) -> None:
    converter.hold()
    converter.fail(2)
    first = begin(running, "a.raw")
    eventually(lambda: converter.count() == 1)
    second = begin(running, "a.raw")
    eventually(is_in(second, JobState.QUEUED))
    converter.let_go()
    assert result(running, second) == "converted spectra\n"
    row = Job.get_by_id(first)
    assert (row.state, row.reason) == ("failed", Reason.CONVERSION_FAILED)
    assert "a.raw could not be converted (exit code 4): bad spectrum" in row.message
    assert converter.count() == 3
    assert results_kept(running) == ["converted spectra\n"]


@pytest.mark.usefixtures("raw")
def test_a_conversion_that_fails_once_is_tried_again(running: Controller, converter: Converter) -> None:
    converter.fail(1)
    assert result(running, begin(running, "a.raw")) == "converted spectra\n"
    assert converter.count() == 2


@pytest.mark.usefixtures("raw")
def test_where_the_first_is_cancelled_the_second_converts(running: Controller, converter: Converter) -> None:
    converter.hold()
    first, second = begin(running, "a.raw"), begin(running, "a.raw")
    eventually(lambda: converter.count() == 1)
    running.jobs.cancel(Principal.desktop("ada"), first)
    eventually(lambda: converter.count() == 2)
    converter.let_go()
    assert result(running, second) == "converted spectra\n"


@pytest.mark.usefixtures("raw")
def test_where_the_first_loses_its_machine_the_second_converts_and_the_first_waits(
    running: Controller, converter: Converter
) -> None:
    running.settings.heartbeat_late_s = 0.5
    converter.hold()
    first, second = begin(running, "a.raw"), begin(running, "a.raw")
    eventually(lambda: converter.count() == 1 and state_of(first) is JobState.RUNNING)
    machine = next(one for one in running.cloud.resources() if one.worker == f"job-{first}")
    running.cloud.delete(machine)
    eventually(lambda: converter.count() == 2)
    assert Event.select().where(Event.subject_id == first, Event.reason == Reason.MACHINE_LOST).count() == 1
    converter.let_go()
    assert [result(running, first), result(running, second)] == ["converted spectra\n"] * 2
    assert converter.count() == 2


@pytest.mark.usefixtures("raw")
def test_nobody_waits_for_longer_than_the_settings_say(controller: Controller, converter: Converter) -> None:
    first, second = begin(controller, "a.raw"), begin(controller, "a.raw")
    now = time.time()
    controller.loop.turn()
    assert (state_of(first), state_of(second)) == (JobState.PROVISIONING, JobState.QUEUED)
    Job.update(state_since=now - controller.settings.conversion_wait_s - 1).where(Job.id == first).execute()
    situations = Situations(controller.settings, controller.storage, controller.flavors.max_weight)
    assert situations.beside(living_workers(), now).makers(second, ()) == []
    assert situations.beside(living_workers(), now - 60).makers(second, ()) == [first]
    assert converter.count() <= 1


@pytest.mark.parametrize("text", ["more spectra\n", "SPECTRA\n"])
def test_a_changed_source_is_converted_anew(running: Controller, converter: Converter, raw: Path, text: str) -> None:
    result(running, begin(running, "a.raw"))
    raw.write_bytes(RAW + text.encode())
    assert result(running, begin(running, "a.raw")) == f"converted {text}"
    assert converter.count() == 2


def test_a_source_that_changes_during_its_conversion_is_not_kept(running: Controller, converter: Converter, raw: Path) -> None:
    converter.hold()
    first = begin(running, "a.raw")
    eventually(lambda: converter.count() == 1)
    raw.write_bytes(RAW + b"newer\n")
    converter.let_go()
    result(running, first)
    assert results_kept(running) == []
    assert result(running, begin(running, "a.raw")) == "converted newer\n"


def test_another_file_of_the_same_name_size_and_time_is_converted_for_itself(
    running: Controller, converter: Converter, raw: Path, tmp_path: Path
) -> None:
    """Whoever sends it says what is in it; so does the next who sends the same."""
    assert result(running, begin(running, "a.raw")) == "converted spectra\n"
    other = tmp_path / "a.raw"
    for _ in range(2):
        other.write_bytes(RAW + b"SPECTRA\n")
        os.utime(other, ns=(raw.stat().st_atime_ns, raw.stat().st_mtime_ns))
        form = {"shared": [str(other)], "own": [], "seconds": "0"}
        job = running.jobs.submit(*submission(app="join_1.0", settings=json.dumps(form)))
        folder = running.storage.folder(job.folder)
        deliver(running.storage, folder, [other])
        running.loop.wake()
        assert result(running, job.id) == "converted SPECTRA\n"
    assert converter.count() == 2


def test_what_came_for_one_job_alone_without_a_word_of_its_content_is_converted_for_it_alone(
    running: Controller, converter: Converter, raw: Path
) -> None:
    assert result(running, begin(running, "a.raw")) == "converted spectra\n"
    for _ in range(2):
        form = {"shared": ["a.raw"], "own": [], "seconds": "0"}
        job = running.jobs.submit(*submission(app="join_1.0", settings=json.dumps(form)))
        own = running.storage.folder(job.folder).input / "a.raw"
        own.write_bytes(RAW + b"SPECTRA\n")
        os.utime(own, ns=(raw.stat().st_atime_ns, raw.stat().st_mtime_ns))
        running.storage.folder(job.folder).mark_arrived()
        running.loop.wake()
        assert result(running, job.id) == "converted SPECTRA\n"
    assert converter.count() == 3


def test_a_copy_has_the_key_of_what_it_was_copied_from(
    running: Controller, converter: Converter, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result(running, begin(running, "a.raw"))

    def across(source: str, *arguments: Any, **named: Any) -> None:
        if Path(source).parent == raw.parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        link(source, *arguments, **named)

    link = os.link
    monkeypatch.setattr(os, "link", across)
    assert result(running, begin(running, "a.raw")) == "converted spectra\n"
    assert converter.count() == 1


def test_a_result_that_is_called_as_its_source_is_taken_too(
    running: Controller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app prints the lines of an index, and what is made here has none."""
    runs, plain = tmp_path / "runs", tmp_path / "plain"
    plain.write_bytes(mzml(Form(index=False)))
    script = f'echo run >> {runs}; cp {plain} "$2/$3"'
    monkeypatch.setitem(
        conversions._CONVERTERS, ".mzml", ("sh", lambda _: ("sh", "-c", script, "convert", "{source}", "{folder}", "{name}"))
    )
    (running.storage.data / "a.mzML").write_bytes(mzml(Form(compressed=True)))
    for _ in range(2):
        assert result(running, begin(running, "a.mzML")) == ""
    assert runs.read_text() == "run\n"


@pytest.mark.usefixtures("raw")
def test_half_written_leftovers_are_not_used(running: Controller, converter: Converter) -> None:
    result(running, begin(running, "a.raw"))
    folder = running.storage.root / "converted"
    whole = next(folder.iterdir())
    whole.with_name(f"{whole.name}.part").write_text("half")
    whole.unlink()
    assert result(running, begin(running, "a.raw")) == "converted spectra\n"
    assert converter.count() == 2
    assert results_kept(running) == ["converted spectra\n"]


@pytest.mark.usefixtures("raw")
def test_a_result_that_was_removed_is_made_again(running: Controller, converter: Converter) -> None:
    result(running, begin(running, "a.raw"))
    shutil.rmtree(running.storage.root / "converted")
    assert result(running, begin(running, "a.raw")) == "converted spectra\n"
    assert converter.count() == 2


def test_a_job_s_own_files_are_nobody_else_s(running: Controller, converter: Converter) -> None:
    for _ in range(2):
        assert result(running, begin(running, own=("mine.raw",))) == "converted own\n"
    assert converter.count() == 2
    assert results_kept(running) == []


def test_nobody_waits_for_what_needs_no_conversion(controller: Controller) -> None:
    (controller.storage.data / "a.mzML").write_bytes(mzml())
    jobs = [begin(controller, "a.mzML") for _ in range(2)]
    controller.loop.turn()
    assert [state_of(job) for job in jobs] == [JobState.PROVISIONING] * 2
    assert Conversion.select().count() == 0


@pytest.mark.usefixtures("raw", "converter")
def test_records_of_finished_jobs_are_dropped(running: Controller) -> None:
    job = begin(running, "a.raw")
    result(running, job)
    assert [row.job_id for row in Conversion.select()] == [job]
    running.loop._schedule._upkeep.prune(time.time())
    assert Conversion.select().count() == 0


@pytest.mark.usefixtures("raw")
def test_a_restarted_controller_does_not_convert_twice(controller: Controller, converter: Converter) -> None:
    """Between two turns nothing is remembered but rows and files."""
    converter.hold()
    first, second = begin(controller, "a.raw"), begin(controller, "a.raw")
    controller.loop.turn()
    eventually(is_in(first, JobState.RUNNING))
    eventually(lambda: converter.count() == 1)
    converter.let_go()
    eventually((path_of(controller, first) / ".cumulus.result").exists)
    assert [path.name for path in (path_of(controller, first) / ".cumulus.converted").iterdir()] == ["1.0"]
    controller.loop.turn()
    assert state_of(second) is JobState.PROVISIONING
    assert Worker.select().where(Worker.job_id == second).count() == 1
    eventually(is_in(second, JobState.RUNNING))
    eventually((path_of(controller, second) / ".cumulus.result").exists)
    assert converter.count() == 1


@needs_msconvert
def test_real_spectra_are_converted_once(running: Controller) -> None:
    shutil.copy(SPECTRA, running.storage.data)
    first = result(running, begin(running, SPECTRA.name))
    second = begin(running, SPECTRA.name)
    assert result(running, second) == first
    assert "<indexedmzML" in first
    assert "converted " not in running.storage.folder(Job.get_by_id(second).folder).log.text()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.mgf", b"no spectra", "a.mgf: it has no spectra: there is no BEGIN IONS in it"),
        ("a.mzML", mzml()[:9000], "a.mzML: it is cut off: it ends at byte 9000, without </indexedmzML>"),
        ("a.mzML.gz", b"", "a.mzML.gz: it is empty"),
    ],
)
def test_a_faulty_file_fails_the_job_before_a_machine_is_made(
    controller: Controller, name: str, content: bytes, told: str
) -> None:
    (controller.storage.data / name).write_bytes(content)
    job = begin(controller, name)
    controller.loop.turn()
    row = Job.get_by_id(job)
    assert (row.state, row.reason) == (JobState.FAILED, Reason.INPUT_FAULTY)
    assert row.message.endswith(told)
    assert Worker.select().count() == 0


def test_a_file_that_only_the_machine_sees_to_be_faulty_is_told_the_same_way(running: Controller) -> None:
    (running.storage.data / "a.mzML").write_bytes(mzml().replace(b'count="8"', b'count="9"'))
    job = begin(running, "a.mzML")
    eventually(lambda: state_of(job).is_final)
    row = Job.get_by_id(job)
    assert (row.state, row.reason) == (JobState.FAILED, Reason.INPUT_FAULTY)
    assert "a.mzML: it is not complete: it says 9 spectra and has 8" in row.message


@pytest.mark.usefixtures("raw")
def test_what_a_former_version_has_kept_is_judged_before_it_is_used(running: Controller, converter: Converter) -> None:
    result(running, begin(running, "a.raw"))
    shutil.rmtree(running.storage.root / ".cumulus.checked")
    assert result(running, begin(running, "a.raw")) == "converted spectra\n"
    assert converter.count() == 1
    kept = next((running.storage.root / "converted").iterdir())
    kept.chmod(0o600)
    shutil.rmtree(running.storage.root / ".cumulus.checked")
    whole = kept.read_text()
    kept.unlink()
    kept.write_text(whole[:50])
    assert result(running, begin(running, "a.raw")) == "converted spectra\n"
    assert converter.count() == 2
