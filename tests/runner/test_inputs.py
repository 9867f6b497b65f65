"""Files on their way to the app."""

import hashlib
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.runner.cases import FASTA, PEPTIDES, Form, blank, merged, mgf, mzml
from tests.runner.conftest import Worker, own, shared, wait_until

COPY = ["sh", "-c", 'cp "$1" "$2/$3"', "sh", "{source}", "{folder}", "{name}"]
A, B = blank("A"), blank("B")


def test_shared_and_own_files_are_linked(worker: Worker) -> None:
    (worker.data / "a.txt").write_text("A\n")
    (worker.job / "input" / "b.txt").write_text("B\n")
    worker.run("cat ../input/a.txt ../input/b.txt; test -L ../input/a.txt && echo link", shared("a.txt"), own("b.txt"))
    assert worker.lines == ["A", "B", "link"]


def test_files_and_folders_are_copied_where_the_plan_says_so(worker: Worker) -> None:
    (worker.data / "a.d" / "deep").mkdir(parents=True)
    (worker.data / "a.d" / "deep" / "x").write_text("X\n")
    (worker.data / "b").write_text("B\n")
    command = "cat ../input/a.d/deep/x ../input/b; test -L ../input/a.d -o -L ../input/b || echo copies; ls ../temp"
    worker.run(command, shared("a.d"), shared("b"), copy_inputs=True)
    assert worker.lines == ["X", "B", "copies"]


@pytest.mark.parametrize("one", [shared("gone.raw"), own("gone.raw")])
def test_a_missing_file_is_named(worker: Worker, one: dict[str, object]) -> None:
    result = worker.run("echo never", one)
    assert (result["stage"], result["exit_code"]) == ("input", 1)
    assert "gone.raw" in result["message"]
    assert worker.lines == []


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "", "."])
def test_a_name_that_leads_elsewhere_is_refused(worker: Worker, name: str) -> None:
    worker.order("true", shared(name, target="x"))
    done = worker.start()
    assert done.returncode == 1
    assert "plan" in done.stderr


def test_files_are_converted_under_their_final_name(worker: Worker) -> None:
    (worker.data / "a b.raw").write_text(A)
    result = worker.run('cat "../input/a b.mzML"; ls ../temp', shared("a b.raw", "a b.mzML", COPY))
    assert result["stage"] == "done"
    assert worker.lines == [A.strip()]
    assert "converted a b.raw to a b.mzML" in worker.log


def test_conversions_run_at_once_but_not_more_than_there_are_processors(worker: Worker) -> None:
    for name in "abcd":
        (worker.data / f"{name}.raw").write_text(A)
    count = 'echo > "$2/../on-$$"; ls "$2/.." | grep -c ^on- >> "$2/../../output/counts"'
    script = f'{count}; sleep 0.4; rm "$2/../on-$$"; cp "$1" "$2/$3"'
    convert = ["sh", "-c", script, "sh", "{source}", "{folder}", "{name}"]
    begin = time.monotonic()
    worker.run("sort -u counts", *(shared(f"{name}.raw", f"{name}.mzML", convert) for name in "abcd"), cpus=2)
    assert time.monotonic() - begin > 0.8
    assert worker.lines[-1] == "2"


def test_mzml_that_the_app_reads_is_taken_as_it_is(worker: Worker) -> None:
    (worker.data / "indexed.mzML").write_bytes(mzml())
    (worker.data / "plain.mzML").write_bytes(mzml(Form(index=False)))
    both = [shared(name, name, COPY, unless_indexed=True) for name in ("indexed.mzML", "plain.mzML")]
    worker.run("cd ../input; for i in *; do test -L $i && echo link $i || echo file $i; done", *both)
    assert worker.lines == ["link indexed.mzML", "file plain.mzML"]
    free = [one | {"accepts": ["index-free"]} for one in both]
    worker.run("cd ../input; for i in *; do test -L $i && echo link $i || echo file $i; done", *free, attempt=2)
    assert worker.lines[2:] == ["link indexed.mzML", "link plain.mzML"]


