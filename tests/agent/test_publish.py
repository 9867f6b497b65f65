"""Names in the storage are given once, whoever asks for them at the same time and by whatever way."""

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from agent.queue.database import open_database
from agent.queue.queue import Queue
from agent.queue.states import JobState
from agent.sending import publish
from agent.serve import make_agent
from agent.settings import RootSetting, Settings
from server.storage.inputs.arrivals import left_over
from tests.agent.conftest import Lab, job_state, order, settle
from tests.agent.sshd import Sshd
from tests.agent.test_crashes import running, wait
from tests.agent.test_sending import names_in, sent_paths


def upload(data: Path, number: int, name: str = "a.raw", *, folder: bool = False) -> str:
    """Something that has arrived; the name of its folder."""
    made = data / f".upload.{number:016x}.{number:06x}"
    top = made / name
    (top if folder else made).mkdir(parents=True)
    (top / "inner" if folder else top).write_text(str(number))
    return made.name


@pytest.mark.parametrize("folder", [False, True])
def test_of_many_at_once_one_gets_the_name(tmp_path: Path, folder: bool) -> None:
    for turn in range(30):
        data, start = tmp_path / str(turn), Barrier(8)
        uploads = [upload(data, number, folder=folder) for number in range(8)]

        def give(name: str, data: Path = data, start: Barrier = start) -> list[str]:
            start.wait()
            return publish.publish(data, name, ["a.raw"], replace=False)

        with ThreadPoolExecutor(8) as pool:
            taken = list(pool.map(give, uploads))
        winner = [number for number, names in enumerate(taken) if not names]
        assert len(winner) == 1
        assert (data / "a.raw" / "inner" if folder else data / "a.raw").read_text() == str(winner[0])
        assert names_in(data) == ["a.raw"]


@pytest.mark.parametrize("there", ["file", "folder", "empty folder", "link", "link to nothing"])
@pytest.mark.parametrize("folder", [False, True])
def test_what_has_the_name_stays_whatever_it_is(tmp_path: Path, there: str, folder: bool) -> None:
    target = tmp_path / "a.raw"
    if there == "file":
        target.write_text("there")
    elif there.startswith("link"):
        target.symlink_to("/nothing" if there == "link to nothing" else "/etc")
    else:
        target.mkdir()
        if there == "folder":
            (target / "there").touch()
    before = target.lstat()
    assert publish.publish(tmp_path, upload(tmp_path, 1, folder=folder), ["a.raw"], replace=False) == ["a.raw"]
    assert target.lstat()[:4] == before[:4]
    assert names_in(tmp_path) == ["a.raw"]


@pytest.mark.parametrize("folder", [False, True])
def test_in_a_jobs_own_input_the_newest_stands(tmp_path: Path, folder: bool) -> None:
    for number, is_folder in ((1, not folder), (2, folder), (3, folder)):
        assert publish.publish(tmp_path, upload(tmp_path, number, folder=is_folder), ["a.raw"], replace=True) == []
    assert (tmp_path / "a.raw" / "inner" if folder else tmp_path / "a.raw").read_text() == "3"
    assert names_in(tmp_path) == ["a.raw"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_where_there_are_no_hard_links_a_name_is_still_given_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert publish.publish(tmp_path, upload(tmp_path, 1), ["a.raw"], replace=False) == []
    assert publish.publish(tmp_path, upload(tmp_path, 2), ["a.raw"], replace=False) == ["a.raw"]
    assert (tmp_path / "a.raw").read_text() == "1"


def test_the_controller_removes_what_a_broken_upload_has_left(tmp_path: Path) -> None:
    left = upload(tmp_path, 7)
    assert list(left_over(tmp_path, time.time() + 10)) == [tmp_path / left]


def settings_for(lab: Lab, settings: Settings, name: str) -> Settings:
    """An agent on another computer, with files of its own."""
    (lab.top / name).mkdir()
    return settings.model_copy(
        update={"home": lab.top / f"home-{name}", "roots": (RootSetting(path=str(lab.top / name)),), "bwlimit_kib": 2_000}
    )


@pytest.mark.system
@pytest.mark.parametrize("same", [True, False])
def test_two_agents_that_send_one_name_at_once_both_deliver_what_they_have(ssh_settings: Settings, lab: Lab, same: bool) -> None:
    contents = {name: (b"same" if same else name.encode() * 2) * 500_000 for name in ("a1", "b2")}
    both = {name: settings_for(lab, ssh_settings, name) for name in contents}
    for name, settings in both.items():
        settings.home.mkdir()
        source = lab.top / name / "x.raw"
        source.write_bytes(contents[name])
        os.utime(source, (1, 1))
    with running(both["a1"]) as first, running(both["b2"]) as second:
        first.post(lab, 1, str(lab.top / "a1" / "x.raw"))
        second.post(lab, 2, str(lab.top / "b2" / "x.raw"))
        wait(lambda: len(list(lab.data.glob(".upload.*"))) == 2)  # both are under way
        wait(lambda: lab.is_marked(1) and lab.is_marked(2))
    paths = {number: sent_paths(lab, number) for number in (1, 2)}
    for number, name in ((1, "a1"), (2, "b2")):
        assert [(lab.storage / path).read_bytes() == contents[name] for path in paths[number]] == [True]
    shared = [number for number in (1, 2) if paths[number] == ["data/x.raw"]]
    assert len(shared) == (2 if same else 1)
    assert names_in(lab.data) == ["x.raw"]


@pytest.mark.system
def test_a_login_that_may_do_more_runs_the_same_by_its_python(ssh_settings: Settings, sshd: Sshd, lab: Lab) -> None:
    sshd.allow(None)
    agent = make_agent(ssh_settings.model_copy(update={"target": f"{sshd.login}:{lab.storage}"}))
    names = ['it\'s "odd" $(id) \\ é\n.raw', "x" * 255, "b.raw"]
    (lab.data / "b.raw").write_text("another")
    order(agent, lab, 1, *(lab.write(name, name) for name in names))
    settle(agent)
    assert job_state(1) == JobState.DELIVERED
    assert [(lab.data / name).read_text() for name in names] == [*names[:2], "another"]
    assert lab.in_job(1, "input/b.raw").read_text() == "b.raw"
    assert names_in(lab.data) == sorted(names)
    agent.loop.stop()


@pytest.mark.parametrize("version", [0, 1])
def test_a_queue_of_a_former_version_goes_on(tmp_path: Path, version: int) -> None:
    from peewee import SqliteDatabase

    from agent.queue.models import Transfer
    from agent.queue.schema import STEPS

    path = tmp_path / "queue.sqlite"
    former = SqliteDatabase(str(path))
    for step in STEPS[:version]:
        for statement in step:
            former.execute_sql(statement)
    if version:
        fields = "owner, source, place, name, state, state_since, created"
        for name in ("a", "b"):
            former.execute_sql(f"INSERT INTO transfer ({fields}) VALUES ('me', '/x/{name}', 'data', '{name}', 'ready', 1, 1)")
    former.execute_sql(f"PRAGMA user_version = {version}")
    former.close()
    database = open_database(path)
    uploads = [row.upload for row in Transfer.select()]
    assert len(set(uploads)) == (2 if version else 0)
    assert all(len(one) == len(".upload.0123456789abcdef.0a1b2c") for one in uploads)
    assert Queue().next_batch(2.0) == []
    database.close()
