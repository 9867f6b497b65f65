"""A job's input is what its submitter chose, whatever becomes of the shared data later."""

import errno
import json
import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from server.catalog.files import InputFile, StepResult
from server.reasons import Reason
from server.storage.data import REMOVING
from server.storage.folders import JobFolder, Storage
from server.storage.inputs import placing
from server.storage.inputs.arrivals import Arrival, Sent, write_sent
from server.storage.inputs.pins import APART, InputProblem, Pins, is_as_pinned, pinned_for
from server.storage.inputs.placing import PART, Allowance, TakesLong, Unwanted
from tests.storage.killing import killed_at

ENDLESS = Allowance()


def file(name: str, *, shared: bool = True, folder: bool = False, result: StepResult | None = None) -> InputFile:
    return InputFile(name, shared, folder, convert=False, formats=(), parameter="f", result=result)


@pytest.fixture
def pins(storage: Storage) -> Pins:
    return Pins(storage)


@pytest.fixture
def run_d(storage: Storage) -> Path:
    """A shared folder."""
    top = storage.data / "run.d"
    (top / "inner").mkdir(parents=True)
    (top / "analysis.tdf").write_text("analysis")
    (top / "inner" / "a").write_text("a")
    return top


def refusing(number: int) -> Callable[..., NoReturn]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return refuse


def sent(folder: JobFolder, *files: Arrival, skipped: tuple[str, ...] = (), stored: tuple[str, ...] = ()) -> None:
    write_sent(folder, Sent(files, skipped, stored))


def own(folder: JobFolder, name: str) -> str:
    return f"jobs/{folder.name}/input/{name}"


def content(top: Path) -> dict[str, str]:
    return {path.relative_to(top).as_posix(): path.read_text() for path in top.rglob("*") if path.is_file()}


def refused(pins: Pins, folder: JobFolder, *files: InputFile) -> tuple[Reason, str]:
    with pytest.raises(InputProblem) as problem:
        pins.pin(folder, files, ENDLESS)
    assert pinned_for(folder) is None
    return problem.value.reason, problem.value.message


def test_a_pinned_file_stays_what_it_was_whatever_becomes_of_the_shared_one(
    storage: Storage, folder: JobFolder, pins: Pins
) -> None:
    (storage.data / "a").write_text("chosen")
    pins.pin(folder, [file("a")], ENDLESS)
    assert (folder.input / "a").samefile(storage.data / "a")
    (storage.data / "b").write_text("another")
    (storage.data / "b").rename(storage.data / "a")
    assert (folder.input / "a").read_text() == "chosen"
    (storage.data / "a").unlink()
    assert (folder.input / "a").read_text() == "chosen"


def test_a_pinned_folder_is_a_tree_of_links_without_what_links_lead_to(
    storage: Storage, folder: JobFolder, pins: Pins, run_d: Path
) -> None:
    (run_d / "secret").symlink_to("/etc/passwd")
    (run_d / "inner" / "up").symlink_to(storage.root, target_is_directory=True)
    pinned = pins.pin(folder, [file("run.d", folder=True)], ENDLESS)
    assert (folder.input / "run.d" / "inner" / "a").samefile(run_d / "inner" / "a")
    shutil.rmtree(run_d)
    assert content(folder.input / "run.d") == {"analysis.tdf": "analysis", "inner/a": "a"}
    assert [path.name for path in folder.input.iterdir()] == ["run.d"]
    (note,) = pinned.notes
    assert note.startswith("left out of folders: ")
    assert all(name in note for name in ("run.d/secret", "run.d/inner/up"))


def test_links_in_a_folder_that_came_for_this_job_alone_are_left_out_too(folder: JobFolder, pins: Pins) -> None:
    (folder.input / "own.d").mkdir()
    (folder.input / "own.d" / "a").write_text("a")
    (folder.input / "own.d" / "secret").symlink_to("/etc/passwd")
    (note,) = pins.pin(folder, [file("own.d", shared=False, folder=True)], ENDLESS).notes
    assert [path.name for path in (folder.input / "own.d").iterdir()] == ["a"]
    assert "own.d/secret" in note