def test_a_failing_converter_names_the_file_and_is_quoted(worker: Worker) -> None:
    (worker.data / "bad.raw").touch()
    convert = ["sh", "-c", "echo starting; echo not a Thermo file >&2; exit 4"]
    result = worker.run("echo never", shared("bad.raw", "bad.mzML", convert))
    assert (result["stage"], result["exit_code"]) == ("convert", 1)
    assert result["message"] == "bad.raw could not be converted (exit code 4): starting / not a Thermo file"
    assert worker.lines == ["[STDERR] starting", "[STDERR] not a Thermo file"] * 2
    assert "It is tried once more" in worker.log
    assert not os.listdir(worker.work / "input")


@pytest.mark.parametrize(("convert", "text"), [(["true"], "it made no"), (["/no/such/program"], "cannot be started")])
def test_a_converter_that_makes_nothing_is_a_failure(worker: Worker, convert: list[str], text: str) -> None:
    (worker.data / "a.raw").touch()
    result = worker.run("echo never", shared("a.raw", "a.mzML", convert))
    assert result["stage"] == "convert"
    assert text in result["message"]
    assert "a.raw" in result["message"]


def test_a_conversion_can_be_stopped(worker: Worker) -> None:
    (worker.data / "a.raw").touch()
    worker.order("echo never", shared("a.raw", "a.mzML", ["sh", "-c", "touch ../../output/on; sleep 61"]))
    worker.start()
    wait_until((worker.work / "output" / "on").exists)
    (worker.job / ".cumulus.stop").touch()
    wait_until((worker.job / ".cumulus.result").exists)
    assert (worker.result["stage"], worker.result["message"]) == ("stopped", "stopped")
    assert worker.lines == []


def test_placeholders_in_a_files_name_are_only_a_name(worker: Worker) -> None:
    (worker.data / "{folder}.raw").write_text(A)
    worker.run("cat ../input/*", shared("{folder}.raw", "{name}.mzML", COPY))
    assert worker.lines == [A.strip()]


def test_a_name_that_is_no_text_is_told_readably(worker: Worker) -> None:
    result = worker.run("true", shared("a\udcff.raw"))
    assert (result["stage"], "a?.raw" in result["message"]) == ("input", True)


def kept(worker: Worker) -> dict[str, str]:
    folder = worker.job / ".cumulus.converted"
    return {path.name: path.read_text() for path in folder.iterdir()} if folder.exists() else {}


def test_what_others_may_want_is_left_in_the_job_s_folder_under_its_number(worker: Worker) -> None:
    for name in ("a", "b", "c"):
        (worker.data / f"{name}.raw").write_text(blank(name))
    plain, wanted = shared("a.raw", "a.mzML", COPY), shared("b.raw", "b.mzML", COPY) | {"keep": True}
    result = worker.run("cat ../input/*", plain, wanted, shared("c.raw") | {"keep": True}, attempt=2)
    assert result["stage"] == "done"
    assert worker.lines == [blank(name).strip() for name in "abc"]
    assert kept(worker) == {"2.1": blank("b")}
    assert (worker.job / ".cumulus.converted" / "2.1").stat().st_mode & 0o777 == 0o444


def test_what_is_left_replaces_a_half_written_one(worker: Worker) -> None:
    (worker.data / "a.raw").write_text(A)
    (worker.job / ".cumulus.converted").mkdir()
    (worker.job / ".cumulus.converted" / "1.0.part").write_text("half")
    worker.run("true", shared("a.raw", "a.mzML", COPY) | {"keep": True})
    assert kept(worker) == {"1.0": A}


