"""What a storage remembers of its jobs beside their folders."""

import os
from pathlib import Path

import pytest

from server.storage.ledger import MAX_NUMBER, Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(tmp_path)
    made.prepare()
    return made


def place(tmp_path: Path) -> Path:
    return tmp_path / ".cumulus.ledger"


def test_the_last_number_only_grows(ledger: Ledger) -> None:
    assert ledger.last_number() == 0
    for number, last in ((3, 3), (2, 3), (MAX_NUMBER, MAX_NUMBER)):
        ledger.begin(number, f"Job_{number}")
        assert ledger.last_number() == last
    assert ledger.submitting() == ["Job_2", "Job_3", f"Job_{MAX_NUMBER}"]


@pytest.mark.parametrize("text", [b"", b"7", b"-00000000000007\n", b"\xff" * 16, b"000000000000007", b"0" * 5000])
def test_what_is_no_number_tells_none(ledger: Ledger, tmp_path: Path, text: bytes) -> None:
    (place(tmp_path) / "last-number").write_bytes(text)
    assert ledger.last_number() == 0
    ledger.begin(5, "Job_5")
    assert ledger.last_number() == 5


@pytest.mark.parametrize("kind", ["fifo", "folder", "link"])
def test_what_is_no_file_is_neither_read_nor_waited_for(ledger: Ledger, tmp_path: Path, kind: str) -> None:
    for name in ("last-number", "switches", "deleted/Job_1"):
        path = place(tmp_path) / name
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_text("000000000000007\n")
    assert (ledger.last_number(), ledger.switches_text()) == (0, "")
    with pytest.raises(OSError):  # noqa: PT011  # which one depends on what lies there
        ledger.deleted_text("Job_1")
    ledger.begin(8, "Job_8")
    ledger.keep_switches("[]")
    assert ledger.bury("Job_1", "kept", tmp_path / "manifest")
    assert (ledger.last_number(), ledger.switches_text(), ledger.deleted_text("Job_1")) == (8, "[]", "kept")
    assert (ledger.submitting(), ledger.deleted()) == (["Job_8"], ["Job_1"])
    assert len(list(place(tmp_path).rglob("*.broken-*"))) == 3
    assert (tmp_path / "elsewhere").read_text() == "000000000000007\n"


def test_what_is_kept_of_a_deleted_job_is_replaced_whole(ledger: Ledger, tmp_path: Path) -> None:
    manifest = tmp_path / "job" / ".cumulus.job"
    assert ledger.bury("Job_1", "first", manifest)
    assert ledger.bury("Job_1", "second", manifest)
    assert (ledger.deleted(), ledger.deleted_text("Job_1")) == (["Job_1"], "second")
    assert sorted(path.name for path in place(tmp_path).iterdir()) == ["deleted", "submitting"]


def test_a_job_that_is_not_deleted_after_all_has_its_manifest(ledger: Ledger, tmp_path: Path) -> None:
    manifest = tmp_path / "job" / ".cumulus.job"
    manifest.parent.mkdir()
    ledger.bury("Job_1", "kept", manifest)
    ledger.exhume("Job_1", manifest)
    assert (ledger.deleted(), manifest.read_text()) == ([], "kept")
    ledger.bury("Job_1", "other", manifest)
    ledger.exhume("Job_1", manifest)
    assert (ledger.deleted(), manifest.read_text()) == ([], "kept")


def test_nobody_else_reads_it(ledger: Ledger, tmp_path: Path) -> None:
    assert place(tmp_path).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["", "submitting", "deleted", "submitting/Job_3", "deleted/Job_3", "new-Job_3"])
@pytest.mark.parametrize("kind", ["fifo", "file", "folder", "link"])
def test_garbage_in_any_place_of_it_is_set_aside(tmp_path: Path, name: str, kind: str) -> None:
    path = place(tmp_path) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "file":
        path.write_text("garbage")
    elif kind == "folder":
        (path / "garbage").mkdir(parents=True)
    else:
        (tmp_path / "elsewhere").mkdir()
        path.symlink_to(tmp_path / "elsewhere")
    ledger = Ledger(tmp_path)
    ledger.begin(3, "Job_3")
    assert "Job_3" in ledger.submitting()
    ledger.end_submission("Job_3")
    assert ledger.bury("Job_3", "kept", tmp_path / "manifest")
    assert (ledger.last_number(), ledger.deleted_text("Job_3")) == (3, "kept")
    assert "Job_3" not in ledger.submitting()


def test_a_link_to_nowhere_is_named(tmp_path: Path) -> None:
    """The disk that it leads to may not be mounted, with all that the ledger has."""
    place(tmp_path).symlink_to(tmp_path / "unmounted")
    with pytest.raises(OSError, match=r"\.cumulus\.ledger leads to .*: mount what it should be, or remove the link"):
        Ledger(tmp_path).begin(3, "Job_3")
