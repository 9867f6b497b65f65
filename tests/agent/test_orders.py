"""What a client may ask for."""

import json

import pytest

from agent.errors import InvalidInput
from agent.queue.orders import DATA, Wanted, read_order
from agent.sources.paths import Root, parse

ROOTS = (Root("/srv/raw", (parse("/srv/raw"), parse("Z:/"))),)
FORM = {
    "job_id": "7",
    "job_dir": "Job_7_me_app_1",
    "owner": "me",
    "files": '["/srv/raw/a.raw"]',
    "local_files": '["Z:\\\\l.txt"]',
}


def test_shared_files_go_to_data_and_others_to_the_jobs_input() -> None:
    order = read_order(FORM, ROOTS)
    assert (order.number, order.folder, order.owner, order.refusal) == (7, "Job_7_me_app_1", "me", "")
    assert order.wanted == (
        Wanted("/srv/raw/a.raw", DATA, "a.raw"),
        Wanted("/srv/raw/l.txt", "jobs/Job_7_me_app_1/input", "l.txt"),
    )


def test_a_job_may_have_no_files() -> None:
    assert read_order({**FORM, "files": "[]", "local_files": ""}, ROOTS).wanted == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("job_id", "The storage is full: no new job can be taken"),
        ("job_id", ""),
        ("job_id", "0"),
        ("job_id", "-7"),
        ("job_id", "7.0"),
        ("job_id", "٧"),
        ("job_id", "7" * 30),
        ("job_id", "8"),
        ("job_dir", ""),
        ("job_dir", "../Job_7_me_app_1"),
        ("job_dir", "Job_7_me/../../x"),
        ("owner", ""),
        ("owner", " "),
        ("owner", "x" * 201),
        ("owner", "\ud800"),
    ],
)
def test_what_names_no_job_is_refused(field: str, value: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_order({**FORM, field: value}, ROOTS)
    assert caught.value.field in (field, "job_dir")


@pytest.mark.parametrize(
    "files",
    [
        "/srv/raw/a.raw",
        "{}",
        "[1]",
        "[[]]",
        '"x"',
        "[" * 100_000,
        '["/etc/shadow"]',
        '["/srv/raw/../../etc/shadow"]',
        '["/srv/raw/.cumulus.rsync"]',
        '["/srv/raw"]',
        '["/srv/raw/x/a.raw", "/srv/raw/y/a.raw"]',
        json.dumps(["/srv/raw/a"] * 100_001),
    ],
)
def test_files_that_cannot_be_sent_are_a_refusal_that_the_controller_hears(files: str) -> None:
    order = read_order({**FORM, "files": files}, ROOTS)
    assert order.refusal
    assert order.wanted == ()


def test_a_file_named_twice_is_sent_once() -> None:
    order = read_order({**FORM, "files": '["/srv/raw/a.raw", "Z:/a.raw"]', "local_files": "[]"}, ROOTS)
    assert len(order.wanted) == 1


def test_a_shared_file_and_another_of_the_same_name_are_refused_by_name() -> None:
    order = read_order({**FORM, "files": '["/srv/raw/x/a.raw"]', "local_files": '["/srv/raw/y/a.raw"]'}, ROOTS)
    assert "/srv/raw/x/a.raw" in order.refusal
    assert "/srv/raw/y/a.raw" in order.refusal
    assert order.wanted == ()


def test_one_file_may_be_shared_and_the_jobs_own() -> None:
    order = read_order({**FORM, "files": '["/srv/raw/a.raw"]', "local_files": '["Z:/a.raw"]'}, ROOTS)
    assert [one.place for one in order.wanted] == [DATA, "jobs/Job_7_me_app_1/input"]