def test_a_job_goes_on_where_nothing_can_be_left_for_others(worker: Worker) -> None:
    (worker.data / "a.raw").write_text(A)
    (worker.job / ".cumulus.converted").write_text("in the way")
    result = worker.run("cat ../input/a.mzML", shared("a.raw", "a.mzML", COPY) | {"keep": True})
    assert (result["stage"], worker.lines) == ("done", [A.strip()])
    assert "a.mzML could not be kept for other jobs" in worker.log


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (A[:60], "it is cut off"),
        ("half", "it is not XML"),
        ("", "it is empty"),
        (A.replace('count="1"', 'count="3"'), "it is not complete: it says 3 spectra and has 1"),
    ],
)
def test_what_a_converter_made_is_judged_before_anybody_gets_it(worker: Worker, made: str, told: str) -> None:
    (worker.data / "a.raw").write_text(made)
    result = worker.run("echo never", shared("a.raw", "a.mzML", COPY) | {"keep": True})
    assert (result["stage"], worker.lines) == ("convert", [])
    assert result["message"].startswith(f"a.raw could not be converted (what was made of it is not whole: {told}")
    assert kept(worker) == {}
    assert not os.listdir(worker.work / "input")


def test_what_was_made_must_have_all_spectra_of_its_source(worker: Worker) -> None:
    (worker.data / "a.mgf").write_bytes(mgf())
    (worker.data / "seven.mzML").write_bytes(mzml(Form(peptides=PEPTIDES[:7])))
    seven = ["cp", str(worker.data / "seven.mzML"), "{folder}/{name}"]
    result = worker.run("echo never", shared("a.mgf", "a.mzML", seven) | {"keep": True})
    assert result["stage"] == "convert"
    assert "a.mgf could not be converted (it has 8 spectra, and what was made of it has 7)" in result["message"]
    assert kept(worker) == {}


def test_a_folder_in_the_place_of_the_file_is_a_failure(worker: Worker) -> None:
    (worker.data / "a.raw").touch()
    result = worker.run("echo never", shared("a.raw", "a.mzML", ["mkdir", "{folder}/{name}"]) | {"keep": True})
    assert (result["stage"], kept(worker)) == ("convert", {})
    assert "it is a folder" in result["message"]


def test_a_conversion_that_fails_once_is_tried_again(worker: Worker) -> None:
    (worker.data / "a.raw").write_text(A)
    flaky = ["sh", "-c", 'test -e ../once || { touch ../once; exit 3; }; cp "$1" "$2/$3"', "sh", "{source}", "{folder}", "{name}"]
    result = worker.run("cat ../input/a.mzML", shared("a.raw", "a.mzML", flaky) | {"keep": True})
    assert (result["stage"], worker.lines) == ("done", [A.strip()])
    assert "a.raw could not be converted (exit code 3)" in worker.log
    assert kept(worker) == {"1.0": A}


def test_what_a_converter_made_is_converted_once_more_where_the_app_does_not_read_it(worker: Worker) -> None:
    """As tdf2mzml writes it: ids of ion mobility."""
    (worker.data / "a.raw").write_bytes(mzml(Form(name=merged)))
    one = shared("a.raw", "a.mzML", COPY) | {"accepts": ["index-free"], "rewrite": COPY}
    result = worker.run("grep -c 'id=\"scan=' ../input/a.mzML", one)
    assert (result["stage"], worker.lines) == ("done", ["8"])
    assert "the spectra of a.raw are numbered as they come" in worker.log


def test_what_the_app_cannot_read_even_after_two_conversions_is_told(worker: Worker) -> None:
    """A converter that writes such ids whatever it is given."""
    (worker.data / "other").write_bytes(mzml(Form(name=merged)))
    (worker.data / "a.mzML").write_bytes(mzml(Form(name=merged)))
    stubborn = ["sh", "-c", f'cp "{worker.data}/other" "$1/$2"', "sh", "{folder}", "{name}"]
    one = shared("a.mzML", "a.mzML", stubborn) | {"accepts": ["index-free"], "rewrite": stubborn}
    result = worker.run("grep -c 'id=\"merged=' ../input/a.mzML", one)
    assert (result["stage"], worker.lines) == ("done", ["8"])
    assert report(worker)["warnings"] == ["a.mzML: the app may not read all of it (any-ids)"]


def test_a_failed_conversion_leaves_nothing_for_others(worker: Worker) -> None:
    (worker.data / "a.raw").touch()
    convert = ["sh", "-c", 'echo half > "$1/$2"; exit 4', "sh", "{folder}", "{name}"]
    assert worker.run("true", shared("a.raw", "a.mzML", convert) | {"keep": True})["stage"] == "convert"
    assert kept(worker) == {}