def test_no_name_of_a_pinned_file_is_for_writing(storage: Storage, folder: JobFolder, pins: Pins) -> None:
    (storage.data / "a").write_text("chosen")
    pins.pin(folder, [file("a")], ENDLESS)
    assert (storage.data / "a").stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP])
def test_where_nothing_can_be_linked_it_is_copied_with_its_time(
    storage: Storage, folder: JobFolder, pins: Pins, run_d: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (storage.data / "a").write_text("chosen")
    os.utime(storage.data / "a", ns=(1, 1_700_000_000_123_456_789))
    monkeypatch.setattr(os, "link", refusing(number))
    pins.pin(folder, [file("a"), file("run.d", folder=True)], ENDLESS)
    pinned = folder.input / "a"
    assert not pinned.samefile(storage.data / "a")
    assert (pinned.read_text(), pinned.stat().st_mtime_ns) == ("chosen", 1_700_000_000_123_456_789)
    assert content(folder.input / "run.d") == content(run_d)


def test_another_failure_of_a_link_is_none_of_a_copy_s(
    storage: Storage, folder: JobFolder, pins: Pins, monkeypatch: pytest.MonkeyPatch
) -> None:
    (storage.data / "a").write_text("chosen")
    monkeypatch.setattr(os, "link", refusing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        pins.pin(folder, [file("a")], ENDLESS)
    monkeypatch.undo()
    assert list(folder.input.iterdir()) == []
    pins.pin(folder, [file("a")], ENDLESS)


def test_a_shared_file_that_came_for_this_job_alone_is_taken_before_the_storage_s(
    storage: Storage, folder: JobFolder, pins: Pins
) -> None:
    (storage.data / "a").write_text("others'")
    (folder.input / "a").write_text("mine")
    assert pins.pin(folder, [file("a")], ENDLESS).notes == (f"a: {APART}",)
    assert (folder.input / "a").read_text() == "mine"


def test_the_list_of_what_was_sent_decides_which_file_is_meant(storage: Storage, folder: JobFolder, pins: Pins) -> None:
    for name in ("a", "b"):
        (storage.data / name).write_text("shared")
        (folder.input / name).write_text("own")
    sent(folder, Arrival("data/a", 6, checksum="sha256:ab"), Arrival(own(folder, "b"), 3, checksum="sha256:cd"))
    pinned = pins.pin(folder, [file("a"), file("b")], ENDLESS)
    assert content(folder.input) == {"a": "shared", "b": "own"}
    assert [(pin.name, pin.shared, pin.expected) for pin in pinned.pins] == [
        ("a", True, "sha256:ab"),
        ("b", False, "sha256:cd"),
    ]
    assert pinned.notes == (f"b: {APART}",)


def test_what_was_left_out_and_what_is_the_storage_s_is_told(storage: Storage, folder: JobFolder, pins: Pins) -> None:
    (storage.data / "a").write_text("1")
    many = tuple(f"x.d/{number}" for number in range(25))
    sent(folder, Arrival("data/a", 1, checksum="sha256:ab"), skipped=many, stored=("a",))
    notes = pins.pin(folder, [file("a")], ENDLESS).notes
    assert notes[0] == "a: not sent, the storage's file is used (sha256:ab)"
    assert "x.d/18, x.d/19 and 5 more (" in notes[1]


def test_of_a_folder_exactly_the_files_that_were_sent_are_read(
    storage: Storage, folder: JobFolder, pins: Pins, run_d: Path
) -> None:
    sent(folder, Arrival("data/run.d/inner/a", 1, checksum="x"), Arrival(own(folder, "own.d/b"), 1))
    (folder.input / "own.d").mkdir()
    for name in ("b", "of an earlier transfer"):
        (folder.input / "own.d" / name).write_text("b")
    pins.pin(folder, [file("run.d", folder=True), file("own.d", shared=False, folder=True)], ENDLESS)
    assert content(folder.input) == {"run.d/inner/a": "a", "own.d/b": "b"}
    assert (run_d / "analysis.tdf").exists()


@pytest.mark.parametrize(
    ("arrival", "problem"),
    [
        (Arrival("data/a", 5), "data/a has 3 bytes, not 5"),
        (Arrival("data/a", 3, modified_ns=7), "data/a was changed since it was sent"),
        (Arrival("data/a", 3, modified_ns=7, checksum="0123"), "data/a was changed since it was sent"),
        (Arrival("data/run.d/inner/a", 1, 7, "sha256:ab"), "data/run.d/inner/a was changed since it was sent"),
        (Arrival("data/gone", 3), "data/gone is gone"),
        (Arrival("data/run.d", 3), "data/run.d is no file"),
        (Arrival("data/a/below", 3), "data/a/below is gone"),
        (Arrival("data/run.d/gone", 3), "data/run.d/gone is gone"),
        (Arrival("data/run.d/inner", 3), "data/run.d/inner is no file"),
        (Arrival("data/run.d/analysis.tdf", 3), "data/run.d/analysis.tdf has 8 bytes, not 3"),
    ],
)
@pytest.mark.usefixtures("run_d")
def test_what_is_not_as_it_was_sent_is_named(
    storage: Storage, folder: JobFolder, pins: Pins, arrival: Arrival, problem: str
) -> None:
    (storage.data / "a").write_text("123")
    sent(folder, arrival)
    name = arrival.path.split("/")[1]
    assert refused(pins, folder, file(name)) == (Reason.INPUT_INCOMPLETE, problem)


@pytest.mark.parametrize(("modified_ns", "checksum"), [(0, "0123"), (1_700_000_000_000_000_000, "0123"), (7, "sha256:ab")])
def test_a_time_that_is_not_known_or_not_exact_or_not_needed_is_no_change(
    storage: Storage, folder: JobFolder, pins: Pins, modified_ns: int, checksum: str
) -> None:
    (storage.data / "a").write_text("123")
    os.utime(storage.data / "a", ns=(0, 1_700_000_000_900_000_000))
    sent(folder, Arrival("data/a", 3, modified_ns, checksum))
    assert pins.pin(folder, [file("a")], ENDLESS).by_name["a"].expected == (checksum if "sha256" in checksum else None)


@pytest.mark.parametrize("name", ["..", "../../other", "/etc", "", ".cumulus.log", 5, None, ["a"]])
def test_a_pin_that_leads_out_of_the_job_s_input_is_none(folder: JobFolder, pins: Pins, name: object) -> None:
    pin = {"name": name, "shared": True, "content": "", "seen": ""}
    for told in ({"version": 1, "pins": [pin], "notes": []}, [], {"version": 1, "pins": [1], "notes": []}, {"version": 1}):
        (folder.path / ".cumulus.pinned").write_text(json.dumps(told))
        found = pinned_for(folder)
        assert found is None or [one.name for one in found.pins] == [str(name)] == [os.path.basename(str(name))]


def test_what_nobody_has_sent_is_named_with_what_was_missed(storage: Storage, folder: JobFolder, pins: Pins) -> None:
    (storage.data / "there").write_text("x")
    (storage.data / "link").symlink_to(storage.data / "there")
    assert refused(pins, folder, file("a"), file("b", shared=False)) == (Reason.INPUT_MISSING, "Missing: a, b")
    assert refused(pins, folder, file("there", shared=False)) == (Reason.INPUT_MISSING, "Missing: there")
    assert refused(pins, folder, file("link"))[0] == Reason.INPUT_MISSING
    sent(folder)
    assert refused(pins, folder, file("there")) == (Reason.INPUT_MISSING, "Not sent: there")
    (folder.path / ".cumulus.manifest").write_text("{")
    assert refused(pins, folder, file("there"))[0] == Reason.INPUT_INCOMPLETE


def test_results_of_other_steps_are_sent_by_nobody(folder: JobFolder, pins: Pins) -> None:
    sent(folder)
    assert pins.pin(folder, [file("r", shared=False, result=StepResult(0, "r"))], ENDLESS).pins == ()


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("there", ["NFC", "NFD"])
@pytest.mark.parametrize("place", ["data", "input"])
def test_a_name_is_found_in_another_unicode_form_and_gets_the_form_s(
    storage: Storage, folder: JobFolder, pins: Pins, there: str, told: bool, place: str
) -> None:
    forms = ("NFC", "NFD") if there == "NFC" else ("NFD", "NFC")
    stored, wanted = (unicodedata.normalize(form, "größe Å.fasta") for form in forms)
    top = storage.data if place == "data" else folder.input
    (top / stored).write_text("x")
    if told:
        sent(folder, Arrival(f"data/{wanted}" if place == "data" else own(folder, stored), 1, checksum="x"))
    pins.pin(folder, [file(wanted)], ENDLESS)
    assert [path.name for path in folder.input.iterdir()] == [wanted]


@pytest.mark.parametrize("length", [1, 255])
def test_names_of_every_length_can_be_pinned(storage: Storage, folder: JobFolder, pins: Pins, length: int) -> None:
    (storage.data / ("n" * length)).write_text("x")
    pins.pin(folder, [file("n" * length)], ENDLESS)
    assert (folder.input / ("n" * length)).read_text() == "x"


def test_nothing_temporary_stays(storage: Storage, folder: JobFolder, pins: Pins) -> None:
    (storage.data / "a").write_text("x")
    (folder.input / ".upload.0a1b2c").mkdir()
    (folder.input / ".cumulus.partial").mkdir()
    (folder.input / PART).write_text("half")
    (folder.input / f"{REMOVING}0a1b").mkdir()
    pins.pin(folder, [file("a")], ENDLESS)
    assert [path.name for path in folder.input.iterdir()] == ["a"]


@pytest.mark.usefixtures("run_d")
def test_what_takes_long_is_left_to_somebody_else(
    storage: Storage, folder: JobFolder, pins: Pins, monkeypatch: pytest.MonkeyPatch
) -> None:
    (storage.data / "a").write_text("12345")
    with pytest.raises(TakesLong):
        pins.pin(folder, [file("run.d", folder=True)], Allowance(files=3))
    monkeypatch.setattr(os, "link", refusing(errno.EXDEV))
    with pytest.raises(TakesLong):
        pins.pin(folder, [file("a")], Allowance(bytes=4))
    assert pinned_for(folder) is None
    assert pins.pin(folder, [file("a"), file("run.d", folder=True)], ENDLESS).by_name.keys() == {"a", "run.d"}


def test_a_long_list_is_left_to_somebody_else_before_it_is_read(folder: JobFolder, pins: Pins) -> None:
    sent(folder, *(Arrival(f"data/x.d/{number}", 1, 2, "sha256:ab") for number in range(500)))
    with pytest.raises(TakesLong):
        pins.pin(folder, [file("x.d", folder=True)], Allowance(files=200))


def test_copying_ends_when_nobody_waits_for_it(
    storage: Storage, folder: JobFolder, pins: Pins, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = storage.data / "many"
    many.mkdir()
    for number in range(600):
        (many / str(number)).touch()
    monkeypatch.setattr(os, "link", refusing(errno.EXDEV))
    with pytest.raises(Unwanted):
        pins.pin(folder, [file("many", folder=True)], Allowance(unwanted=lambda: True))
    assert list(folder.input.iterdir()) == []


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("told", [True, False])
def test_whoever_is_killed_at_any_point_of_it_is_followed_by_one_who_ends_it(
    storage: Storage, run_d: Path, pins: Pins, monkeypatch: pytest.MonkeyPatch, links: bool, told: bool
) -> None:
    """Signal 9 before and after each call that changes anything."""
    (storage.data / "a").write_text("chosen")
    files = [file("a"), file("own", shared=False), file("run.d", folder=True)]
    if not links:
        monkeypatch.setattr(os, "link", refusing(errno.EXDEV))
    point = 0
    while True:
        folder = storage.folder(f"Job_{point}_ada_comet_0")
        folder.create("{}")
        (folder.input / "own").write_text("own")
        if told:
            shared = [Arrival("data/a", 6), *(Arrival(f"data/run.d/{path}", len(text)) for path, text in content(run_d).items())]
            sent(folder, *shared, Arrival(own(folder, "own"), 3))
        survived = killed_at(point, lambda folder=folder: pins.pin(folder, files, Allowance()))
        pinned = pins.pin(folder, files, Allowance())
        assert content(folder.input) == {"a": "chosen", "own": "own", **{f"run.d/{k}": v for k, v in content(run_d).items()}}
        assert sorted(path.name for path in folder.input.iterdir()) == ["a", "own", "run.d"]
        if links and told:
            assert [pin.shared for pin in pinned.pins] == [True, False, True]
        if survived:
            break
        point += 1
    assert point > 8, "it was hardly ever killed"


def test_whoever_follows_does_not_need_what_went_meanwhile(storage: Storage, folder: JobFolder, pins: Pins) -> None:
    (storage.data / "a").write_text("chosen")
    sent(folder, Arrival("data/a", 6, checksum="x"))
    pins.pin(folder, [file("a")], ENDLESS)
    (folder.path / ".cumulus.pinned").unlink()
    (storage.data / "a").unlink()
    assert pins.pin(folder, [file("a")], ENDLESS).pins[0].shared
    assert (folder.input / "a").read_text() == "chosen"


def test_what_was_pinned_is_not_pinned_again(storage: Storage, folder: JobFolder, pins: Pins) -> None:
    (storage.data / "a").write_text("chosen")
    first = pins.pin(folder, [file("a")], ENDLESS)
    (storage.data / "b").write_text("another")
    (storage.data / "b").rename(storage.data / "a")
    assert pins.pin(folder, [file("a")], ENDLESS) == first
    assert (folder.input / "a").read_text() == "chosen"


@pytest.mark.parametrize("text", ["", "[]", '{"version": 2}', '{"version": 1, "pins": [{}], "notes": []}', "null"])
def test_a_record_that_is_none_is_made_again(storage: Storage, folder: JobFolder, pins: Pins, text: str) -> None:
    (storage.data / "a").write_text("chosen")
    (folder.path / ".cumulus.pinned").write_text(text)
    assert pinned_for(folder) is None
    pins.pin(folder, [file("a")], ENDLESS)
    assert json.loads((folder.path / ".cumulus.pinned").read_text())["pins"][0]["name"] == "a"


def test_writing_into_a_shared_file_is_noticed(storage: Storage, folder: JobFolder, pins: Pins, run_d: Path) -> None:
    (storage.data / "a").write_text("chosen")
    pinned = pins.pin(folder, [file("a"), file("run.d", folder=True)], ENDLESS)
    pins.require_unchanged(folder, pinned)
    for path in (storage.data / "a", run_d / "inner" / "a"):
        with path.open("r+") as opened:
            opened.write("C")
    with pytest.raises(InputProblem, match=r"a was changed in place after the job had taken it; run\.d was") as problem:
        pins.require_unchanged(folder, pinned)
    assert problem.value.reason is Reason.INPUT_INCOMPLETE


def test_another_time_alone_is_no_change_where_the_checksum_is_known(storage: Storage, folder: JobFolder, pins: Pins) -> None:
    (storage.data / "a").write_text("abc")
    known = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    sent(folder, Arrival("data/a", 3, checksum=known))
    (pin,) = pins.pin(folder, [file("a")], ENDLESS).pins
    os.utime(storage.data / "a", ns=(1, 1))
    assert is_as_pinned(folder.input / "a", pin)
    (storage.data / "a").write_text("abd")
    assert not is_as_pinned(folder.input / "a", pin)


def test_a_copy_of_a_file_that_is_written_meanwhile_is_refused(
    storage: Storage, folder: JobFolder, pins: Pins, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = storage.data / "a"
    source.write_text("chosen")
    monkeypatch.setattr(os, "link", refusing(errno.EXDEV))

    def write(_read: int, _write: int) -> bool:
        source.write_text("others")
        os.utime(source, ns=(1, 1))
        return False

    monkeypatch.setattr(placing, "_is_cloned", write)
    with pytest.raises(OSError, match="it was changed while it was copied"):
        pins.pin(folder, [file("a")], ENDLESS)
    assert list(folder.input.iterdir()) == []
