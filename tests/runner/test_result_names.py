"""Results over REST: whatever an app calls its files, all that is listed can be fetched, and nothing is missing."""

import os
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest
from cumulus_runner.folder import JobFolder as RunnerFolder
from cumulus_runner.journal import Journal
from cumulus_runner.orders import Places
from cumulus_runner.programs import StopRequest
from cumulus_runner.results import Results, Stored
from cumulus_runner.room import Room
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from server.app import Controller
from server.db.models import Job
from tests.api.test_desktop import Wire, finished, wire

__all__ = ["wire"]

NAMES = [
    b"a",
    b"%25.txt",
    b"50%.txt",
    b"a+b c#d?e&f=g;h.txt",
    b" leading and trailing ",
    "n\u0303 NFD".encode(),
    "ñ NFC".encode(),
    b"...",
    b"a\nb",
    b"\xff\xfe",
    b"back\\slash",
    b".cumulus.plan",
    b"RENAMED FILES.txt",
    b"x" * 255,
    "ö".encode() * 127,
    b"\x80" * 255,
    b"'\"<>|:*",
    "\u202egpj.exe".encode(),
    "\u2028".encode(),
    b"%2F",
    b"%00",
]
names = st.one_of(
    st.sampled_from(NAMES), st.binary(min_size=1, max_size=255), st.text(max_size=60).map(lambda t: t.encode(errors="replace"))
)
legal = names.map(lambda name: name.replace(b"/", b"|").replace(b"\0", b"0")[:255]).filter(
    lambda name: name not in (b"", b".", b"..")
)


@pytest.fixture
def job(wire: Wire, controller: Controller) -> Job:
    return finished(controller)


def stored(controller: Controller, job: Job, output: Path) -> Stored:
    """What the runner stores of a folder that an app has filled."""
    folder, work = controller.storage.folder(job.folder), output.parent
    places = Places(str(folder.path), str(folder.path), "", str(work))
    stop, journal = StopRequest(), Journal(str(work / "log"))
    try:
        return Results(places, journal, stop, Room(RunnerFolder(str(folder.path)), 0, 0.0, stop, journal.server)).store()
    finally:
        stop.close()
        journal.close()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(legal, legal | st.none()), max_size=6, unique=True))
@example([(name, None) for name in NAMES])
@example([(name, NAMES[-number]) for number, name in enumerate(NAMES)])
def test_all_that_is_listed_can_be_fetched_and_nothing_is_missing(
    wire: Wire,
    controller: Controller,
    job: Job,
    tmp_path: Path,
    found: list[tuple[bytes, bytes | None]],
) -> None:
    output = tmp_path / "work" / "output"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    contents = set()
    for folder, name in found:
        path = os.path.join(os.fsencode(output), folder, *([name] if name else []))
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "xb") as file:
                file.write(path)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue  # one was a file and a folder
        contents.add(path)
    told = stored(controller, job, output)
    assert (told.missing, told.skipped) == ([], [])
    row = next(row for row in wire.get(f"/joblist/{job.id}/10") if row["id"] == job.id)
    assert sorted(path for path, _ in row["files"]) == [entry["path"] for entry in told.entries]
    fetched = []
    for path, size in row["files"]:
        status, headers, body = wire.send("GET", f"/getresults/ada/{job.id}/{quote(path, safe='')}")
        assert (status, len(body), headers["content-length"]) == (200, size, str(size)), path
        fetched.append(body)
    renamed = [body for body in fetched if body.startswith(b"The names of these results")]
    assert set(fetched) - set(renamed) == contents
    assert len(fetched) == len(contents) + len(renamed)