def report(worker: Worker) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((worker.job / ".cumulus.report").read_text())
    return found


def test_each_input_is_told_with_its_size_and_sum(worker: Worker) -> None:
    (worker.data / "a.mgf").write_bytes(mgf())
    (worker.data / "b.d").mkdir()
    (worker.data / "b.d" / "x").write_bytes(b"12345")
    worker.run("true", shared("a.mgf"), shared("b.d"))
    first, second = report(worker)["inputs"]
    assert first == {
        "name": "a.mgf",
        "target": "a.mgf",
        "size": len(mgf()),
        "sha256": hashlib.sha256(mgf()).hexdigest(),
        "kind": "mgf",
        "spectra": 8,
    }
    assert (second["size"], second["kind"]) == (5, "d")


def test_conversions_are_told_with_who_made_them(worker: Worker) -> None:
    (worker.data / "a.raw").write_bytes(mzml())
    worker.run("true", shared("a.raw", "a.mzML", COPY))
    told = report(worker)["conversions"]
    assert [(one["source"], one["target"], one["version"], one["spectra"]) for one in told] == [("a.raw", "a.mzML", "s 1", 8)]
    assert "cp" in told[0]["command"]


def test_a_file_that_is_not_the_one_that_was_sent_is_refused(worker: Worker) -> None:
    (worker.data / "a.bin").write_bytes(b"new")
    right = f"sha256:{hashlib.sha256(b'new').hexdigest()}"
    assert worker.run("true", shared("a.bin") | {"expected": right})["stage"] == "done"
    result = worker.run("echo never", shared("a.bin") | {"expected": "sha256:" + "0" * 64}, attempt=2)
    assert (result["stage"], worker.lines) == ("inspect", [])
    assert result["message"] == "a.bin is not the file that was sent: its content has changed since"


def test_a_faulty_file_fails_the_job_before_anything_is_converted(worker: Worker) -> None:
    (worker.data / "good.raw").write_text(A)
    (worker.data / "bad.mzML").write_bytes(mzml()[:9000])
    result = worker.run("echo never", shared("good.raw", "good.mzML", COPY), shared("bad.mzML"))
    assert (result["stage"], result["exit_code"], worker.lines) == ("inspect", 1, [])
    assert result["message"].startswith("bad.mzML: it is cut off: it ends in or after spectrum 5 of 8, at byte")
    assert "converted" not in worker.log


def alone(one: dict[str, Any]) -> dict[str, Any]:
    return one | {"alone": True, "group": "spectra"}


def test_a_bad_file_does_not_spoil_those_that_are_taken_one_by_one(worker: Worker) -> None:
    (worker.data / "good.mgf").write_bytes(mgf())
    (worker.data / "blank.mgf").write_bytes(b"# nothing\n")
    (worker.data / "bad.raw").write_text("bad")
    files = alone(shared("blank.mgf")), alone(shared("bad.raw", "bad.mzML", COPY)), alone(shared("good.mgf"))
    result = worker.run("ls ../input", *files)
    assert (result["stage"], worker.lines) == ("done", ["good.mgf"])
    told = report(worker)
    assert [(one["name"], one["outcome"]) for one in told["files"]] == [("blank.mgf", "skipped"), ("bad.raw", "skipped")]
    assert "blank.mgf: it has no spectra" in told["files"][0]["message"]
    assert "bad.raw could not be converted" in told["files"][1]["message"]
    assert len(told["warnings"]) == 2


@pytest.mark.parametrize("bad", [["a.mgf", "b.mgf"], ["a.mgf", "other.fasta"]])
def test_where_all_are_bad_or_another_is_the_job_fails(worker: Worker, bad: list[str]) -> None:
    for name in ("a.mgf", "b.mgf", "other.fasta"):
        (worker.data / name).write_bytes(b"" if name in bad else FASTA if name == "other.fasta" else mgf())
    result = worker.run("echo never", alone(shared("a.mgf")), alone(shared("b.mgf")), shared("other.fasta"))
    assert (result["stage"], worker.lines) == ("inspect", [])
    assert result["message"] == f"{bad[-1] if 'other.fasta' in bad else bad[0]}: it is empty"


