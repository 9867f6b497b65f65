"""Files on their way to the app."""

import os
import time

import pytest

from tests.runner.conftest import Worker, own, shared, wait_until

COPY = ["sh", "-c", 'cp "$1" "$2/$3"', "sh", "{source}", "{folder}", "{name}"]


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
    (worker.data / "a b.raw").write_text("RAW\n")
    result = worker.run('cat "../input/a b.mzML"; ls ../temp', shared("a b.raw", "a b.mzML", COPY))
    assert result["stage"] == "done"
    assert worker.lines == ["RAW"]
    assert "converted a b.raw to a b.mzML" in worker.log


def test_conversions_run_at_once_but_not_more_than_there_are_processors(worker: Worker) -> None:
    for name in "abcd":
        (worker.data / f"{name}.raw").touch()
    count = 'echo > "$2/../on-$$"; ls "$2/.." | grep -c ^on- >> "$2/../../output/counts"'
    script = f'{count}; sleep 0.4; rm "$2/../on-$$"; cp "$1" "$2/$3"'
    convert = ["sh", "-c", script, "sh", "{source}", "{folder}", "{name}"]
    begin = time.monotonic()
    worker.run("sort -u counts", *(shared(f"{name}.raw", f"{name}.mzML", convert) for name in "abcd"), cpus=2)
    assert time.monotonic() - begin > 0.8
    assert worker.lines[-1] == "2"


def test_indexed_mzml_is_taken_as_it_is(worker: Worker) -> None:
    (worker.data / "indexed.mzML").write_text('<?xml version="1.0"?>\n<indexedmzML>')
    (worker.data / "plain.mzML").write_text('<?xml version="1.0"?>\n<mzML>')
    both = [shared(name, name, COPY, unless_indexed=True) for name in ("indexed.mzML", "plain.mzML")]
    worker.run("cd ../input; for i in *; do test -L $i && echo link $i || echo file $i; done", *both)
    assert worker.lines == ["link indexed.mzML", "file plain.mzML"]


def test_a_failing_converter_names_the_file_and_is_quoted(worker: Worker) -> None:
    (worker.data / "bad.raw").touch()
    convert = ["sh", "-c", "echo starting; echo not a Thermo file >&2; exit 4"]
    result = worker.run("echo never", shared("bad.raw", "bad.mzML", convert))
    assert (result["stage"], result["exit_code"]) == ("convert", 1)
    assert result["message"] == "bad.raw could not be converted (exit code 4): starting / not a Thermo file"
    assert worker.lines == ["[STDERR] starting", "[STDERR] not a Thermo file"]
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
    (worker.data / "{folder}.raw").write_text("odd\n")
    worker.run("cat ../input/*", shared("{folder}.raw", "{name}.mzML", COPY))
    assert worker.lines == ["odd"]


def test_a_name_that_is_no_text_is_told_readably(worker: Worker) -> None:
    result = worker.run("true", shared("a\udcff.raw"))
    assert (result["stage"], "a?.raw" in result["message"]) == ("input", True)


def kept(worker: Worker) -> dict[str, str]:
    folder = worker.job / ".cumulus.converted"
    return {path.name: path.read_text() for path in folder.iterdir()} if folder.exists() else {}


def test_what_others_may_want_is_left_in_the_job_s_folder_under_its_number(worker: Worker) -> None:
    for name in ("a", "b", "c"):
        (worker.data / f"{name}.raw").write_text(f"{name}\n")
    plain, wanted = shared("a.raw", "a.mzML", COPY), shared("b.raw", "b.mzML", COPY) | {"keep": True}
    result = worker.run("cat ../input/*", plain, wanted, shared("c.raw") | {"keep": True}, attempt=2)
    assert result["stage"] == "done"
    assert worker.lines == ["a", "b", "c"]
    assert kept(worker) == {"2.1": "b\n"}
    assert (worker.job / ".cumulus.converted" / "2.1").stat().st_mode & 0o777 == 0o444


def test_what_is_left_replaces_a_half_written_one(worker: Worker) -> None:
    (worker.data / "a.raw").write_text("A\n")
    (worker.job / ".cumulus.converted").mkdir()
    (worker.job / ".cumulus.converted" / "1.0.part").write_text("half")
    worker.run("true", shared("a.raw", "a.mzML", COPY) | {"keep": True})
    assert kept(worker) == {"1.0": "A\n"}


def test_a_job_goes_on_where_nothing_can_be_left_for_others(worker: Worker) -> None:
    (worker.data / "a.raw").write_text("A\n")
    (worker.job / ".cumulus.converted").write_text("in the way")
    result = worker.run("cat ../input/a.mzML", shared("a.raw", "a.mzML", COPY) | {"keep": True})
    assert (result["stage"], worker.lines) == ("done", ["A"])
    assert "a.mzML could not be kept for other jobs" in worker.log


def test_a_converter_s_folder_is_not_left_for_others(worker: Worker) -> None:
    (worker.data / "a.raw").touch()
    convert = ["mkdir", "{folder}/{name}"]
    result = worker.run("test -d ../input/a.mzML && echo folder", shared("a.raw", "a.mzML", convert) | {"keep": True})
    assert (result["stage"], worker.lines) == ("done", ["folder"])
    assert kept(worker) == {}


def test_a_failed_conversion_leaves_nothing_for_others(worker: Worker) -> None:
    (worker.data / "a.raw").touch()
    convert = ["sh", "-c", 'echo half > "$1/$2"; exit 4', "sh", "{folder}", "{name}"]
    assert worker.run("true", shared("a.raw", "a.mzML", convert) | {"keep": True})["stage"] == "convert"
    assert kept(worker) == {}