def test_text_is_rewritten_where_the_app_does_not_read_it_as_it_is(worker: Worker) -> None:
    (worker.data / "db.fasta").write_bytes(b"\xef\xbb\xbf" + FASTA.replace(b"MKRS", b"mkrs").replace(b"\n", b"\r\n"))
    worker.run("cat ../input/db.fasta", shared("db.fasta") | {"accepts": []})
    assert "\n".join(worker.lines).encode() + b"\n" == FASTA
    assert "db.fasta begins with a byte order mark, has sequences in lower case: it is written anew for the app" in worker.log
    worker.run("grep -c mkrs ../input/db.fasta", shared("db.fasta"), attempt=2)
    assert worker.lines[-1] == "1"


def test_a_text_that_the_app_reads_is_linked(worker: Worker) -> None:
    (worker.data / "db.fasta").write_bytes(FASTA.lower().replace(b"x0", b"X0"))
    worker.run("test -L ../input/db.fasta && echo link", shared("db.fasta"))
    assert worker.lines == ["link"]


def test_a_name_of_255_bytes_is_linked_copied_and_converted(worker: Worker) -> None:
    linked, converted = "l" * 251 + ".raw", "c" * 250 + ".mzML"
    for name in (linked, converted):
        (worker.data / name).write_text(A)
    worker.run("ls ../input | wc -c", shared(linked), shared(converted, converted, COPY))
    worker.run("ls ../input | wc -c", shared(linked), attempt=2, copy_inputs=True)
    assert worker.lines == ["512", "256"]


def test_how_far_a_long_check_is_stands_in_the_log() -> None:
    from cumulus_runner.inspecting import Progress
    from cumulus_runner.programs import StopRequest

    lines: list[str] = []
    times = iter([0.0, 4.0, 11.0, 12.0, 30.0])
    journal = SimpleNamespace(server=lines.append)
    progress = Progress("a.mzML", 400, journal, StopRequest(), lambda: next(times))  # type: ignore[arg-type]
    for _ in range(4):
        progress(100)
    assert lines == ["checked 50 % of a.mzML", "checked 100 % of a.mzML"]


def test_a_check_ends_when_the_job_is_stopped() -> None:
    from cumulus_runner.errors import Stopped
    from cumulus_runner.inspecting import Progress
    from cumulus_runner.programs import StopRequest

    stop = StopRequest()
    progress = Progress("a.mzML", 400, SimpleNamespace(), stop)  # type: ignore[arg-type]
    stop.make()
    with pytest.raises(Stopped):
        progress(1)


@pytest.mark.parametrize("many", [0, 1 << 40])
def test_several_large_files_are_checked_each_in_a_process_of_its_own(tmp_path: Path, many: int) -> None:
    from cumulus_runner.inspecting import Inspection
    from cumulus_runner.inspection import Finding
    from cumulus_runner.programs import StopRequest

    contents = {"a.mzML": mzml(), "b.mgf": mgf(), "c.mzML": mzml()[:9000], "d.bin": b"x"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    plan = SimpleNamespace(cpus=2, inputs=[SimpleNamespace(name=name) for name in contents])
    places = SimpleNamespace(temp=str(tmp_path))
    inspection = Inspection(plan, places, SimpleNamespace(), None, StopRequest(), SimpleNamespace(), many)  # type: ignore[arg-type]
    found = inspection.run([str(tmp_path / name) for name in contents])
    assert found[0] == Finding("mzML", len(mzml()), hashlib.sha256(mzml()).hexdigest(), frozenset(), 8)
    assert found[2] == "c.mzML: it is cut off: it ends in or after spectrum 5 of 8, at byte 9000, without </mzML>"
    assert [one if isinstance(one, str) else one.spectra for one in found.values()] == [8, 8, found[2], None]
